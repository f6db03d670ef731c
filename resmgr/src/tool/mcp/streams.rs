//! The two ends of the proxy: to the client, and to the server that there is now. What the proxy writes itself comes between
//! lines, never within one.

use std::{
    fs::File,
    io,
    process::ChildStdin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what was written ends a line.
fn ends_line(bytes: &[u8]) -> bool {
    bytes.last().is_none_or(|&last| last == b'\n')
}

/// Where the client reads.
pub(super) struct Outlet {
    to: Mutex<Writing<File>>,
}

/// Something to write to, and what is to be written between lines.
struct Writing<W> {
    to: W,
    in_line: bool,
    pending: Vec<u8>,
}

impl<W: io::Write> Writing<W> {
    const fn new(to: W) -> Self {
        Self {
            to,
            in_line: false,
            pending: Vec::new(),
        }
    }

    /// Writes what goes through, and what waited for the end of the line.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.to.write_all(bytes)?;
        self.in_line = !ends_line(bytes);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.in_line || self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.to.write_all(&pending)
    }
}

impl Outlet {
    /// Writes to the client there.
    pub(super) fn new(to: File) -> Self {
        Self {
            to: Mutex::new(Writing::new(to)),
        }
    }

    /// Passes on what the server wrote.
    pub(super) fn pass(&self, bytes: &[u8]) -> io::Result<()> {
        lock(&self.to).pass(bytes)
    }

    /// Writes a line of the proxy's own, once the line that is being written is over.
    pub(super) fn add(&self, line: &[u8]) -> io::Result<()> {
        let mut to = lock(&self.to);
        to.pending.extend_from_slice(line);
        to.flush()
    }

    /// The server has ended: so has its line.
    pub(super) fn end_line(&self) -> io::Result<()> {
        let mut to = lock(&self.to);
        if to.in_line { to.pass(b"\n") } else { Ok(()) }
    }
}

/// What there is of a server.
enum Server {
    /// It is being started.
    Awaited,
    /// It reads.
    Reads(Writing<ChildStdin>),
    /// There will be none.
    Over,
}

/// Where the server reads, whichever it is.
pub(super) struct Inlet {
    to: Mutex<Server>,
    changed: Condvar,
}

/// What became of bytes for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// They are written.
    Written,
    /// The server has ended before it took them.
    Lost,
    /// There will be no server.
    Over,
}

impl Default for Inlet {
    fn default() -> Self {
        Self {
            to: Mutex::new(Server::Awaited),
            changed: Condvar::new(),
        }
    }
}

impl Inlet {
    /// There is a server; where nothing more is to be read it is told so.
    pub(super) fn open(&self, to: ChildStdin) {
        self.turn(Server::Reads(Writing::new(to)));
    }

    /// The server has ended, and another one is awaited.
    pub(super) fn await_next(&self) {
        self.turn(Server::Awaited);
    }

    fn turn(&self, next: Server) {
        let mut to = lock(&self.to);
        if !matches!(*to, Server::Over) {
            *to = next;
            self.changed.notify_all();
        }
    }

    /// There is nothing more to read.
    pub(super) fn close(&self) {
        *lock(&self.to) = Server::Over;
        self.changed.notify_all();
    }

    /// Waits for a server; false where there will be none.
    pub(super) fn is_open(&self) -> bool {
        let is_awaited = |to: &mut Server| matches!(to, Server::Awaited);
        let to = self.changed.wait_while(lock(&self.to), is_awaited);
        !matches!(*to.unwrap_or_else(PoisonError::into_inner), Server::Over)
    }

    /// Passes on what the client wrote, to the server that there is or will be.
    pub(super) fn pass(&self, bytes: &[u8]) -> Passed {
        let mut to = lock(&self.to);
        loop {
            match &mut *to {
                Server::Reads(writing) => {
                    if writing.pass(bytes).is_ok() {
                        return Passed::Written;
                    }
                    *to = Server::Awaited;
                    return Passed::Lost;
                }
                Server::Awaited => to = self.changed.wait(to).unwrap_or_else(PoisonError::into_inner),
                Server::Over => return Passed::Over,
            }
        }
    }

    /// Writes a line of the proxy's own to the server that there is, between lines.
    pub(super) fn add(&self, line: &[u8]) {
        if let Server::Reads(writing) = &mut *lock(&self.to) {
            writing.pending.extend_from_slice(line);
            // A server that has ended needs to be told nothing.
            let _ = writing.flush();
        }
    }
}

//! The two ends of the proxy: to the client, and to the server that there is now. What the proxy writes itself comes between
//! lines, never within one.

use std::{
    fs::File,
    io,
    process::ChildStdin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something to write to, a line after another.
struct Writing<W> {
    to: W,
    in_line: bool,
}

impl<W: io::Write> Writing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.in_line = bytes.last().map_or(self.in_line, |&last| last != b'\n');
        Ok(())
    }
}

/// Where the client reads.
pub(super) struct Outlet {
    to: Mutex<Client>,
    /// Lines of the proxy's own that are yet to be written, and of which requests. Whoever holds this waits for nobody.
    queue: Mutex<Vec<(Option<u64>, Vec<u8>)>>,
}

struct Client {
    writing: Writing<File>,
    /// How much was passed on, in pieces.
    passed: u64,
}

impl Outlet {
    /// Writes to the client there.
    pub(super) const fn new(to: File) -> Self {
        let writing = Writing { to, in_line: false };
        Self {
            to: Mutex::new(Client { writing, passed: 0 }),
            queue: Mutex::new(Vec::new()),
        }
    }

    /// Writes what is queued, unless that would be within a line.
    fn write_queue(&self, client: &mut Client) -> io::Result<()> {
        if client.writing.in_line {
            return Ok(());
        }
        let queue = std::mem::take(&mut *lock(&self.queue));
        queue.iter().try_for_each(|(_, line)| client.writing.write(line))
    }

    /// Passes on what the server wrote.
    pub(super) fn pass(&self, bytes: &[u8]) -> io::Result<()> {
        let mut client = lock(&self.to);
        if !bytes.is_empty() {
            client.writing.write(bytes)?;
            client.passed += 1;
        }
        self.write_queue(&mut client)
    }

    /// How much was passed on; `None` while the client keeps somebody waiting.
    pub(super) fn passed(&self) -> Option<u64> {
        match self.to.try_lock() {
            Ok(client) => Some(client.passed),
            Err(TryLockError::Poisoned(client)) => Some(client.into_inner().passed),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// A line of the proxy's own, to be written with what is written next: the end of a request.
    pub(super) fn queue(&self, number: u64, line: Vec<u8>) {
        lock(&self.queue).push((Some(number), line));
    }

    /// The server has answered a request itself: what is queued for it is not written.
    pub(super) fn forget(&self, number: u64) {
        lock(&self.queue).retain(|(of, _)| *of != Some(number));
    }

    /// Writes what is queued, once the line that is being written is over.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.write_queue(&mut lock(&self.to))
    }

    /// Writes a line of the proxy's own, once the line that is being written is over.
    pub(super) fn add(&self, line: &[u8]) -> io::Result<()> {
        lock(&self.queue).push((None, line.to_vec()));
        self.flush()
    }

    /// The server has ended: so has its line.
    pub(super) fn end_line(&self) -> io::Result<()> {
        let mut client = lock(&self.to);
        if client.writing.in_line {
            client.writing.write(b"\n")?;
        }
        self.write_queue(&mut client)
    }
}

/// What there is of a server.
enum Server {
    /// It is being started.
    Awaited,
    /// It reads, and lines of the proxy's own wait for the end of the client's.
    Reads(Writing<ChildStdin>, Vec<u8>),
    /// It reads no more.
    Deaf,
    /// There will be none.
    Over,
}

/// Servers, one after another.
struct Servers {
    now: Server,
    /// Which of all that there were.
    turn: u64,
}

impl Servers {
    fn become_next(&mut self, next: Server) {
        if !matches!(self.now, Server::Over) {
            self.turn += u64::from(matches!(next, Server::Reads(..)));
            self.now = next;
        }
    }
}

/// Where the server reads, whichever it is.
pub(super) struct Inlet {
    to: Mutex<Servers>,
    changed: Condvar,
}

/// What became of bytes for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// They are written.
    Written,
    /// The server has ended, or taken no more, before it took them.
    Lost,
    /// There will be no server.
    Over,
}

impl Default for Inlet {
    fn default() -> Self {
        let (now, turn) = (Server::Awaited, 0);
        Self {
            to: Mutex::new(Servers { now, turn }),
            changed: Condvar::new(),
        }
    }
}

/// Writes what goes through, and what waited for the end of the line.
fn write(to: &mut Writing<ChildStdin>, pending: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    to.write(bytes)?;
    if to.in_line || pending.is_empty() {
        return Ok(());
    }
    to.write(&std::mem::take(pending))
}

impl Inlet {
    /// There is a server; where nothing more is to be read it is told so.
    pub(super) fn open(&self, to: ChildStdin) {
        self.change(Server::Reads(Writing { to, in_line: false }, Vec::new()));
    }

    /// The server has ended, and another one is awaited.
    pub(super) fn await_next(&self) {
        self.change(Server::Awaited);
    }

    /// The same, unless what the server has left behind keeps somebody waiting.
    pub(super) fn try_await_next(&self) {
        if let Ok(mut to) = self.to.try_lock() {
            to.become_next(Server::Awaited);
        }
    }

    /// There is nothing more to read.
    pub(super) fn close(&self) {
        self.change(Server::Over);
    }

    fn change(&self, next: Server) {
        lock(&self.to).become_next(next);
        self.changed.notify_all();
    }

    /// Waits for a server: which; `None` where there will be none.
    pub(super) fn turn(&self) -> Option<u64> {
        let is_awaited = |to: &mut Servers| matches!(to.now, Server::Awaited);
        let to = self.changed.wait_while(lock(&self.to), is_awaited);
        let to = to.unwrap_or_else(PoisonError::into_inner);
        (!matches!(to.now, Server::Over)).then_some(to.turn)
    }

    /// Passes on what the client wrote, to that server and to no other.
    pub(super) fn pass(&self, bytes: &[u8], turn: u64) -> Passed {
        if bytes.is_empty() {
            return Passed::Written;
        }
        let mut to = lock(&self.to);
        let is_it = to.turn == turn;
        match &mut to.now {
            Server::Reads(writing, pending) if is_it => {
                if write(writing, pending, bytes).is_ok() {
                    return Passed::Written;
                }
                to.now = Server::Deaf;
                Passed::Lost
            }
            Server::Reads(..) | Server::Awaited | Server::Deaf => Passed::Lost,
            Server::Over => Passed::Over,
        }
    }

    /// Writes a line of the proxy's own to the server that there is, between lines.
    pub(super) fn add(&self, line: &[u8]) {
        if let Server::Reads(writing, pending) = &mut lock(&self.to).now {
            pending.extend_from_slice(line);
            // A server that has ended needs to be told nothing.
            let _ = write(writing, pending, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    //! The client's end, which is a pipe.
    use std::{io::Read as _, os::fd::OwnedFd};

    use super::*;

    fn outlet() -> (Outlet, io::PipeReader) {
        let (from, to) = io::pipe().unwrap();
        (Outlet::new(File::from(OwnedFd::from(to))), from)
    }

    fn written(outlet: Outlet, mut from: io::PipeReader) -> String {
        drop(outlet);
        let mut all = String::new();
        from.read_to_string(&mut all).unwrap();
        all
    }

    #[test]
    fn what_the_proxy_says_comes_between_lines() {
        let (outlet, from) = outlet();
        outlet.pass(b"one\nha").unwrap();
        outlet.queue(7, b"queued\n".to_vec());
        outlet.add(b"added\n").unwrap();
        outlet.pass(b"lf\n").unwrap();
        outlet.pass(b"cut").unwrap();
        outlet.add(b"last\n").unwrap();
        outlet.end_line().unwrap();
        outlet.end_line().unwrap();
        assert_eq!(written(outlet, from), "one\nhalf\nqueued\nadded\ncut\nlast\n");
    }

    #[test]
    fn a_request_whose_answer_was_on_its_way_is_not_answered_twice() {
        let (outlet, from) = outlet();
        outlet.pass(b"{\"result\":").unwrap();
        outlet.queue(1, b"an error\n".to_vec());
        outlet.flush().unwrap();
        outlet.queue(2, b"another's\n".to_vec());
        outlet.forget(1);
        outlet.pass(b"{},\"id\":1}\n").unwrap();
        assert_eq!(written(outlet, from), "{\"result\":{},\"id\":1}\nanother's\n");
    }
}

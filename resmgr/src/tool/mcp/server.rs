//! The server's process: started as a tool by `resmgr exec` itself, signalled, waited for.

use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader},
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::protocol::Registered;

/// What `resmgr exec` tells the proxy before it becomes the server: the first line of its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// As what it is tracked; `None` where it is not.
    pub registered: Option<Registered>,
}

/// A server.
pub(super) struct Server {
    child: Child,
    process: OwnedFd,
}

/// Its streams.
pub(super) struct Streams {
    /// What it reads.
    pub(super) stdin: ChildStdin,
    /// What it writes.
    pub(super) stdout: BufReader<ChildStdout>,
}

/// A process, to be signalled by others than who waits for it.
pub(super) struct Signals(OwnedFd);

impl Signals {
    /// Sends a signal; one that has ended gets none.
    pub(super) fn send(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.0, signal);
    }
}

impl Server {
    /// Starts one by a command that announces itself.
    pub(super) fn start(program: &OsString, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn()?;
        let process = Pid::from_child(&child);
        let process = pidfd_open(process, PidfdFlags::empty())?;
        Ok(Self { child, process })
    }

    /// Waits until it announces itself: its streams, and as what it is tracked.
    pub(super) fn announced(&mut self) -> io::Result<(Streams, Option<Registered>)> {
        let (Some(stdin), Some(stdout)) = (self.child.stdin.take(), self.child.stdout.take()) else {
            return Err(io::Error::other("the server was started without streams"));
        };
        let mut stdout = BufReader::with_capacity(super::passing::CHUNK, stdout);
        let mut line = Vec::new();
        stdout.read_until(b'\n', &mut line)?;
        // One that ended before has said why itself.
        let announced = serde_json::from_slice(&line).unwrap_or(Announced { registered: None });
        Ok((Streams { stdin, stdout }, announced.registered))
    }

    /// Its process, to be signalled.
    pub(super) fn signals(&self) -> io::Result<Signals> {
        Ok(Signals(self.process.try_clone()?))
    }

    /// Waits until it has ended.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

/// Ends this process as another one ended.
pub(super) fn end_as(status: ExitStatus) -> std::process::ExitCode {
    if let Some(signal) = status.signal() {
        // No core of this process: it did nothing wrong.
        let none = rustix::process::Rlimit {
            current: Some(0),
            maximum: None,
        };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        // One that ends nothing by itself is told by the exit code.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    std::process::ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

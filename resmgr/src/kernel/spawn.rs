//! A child that asks the agent to make it a tool's before it executes its program: between fork and exec, where nothing may be
//! allocated and no lock be taken. Knows no request: its bytes are made before.

use std::{
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    io::{Errno, read, write},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt},
    pipe::{PipeFlags, pipe_with},
};
use tokio::process::Command;

/// How long a child waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How an answer begins that is no refusal.
const ACCEPTED: &[u8] = br#"{"v":1,"ok":"#;
/// Bytes of an answer that are looked at: a refusal is shorter.
const ANSWER_BYTES: usize = 2048;

/// Where a child says why it was refused.
#[derive(Debug)]
pub struct Refusals(OwnedFd);

impl Refusals {
    /// The agent's answer, where it was a refusal. Everything that could still be started has to be gone: the command, too.
    pub fn read(self) -> Option<Vec<u8>> {
        let mut said = Vec::new();
        io::Read::take(std::fs::File::from(self.0), ANSWER_BYTES as u64)
            .read_to_end(&mut said)
            .ok()?;
        (!said.is_empty()).then_some(said)
    }
}

/// Has a command's child send a request to the agent before it executes its program. Where the agent refuses, nothing is
/// executed; where none answers, that is so only if one is required.
pub fn register_at_start(
    command: &mut Command,
    socket: &Path,
    request: Vec<u8>,
    required: bool,
) -> io::Result<Refusals> {
    let address = SocketAddrUnix::new(socket)?;
    let (refusals, refused) = pipe_with(PipeFlags::CLOEXEC)?;
    let register = move || match ask(&address, &request, &refused) {
        Ok(false) => Err(Errno::PERM.into()),
        Err(error) if required => Err(error.into()),
        Ok(true) | Err(_) => Ok(()),
    };
    // SAFETY: what runs in the child makes system calls alone, on buffers that were made before the fork or stand on its
    // stack: it allocates nothing, takes no lock and does not panic.
    unsafe { command.pre_exec(register) };
    Ok(Refusals(refusals))
}

/// Sends the request; tells whether it was granted, and writes down what was said otherwise.
fn ask(address: &SocketAddrUnix, request: &[u8], refused: &OwnedFd) -> Result<bool, Errno> {
    let agent = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&agent, sockopt::Timeout::Recv, Some(ANSWER_WITHIN))?;
    connect(&agent, address)?;
    let mut rest = request;
    while !rest.is_empty() {
        match write(&agent, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    let mut answer = [0; ANSWER_BYTES];
    let mut length = 0;
    while let Some(room) = answer.get_mut(length..).filter(|room| !room.is_empty()) {
        match read(agent.as_fd(), room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        }
        if answer.get(..length).is_some_and(|said| said.ends_with(b"\n")) {
            break;
        }
    }
    let said = answer.get(..length).unwrap_or_default();
    if said.is_empty() {
        return Err(Errno::CONNRESET);
    }
    if said.starts_with(ACCEPTED) {
        return Ok(true);
    }
    // It fits into the pipe, and who reads it may have gone.
    let _ = write(refused, said);
    Ok(false)
}

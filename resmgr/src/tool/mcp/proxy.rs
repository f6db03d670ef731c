//! `resmgr exec --operations mcp`: stands between a client and an MCP server on standard streams. What goes through is not
//! changed; requests under way are operations of the tool; one that may not go on is answered in the server's place.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _, stdout},
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    path::Path,
    process::{ChildStdin, ExitCode, ExitStatus},
    sync::{Arc, Condvar, Mutex, mpsc as blocking},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::Signal,
};

use super::{
    answers,
    link::{Heard, Tell, link},
    passing::{FromClient, FromServer},
    scan::Scanner,
    server::{Server, Streams, end_as},
    shared::{Client, Known, Shared},
    signals::Aim,
    streams::{Inlet, Outlet},
};
use crate::model::{EndCause, ToolName};

/// How often a server that was ended for its limits is started again within [`RESTARTS_WITHIN`].
const MOST_RESTARTS: usize = 3;
/// The time in which those are counted.
const RESTARTS_WITHIN: Duration = Duration::from_secs(600);
/// How long a server that was started again may take to answer what it is asked first.
const REPLAYED_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait for the agent to say why a server ended.
const CAUSE_WITHIN: Duration = Duration::from_secs(3);
/// How long what is left in a server's output may take to come, where its descendants keep it open.
const LEFT_WITHIN: Duration = Duration::from_secs(1);

/// What there is to run.
pub struct Proxy {
    /// The tool's name.
    pub tool: ToolName,
    /// What starts the server and announces it, and its arguments.
    pub server: (OsString, Vec<OsString>),
    /// How long the server may take to end once its client has gone, before it is asked to, and then before it is made to.
    pub grace: Duration,
}

/// Does what follows from what the agent says.
fn hear(shared: &Arc<Shared>, heard: &blocking::Receiver<Heard>) {
    for heard in heard {
        match heard {
            Heard::State(state) => shared.change(|known| {
                known.refusing.clone_from(&state.refusing);
                known.state = Some(state);
            }),
            Heard::Unknown => shared.change(|known| known.refusing = None),
            Heard::Over(number, over) => {
                let answered = shared.change(|known| {
                    let call = known.calls.answer(number)?;
                    shared.outlet.queue(number, answers::ended(&shared.tool, &call, &over));
                    Some((call, known.calls.forget()))
                });
                let Some((call, forgotten)) = answered else { continue };
                shared.link.tell(Tell::GivenUp(number));
                if let Some(forgotten) = forgotten {
                    shared.link.tell(Tell::Ended(forgotten));
                }
                // Who reads nothing may keep these waiting.
                let (client, server) = (Arc::clone(shared), Arc::clone(shared));
                thread::spawn(move || client.outlet.flush());
                thread::spawn(move || server.inlet.add(&answers::cancellation(&call)));
            }
        }
    }
}

/// Ends the server where its client has gone and it does not end of itself: what was asked is answered first, where there is
/// somebody to read it.
fn end_with_client(shared: &Arc<Shared>, server: &Aim, grace: Duration) {
    shared.wait_until(Duration::MAX, Known::is_over);
    let reading = Arc::clone(shared);
    thread::spawn(move || {
        await_hang_up();
        reading.change(|known| known.client = Client::Gone);
    });
    let is_done = |known: &Known| known.client == Client::Gone || !known.calls.are_awaited() || !known.is_answering;
    shared.wait_until(Duration::MAX, is_done);
    for signal in [Signal::TERM, Signal::KILL] {
        thread::sleep(grace);
        server.send(signal);
    }
}

/// Waits until nobody reads any more.
fn await_hang_up() {
    let stdout = stdout();
    // Errors and hang-ups are told without being asked for.
    let mut waited = [PollFd::new(&stdout, PollFlags::empty())];
    while poll(&mut waited, None) == Err(Errno::INTR) {}
}

/// Brings a server that was started again to where the one before it was.
fn replay(shared: &Shared, stdin: &mut ChildStdin) -> io::Result<bool> {
    let (initialize, is_initialized) = {
        let known = shared.known();
        (known.initialize.clone().unwrap_or_default(), known.is_initialized)
    };
    let (_, messages) = Scanner::default().read(&initialize);
    let first = messages.into_iter().flatten().find_map(|message| message.id);
    shared.change(|known| known.replayed = first);
    stdin.write_all(&initialize)?;
    shared.wait_until(REPLAYED_WITHIN, |known| known.replayed.is_none() || !known.is_answering);
    // What is answered later is not passed on either.
    let is_answered = {
        let known = shared.known();
        known.replayed.is_none() && known.is_answering
    };
    if is_answered && is_initialized {
        stdin.write_all(&answers::initialized())?;
    }
    Ok(is_answered)
}

/// Why a server has ended, as the agent says.
fn cause(shared: &Shared, status: ExitStatus) -> Option<EndCause> {
    let of = |known: &Known| known.state.as_ref()?.ended?.cause;
    // That the kernel killed for want of memory is known a little later than that it was killed.
    let may_change = status.signal() == Some(Signal::KILL.as_raw());
    let is_known = |known: &Known| match of(known) {
        Some(EndCause::Signal) => !may_change,
        cause => cause.is_some(),
    };
    shared.wait_until(CAUSE_WITHIN, is_known);
    of(&shared.known())
}

/// Whether it was ended for its limits.
const fn for_limits(cause: Option<EndCause>) -> bool {
    matches!(cause, Some(EndCause::Resmgr | EndCause::OutOfMemory))
}

/// How a server ended, for people.
fn reason(cause: Option<EndCause>, status: ExitStatus) -> String {
    match cause {
        Some(EndCause::Resmgr) => "resmgr ended it at its limits".to_owned(),
        Some(EndCause::OutOfMemory) => "the kernel killed it at its limit of memory".to_owned(),
        _ => status.to_string(),
    }
}

/// A server's turn, and how it ended.
struct Turn {
    status: ExitStatus,
    cause: Option<EndCause>,
    /// Whether it came to where its client is.
    is_ready: bool,
    /// Whether all that it wrote is passed on.
    is_read: bool,
}

impl Proxy {
    /// Runs a server behind the proxy; ends as the server ends.
    pub fn run(self, socket: &Path) -> io::Result<ExitCode> {
        let (link, linked, heard) = link(socket);
        let shared = Arc::new(Shared {
            tool: self.tool,
            known: Mutex::default(),
            changed: Condvar::new(),
            outlet: Outlet::new(File::from(stdout().as_fd().try_clone_to_owned()?)),
            inlet: Inlet::default(),
            link,
        });
        let aim = Aim::start(linked)?;
        let hearing = Arc::clone(&shared);
        thread::spawn(move || hear(&hearing, &heard));
        let ending = (Arc::clone(&shared), aim.clone());
        thread::spawn(move || end_with_client(&ending.0, &ending.1, self.grace));

        let mut restarts: Vec<Instant> = Vec::new();
        loop {
            let turn = take_turn(&shared, &self.server, &aim, !restarts.is_empty())?;
            if !turn.is_read {
                return Ok(end_as(turn.status));
            }
            let why = reason(turn.cause, turn.status);
            shared.end_all(&why);
            restarts.retain(|at| at.elapsed() < RESTARTS_WITHIN);
            let is_wanted = turn.is_ready && for_limits(turn.cause) && shared.known().can_be_replayed();
            if !is_wanted || restarts.len() >= MOST_RESTARTS {
                return Ok(end_as(turn.status));
            }
            restarts.push(Instant::now());
            shared.inlet.await_next();
            let (tool, count) = (&shared.tool, restarts.len());
            eprintln!(
                "resmgr: {tool} ended: {why}; it is started again, {count} of {MOST_RESTARTS} times in ten minutes"
            );
        }
    }
}

/// Starts a server, and waits until it has ended and all that it wrote is passed on.
fn take_turn(
    shared: &Arc<Shared>,
    (program, arguments): &(OsString, Vec<OsString>),
    aim: &Aim,
    is_again: bool,
) -> io::Result<Turn> {
    let mut server = Server::start(program, arguments)?;
    aim.at(server.signals()?);
    let (Streams { mut stdin, stdout }, registered) = server.announced()?;
    shared.change(|known| {
        known.state = None;
        known.replayed = None;
        known.is_answering = true;
    });
    if let Some(registered) = &registered {
        shared.link.tell(Tell::Instance(registered.instance));
    }
    let answering = Arc::clone(shared);
    thread::spawn(move || {
        let passed = FromServer(&answering).run(stdout);
        answering.change(|known| known.is_answering = false);
        if passed.is_err() {
            // Nobody reads any more.
            answering.end_input();
        }
    });
    let is_ready = if is_again {
        replay(shared, &mut stdin).unwrap_or(false)
    } else {
        let asking = Arc::clone(shared);
        thread::spawn(move || FromClient::new(&asking).run());
        true
    };
    shared.inlet.open(stdin);
    let status = server.wait()?;
    shared.inlet.try_await_next();
    let is_read = pass_rest(shared, aim);
    let goes_on = is_read && shared.outlet.end_line().is_ok() && !shared.known().is_over() && !aim.is_stopped();
    let is_asked = goes_on && registered.is_some() && status.signal().is_some();
    Ok(Turn {
        status,
        cause: if is_asked { cause(shared, status) } else { None },
        is_ready,
        is_read,
    })
}

/// Waits until all that a server wrote is passed on, or, where its descendants keep its output open, until they write no more.
/// False where the client does not read and the end was asked for.
fn pass_rest(shared: &Shared, aim: &Aim) -> bool {
    let mut passed = shared.outlet.passed();
    while !shared.wait_until(LEFT_WITHIN, |known| !known.is_answering) {
        let now = shared.outlet.passed();
        match now {
            None if aim.is_stopped() => return false,
            Some(_) if now == passed => break,
            _ => passed = now,
        }
    }
    true
}

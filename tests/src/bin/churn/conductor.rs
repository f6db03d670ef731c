//! The root of the tree: lets everybody work in rounds, and says when all hold still. Opens and closes nothing itself.

use std::{
    io::{BufRead as _, Write as _},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use resmgr_tests::{
    Kind,
    raw::{self, Descriptor},
};
use rustix::{
    io::Result,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, Resource, Rlimit, WaitOptions, getpid, getrlimit, set_child_subreaper, setrlimit, waitpid},
};
use serde_json::json;

use crate::{
    board::{Board, END},
    held::{MAILBOX_IN, MAILBOX_OUT},
    process::Process,
};

/// Processes at the beginning.
const FOUNDERS: u32 = 4;

/// Descriptors that a process may have: more than the agent counts by itself.
const DESCRIPTORS: u64 = 20_000;

/// How long nothing may be done before all holds still.
const PATIENCE: Duration = Duration::from_secs(60);

/// Obeys orders from standard input, a line an order, until it ends.
pub(crate) fn main(seed: u64) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let board = prepare(seed)?;
    // Whoever loses its parent is a child of this process then, and waited for.
    set_child_subreaper(Some(getpid()))?;
    let mut round = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let mut number = || {
            words
                .next()
                .and_then(|word| word.parse().ok())
                .ok_or("an order has two numbers")
        };
        let (operations, fill): (u32, u32) = (number()?, number()?);
        round += 1;
        let there = u32::try_from(board.there().len())?;
        let founders = if there == 0 { FOUNDERS } else { 0 };
        board.begin(round, operations.div_ceil(there.max(founders)), fill);
        for _ in 0..founders {
            found(board, round)?;
        }
        wait_until_quiet(board)?;
        report(board)?;
    }
    let there = board.there();
    board.begin(END, 0, 0);
    there.into_iter().try_for_each(expect_end)?;
    Ok(())
}

/// Raises what would be in the way: descriptors, and before Linux 5.11 memory that BPF maps lock.
pub(crate) fn raise_limits() {
    let maps = Rlimit {
        current: None,
        maximum: None,
    };
    let descriptors = Rlimit {
        current: Some(DESCRIPTORS),
        maximum: Some(DESCRIPTORS),
    };
    for (resource, wanted) in [(Resource::Memlock, maps), (Resource::Nofile, descriptors)] {
        if setrlimit(resource, wanted).is_err() {
            let maximum = getrlimit(resource).maximum;
            let allowed = Rlimit {
                current: maximum,
                maximum,
            };
            // What this host does not allow shows where it is wanted.
            let _ = setrlimit(resource, allowed);
        }
    }
}

/// Puts everything under control to its number.
pub(crate) fn prepare(seed: u64) -> Result<Board> {
    let board = Board::create(seed)?;
    let (receives, sends) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::empty(), None)?;
    let (receives, sends) = (lift(receives)?, lift(sends)?);
    put(receives, MAILBOX_OUT)?;
    put(sends, MAILBOX_IN)?;
    Ok(board)
}

/// Moves a descriptor out of the way of those under control.
pub(crate) fn lift(descriptor: OwnedFd) -> Result<Descriptor> {
    const OUT_OF_THE_WAY: u32 = 100;
    let lifted = raw::duplicate_from(&descriptor, OUT_OF_THE_WAY);
    drop(descriptor);
    lifted
}

/// Moves a descriptor to a number.
pub(crate) fn put(descriptor: Descriptor, number: Descriptor) -> Result<()> {
    raw::dup2(descriptor, number)?;
    descriptor.close()
}

fn found(board: Board, round: u32) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let slot = board.take_slot().ok_or("there is no place for a founder")?;
    let born = raw::fork();
    if let Ok(None) = born {
        Process::new(board, slot, round, false)?.live(board.operations());
    }
    board.note(Kind::ForkThatStays, &born);
    born?;
    Ok(())
}

fn wait_until_quiet(board: Board) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut done = operations(board);
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let at_work = board.wait_for_quiet(Duration::from_secs(1));
        if at_work == 0 {
            break;
        }
        for pid in board.there() {
            if let Ok(Some((_, status))) = waitpid(Some(pid), WaitOptions::NOHANG) {
                return Err(format!("process {} ended by itself: {status:?}", pid.as_raw_pid()).into());
            }
        }
        if operations(board) != done {
            done = operations(board);
            deadline = Instant::now() + PATIENCE;
        } else if Instant::now() > deadline {
            return Err(format!("{at_work} of {:?} do not come to rest", board.there()).into());
        }
    }
    board.take_ended().into_iter().try_for_each(expect_end)
}

/// Waits for a process that has said that it ends.
fn expect_end(pid: Pid) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let ended = waitpid(Some(pid), WaitOptions::empty())?;
    match ended {
        Some((_, status)) if status.exit_status() == Some(0) => Ok(()),
        other => Err(format!("process {} did not end well: {other:?}", pid.as_raw_pid()).into()),
    }
}

/// Operations so far: everything that was tried.
fn operations(board: Board) -> u64 {
    Kind::ALL.iter().map(|&kind| u64::from(board.count(kind).tried)).sum()
}

/// One line: who is there, and what was done so far.
fn report(board: Board) -> std::io::Result<()> {
    let pids = board.there().into_iter().chain([getpid()]);
    let kinds = Kind::ALL.iter().map(|&kind| {
        let count = board.count(kind);
        json!({"kind": kind.name(), "tried": count.tried, "succeeded": count.succeeded, "errno": count.errno})
    });
    let line = json!({
        "pids": pids.map(Pid::as_raw_pid).collect::<Vec<_>>(),
        "operations": operations(board),
        "kinds": kinds.collect::<Vec<_>>(),
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

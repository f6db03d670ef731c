//! Children that work a little and end, while their parent goes on.

use std::{ffi::CString, sync::Arc};

use resmgr_tests::{Kind, Random, raw};
use rustix::{
    io::{Errno, Result},
    process::{Pid, WaitOptions, waitpid},
};

use crate::{
    held::Table,
    worker::{self, Worker},
};

/// This program, whatever its path was. The thread's own: a process whose leader has ended has none.
pub(crate) const PROGRAM: &std::ffi::CStr = c"/proc/thread-self/exe";

/// Operations of a child at most.
const MOST: u32 = 12;

/// Descriptors that a child holds at most, besides those that it inherited.
const BOUND: usize = 20;

/// Does something of a kind.
pub(crate) fn perform(worker: &mut Worker, kind: Kind) -> Result<()> {
    let (seed, operations) = (worker.random.number(), 1 + worker.random.below(MOST));
    let child = match kind {
        Kind::Fork => match raw::fork()? {
            Some(child) => child,
            None => work_and_end(worker, seed, operations),
        },
        Kind::Spawn => raw::spawn(PROGRAM, &arguments(["churn", "leaf"], [seed, u64::from(operations)])?)?,
        other => unreachable!("{} makes no child that ends", other.name()),
    };
    wait_for(child)
}

/// What a child does that has an image of its own, or its parent's.
pub(crate) fn work_and_end(parent: &Worker, seed: u64, operations: u32) -> ! {
    // The parent's lists may be locked by a thread that is not here.
    let mut child = Worker {
        board: parent.board,
        random: Random::new(seed, [0; 3]),
        table: Arc::new(Table::empty(false)),
        may_unshare: false,
        may_have_children: false,
        weights: worker::ALL,
    };
    child.work(operations, BOUND);
    raw::exit_process(0)
}

/// The arguments of an image of this program.
pub(crate) fn arguments<const WORDS: usize, const NUMBERS: usize>(
    words: [&str; WORDS],
    numbers: [u64; NUMBERS],
) -> Result<Vec<CString>> {
    let words = words.into_iter().map(str::to_owned);
    let all = words.chain(numbers.into_iter().map(|number| number.to_string()));
    all.map(|argument| CString::new(argument).map_err(|_| Errno::INVAL))
        .collect()
}

fn wait_for(child: Pid) -> Result<()> {
    let (_, status) = waitpid(Some(child), WaitOptions::empty())?.ok_or(Errno::CHILD)?;
    if status.exit_status() == Some(0) {
        Ok(())
    } else {
        Err(Errno::CANCELED)
    }
}

/// Waits for all children that are left: of threads that an exec has ended.
pub(crate) fn wait_for_all() {
    while waitpid(None, WaitOptions::empty()).is_ok() {}
}

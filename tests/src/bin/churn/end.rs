//! Ways to end descriptors, and ways of a thread to get a table of its own.

use std::sync::Arc;

use resmgr_tests::{Kind, raw};
use rustix::io::Result;

use crate::{
    held::{FIRST, FREE_NUMBERS, Table},
    worker::{NOTHING_HELD, Worker},
};

/// `CLOSE_RANGE_UNSHARE`.
const UNSHARE: u32 = 1 << 1;
/// `CLOSE_RANGE_CLOEXEC`.
const CLOSE_ON_EXEC: u32 = 1 << 2;

/// Numbers that a range spans at most.
const WIDEST: u32 = 24;

/// Does something of a kind.
pub(crate) fn perform(worker: &mut Worker, kind: Kind) -> Result<()> {
    match kind {
        Kind::Close => close(worker),
        Kind::CloseRange => close_range(worker),
        Kind::CloseRangeCloexec => {
            let (first, last) = range(worker);
            raw::close_range(first, last, CLOSE_ON_EXEC)
        }
        Kind::CloseRangeUnshare => {
            let (first, last) = range(worker);
            raw::close_range(first, last, UNSHARE)?;
            take_own_table(worker)
        }
        Kind::UnshareTable => {
            raw::unshare_table()?;
            take_own_table(worker)
        }
        other => unreachable!("{} ends nothing", other.name()),
    }
}

fn close(worker: &mut Worker) -> Result<()> {
    let held = worker.table.take(&mut worker.random).ok_or(NOTHING_HELD)?;
    worker.close(held.descriptor)
}

fn close_range(worker: &mut Worker) -> Result<()> {
    let (first, last) = range(worker);
    worker.table.take_range(first, last);
    let _closes = worker.table.closing.read();
    raw::close_range(first, last, 0)
}

fn range(worker: &mut Worker) -> (u32, u32) {
    let first = FIRST + worker.random.below(FREE_NUMBERS.end - FIRST);
    (first, first + worker.random.below(WIDEST))
}

/// The thread's table is another one now, and its alone: what is open in it is looked up.
fn take_own_table(worker: &mut Worker) -> Result<()> {
    worker.table = Arc::new(Table::of_this_thread(false)?);
    worker.may_unshare = false;
    Ok(())
}

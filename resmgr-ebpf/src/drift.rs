//! Differences between what events had counted of a process's descriptors and what a sweep finds, where descriptors are
//! refused: which of them are believed. A call that is under way looks like one. Corrects nothing.

use aya_ebpf::bindings::BPF_ANY;
use resmgr_common::{Doubt, ProcessCounters};

use crate::{kernel::Table, maps::DOUBTS};

/// Sweeps that have to see that there are more than were counted: in between, a tool may be let have as many too many.
const TIMES_MORE: u64 = 2;
/// Sweeps that have to see that there are fewer, of a process that goes on opening and closing: a tool would be let have more
/// than it may where that is believed and was a close under way.
const TIMES_FEWER: u64 = 16;

/// How much of a difference from the bits of a table no call under way explains: between what has a file and what is about
/// to have one, nothing is missing.
#[inline(always)]
pub fn beyond(counters: *const ProcessCounters, table: Table, difference: i64) -> i64 {
    if difference > 0
        && let Some(installed) = table.installed()
    {
        // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
        return (installed as i64 - unsafe { (*counters).fds_open }).max(0);
    }
    difference
}

/// How much of a difference is to be corrected.
#[inline(always)]
pub fn believed(counters: *const ProcessCounters, tgid: u32, difference: i64) -> i64 {
    // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
    let counted = unsafe { (*counters).fds_opened + (*counters).fds_closed };
    let known = match DOUBTS.get_ptr(tgid) {
        // SAFETY: as above.
        Some(doubt) => unsafe { *doubt },
        None => Doubt::default(),
    };
    if difference == 0 {
        if known.times != 0 {
            let _ = DOUBTS.remove(tgid);
        }
        return 0;
    }
    let mut doubt = Doubt {
        counted,
        last: difference,
        least: difference,
        times: 1,
    };
    if known.times != 0 && (known.last < 0) == (difference < 0) {
        doubt.times = known.times + 1;
        if known.least.unsigned_abs() < difference.unsigned_abs() {
            doubt.least = known.least;
        }
        let is_quiet = known.counted == counted && known.last == difference;
        let times = if difference > 0 { TIMES_MORE } else { TIMES_FEWER };
        if is_quiet || doubt.times >= times {
            let _ = DOUBTS.remove(tgid);
            return doubt.least;
        }
    }
    // Where there is no room for it, it is seen for the first time again.
    let _ = DOUBTS.insert(tgid, doubt, u64::from(BPF_ANY));
    0
}

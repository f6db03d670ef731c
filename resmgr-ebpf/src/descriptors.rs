//! Descriptors: counted at the exit of the calls that open and close them.
//!
//! What the return value tells is added; where only the table tells, it is counted again. Descriptors that come or go
//! by other ways (received over a socket, `io_uring`, ioctl) are seen by the next sweep.

use aya_ebpf::{EbpfContext as _, macros::tracepoint, programs::TracePointContext};
use resmgr_common::{HookIndex, ProcessCounters, ToolResource};

use crate::{
    kernel::Table,
    maps::{add, add_signed, own_counters, own_tgid},
    tools::Tool,
};

/// `-EBADF`: the one result of close that leaves the table as it was.
const EBADF: i64 = -9;

/// What a system call returned: the second word after the header of each exit tracepoint.
#[inline(always)]
pub fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: every `sys_exit_*` context holds the result at this offset, by the kernel's `syscall_tp_t`.
    unsafe { ctx.as_ptr().cast::<i64>().add(2).read() }
}

/// Adds to the counts of opened and closed, and their difference to what is open.
#[inline(always)]
fn count(opened: u64, closed: u64) {
    let Some(counters) = own_counters(HookIndex::Descriptors) else {
        return;
    };
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; the counts are added to atomically.
    unsafe {
        if opened > 0 {
            add(&raw mut (*counters).fds_opened, opened);
        }
        if closed > 0 {
            add(&raw mut (*counters).fds_closed, closed);
        }
        add_signed(&raw mut (*counters).fds_open, opened as i64 - closed as i64);
    }
    count_for_tool(counters, opened, closed, opened as i64 - closed as i64);
}

/// Adds to the sums of the process's tool.
#[inline(always)]
fn count_for_tool(counters: *const ProcessCounters, opened: u64, closed: u64, grown: i64) {
    let Some(tool) = Tool::of(counters) else {
        return;
    };
    // SAFETY: the tool's look-up returned Some, so the verifier bounded this slot; the counts are added to atomically.
    unsafe {
        if opened > 0 {
            add(&raw mut (*tool.sums()).fds_opened, opened);
        }
        if closed > 0 {
            add(&raw mut (*tool.sums()).fds_closed, closed);
        }
    }
    if grown != 0 {
        tool.change(ToolResource::Descriptors, grown, own_tgid());
    }
}

/// On the exit of calls that return one new descriptor.
#[tracepoint]
pub fn fd_opened(ctx: TracePointContext) -> u32 {
    if result(&ctx) >= 0 {
        count(1, 0);
    }
    0
}

/// On the exit of pipe, pipe2 and socketpair, which make two and return zero.
#[tracepoint]
pub fn fd_pair_opened(ctx: TracePointContext) -> u32 {
    if result(&ctx) == 0 {
        count(2, 0);
    }
    0
}

/// On the exit of close: whatever else it reports, the descriptor is gone.
#[tracepoint]
pub fn fd_closed(ctx: TracePointContext) -> u32 {
    if result(&ctx) != EBADF {
        count(0, 1);
    }
    0
}

/// On the exit of dup2 and dup3: one opened, and one closed where the table did not grow.
#[tracepoint]
pub fn fd_replaced(ctx: TracePointContext) -> u32 {
    if result(&ctx) >= 0
        && let Some(counters) = own_counters(HookIndex::Descriptors)
        && let Some(grown) = recount(counters)
    {
        // SAFETY: as in `count`.
        unsafe {
            add(&raw mut (*counters).fds_opened, 1);
            if grown < 1 {
                add(&raw mut (*counters).fds_closed, 1);
            }
        }
        count_for_tool(counters, 1, u64::from(grown < 1), grown);
    }
    0
}

/// On the exit of calls whose effect the result does not tell: fcntl, `close_range`, bpf, seccomp.
#[tracepoint]
pub fn fd_recounted(ctx: TracePointContext) -> u32 {
    if result(&ctx) >= 0
        && let Some(counters) = own_counters(HookIndex::Descriptors)
        && let Some(grown) = recount(counters)
    {
        let (opened, closed) = (grown.max(0).unsigned_abs(), grown.min(0).unsigned_abs());
        // SAFETY: as in `count`.
        unsafe {
            add(&raw mut (*counters).fds_opened, opened);
            add(&raw mut (*counters).fds_closed, closed);
        }
        count_for_tool(counters, opened, closed, grown);
    }
    0
}

/// Counts the current table and stores the count; returns by how much it differs from what was counted.
#[inline(always)]
fn recount(counters: *mut ProcessCounters) -> Option<i64> {
    let open = Table::of_current().count()? as i64;
    // SAFETY: as in `count`; a thread that opens at the same moment may be overwritten, which the next sweep heals.
    unsafe {
        let grown = open - (*counters).fds_open;
        if grown != 0 {
            (*counters).fds_open = open;
        }
        Some(grown)
    }
}

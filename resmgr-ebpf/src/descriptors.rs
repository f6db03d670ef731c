//! Descriptors: counted at the exit of the calls that open and close them.
//!
//! What the return value tells is added; where only the table tells, it is counted again. What a call was let have when it
//! began (`guard`) counts already: of that only what came to nothing is taken back. Descriptors that come or go
//! by other ways (received over a socket, `io_uring`, ioctl) are seen by the next sweep.

use aya_ebpf::{EbpfContext as _, helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext};
use resmgr_common::{CallEffect, HookIndex, ProcessCounters, ToolResource};

use crate::{
    kernel::Table,
    maps::{add, add_signed, own_counters, own_tgid},
    places,
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

/// The number of the call that ends: the first word after the header of each exit tracepoint.
#[inline(always)]
fn call(ctx: &TracePointContext) -> u32 {
    // SAFETY: as in `result`.
    unsafe { ctx.as_ptr().cast::<i64>().add(1).read() as u32 }
}

/// Counts what the call that ends has opened and closed.
#[inline(always)]
fn count(ctx: &TracePointContext, opened: u64, closed: u64) {
    if let Some(counters) = own_counters(HookIndex::Descriptors) {
        let reserved = places::settle(bpf_get_current_pid_tgid(), call(ctx));
        apply(counters, opened, closed, opened as i64 - closed as i64 - reserved);
    }
}

/// Adds to the counts of opened and closed, and to what is open, of which a call may have had a part from its beginning.
#[inline(always)]
fn apply(counters: *mut ProcessCounters, opened: u64, closed: u64, grown: i64) {
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; the counts are added to atomically.
    unsafe {
        if opened > 0 {
            add(&raw mut (*counters).fds_opened, opened);
        }
        if closed > 0 {
            add(&raw mut (*counters).fds_closed, closed);
        }
        if grown != 0 {
            add_signed(&raw mut (*counters).fds_open, grown);
        }
    }
    count_for_tool(counters, opened, closed, grown);
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
    count(&ctx, u64::from(result(&ctx) >= 0), 0);
    0
}

/// On the exit of pipe, pipe2 and socketpair, which make two and return zero.
#[tracepoint]
pub fn fd_pair_opened(ctx: TracePointContext) -> u32 {
    count(&ctx, if result(&ctx) == 0 { 2 } else { 0 }, 0);
    0
}

/// On the exit of close: whatever else it reports, the descriptor is gone.
#[tracepoint]
pub fn fd_closed(ctx: TracePointContext) -> u32 {
    if result(&ctx) != EBADF
        && let Some(counters) = own_counters(HookIndex::Descriptors)
    {
        places::clear(bpf_get_current_pid_tgid());
        apply(counters, 0, 1, -1);
    }
    0
}

/// On the exit of dup2 and dup3: one opened, and one closed where the table did not grow.
#[tracepoint]
pub fn fd_replaced(ctx: TracePointContext) -> u32 {
    if result(&ctx) >= 0
        && let Some(counters) = own_counters(HookIndex::Descriptors)
        && let Some(grown) = recount(counters, 0, 1)
    {
        // SAFETY: as in `apply`.
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
    let Some(counters) = own_counters(HookIndex::Descriptors) else {
        return 0;
    };
    let call = call(&ctx);
    let effect = places::effect_of(call);
    let reserved = places::settle(bpf_get_current_pid_tgid(), call);
    let is_done = result(&ctx) >= 0;
    // Of fcntl a hook tells whether it makes one.
    if reserved > 0 || effect == CallEffect::Settled as u8 && places::is_limited(counters) {
        let opened = if is_done { reserved } else { 0 };
        apply(counters, opened as u64, 0, opened - reserved);
        return 0;
    }
    let (least, most) = if effect == CallEffect::Closes as u8 {
        (i64::MIN, 0)
    } else {
        (0, 1)
    };
    if is_done && let Some(grown) = recount(counters, least, most) {
        let (opened, closed) = (grown.max(0).unsigned_abs(), grown.min(0).unsigned_abs());
        // SAFETY: as in `apply`.
        unsafe {
            add(&raw mut (*counters).fds_opened, opened);
            add(&raw mut (*counters).fds_closed, closed);
        }
        count_for_tool(counters, opened, closed, grown);
    }
    0
}

/// Counts the current table and stores the count; returns by how much it differs from what was counted.
///
/// Where descriptors are refused, what other threads are about to open or close is no effect of this call: then no more is
/// taken for it than from `least` to `most`.
#[inline(always)]
fn recount(counters: *mut ProcessCounters, least: i64, most: i64) -> Option<i64> {
    let open = Table::of_current().count()? as i64;
    // SAFETY: as in `apply`; a thread that opens at the same moment may be overwritten, which the next sweep heals.
    unsafe {
        let grown = open - (*counters).fds_open;
        if (*counters).threads > 1 && places::is_limited(counters) {
            let grown = grown.clamp(least, most);
            if grown != 0 {
                add_signed(&raw mut (*counters).fds_open, grown);
            }
            return Some(grown);
        }
        if grown != 0 {
            (*counters).fds_open = open;
        }
        Some(grown)
    }
}

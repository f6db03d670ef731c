//! Descriptors that a tool may not have any more: LSM hooks on the calls that can be refused.
//!
//! What a call is let have counts from the hook on, in its process and its tool, and stands in `PLACES` until the call's exit
//! tells what came of it. So there is no moment at which it is in neither, and what is given back was taken.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::lsm, programs::LsmContext};
use resmgr_common::{CallEffect, ProcessCounters, ToolResource};

use super::reserve::{reserve_at_once, reserve_locked};
use crate::{
    kernel::{Call, File, is_worker_running},
    maps::{TOOL_LINES, TOOL_REFUSED, add, add_signed, counters_of, is_deciding, may_have_counters, own_tgid},
    places::{self, effect_of},
    tools::Tool,
};

/// The call goes on.
const ALLOWED: i32 = 0;
/// `-EMFILE`: it fails, as at the process's own limit.
const REFUSED: i32 = -24;
const SETTLED: u8 = CallEffect::Settled as u8;
const HAD: u8 = CallEffect::Had as u8;
const PAIR: u8 = CallEffect::Pair as u8;
/// Commands of fcntl that make a descriptor.
const F_DUPFD: u32 = 0;
const F_DUPFD_CLOEXEC: u32 = 1030;

macro_rules! hooks {
    ($($hook:literal, $name:ident, $locked:ident, $matters:expr;)+) => {$(
        #[doc = concat!("On the LSM hook ", $hook, ".")]
        #[lsm(hook = $hook)]
        pub fn $name(ctx: LsmContext) -> i32 {
            another(|| $matters(&ctx), reserve_at_once)
        }

        #[doc = concat!("On the LSM hook ", $hook, ", where no atomic operation fetches.")]
        #[lsm(hook = $hook)]
        pub fn $locked(ctx: LsmContext) -> i32 {
            another(|| $matters(&ctx), reserve_locked)
        }
    )+};
}

hooks! {
    "file_open", file_open, file_open_locked, opens;
    "socket_create", socket_create, socket_create_locked, is_users;
    "socket_accept", socket_accept, socket_accept_locked, always;
    "file_fcntl", file_fcntl, file_fcntl_locked, duplicates;
    "file_receive", file_receive, file_receive_locked, always;
}

/// `file_open(file)`: whether it is for a descriptor. What `O_PATH` opens does not come here.
#[inline(always)]
fn opens(ctx: &LsmContext) -> bool {
    let file: *const u8 = ctx.arg(0);
    !File::at(file as u64).is_for_no_descriptor()
}

/// `socket_create(family, type, protocol, kern)`: whether it is not one of the kernel's own.
#[inline(always)]
fn is_users(ctx: &LsmContext) -> bool {
    ctx.arg::<i32>(3) == 0
}

/// `file_fcntl(file, cmd, arg)`: whether it makes a descriptor.
#[inline(always)]
fn duplicates(ctx: &LsmContext) -> bool {
    matches!(ctx.arg::<u32>(1), F_DUPFD | F_DUPFD_CLOEXEC)
}

/// `socket_accept(sock, newsock)` and `file_receive(file)` always make one.
#[inline(always)]
fn always(_ctx: &LsmContext) -> bool {
    true
}

/// Lets the call that runs have another descriptor unless its tool has all that it may have.
#[inline(always)]
fn another(matters: impl Fn() -> bool, reserve: impl Fn(Tool, ToolResource, i64) -> bool) -> i32 {
    let tgid = own_tgid();
    if !may_have_counters(tgid) || !is_deciding() {
        return ALLOWED;
    }
    if let Some(counters) = counters_of(tgid)
        && let Some(tool) = Tool::of(counters)
        && let Some(lines) = TOOL_LINES.get_ptr(tool.slot())
        && matters()
    {
        let most = places::most(tool);
        if most == 0 {
            return ALLOWED;
        }
        // SAFETY: the look-up returned Some, so the verifier bounded this slot.
        let most = most - unsafe { (*lines).adjust[ToolResource::Descriptors as usize] };
        let call = Call::of_current().number();
        let effect = if is_worker_running() {
            CallEffect::Unseen as u8
        } else {
            effect_of(call)
        };
        let is_counted = matches!(effect, SETTLED | HAD | PAIR);
        let is_let = if is_counted {
            reserve(tool, ToolResource::Descriptors, most)
        } else {
            // Who is not told what came of it keeps no place for it: several at once may pass the line.
            // SAFETY: the verifier bounded the slot of the sums; volatile because others change it.
            unsafe { (&raw const (*tool.sums()).fds_open).read_volatile() < most }
        };
        if !is_let {
            if effect != PAIR {
                places::clear(bpf_get_current_pid_tgid());
            }
            refuse(tool);
            return REFUSED;
        }
        if is_counted {
            take(counters, tool, call, effect);
            tool.compare(ToolResource::Descriptors, tgid);
        }
    }
    ALLOWED
}

/// Counts what was reserved, for as long as its call goes on or for good.
#[inline(always)]
fn take(counters: *mut ProcessCounters, tool: Tool, call: u32, effect: u8) {
    // SAFETY: the caller's look-ups returned Some, so the verifier bounded both slots; the counts are added to atomically.
    unsafe {
        add_signed(&raw mut (*counters).fds_open, 1);
        if effect == HAD {
            add(&raw mut (*counters).fds_opened, 1);
            add(&raw mut (*tool.sums()).fds_opened, 1);
        } else {
            places::keep(bpf_get_current_pid_tgid(), call, effect);
        }
    }
}

#[inline(always)]
fn refuse(tool: Tool) {
    if let Some(refused) = TOOL_REFUSED.get_ptr_mut(tool.slot()) {
        // SAFETY: the look-up returned Some, so the verifier bounded this slot.
        unsafe { add(&raw mut (*refused).fds, 1) };
    }
}

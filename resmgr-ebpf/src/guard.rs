//! Refusals: what a tool may not have any more. What is here changes what a hooked call does, and nothing else does.
//!
//! A connection is reserved for its tool before the call goes on, in one step with the comparison: threads that connect at
//! the same time do not pass the limit together. From then on it counts, by the socket, and whoever ends the socket's
//! connection gives the reservation back.

mod descriptors;
mod reserve;

use aya_ebpf::{bindings::bpf_sock_addr, macros::cgroup_sock_addr, programs::SockAddrContext};
use resmgr_common::{Owner, ProcessCounters, ToolResource};

use crate::{
    kernel::{IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP},
    maps::{
        TOOL_LINES, add, add_signed, counters_of, is_deciding, may_have_counters, own_tgid, owner_of, remember_socket,
    },
    tools::Tool,
};
use reserve::{reserve_at_once, reserve_locked};

/// The call goes on.
const ALLOWED: i32 = 1;
/// The call fails with EPERM.
const REFUSED: i32 = 0;

/// On connect over IPv4.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect(ctx.sock_addr, is_loopback4(ctx.sock_addr), reserve_at_once)
}

/// On connect over IPv6.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect(ctx.sock_addr, is_loopback6(ctx.sock_addr), reserve_at_once)
}

/// [`connect4`] where no atomic operation fetches.
#[cgroup_sock_addr(connect4)]
pub fn connect4_locked(ctx: SockAddrContext) -> i32 {
    connect(ctx.sock_addr, is_loopback4(ctx.sock_addr), reserve_locked)
}

/// [`connect6`] where no atomic operation fetches.
#[cgroup_sock_addr(connect6)]
pub fn connect6_locked(ctx: SockAddrContext) -> i32 {
    connect(ctx.sock_addr, is_loopback6(ctx.sock_addr), reserve_locked)
}

/// Lets a connect go on unless its tool has all the connections that it may have.
#[inline(always)]
fn connect(call: *const bpf_sock_addr, is_loopback: bool, reserve: impl Fn(Tool, ToolResource, i64) -> bool) -> i32 {
    let tgid = own_tgid();
    if !may_have_counters(tgid) || !is_deciding() {
        return ALLOWED;
    }
    if let Some(counters) = counters_of(tgid)
        && let Some(tool) = Tool::of(counters)
        && let Some(lines) = TOOL_LINES.get_ptr(tool.slot())
    {
        // SAFETY: the look-up returned Some, so the verifier bounded this slot.
        let (most, exempt_loopback) = unsafe { ((*lines).connections_most, (*lines).exempt_loopback) };
        if most == i64::MAX || is_loopback && exempt_loopback != 0 {
            return ALLOWED;
        }
        // SAFETY: the kernel passes a valid context.
        let (protocol, sock) = unsafe { ((*call).protocol, (*call).__bindgen_anon_1.sk) };
        if sock.is_null() || !matches!(protocol as u16, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_MPTCP) {
            return ALLOWED;
        }
        // It has its place already: a second call, or a socket that is connected anew.
        if owner_of(sock as u64).is_some() {
            return ALLOWED;
        }
        // SAFETY: as above.
        let most = most - unsafe { (*lines).adjust[ToolResource::Connections as usize] };
        if !reserve(tool, ToolResource::Connections, most) {
            // SAFETY: the verifier bounded the slot of the sums.
            unsafe { add(&raw mut (*tool.sums()).connections_refused, 1) };
            return REFUSED;
        }
        take(counters, tool, tgid, sock as u64, protocol as u16 != IPPROTO_UDP);
    }
    ALLOWED
}

/// Counts what was reserved for a socket; gives it back where another thread was first, or there is no room to know it.
#[inline(always)]
fn take(counters: *mut ProcessCounters, tool: Tool, tgid: u32, sock: u64, connecting: bool) {
    let owner = Owner {
        tgid,
        tool: tool.slot(),
        connecting: u32::from(connecting),
        _pad: 0,
    };
    if remember_socket(sock, owner) {
        // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
        unsafe { add_signed(&raw mut (*counters).connections_open, 1) };
        tool.compare(ToolResource::Connections, tgid);
    } else {
        tool.change(ToolResource::Connections, -1, tgid);
    }
}

/// Whether an IPv4 address is of 127.0.0.0/8.
#[inline(always)]
fn is_loopback4(call: *const bpf_sock_addr) -> bool {
    // SAFETY: the kernel passes a valid context.
    let address = unsafe { (*call).user_ip4 };
    u32::from_be(address) >> 24 == 127
}

/// Whether an IPv6 address is `::1` or an IPv4 address of 127.0.0.0/8 in IPv6's form.
#[inline(always)]
fn is_loopback6(call: *const bpf_sock_addr) -> bool {
    // SAFETY: the kernel passes a valid context.
    let [a, b, c, d] = unsafe { (*call).user_ip6 }.map(u32::from_be);
    if a | b != 0 {
        return false;
    }
    c == 0 && d == 1 || c == 0xffff && d >> 24 == 127
}

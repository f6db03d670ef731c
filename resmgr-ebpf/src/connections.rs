//! Connections: outgoing ones at connect, incoming ones at accept, their end when the socket closes or is released.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, cgroup_sock, tracepoint},
    programs::{BtfTracePointContext, SockContext, TracePointContext},
};
use resmgr_common::{HookIndex, Loss, Owner, PENDING_SLOTS, ProcessCounters, ToolCounters, ToolResource};

use crate::{
    descriptors::{argument, own_counters, own_tgid, result},
    kernel::{CLOSE, ESTABLISHED, SYN_SENT, Socket, Table, Transport, now_ns},
    maps::{PENDING, SOCKETS, add, add_signed, counters_of, is_active, lost, remember_socket},
    tools::Tool,
};

const EBADF: i64 = -9;
const ENOTSOCK: i64 = -88;
const EINPROGRESS: i64 = -115;
const EALREADY: i64 = -114;
const EISCONN: i64 = -106;
const EINTR: i64 = -4;
const ERESTARTSYS: i64 = -512;

/// What became of a connection.
#[derive(Clone, Copy)]
enum Outcome {
    Made,
    Accepted,
    Failed,
}

/// Counts a connection's outcome, for its process and its tool.
#[inline(always)]
fn count(counters: *mut ProcessCounters, outcome: Outcome, n: u64) {
    // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot; the counts are added to atomically.
    unsafe {
        add(
            match outcome {
                Outcome::Made => &raw mut (*counters).connections_made,
                Outcome::Accepted => &raw mut (*counters).connections_accepted,
                Outcome::Failed => &raw mut (*counters).connections_failed,
            },
            n,
        );
        (*counters).last_connections_ns = now_ns();
        if let Some(tool) = Tool::of(counters) {
            let sums: *mut ToolCounters = tool.sums();
            add(
                match outcome {
                    Outcome::Made => &raw mut (*sums).connections_made,
                    Outcome::Accepted => &raw mut (*sums).connections_accepted,
                    Outcome::Failed => &raw mut (*sums).connections_failed,
                },
                n,
            );
        }
    }
}

/// Counts a connection as open, unless it is counted already.
#[inline(always)]
pub fn opened(counters: *mut ProcessCounters, tgid: u32, sock: u64, connecting: bool) {
    // SAFETY: as in `count`.
    unsafe {
        let owner = Owner {
            tgid,
            tool: (*counters).tool,
            connecting: u32::from(connecting),
            _pad: 0,
        };
        if remember_socket(sock, owner) {
            add_signed(&raw mut (*counters).connections_open, 1);
            if let Some(tool) = Tool::at(owner.tool) {
                tool.change(ToolResource::Connections, 1, tgid);
            }
        }
    }
}

/// The slot of a thread's connect. A thread with the same lowest bits may take it over, which is seen and counted.
#[inline(always)]
fn pending(thread: u64) -> Option<*mut resmgr_common::Pending> {
    PENDING.get_ptr_mut(thread as u32 & (PENDING_SLOTS - 1))
}

/// On the entry of connect: its exit does not tell the descriptor.
#[tracepoint]
pub fn connect_entered(ctx: TracePointContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    if own_counters(HookIndex::Connecting).is_some()
        && let Some(pending) = pending(thread)
    {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
        unsafe {
            if (*pending).thread != 0 {
                lost(Loss::PendingFull);
            }
            (*pending).fd = argument(&ctx, 0) as u32;
            (*pending).thread = thread;
        }
    }
    0
}

/// On the exit of connect.
#[tracepoint]
pub fn connect_left(ctx: TracePointContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(counters) = own_counters(HookIndex::Connected) else {
        return 0;
    };
    let Some(pending) = pending(thread) else {
        return 0;
    };
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
    let fd = unsafe {
        if (*pending).thread != thread {
            return 0;
        }
        (*pending).thread = 0;
        (*pending).fd
    };
    let result = result(&ctx);
    if result != EBADF
        && result != ENOTSOCK
        && let Some(file) = Table::of_current().file(fd)
    {
        // Only a socket can be connected.
        let socket = file.known_socket();
        if let Some((transport, state)) = socket.transport() {
            connected(counters, socket, transport, state, result);
        }
    }
    0
}

/// Counts what a connect came to.
#[inline(always)]
fn connected(counters: *mut ProcessCounters, socket: Socket, transport: Transport, state: u8, result: i64) {
    match result {
        0 | EINPROGRESS | EINTR | ERESTARTSYS => {}
        EALREADY | EISCONN => return,
        _ => {
            count(counters, Outcome::Failed, 1);
            return;
        }
    }
    if state == CLOSE {
        // UDP that was disconnected by AF_UNSPEC, or TCP that failed while the call was under way.
        if transport == Transport::Udp {
            forget(socket.address());
        } else {
            count(counters, Outcome::Failed, u64::from(result != 0));
        }
        return;
    }
    let connecting = state == SYN_SENT;
    opened(counters, own_tgid(), socket.address(), connecting);
    count(counters, Outcome::Made, u64::from(!connecting));
}

/// On the exits of accept and accept4.
#[tracepoint]
pub fn accepted(ctx: TracePointContext) -> u32 {
    let fd = result(&ctx);
    if fd >= 0
        && let Some(counters) = own_counters(HookIndex::Accepted)
        && let Some(file) = Table::of_current().file(fd as u32)
        && let Some(socket) = file.socket()
        && socket.transport().is_some()
    {
        count(counters, Outcome::Accepted, 1);
        if socket.is_connection() != 0 {
            opened(counters, own_tgid(), socket.address(), false);
        }
    }
    0
}

/// `inet_sock_set_state(sk, oldstate, newstate)`: a handshake's outcome, and the end of a connection.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
    if !is_active(HookIndex::State) {
        return 0;
    }
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    let closed = new == i32::from(CLOSE);
    let established = old == i32::from(SYN_SENT) && new == i32::from(ESTABLISHED);
    if !closed && !established {
        return 0;
    }
    let sock: *const u8 = ctx.arg(0);
    let Some(owner) = SOCKETS.get_ptr_mut(sock as u64) else {
        return 0;
    };
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded both slots; a socket's states follow one another.
    unsafe {
        let connecting = (*owner).connecting != 0;
        (*owner).connecting = 0;
        if connecting && let Some(counters) = counters_of((*owner).tgid) {
            count(counters, if closed { Outcome::Failed } else { Outcome::Made }, 1);
        }
    }
    if closed {
        forget(sock as u64);
    }
    0
}

/// On the release of a socket, whatever dropped the last reference to it.
#[cgroup_sock(sock_release)]
pub fn socket_released(ctx: SockContext) -> i32 {
    let sock: *mut bpf_sock = ctx.sock;
    if is_active(HookIndex::Release) {
        forget(sock as u64);
    }
    1
}

/// Ends a connection once, by whoever comes first.
#[inline(always)]
fn forget(sock: u64) {
    // SAFETY: the value is copied at once.
    let Some(owner) = (unsafe { SOCKETS.get(sock) }).copied() else {
        return;
    };
    if SOCKETS.remove(sock).is_err() {
        return;
    }
    if let Some(counters) = counters_of(owner.tgid) {
        // SAFETY: the verifier bounded this slot; the count is added to atomically.
        unsafe {
            add_signed(&raw mut (*counters).connections_open, -1);
            (*counters).last_connections_ns = now_ns();
        }
    }
    if let Some(tool) = Tool::at(owner.tool) {
        tool.change(ToolResource::Connections, -1, owner.tgid);
    }
}

//! Connections: outgoing ones at connect, incoming ones at accept, their end when the socket closes or is released.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, cgroup_sock, tracepoint},
    programs::{BtfTracePointContext, SockContext, TracePointContext},
};
use resmgr_common::{Loss, ProcessCounters};

use crate::{
    descriptors::{argument, own_counters, result},
    kernel::{CLOSE, ESTABLISHED, SYN_SENT, Socket, Table, Transport, now_ns},
    maps::{COUNTERS, Owner, PENDING, SOCKETS, add, add_signed, lost, remember_socket},
};

const EINPROGRESS: i64 = -115;
const EALREADY: i64 = -114;
const EISCONN: i64 = -106;
const EINTR: i64 = -4;
const ERESTARTSYS: i64 = -512;

/// The process that runs.
#[inline(always)]
fn own_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// On the entry of connect: its exit does not tell the descriptor.
#[tracepoint]
pub fn connect_entered(ctx: TracePointContext) -> u32 {
    if own_counters().is_some() {
        let fd = argument(&ctx, 0) as u32;
        if PENDING.insert(bpf_get_current_pid_tgid(), fd, 0).is_err() {
            lost(Loss::PendingFull);
        }
    }
    0
}

/// On the exit of connect.
#[tracepoint]
pub fn connect_left(ctx: TracePointContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once; only this thread inserts or removes its own key.
    let Some(fd) = (unsafe { PENDING.get(thread) }).copied() else {
        return 0;
    };
    let _ = PENDING.remove(thread);
    if let Some(counters) = own_counters()
        && let Some(file) = Table::of_current().file(fd)
        && let Some(socket) = file.socket()
        && let Some(transport) = socket.transport()
    {
        connected(counters, socket, transport, result(&ctx));
    }
    0
}

/// Counts what a connect came to.
#[inline(always)]
fn connected(counters: *mut ProcessCounters, socket: Socket, transport: Transport, result: i64) {
    match result {
        0 | EINPROGRESS | EINTR | ERESTARTSYS => {}
        EALREADY | EISCONN => return,
        _ => {
            // SAFETY: the verifier bounded this slot; the count is added to atomically.
            unsafe {
                add(&raw mut (*counters).connections_failed, 1);
                (*counters).last_connections_ns = now_ns();
            }
            return;
        }
    }
    let state = socket.state();
    if state == CLOSE {
        // UDP that was disconnected by AF_UNSPEC, or TCP that failed while the call was under way.
        if transport == Transport::Udp {
            forget(socket.address());
        } else {
            // SAFETY: as above.
            unsafe { add(&raw mut (*counters).connections_failed, u64::from(result != 0)) };
        }
        return;
    }
    let connecting = state == SYN_SENT;
    let owner = Owner {
        tgid: own_tgid(),
        connecting: u32::from(connecting),
    };
    // SAFETY: as above.
    unsafe {
        if remember_socket(socket.address(), owner) {
            add_signed(&raw mut (*counters).connections_open, 1);
        }
        if !connecting {
            add(&raw mut (*counters).connections_made, 1);
        }
        (*counters).last_connections_ns = now_ns();
    }
}

/// On the exits of accept and accept4.
#[tracepoint]
pub fn accepted(ctx: TracePointContext) -> u32 {
    let fd = result(&ctx);
    if fd >= 0
        && let Some(counters) = own_counters()
        && let Some(file) = Table::of_current().file(fd as u32)
        && let Some(socket) = file.socket()
        && socket.transport().is_some()
    {
        let owner = Owner {
            tgid: own_tgid(),
            connecting: 0,
        };
        // SAFETY: the verifier bounded this slot; the counts are added to atomically.
        unsafe {
            add(&raw mut (*counters).connections_accepted, 1);
            if socket.is_connection() != 0 && remember_socket(socket.address(), owner) {
                add_signed(&raw mut (*counters).connections_open, 1);
            }
            (*counters).last_connections_ns = now_ns();
        }
    }
    0
}

/// `inet_sock_set_state(sk, oldstate, newstate)`: a handshake's outcome, and the end of a connection.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
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
        if connecting && let Some(counters) = COUNTERS.get_ptr_mut((*owner).tgid) {
            if closed {
                add(&raw mut (*counters).connections_failed, 1);
            } else {
                add(&raw mut (*counters).connections_made, 1);
            }
            (*counters).last_connections_ns = now_ns();
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
    forget(sock as u64);
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
    if let Some(counters) = COUNTERS.get_ptr_mut(owner.tgid) {
        // SAFETY: the verifier bounded this slot; the count is added to atomically.
        unsafe {
            add_signed(&raw mut (*counters).connections_open, -1);
            (*counters).last_connections_ns = now_ns();
        }
    }
}

//! Connections: outgoing ones at connect, incoming ones at accept, their end when the socket closes or is released.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, cgroup_sock, tracepoint},
    programs::{BtfTracePointContext, SockContext, TracePointContext},
};
use resmgr_common::{HANDSHAKE_SLOTS, HookIndex, Owner, ProcessCounters, ToolCounters, ToolResource};

use crate::{
    descriptors::result,
    kernel::{CLOSE, Call, ESTABLISHED, SYN_SENT, Socket, Table, Transport, TypedSocket},
    maps::{
        HANDSHAKES, add, add_signed, counters_of, counts_own, forget_socket, is_active, own_counters, own_tgid,
        owner_of, remember_socket,
    },
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

/// Counts a connection as open; false where it is counted already.
#[inline(always)]
pub fn opened(counters: *mut ProcessCounters, tgid: u32, sock: u64, connecting: bool) -> bool {
    // SAFETY: as in `count`.
    unsafe {
        let owner = Owner {
            tgid,
            tool: (*counters).tool,
            connecting: u32::from(connecting),
            _pad: 0,
        };
        if !remember_socket(sock, owner) {
            return false;
        }
        add_signed(&raw mut (*counters).connections_open, 1);
        if let Some(tool) = Tool::at(owner.tool) {
            tool.change(ToolResource::Connections, 1, tgid);
        }
    }
    true
}

/// The note that a thread's connect has begun a handshake. A thread with the same lowest bits may write over it.
#[inline(always)]
fn note(thread: u64) -> Option<*mut u64> {
    HANDSHAKES.get_ptr_mut(thread as u32 & (HANDSHAKE_SLOTS - 1))
}

/// On the exit of connect: what its handshake's states do not tell, which is UDP, and what fails before a handshake.
#[tracepoint]
pub fn connect_left(ctx: TracePointContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    if !counts_own(HookIndex::Connected) {
        return 0;
    }
    if let Some(note) = note(thread) {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
        unsafe {
            if *note == thread {
                *note = 0;
                return 0;
            }
        }
    }
    let result = result(&ctx);
    if matches!(result, EBADF | ENOTSOCK | EALREADY | EISCONN) {
        return 0;
    }
    let call = Call::of_current();
    if let Some(counters) = counters_of(own_tgid())
        && call.is_connect()
        && let Some(file) = Table::of_current().file(call.descriptor())
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
    if !matches!(result, 0 | EINPROGRESS | EINTR | ERESTARTSYS) {
        count(counters, Outcome::Failed, 1);
        if state == CLOSE {
            // It was reserved, and came to no handshake.
            forget(socket.address());
        }
        return;
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
    // A handshake that began before it was watched.
    let connecting = state == SYN_SENT;
    let is_new = opened(counters, own_tgid(), socket.address(), connecting);
    if transport == Transport::Udp || is_new && !connecting {
        count(counters, Outcome::Made, 1);
    }
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

/// `inet_sock_set_state(sk, oldstate, newstate)`: a handshake's beginning and outcome, and the end of a connection.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    let begun = old == i32::from(CLOSE) && new == i32::from(SYN_SENT);
    let established = old == i32::from(SYN_SENT) && new == i32::from(ESTABLISHED);
    let closed = new == i32::from(CLOSE);
    // Most changes are none of these: they cost least where they are told apart first.
    if !(begun || established || closed) || !is_active(HookIndex::State) {
        return 0;
    }
    let sock: *const u8 = ctx.arg(0);
    if begun {
        handshake_begun(TypedSocket::new(sock));
        return 0;
    }
    let Some(owner) = owner_of(sock as u64) else {
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

/// TCP connects, in the thread that does: by connect, by a first sendto (fast open), or for `io_uring`.
#[inline(always)]
fn handshake_begun(sock: TypedSocket) {
    let thread = bpf_get_current_pid_tgid();
    let tgid = (thread >> 32) as u32;
    let Some(counters) = counters_of(tgid) else {
        return;
    };
    if !sock.is_tcp() || !sock.has_file() {
        return;
    }
    opened(counters, tgid, sock.address(), true);
    if Call::of_current().is_connect()
        && let Some(note) = note(thread)
    {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
        unsafe { *note = thread };
    }
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
    let Some(owner) = owner_of(sock) else {
        return;
    };
    // SAFETY: the look-up returned Some, so the verifier bounded this slot; copied before it is another connection's.
    let owner = unsafe { *owner };
    if !forget_socket(sock) {
        return;
    }
    if let Some(counters) = counters_of(owner.tgid) {
        // SAFETY: the verifier bounded this slot; the count is added to atomically.
        unsafe {
            add_signed(&raw mut (*counters).connections_open, -1);
        }
    }
    if let Some(tool) = Tool::at(owner.tool) {
        tool.change(ToolResource::Connections, -1, owner.tgid);
    }
}

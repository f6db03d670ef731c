//! The counters that events keep, one entry a process, and the ways in which an event can be lost.

use crate::wire;

/// Counters of one process (thread group), the value of the map `COUNTERS` keyed by thread group id.
///
/// Events add to it as they happen. A sweep brings `virtual_bytes`, `fds_open` and `connections_open` to the truth; the
/// other counts only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ProcessCounters {
    /// Start of the process in nanoseconds since boot (`start_boottime`); with the thread group id its identity.
    pub start_ns: u64,
    /// CPU time in nanoseconds, by the scheduler's own count, up to the last switch of each thread.
    pub cpu_ns: u64,
    /// Virtual memory in bytes (`total_vm`).
    pub virtual_bytes: u64,
    /// Descriptors that calls have opened.
    pub fds_opened: u64,
    /// Descriptors that calls have closed.
    pub fds_closed: u64,
    /// Descriptors open now.
    pub fds_open: i64,
    /// Outgoing connections that were established.
    pub connections_made: u64,
    /// Incoming connections that were accepted.
    pub connections_accepted: u64,
    /// Outgoing connections that failed.
    pub connections_failed: u64,
    /// Connections open now.
    pub connections_open: i64,
    /// Threads that have not been switched away from for the last time.
    pub threads: i64,
    /// The sweep that began this entry, 0 where a fork did: its other threads' CPU time is added as the sweep meets them.
    pub begun_by: u64,
    /// Identity of its address space; 0 while it runs in its parent's (vfork), until it executes a program.
    pub mm: u64,
    /// Anonymous, shared and swapped-out pages of that address space, as far as the kernel has summed them up.
    pub memory_pages: i64,
    /// Of these, the pages that it was born with by fork, until it executes a program: they are its parent's, and its
    /// tool's already.
    pub born_pages: i64,
    /// Highest number of resident pages (`signal.maxrss`), known once the process has ended.
    pub peak_rss_pages: u64,
    /// The slot of the tool that it belongs to, 0 for none.
    pub tool: u32,
    /// Named padding.
    pub _pad: u32,
}
wire!(ProcessCounters, 136);

/// Which generation of programs counts: the value of the map `ACTIVE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Active {
    /// The generation that counts.
    pub now: u32,
    /// While one takes over from another, the older one; else 0.
    pub from: u32,
}
wire!(Active, 8);

/// A hook, as far as taking over is concerned: the index into [`Handed::counted`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookIndex {
    /// `sched_switch`.
    Switch = 0,
    /// `sched_process_fork`.
    Fork = 1,
    /// `sched_process_exec`.
    Exec = 2,
    /// `rss_stat`.
    Memory = 3,
    /// Exits of mmap and the like.
    Map = 4,
    /// Exits of calls that open or close descriptors.
    Descriptors = 5,
    /// The exit of connect.
    Connected = 6,
    /// The exits of accept.
    Accepted = 7,
    /// `inet_sock_set_state`.
    State = 8,
    /// `sock_release`.
    Release = 9,
}

/// While one generation takes over from another, what the older one did with the event at hand: a CPU's value of the map
/// `HANDED`. Of two programs on a hook the older one runs first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Handed {
    /// By [`HookIndex`]: 1 where it counted it.
    pub counted: [u32; 16],
}
wire!(Handed, 64);

/// Buckets of each kind in the map `TRACKED`, a power of two.
pub const TRACKED_BUCKETS: usize = 4096;

/// How many processes of each bucket have counters, and how many sockets of each are known: the value of the map
/// `TRACKED`. Where it says none, the dearer look-up in `COUNTERS` or `SOCKETS` is saved.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Tracked {
    /// By [`process_bucket`].
    pub processes: [u32; TRACKED_BUCKETS],
    /// By [`socket_bucket`].
    pub sockets: [u32; TRACKED_BUCKETS],
}
wire!(Tracked, 8 * TRACKED_BUCKETS);

/// The bucket of a process: its thread group id's lowest bits.
#[inline]
pub const fn process_bucket(tgid: u32) -> usize {
    tgid as usize & (TRACKED_BUCKETS - 1)
}

/// The bucket of a socket, by its address's lowest bits. Sockets lie at multiples of what is a little more than their size:
/// a product's highest bits spread them (multiplicative hashing by the golden ratio).
#[inline]
pub const fn socket_bucket(address: u32) -> usize {
    let spread = address.wrapping_mul(0x9e37_79b9) >> (32 - TRACKED_BUCKETS.ilog2());
    spread as usize & (TRACKED_BUCKETS - 1)
}

/// Elements of the map `HANDSHAKES`, a power of two; its index is the thread id's lowest bits. Each holds the thread group
/// id and thread id of a thread whose connect has begun a handshake of TCP, whose states tell the rest; 0 for none. A
/// thread that finds its note gone looks at the socket itself.
pub const HANDSHAKE_SLOTS: u32 = 8192;

/// What a sweep could not correct by itself, because there is more to a process than its leader's table: the value of the
/// map `CORRECTIONS`, keyed by thread group id. The next sweep adds it, and takes nothing else for the truth.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Correction {
    /// Descriptors that events had not counted, or counted too many.
    pub fds: i64,
    /// Likewise connections.
    pub connections: i64,
}
wire!(Correction, 16);

/// Who opened a connection, and whether its handshake is still under way: the value of the map `SOCKETS`, keyed by the
/// socket's identity.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Owner {
    /// Thread group id.
    pub tgid: u32,
    /// The slot of its tool, 0 for none.
    pub tool: u32,
    /// 1 while a connect is under way, else 0.
    pub connecting: u32,
    /// Named padding.
    pub _pad: u32,
}
wire!(Owner, 16);

/// Ways in which the programs can lose something: the index into the per-CPU map `LOSSES`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The event ring was full.
    RingFull = 0,
    /// The map of process counters was full: a process has no counters of its own.
    CountersFull = 1,
    /// The map of sockets was full: the end of a connection is seen by the next sweep only.
    SocketsFull = 2,
    /// The map of crossings was full: a tool went past a line and user space was not told at once.
    CrossingsFull = 3,
    /// The kernel left out runs of programs that others have taken over from. Written by user space alone.
    RunsMissed = 4,
}

impl Loss {
    /// How many kinds there are: the size of the map `LOSSES`.
    pub const COUNT: u32 = 5;
}

//! One process, as a sweep found it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ToolSlot;

/// A process's identity: a thread group id alone may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Thread group id.
    pub pid: u32,
    /// Start in nanoseconds since boot.
    pub start_ns: u64,
}

/// Nanoseconds of a tick in which `/proc` gives a process's start (`USER_HZ` is 100 on every architecture here).
pub const PROC_TICK_NS: u64 = 10_000_000;

impl ProcessId {
    /// Whether another identity means the same process, where either start may have been rounded down to a tick.
    pub fn is_same_by_tick(self, other: Self) -> bool {
        self.pid == other.pid && self.start_ns / PROC_TICK_NS == other.start_ns / PROC_TICK_NS
    }
}

/// A command name as the kernel keeps it: up to 15 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comm(pub [u8; 16]);

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(self.0.len());
        f.write_str(&String::from_utf8_lossy(&self.0[..end]))
    }
}

/// Memory by kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Memory {
    /// Resident anonymous pages.
    pub anon_bytes: u64,
    /// Resident pages of mapped files.
    pub file_bytes: u64,
    /// Resident pages of shared memory and tmpfs.
    pub shmem_bytes: u64,
    /// Anonymous and shared pages that are swapped out.
    pub swap_bytes: u64,
}

impl Memory {
    /// What counts against a limit: anonymous, shared and swapped-out. Mapped files can be dropped, so they do not.
    pub fn counted_bytes(&self) -> u64 {
        self.anon_bytes + self.shmem_bytes + self.swap_bytes
    }
}

impl std::ops::AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.anon_bytes += other.anon_bytes;
        self.file_bytes += other.file_bytes;
        self.shmem_bytes += other.shmem_bytes;
        self.swap_bytes += other.swap_bytes;
    }
}

/// Identity of a socket while it lives: to be compared, never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// Identity of a descriptor table while it lives: to be compared, never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u64);

/// Identity of an address space while it lives: to be compared, never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressSpaceId(pub u64);

/// What events have counted for a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EventCounts {
    /// CPU time in nanoseconds, up to the last switch of each thread.
    pub cpu_time_ns: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Descriptors that calls have opened.
    pub fds_opened: u64,
    /// Descriptors that calls have closed.
    pub fds_closed: u64,
    /// Descriptors open now.
    pub fds_open: u64,
    /// Outgoing connections that were established.
    pub connections_made: u64,
    /// Incoming connections that were accepted.
    pub connections_accepted: u64,
    /// Outgoing connections that failed.
    pub connections_failed: u64,
    /// Connections open now.
    pub connections_open: u64,
}

/// One process, as a sweep found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSample {
    /// Identity.
    pub id: ProcessId,
    /// Thread group id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Command name.
    pub comm: Comm,
    /// A thread of the kernel.
    pub kernel_thread: bool,
    /// Ended, and not yet reaped by its parent.
    pub zombie: bool,
    /// Threads alive.
    pub threads: u32,
    /// CPU time in nanoseconds of all threads, the ended ones included.
    pub cpu_ns: u64,
    /// Memory by kind; `None` where only events have been seen, which do not tell it.
    pub memory: Option<Memory>,
    /// Of the memory, what it was born with by fork, in bytes, until it executes a program; 0 where no event told.
    pub born_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Highest resident memory in bytes that the kernel has noted, and not less than what is resident now.
    pub peak_rss_bytes: Option<u64>,
    /// The address space; `None` where it has none any more, or no sweep has seen it.
    pub address_space: Option<AddressSpaceId>,
    /// Open descriptors, each distinct table of its threads once.
    pub open_fds: u64,
    /// Those tables, each with its open descriptors, where a sweep has found them.
    pub tables: Vec<(TableId, u64)>,
    /// Connections: distinct connected sockets that its tables reach.
    pub connections: u64,
    /// Those sockets, where a sweep has found them.
    pub sockets: Vec<SocketId>,
    /// What events had counted, before the sweep corrected it.
    pub events: Option<EventCounts>,
    /// The tool that it belongs to.
    pub tool: Option<ToolSlot>,
    /// Identity of the cgroup (v2) that it is in; 0 where that is not known.
    pub cgroup: u64,
}

/// One exact pass over the kernel's own structures.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Every process.
    pub processes: Vec<ProcessSample>,
    /// Bytes that the kernel wrote for it.
    pub bytes: u64,
    /// Processes that it took into tools.
    pub adopted: u64,
}

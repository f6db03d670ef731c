//! What a tool's processes use together and used at most. Values alone.

use crate::model::Memory;

/// What a tool's processes use together, by the last refresh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolUse {
    /// Its processes, those that have ended and wait for their parents included.
    pub pids: Vec<u32>,
    /// Processes that run.
    pub processes: u64,
    /// Their threads.
    pub threads: u64,
    /// Ended, and not yet reaped: each with the parent that has to.
    pub zombies: Vec<Zombie>,
    /// Processes whose parent in the tool has ended.
    pub orphans: Vec<u32>,
    /// Processes that have left the tool's leaf.
    pub escaped: Vec<u32>,
    /// Memory by kind, each address space once; `None` where no sweep has seen it.
    pub memory: Option<Memory>,
    /// Of these, what processes were born with by fork and have not left for another program: their parents' pages.
    pub born_bytes: u64,
    /// Memory in bytes of the process that has most.
    pub largest_bytes: u64,
    /// Virtual memory in bytes, each address space once.
    pub virtual_bytes: u64,
    /// CPU time in nanoseconds, of processes that have ended too.
    pub cpu_ns: u64,
    /// CPU use over the last interval, in cores.
    pub cpu_share: Option<f64>,
    /// Open descriptors, each distinct table once.
    pub open_fds: u64,
    /// Distinct connections.
    pub connections: u64,
    /// What is to be added to the programs' sum of descriptors: less what processes share, plus what those hold that have
    /// no counters.
    pub(super) fds_off: i64,
}

impl ToolUse {
    /// The most that its processes can share in bytes: all but what one of them has.
    pub fn most_shared_bytes(&self) -> u64 {
        let held = self.memory.as_ref().map_or(0, Memory::counted_bytes);
        held.saturating_sub(self.largest_bytes)
    }
}

/// By how many bytes pages that are counted in each process are more than they are together, as the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) bytes: u64,
    /// What of it processes were born with.
    pub(super) born_bytes: u64,
}

/// A process that has ended and waits for its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zombie {
    /// Its process id.
    pub pid: u32,
    /// The parent that has to reap it.
    pub ppid: u32,
}

/// The most that a tool used, as far as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolPeaks {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU time of one operation, in milliseconds.
    pub operation_cpu_ms: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Connections.
    pub connections: u64,
    /// Processes.
    pub processes: u64,
}

impl ToolPeaks {
    /// Takes in what was reached before, of each resource in the order of [`crate::model::Resource::ALL`].
    pub fn reach(&mut self, before: [u64; 4]) {
        let [memory, cpu_ms, fds, connections] = before;
        self.memory_bytes = self.memory_bytes.max(memory);
        self.operation_cpu_ms = self.operation_cpu_ms.max(cpu_ms);
        self.open_fds = self.open_fds.max(fds);
        self.connections = self.connections.max(connections);
    }
}

/// What was counted for a tool from events alone: of processes that ended before the programs knew whose they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latecomers {
    /// Processes.
    pub processes: u64,
    /// Their CPU time in nanoseconds.
    pub cpu_ns: u64,
}

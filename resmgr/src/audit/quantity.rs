//! What is compared, and how exactly it has to be equal.

use serde::{Deserialize, Serialize};

use super::Truth;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Whether a process is there at all: 1 or 0.
    Processes,
    /// Open descriptors.
    Fds,
    /// Connections.
    Connections,
    /// CPU time in nanoseconds.
    CpuTimeNs,
    /// Resident anonymous memory in bytes.
    AnonBytes,
    /// Resident pages of mapped files in bytes.
    FileBytes,
    /// Resident pages of shared memory in bytes.
    ShmemBytes,
    /// Swapped-out memory in bytes.
    SwapBytes,
    /// Resident memory of all kinds in bytes.
    ResidentBytes,
    /// Virtual memory in bytes.
    VirtualBytes,
    /// Threads.
    Threads,
    /// Open descriptors of a tool, each table once.
    ToolFds,
    /// Connections of a tool, each once.
    ToolConnections,
    /// CPU time in nanoseconds of a tool: no less than its processes'.
    ToolCpuTimeNs,
    /// Resident anonymous memory in bytes of a tool's processes.
    ToolAnonBytes,
    /// Threads of a tool.
    ToolThreads,
    /// Memory in bytes that a tool's cgroup is charged with, less what can be dropped at once.
    ToolChargedBytes,
}

/// A tick of the scheduler's at most, in nanoseconds: as late as it brings a running thread's time up to date.
pub(super) const TICK_NS: u64 = 10_000_000;

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Processes,
        Self::Fds,
        Self::Connections,
        Self::CpuTimeNs,
        Self::AnonBytes,
        Self::FileBytes,
        Self::ShmemBytes,
        Self::SwapBytes,
        Self::ResidentBytes,
        Self::VirtualBytes,
        Self::Threads,
        Self::ToolFds,
        Self::ToolConnections,
        Self::ToolCpuTimeNs,
        Self::ToolAnonBytes,
        Self::ToolThreads,
        Self::ToolChargedBytes,
    ];

    /// How far below the truth before a number may be that changed, for each thread that may have run.
    pub const fn slack(self) -> u64 {
        if self.is_cpu_time() { TICK_NS } else { 0 }
    }

    /// Whether it never goes back: what was seen at another time then says nothing of now.
    pub(super) const fn is_cpu_time(self) -> bool {
        matches!(self, Self::CpuTimeNs | Self::ToolCpuTimeNs)
    }

    /// Whether more than the truth may be shown: a tool's ended processes are in its CPU time, and no file of the
    /// kernel's remembers them.
    pub(super) const fn may_exceed(self) -> bool {
        matches!(self, Self::ToolCpuTimeNs)
    }

    /// The truth of it; `None` where the kernel's files do not tell.
    pub(super) fn of(self, truth: &Truth) -> Option<u64> {
        match self {
            Self::Processes => Some(u64::from(truth.threads > 0)),
            Self::Fds | Self::ToolFds => Some(truth.fds()),
            Self::Connections | Self::ToolConnections => Some(truth.connections.len() as u64),
            Self::CpuTimeNs | Self::ToolCpuTimeNs => truth.cpu_ns,
            Self::AnonBytes | Self::ToolAnonBytes => truth.anon_bytes,
            Self::FileBytes => truth.file_bytes,
            Self::ShmemBytes => truth.shmem_bytes,
            Self::SwapBytes => truth.swap_bytes,
            Self::ResidentBytes => truth.resident_bytes,
            Self::VirtualBytes => truth.virtual_bytes,
            Self::Threads | Self::ToolThreads => Some(truth.threads),
            Self::ToolChargedBytes => truth.charged_bytes,
        }
    }
}

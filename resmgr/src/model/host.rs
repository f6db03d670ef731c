//! Sums over all processes of the host, and how far events had drifted from the truth.

use serde::{Deserialize, Serialize};

use super::Memory;

/// Sums over all processes of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HostTotals {
    /// Processes, zombies included, threads of the kernel not.
    pub processes: u64,
    /// Threads alive, threads of the kernel not.
    pub threads: u64,
    /// Processes that have ended and wait for their parents.
    pub zombies: u64,
    /// Memory by kind; a page that two processes share counts in each. Null without sweeps.
    pub memory: Option<Memory>,
    /// CPU time in nanoseconds of the processes that live.
    pub cpu_time_ns: u64,
    /// CPU use over the last interval, in cores.
    pub cpu_share: Option<f64>,
    /// Open descriptors.
    pub open_fds: u64,
    /// Distinct connections.
    pub connections: u64,
}

/// What ended while the agent watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EndedTotals {
    /// Processes.
    pub processes: u64,
    /// Their CPU time in nanoseconds.
    pub cpu_time_ns: u64,
}

/// How far what events had counted was from what a sweep found: sums of absolute differences over the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Drift {
    /// CPU time in nanoseconds: events know it up to the last switch only.
    pub cpu_time_ns: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Descriptors.
    pub fds: u64,
    /// Connections.
    pub connections: u64,
}

impl std::ops::AddAssign for Drift {
    fn add_assign(&mut self, more: Self) {
        self.cpu_time_ns += more.cpu_time_ns;
        self.virtual_bytes += more.virtual_bytes;
        self.fds += more.fds;
        self.connections += more.connections;
    }
}

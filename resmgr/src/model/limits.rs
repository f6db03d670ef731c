//! Limits, in the specification's terms and as ranges between which they adapt.

use serde::{Deserialize, Serialize};

/// The limits in force for a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Memory in bytes.
    pub max_memory_bytes: usize,
    /// CPU time per operation in milliseconds.
    pub max_cpu_time_ms: u64,
    /// Open descriptors.
    pub max_file_handles: usize,
    /// Connections.
    pub max_network_connections: usize,
}

/// One resource's limit: `base <= current <= max`. `current` adapts; the other two are the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRange {
    /// The lowest that the limit may become.
    pub base: u64,
    /// The limit in force.
    pub current: u64,
    /// The highest that the limit may become.
    pub max: u64,
}

/// A tool's limits per resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolLimits {
    /// Memory in bytes.
    pub memory: LimitRange,
    /// CPU time per operation in milliseconds.
    pub cpu: LimitRange,
    /// Open descriptors.
    pub fds: LimitRange,
    /// Connections.
    pub connections: LimitRange,
}

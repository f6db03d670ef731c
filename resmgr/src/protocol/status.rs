//! The status report: documented in docs/status.md, and stable.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ConfigurationStatus;
use crate::model::{
    Action, BudgetUse, Connection, Drift, EndCause, EndedTotals, Enforcement, EventCounts, FileKind, Growth,
    HostTotals, Learned, Losses, MapUse, Memory, MissingHook, OperationKind, OperationUse, ProgramCost, Resource,
    ResourceStatus, ResourceUsage, ToolLimits, ToolName, ToolOrigin,
};

/// What is used now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StatusReport {
    /// Version of this report's shape.
    pub version: u32,
    /// When the numbers were taken.
    pub taken_at: DateTime<Utc>,
    /// The agent itself.
    pub agent: AgentStatus,
    /// Sums over the processes that the caller may see.
    pub host: HostTotals,
    /// One entry an instance.
    pub tools: Vec<ToolStatus>,
    /// Sums over the instances of a name.
    pub tools_by_name: BTreeMap<ToolName, ToolSums>,
    /// The processes asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Vec<ProcessStatus>>,
}

/// The agent: its own cost, and what it loses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AgentStatus {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Its own CPU time in nanoseconds.
    pub cpu_time_ns: u64,
    /// Its own resident memory in bytes: anonymous, shared and of mapped files; null before the first sweep.
    pub resident_bytes: Option<u64>,
    /// Events that found the ring full.
    pub events_lost: u64,
    /// Everything that was lost, by cause.
    pub losses: Losses,
    /// Whether it sweeps, or goes by events alone.
    pub sweeping: bool,
    /// Sweeps so far.
    pub sweeps: u64,
    /// Sweeps that failed; the numbers are then those of the last one that did not.
    pub sweeps_failed: u64,
    /// Duration of the last sweep in nanoseconds.
    pub sweep_ns: u64,
    /// Bytes that the kernel wrote for the last sweep.
    pub sweep_bytes: u64,
    /// Milliseconds between sweeps.
    pub sweep_interval_ms: u64,
    /// How far events had drifted at the last sweep.
    pub drift: Drift,
    /// How far they had drifted at all sweeps together.
    pub drift_total: Drift,
    /// How full the maps of the programs are.
    pub maps: Vec<MapUse>,
    /// What the programs themselves cost, sampled for one interval in sixteen; zeros before the first sample, and where
    /// the kernel keeps no such statistics.
    pub programs: ProgramCost,
    /// Hooks attached.
    pub hooks_attached: u32,
    /// Hooks whose programs go on counting when the agent ends.
    pub hooks_pinned: u32,
    /// Hooks whose programs an earlier agent attached: they counted on until this one came.
    pub hooks_adopted: u32,
    /// Whether the kernel refuses descriptors on a tool's total.
    pub refuses_descriptors: bool,
    /// Hooks that this kernel lacks, and what follows.
    pub hooks_missing: Vec<MissingHook>,
    /// Where `/metrics` and `/healthz` are answered; null where they are not.
    #[serde(default)]
    pub metrics: Option<String>,
    /// Processes that ended while it watched.
    pub ended: EndedTotals,
    /// How its history is kept.
    pub history: HistoryStatus,
    /// How its configuration stands; `None` for an ordinary user.
    pub configuration: Option<ConfigurationStatus>,
}

/// How the history is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HistoryStatus {
    /// Bytes of the file that are in use, by the last time that they were counted.
    pub bytes: u64,
    /// Samples that could not be written.
    pub samples_lost: u64,
    /// Why it is not written now; null where it is.
    pub failure: Option<String>,
}

/// One instance of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolStatus {
    /// Name.
    pub name: ToolName,
    /// Which of the instances; over all names.
    pub instance: u64,
    /// How it came to be.
    pub origin: ToolOrigin,
    /// What its CPU limit counts over.
    pub operation: OperationKind,
    /// How its limits are held.
    pub enforcement: Enforcement,
    /// User id of the user whose tool it is.
    pub uid: u32,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// Seconds since it ended; null while it goes on.
    pub ended_s: Option<u64>,
    /// Process id of its first process; null where it has none.
    pub root_pid: Option<u32>,
    /// Who started it; null where that is not known.
    pub owner: Option<OwnerStatus>,
    /// The cgroup that it is in or that makes it up.
    pub cgroup: Option<String>,
    /// How close it is to its limits: its worst resource.
    pub status: ResourceStatus,
    /// How close each resource is to its limit.
    pub levels: BTreeMap<Resource, ResourceStatus>,
    /// What it uses.
    pub usage: ResourceUsage,
    /// Its limits.
    pub limits: ToolLimits,
    /// What all instances of its name that are its user's use of their budget, by resource.
    pub budgets: BTreeMap<Resource, BudgetUse>,
    /// CPU time in nanoseconds of all its processes, the ended ones included.
    pub cpu_time_ns: u64,
    /// CPU use over the last interval, in cores; null until it has been seen twice.
    pub cpu_share: Option<f64>,
    /// CPU time of the operation under way, in milliseconds; of several, of the one that has used most.
    pub operation_cpu_ms: u64,
    /// Its operations; null where nobody tells of them.
    pub operations: Option<OperationsStatus>,
    /// Memory in bytes that more than one of its processes has, less once; null where its cgroup counts memory.
    pub shared_bytes: Option<u64>,
    /// Virtual memory in bytes, each address space once.
    pub virtual_bytes: u64,
    /// The most that it used.
    pub peak: PeakStatus,
    /// What has been learned of its use, by resource; empty of one that has ended.
    pub learned: BTreeMap<Resource, Learned>,
    /// Steady growth that somebody should know of.
    pub growth: Option<Growth>,
    /// Processes that run now.
    pub process_count: u64,
    /// Processes ever.
    pub processes_total: u64,
    /// Threads that run now.
    pub threads: u64,
    /// Process ids of processes whose parent in the tool has ended.
    pub orphans: Vec<u32>,
    /// Processes that have ended and wait for their parents to reap them.
    pub zombies: Vec<ZombieStatus>,
    /// Process ids of processes that have left the tool's cgroup.
    pub escaped: Vec<u32>,
    /// What events have counted, over all its processes, the ended ones included.
    pub events: ToolEvents,
    /// Lines that it went past or fell back behind, the oldest first.
    pub crossings: Vec<CrossingStatus>,
    /// Lines that it ever went past.
    pub crossings_total: u64,
    /// How its first process ended.
    pub root_exit: Option<ExitReport>,
    /// How often the kernel has killed in its cgroup for want of memory.
    pub oom_kills: u64,
    /// How often it was slowed at its soft line of memory.
    pub high_events: u64,
    /// What was done to it, the oldest first.
    pub actions: Vec<Action>,
    /// What was ever done to it.
    pub actions_total: u64,
}

/// Operations that somebody tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OperationsStatus {
    /// Those under way.
    pub under_way: Vec<OperationUse>,
    /// The last ones that have ended, the latest last.
    pub ended: Vec<OperationUse>,
    /// How many have ended.
    pub ended_total: u64,
}

/// How a tool's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExitReport {
    /// Why.
    pub cause: EndCause,
    /// The code that it exited with; `None` where a signal ended it.
    pub code: Option<u32>,
    /// The signal that ended it; `None` where it exited.
    pub signal: Option<u32>,
}

/// Who started a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OwnerStatus {
    /// Process id.
    pub pid: u32,
    /// Command name; null where it has ended.
    pub comm: Option<String>,
    /// Whether it still runs.
    pub alive: bool,
}

/// The most that a tool used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PeakStatus {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Connections.
    pub connections: u64,
    /// Processes.
    pub processes: u64,
    /// Resident memory in bytes of one process, of those that have ended.
    pub process_rss_bytes: u64,
}

/// What events have counted for a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolEvents {
    /// Descriptors that calls have opened.
    pub fds_opened: u64,
    /// Descriptors that calls have closed.
    pub fds_closed: u64,
    /// Descriptors open now, as events and sweeps have counted them.
    pub fds_open: i64,
    /// Descriptors that were refused.
    pub fds_refused: u64,
    /// Outgoing connections that were established.
    pub connections_made: u64,
    /// Incoming connections that were accepted.
    pub connections_accepted: u64,
    /// Outgoing connections that failed.
    pub connections_failed: u64,
    /// Outgoing connections that were refused: each counts as failed, too.
    pub connections_refused: u64,
    /// Connections open now, as events and sweeps have counted them.
    pub connections_open: i64,
    /// Memory in bytes, as the kernel has summed it up.
    pub memory_bytes: i64,
    /// CPU time in nanoseconds used while its processes were its.
    pub cpu_time_ns: u64,
}

/// A process that has ended and waits for its parent to reap it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ZombieStatus {
    /// Process id.
    pub pid: u32,
    /// The parent that has to reap it.
    pub parent: u32,
    /// The parent's command name.
    pub parent_comm: Option<String>,
}

/// A line that a tool went past, or fell back behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CrossingStatus {
    /// Of which resource.
    pub resource: Resource,
    /// Which line.
    pub level: ResourceStatus,
    /// Passed, or fallen back.
    pub risen: bool,
    /// The use at that time: bytes, milliseconds, or a count.
    pub value: u64,
    /// The process that did it.
    pub pid: u32,
    /// When.
    pub at: DateTime<Utc>,
}

/// Sums over the instances of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolSums {
    /// Instances.
    pub instances: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU time in milliseconds.
    pub cpu_time_ms: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Connections.
    pub connections: u64,
    /// Processes that run now.
    pub process_count: u64,
    /// Processes ever.
    pub processes_total: u64,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProcessStatus {
    /// Process id (thread group id).
    pub pid: u32,
    /// Process id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Start in nanoseconds since boot; with the pid the process's identity.
    pub start_time_ns: u64,
    /// Command name, up to 15 bytes.
    pub comm: String,
    /// Command line; null for threads of the kernel and where it could not be read.
    pub command: Option<String>,
    /// The tool that it belongs to.
    pub tool: Option<ToolName>,
    /// Which of the tool's instances.
    pub tool_instance: Option<u64>,
    /// Threads alive.
    pub threads: u32,
    /// A thread of the kernel.
    pub kernel_thread: bool,
    /// Ended, and not yet reaped by its parent.
    pub zombie: bool,
    /// CPU time in nanoseconds of all threads, the ended ones included.
    pub cpu_time_ns: u64,
    /// CPU use over the last interval, in cores; null until it has been seen twice.
    pub cpu_share: Option<f64>,
    /// Memory in bytes: anonymous, shared and swapped out; null until a sweep has seen it.
    pub memory_bytes: Option<u64>,
    /// Memory by kind; null until a sweep has seen it.
    pub memory: Option<Memory>,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Highest resident memory in bytes that the kernel has noted; null without sweeps.
    pub peak_rss_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: u64,
    /// Connections.
    pub connections: u64,
    /// What events have counted; null for threads of the kernel, zombies, and where the map of counters was full.
    pub events: Option<EventCounts>,
    /// What it uses in the specification's terms; only where one process is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ResourceUsage>,
    /// Its descriptors; only where one process is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<Vec<DescriptorStatus>>,
}

/// One open descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DescriptorStatus {
    /// Number.
    pub fd: u32,
    /// What it refers to.
    pub kind: FileKind,
    /// The connection, where it is one.
    pub connection: Option<Connection>,
}

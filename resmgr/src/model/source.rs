//! Where the numbers come from: the kernel, or in a test its double.

use serde::{Deserialize, Serialize};

use super::{
    EventCounts, FileSample, KernelEvent, ProcessId, Sweep, Timestamp, ToolIdentity, ToolLimits, ToolSlot, ToolSums,
};

/// How often something was lost, since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Losses {
    /// Events that found the ring full.
    pub ring_full: u64,
    /// Processes that found the map of counters full.
    pub counters_full: u64,
    /// Connections that found the map of sockets full.
    pub sockets_full: u64,
    /// Crossings that found their map full.
    pub crossings_full: u64,
    /// Runs of the programs that the kernel left out, because the same one was under way on that CPU.
    pub runs_missed: u64,
}

/// How full a map of the programs is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MapUse {
    /// Its name.
    pub map: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries that there is room for.
    pub max_entries: u64,
}

/// What the programs themselves cost, by the kernel's own statistics, sampled now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProgramCost {
    /// Length of the last sample in nanoseconds.
    pub sampled_ns: u64,
    /// Time that all programs ran in it, over all CPUs, in nanoseconds.
    pub run_ns: u64,
    /// How often a program ran in it.
    pub runs: u64,
}

/// A process that is to be taken into a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Thread group id.
    pub pid: u32,
    /// Its start in nanoseconds since boot, rounded down to whole `tick_ns`.
    pub start_ns: u64,
    /// What the start was rounded to.
    pub tick_ns: u64,
    /// The tool.
    pub tool: ToolSlot,
}

/// What is added to the programs' own sums of a tool before they are compared with its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolAdjustment {
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// CPU time in nanoseconds.
    pub cpu_ns: i64,
    /// Open descriptors.
    pub fds: i64,
    /// Connections.
    pub connections: i64,
}

/// The outcome of draining the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Nothing was left.
    Empty,
    /// The budget was used up; there may be more.
    BudgetSpent,
}

/// A hook that this kernel does not have, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MissingHook {
    /// Name of the tracepoint or attach point.
    pub hook: String,
    /// Why it is missing.
    pub reason: String,
    /// What follows from it.
    pub consequence: String,
}

/// What the source does and does not observe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Hooks that are attached.
    pub hooks_attached: u32,
    /// Hooks whose programs stay attached when the agent ends.
    pub hooks_pinned: u32,
    /// Hooks whose programs an earlier agent attached, which counted on without it.
    pub hooks_adopted: u32,
    /// Whether the kernel refuses descriptors on a tool's total.
    pub refuses_descriptors: bool,
    /// Hooks that are not attached.
    pub hooks_missing: Vec<MissingHook>,
}

impl Capabilities {
    /// Whether connects beyond a tool's maximum are refused.
    pub fn refuses_connects(&self) -> bool {
        let lacks = |part: &str| self.hooks_missing.iter().any(|missing| missing.hook.contains(part));
        !lacks("connect4") && !lacks("connect6")
    }
}

/// Reading from the source failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct SourceError {
    /// What was being done.
    pub operation: &'static str,
    /// What went wrong.
    pub message: String,
}

/// Where events and sweeps come from.
pub trait Source {
    /// The process that observes: it is no tool's.
    fn observer(&self) -> u32;

    /// What this source observes.
    fn capabilities(&self) -> &Capabilities;

    /// Takes at most `budget` events, in their order.
    fn drain(&mut self, budget: usize, into: &mut Vec<KernelEvent>) -> Result<Drained, SourceError>;

    /// Reads the truth of every process, and puts it in the place of what events had estimated.
    fn sweep(&mut self) -> Result<Sweep, SourceError>;

    /// Reads the open descriptors of the given processes, and hands on each: a process's distinct tables one after the other.
    fn details(&mut self, pids: &[u32], take: &mut dyn FnMut(FileSample)) -> Result<(), SourceError>;

    /// Reads what events have counted for every process, without a sweep.
    fn counts(&mut self) -> Result<Vec<(ProcessId, Option<ToolSlot>, EventCounts)>, SourceError>;

    /// How much was lost so far.
    fn losses(&mut self) -> Result<Losses, SourceError>;

    /// How full the maps are.
    fn map_use(&mut self) -> Result<Vec<MapUse>, SourceError>;

    /// Begins or ends a sample of what the programs cost, where it is time; returns the last whole one.
    fn program_cost(&mut self, now: Timestamp) -> ProgramCost;

    /// The tools that an earlier agent left.
    fn kept_tools(&mut self) -> Result<Vec<(ToolIdentity, ToolLimits)>, SourceError>;

    /// Slots for tools: from 1 to less than this.
    fn tool_slots(&self) -> u32;

    /// Begins a tool in its slot.
    fn begin_tool(&mut self, tool: &ToolIdentity, limits: &ToolLimits) -> Result<(), SourceError>;

    /// Writes down anew who a tool is.
    fn describe_tool(&mut self, tool: &ToolIdentity, limits: &ToolLimits) -> Result<(), SourceError>;

    /// Draws a tool's lines.
    fn set_lines(
        &mut self,
        tool: &ToolIdentity,
        limits: &ToolLimits,
        adjustment: ToolAdjustment,
    ) -> Result<(), SourceError>;

    /// Ends a tool: its slot is free.
    fn end_tool(&mut self, slot: ToolSlot) -> Result<(), SourceError>;

    /// What the programs have summed up for a tool.
    fn tool_sums(&mut self, slot: ToolSlot) -> Result<ToolSums, SourceError>;

    /// CPU time in nanoseconds that processes have used and the programs have yet to count: of what runs now, since it
    /// last began to.
    fn uncounted_cpu_ns(&mut self, pids: &[u32]) -> Result<u64, SourceError>;

    /// Has a process taken into a tool: when it executes a program, or by the next sweep, whichever comes first.
    fn join(&mut self, joining: Joining) -> Result<(), SourceError>;

    /// Processes that are to be taken into tools.
    fn joining(&mut self) -> Result<Vec<Joining>, SourceError>;

    /// Withdraws that.
    fn unjoin(&mut self, pid: u32) -> Result<(), SourceError>;

    /// The cgroups, by identity, whose processes are to be taken into tools.
    fn set_cgroups(&mut self, cgroups: &[(u64, ToolSlot)]) -> Result<(), SourceError>;

    /// Whether processes of no tool are to be told of when they execute a program.
    fn set_matching(&mut self, matching: bool) -> Result<(), SourceError>;

    /// Stops counting a process that matched no rule.
    fn dismiss(&mut self, process: ProcessId);
}

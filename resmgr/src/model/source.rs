//! Where the numbers come from: the kernel, or in a test its double.

use serde::{Deserialize, Serialize};

use super::{EventCounts, FileSample, ProcessEvent, ProcessId, Sweep};

/// How often something was lost, since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Events that found the ring full.
    pub ring_full: u64,
    /// Processes that found the map of counters full.
    pub counters_full: u64,
    /// Connections that found the map of sockets full.
    pub sockets_full: u64,
    /// Connects that found the map of calls under way full.
    pub pending_full: u64,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Hooks that are not.
    pub hooks_missing: Vec<MissingHook>,
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
    /// What this source observes.
    fn capabilities(&self) -> &Capabilities;

    /// Takes at most `budget` events, in their order.
    fn drain(&mut self, budget: usize, into: &mut Vec<ProcessEvent>) -> Result<Drained, SourceError>;

    /// Reads the truth of every process, and puts it in the place of what events had estimated.
    fn sweep(&mut self) -> Result<Sweep, SourceError>;

    /// Reads the open descriptors of the given processes.
    fn details(&mut self, pids: &[u32]) -> Result<Vec<FileSample>, SourceError>;

    /// Reads what events have counted for every process, without a sweep.
    fn counts(&mut self) -> Result<Vec<(ProcessId, EventCounts)>, SourceError>;

    /// How much was lost so far.
    fn losses(&mut self) -> Result<Losses, SourceError>;
}

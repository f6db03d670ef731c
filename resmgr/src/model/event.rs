//! What the kernel told as it happened.

use super::{Comm, Crossing, EventCounts, ImageEvent, ProcessId, ToolSlot};

/// One thing that the kernel told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A birth, a change of image or a death.
    Process(ProcessEvent),
    /// A tool went past a line, or fell back behind it.
    Crossing(Crossing),
    /// A process of no tool has executed a program, while there are rules to match.
    Image(Box<ImageEvent>),
}

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEventKind {
    /// It was born of a fork.
    Fork,
    /// It replaced its image.
    Exec,
    /// It ended; its counts are final.
    Exit,
}

/// A birth, a change of image or a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// What happened.
    pub kind: ProcessEventKind,
    /// To whom.
    pub id: ProcessId,
    /// Thread group id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Command name.
    pub comm: Comm,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The tool that it belongs to.
    pub tool: Option<ToolSlot>,
    /// Highest resident memory in bytes, known at its end.
    pub peak_rss_bytes: u64,
    /// What events had counted for it.
    pub counts: EventCounts,
}

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

/// How a process ended, as wait(2) tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitStatus(pub u32);

impl ExitStatus {
    /// The code that it exited with; `None` where a signal ended it.
    pub fn code(self) -> Option<u32> {
        self.signal().is_none().then_some(self.0 >> 8 & 0xff)
    }

    /// The signal that ended it; `None` where it exited.
    pub fn signal(self) -> Option<u32> {
        Some(self.0 & 0x7f).filter(|&signal| signal != 0)
    }
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
    /// How it ended, known at its end.
    pub exit: ExitStatus,
    /// What events had counted for it.
    pub counts: EventCounts,
}

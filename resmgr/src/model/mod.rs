//! Values: usage, samples, limits, status. No I/O, no clock, nothing of the kernel's own types.

mod event;
mod files;
mod host;
mod limits;
mod pattern;
mod process;
mod source;
mod status;
mod time;
mod usage;

pub use event::{ProcessEvent, ProcessEventKind};
pub use files::{Connection, FileKind, FileSample, Protocol, SocketState};
pub use host::{Drift, EndedTotals, HostTotals};
pub use limits::{LimitRange, ResourceLimits, ToolLimits};
pub use pattern::ResourcePattern;
pub use process::{Comm, EventCounts, EventTimes, Memory, ProcessId, ProcessSample, SocketId, Sweep};
pub use source::{Capabilities, Drained, Losses, MissingHook, Source, SourceError};
pub use status::ResourceStatus;
pub use time::{Clock, Timestamp};
pub use usage::ResourceUsage;

//! Values: usage, samples, limits, status. No I/O, no clock, nothing of the kernel's own types.

mod action;
mod alert;
mod asked;
mod budget;
mod enforcer;
mod event;
mod files;
mod history;
mod host;
mod limits;
mod mode;
mod operation;
mod pattern;
mod process;
mod setting;
mod source;
mod status;
mod time;
mod told;
mod tool;
mod usage;

pub use action::{Action, Decision, EndCause, Evidence, Reason, Step};
pub use alert::{Alert, AlertKind, AlertState};
pub use asked::{LimitSpan, LimitsAsked};
pub use budget::{Budget, BudgetUse};
pub use enforcer::{Enforcer, SchedulingPolicy};
pub use event::{ExitStatus, KernelEvent, ProcessEvent, ProcessEventKind};
pub use files::{Connection, FileKind, FileSample, Protocol, SocketState};
pub use history::{HistoryRow, Measure, MeasureError, PastTool, Retention, Summary, Tier, TierError, UsageSample};
pub use host::{Drift, EndedTotals, HostTotals};
pub use limits::{Ceiling, LimitRange, LimitSource, Profile, ProfileError, ResourceLimits, ToolLimits};
pub use mode::{Enforcement, LONGEST_GRACE_MS, Mode, ModeError, Orphans, OrphansError};
pub use operation::{OperationKind, OperationKindError, OperationUse};
pub use pattern::{
    ForecastAccuracy, ForecastStep, Growing, Growth, Learned, LimitReached, PatternKind, ResourcePattern, Tuning,
    TuningError,
};
pub use process::{
    AddressSpaceId, Comm, EventCounts, Memory, PROC_TICK_NS, ProcessId, ProcessSample, SocketId, Sweep, TableId,
};
pub use setting::Setting;
pub use source::{
    Capabilities, Drained, Joining, Losses, MapUse, MissingHook, ProgramCost, Source, SourceError, ToolAdjustment,
};
pub use status::ResourceStatus;
pub use time::{Clock, Timestamp};
pub use told::ToldUse;
pub use tool::{BadToolName, Crossing, ImageEvent, Resource, ToolIdentity, ToolName, ToolOrigin, ToolSlot, ToolSums};
pub use usage::ResourceUsage;

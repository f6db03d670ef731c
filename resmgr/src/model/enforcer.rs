//! What only the kernel can do to threads, as the parts that hold tools ask for it.

use std::io;

use serde::{Deserialize, Serialize};

/// By which rule a thread gets its turns on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulingPolicy {
    /// A fair share (`SCHED_OTHER`).
    Other,
    /// A fair share, in longer turns (`SCHED_BATCH`).
    Batch,
    /// What nobody else wants (`SCHED_IDLE`).
    Idle,
    /// Before all of these: real-time and deadline policies, which resmgr never sets nor takes away.
    RealTime,
}

/// Asks the kernel to change how threads run.
pub trait Enforcer: Send + Sync {
    /// How a thread is scheduled.
    fn policy(&self, thread: u32) -> io::Result<SchedulingPolicy>;

    /// Schedules a thread otherwise; what it starts from then on is scheduled likewise.
    fn set_policy(&self, thread: u32, policy: SchedulingPolicy) -> io::Result<()>;
}

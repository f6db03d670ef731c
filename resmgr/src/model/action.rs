//! What is decided about a tool, and what was done.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Resource;

/// Why something was decided or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The use came near the limit in force.
    Near,
    /// The use stayed far below the limit in force.
    Rest,
    /// The use grows steadily, and comes near the limit in force.
    Grows,
    /// What the tool is expected to need is more than the limit in force has room for.
    Expected,
    /// Earlier instances of its name needed more than the limit in force has room for.
    Learned,
    /// Operations like the one that has begun needed more.
    LearnedOfOperation,
    /// It was raised for a burst, which is over.
    Cooled,
    /// Somebody asked for it.
    Asked,
    /// The tool's first process has ended, or whoever started the tool.
    Left,
    /// The use stayed at the maximum, or beyond, for the grace.
    Held,
    /// All instances of its name together used up their budget for its grace, and it used most.
    Budget,
    /// The tool waited at its soft line of memory.
    Stalled,
}

/// What a decision goes by, in the resource's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Evidence {
    /// The use; where it is about a time, the highest.
    pub value: Option<u64>,
    /// The limit that it is compared with.
    pub limit: Option<u64>,
    /// The time in seconds.
    pub over_s: Option<u64>,
}

/// What a tool's limit in force is to be from now on, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Of which resource.
    pub resource: Resource,
    /// The limit in the resource's unit.
    pub current: u64,
    /// Why.
    pub reason: Reason,
    /// By what.
    pub evidence: Evidence,
}

/// What can be done to a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The limit in force is another.
    Limit,
    /// Memory, beyond which the tool is slowed and reclaimed from (`memory.high`), in bytes.
    SoftLine,
    /// Memory, beyond which the kernel kills (`memory.max`), in bytes.
    HardLine,
    /// CPU time that it may use (`cpu.max`), in percent of one core.
    Quota,
    /// Private memory that each process may have (`RLIMIT_DATA`), in bytes.
    DataLimit,
    /// Descriptors that each process may have (`RLIMIT_NOFILE`).
    DescriptorLimit,
    /// Its threads run when nobody else wants to (`SCHED_IDLE`): for 100 percent of that time.
    Idle,
    /// It runs for so many percent of the time, and is frozen for the rest (`cgroup.freeze`).
    Turns,
    /// Its processes were asked to end, and killed where they did not.
    CleanUp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limit => "limit",
            Self::SoftLine => "soft line",
            Self::HardLine => "hard line",
            Self::Quota => "quota",
            Self::DataLimit => "data limit",
            Self::DescriptorLimit => "descriptor limit",
            Self::Idle => "idle",
            Self::Turns => "turns",
            Self::CleanUp => "clean-up",
        })
    }
}

/// Why a tool has ended, by how its first process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// It exited.
    Exit,
    /// It crashed.
    Crash,
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// It was ended by resmgr.
    Resmgr,
    /// Somebody else's signal ended it.
    Signal,
}

/// What was done to a tool, why, and by what evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Action {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub step: Step,
    /// About which resource; `None` where it is about the tool as a whole.
    pub resource: Option<Resource>,
    /// What was before, in the resource's unit.
    pub from: Option<u64>,
    /// What is from then on.
    pub to: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// By what.
    pub evidence: Evidence,
}

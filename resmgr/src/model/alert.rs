//! Alerts: what somebody should know of a tool.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Resource, ResourceStatus, ToolName};

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// The use of a resource came near its limit, or beyond.
    Limit(Resource),
    /// Processes are born at a high rate.
    SpawnRate,
    /// A process comes near the most descriptors that it may have itself.
    ProcessFds,
    /// The use of all instances of its name came near their budget, or beyond.
    Budget(Resource),
    /// It is kept waiting for memory at its soft line.
    Stalled,
    /// The tool runs on without its first process, or without whoever started it.
    Left,
    /// Processes have left the tool's own cgroup, and what holds it there.
    Escaped,
    /// What it uses grows steadily, and is to reach a maximum, or leaks.
    Growth,
    /// Something that is to hold the tool could not be written.
    NotHeld,
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(resource) => resource.fmt(f),
            Self::SpawnRate => f.write_str("spawn-rate"),
            Self::ProcessFds => f.write_str("process-fds"),
            Self::Budget(resource) => write!(f, "budget-{resource}"),
            Self::Stalled => f.write_str("stalled"),
            Self::Left => f.write_str("left"),
            Self::Escaped => f.write_str("escaped"),
            Self::Growth => f.write_str("growth"),
            Self::NotHeld => f.write_str("not-held"),
        }
    }
}

/// Whether it began, goes on, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It began, or became worse.
    Raised,
    /// It goes on.
    Repeated,
    /// It is over.
    Cleared,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Alert {
    /// Which alert, in ascending order.
    pub id: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// The tool's name.
    pub tool: ToolName,
    /// Which instance.
    pub instance: u64,
    /// What it is about.
    pub kind: AlertKind,
    /// How bad it is; of one that is over, how bad it was.
    pub level: ResourceStatus,
    /// Whether it began, goes on, or is over.
    pub state: AlertState,
    /// What was seen, in the unit of what it is about.
    pub value: Option<u64>,
    /// What that is compared with.
    pub limit: Option<u64>,
    /// What a person should know, and what to type.
    pub message: String,
    /// Somebody has seen it.
    pub acknowledged: bool,
}

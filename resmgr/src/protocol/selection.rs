//! What is asked of a status report.

use serde::{Deserialize, Serialize};

use crate::model::ToolName;

/// Which processes a report lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessSelection {
    /// None.
    #[default]
    None,
    /// Those that come first in the order asked for, threads of the kernel left out.
    Top,
    /// All.
    All,
    /// One.
    Pid(u32),
}

/// What processes are ordered by: the largest first, but for the pid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortKey {
    /// Memory.
    #[default]
    Memory,
    /// CPU use over the last interval, then CPU time.
    Cpu,
    /// Open descriptors.
    Fds,
    /// Connections.
    Connections,
    /// Process id, ascending.
    Pid,
}

/// What is asked of a status report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatusParams {
    /// Which processes to list.
    pub processes: ProcessSelection,
    /// In which order.
    pub sort: SortKey,
    /// How many of them at most, where not all are asked for.
    pub limit: usize,
    /// Bring the numbers up to date before answering: by a sweep, or from the counters where there is none.
    pub fresh: bool,
    /// The tools of this name alone, and of the processes theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
    /// Tell what is expected of the next samples, too.
    #[serde(skip_serializing_if = "is_false")]
    pub forecast: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Default for StatusParams {
    fn default() -> Self {
        Self {
            processes: ProcessSelection::default(),
            sort: SortKey::default(),
            limit: 20,
            fresh: false,
            tool: None,
            forecast: false,
        }
    }
}

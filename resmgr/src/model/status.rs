//! How close a tool is to its limits.

use serde::{Deserialize, Serialize};

/// A tool's status: its worst resource's use against the current limit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ResourceStatus {
    /// Under 80 %.
    #[default]
    Normal,
    /// 80 % or more.
    Warning,
    /// 95 % or more.
    Critical,
    /// 100 % or more.
    Emergency,
}

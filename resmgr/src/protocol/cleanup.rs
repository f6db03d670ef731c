//! The end of a tool, by request.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ZombieStatus;
use crate::model::ToolName;

/// All processes of a tool are ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanUpParams {
    /// The tools' name.
    pub tool: ToolName,
    /// One instance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u64>,
    /// How long processes may take after SIGTERM before they are killed, in milliseconds; the tool's own grace where not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// What became of a tool's instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CleanUpReport {
    /// By instance.
    pub tools: Vec<CleanUpStatus>,
}

/// What became of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CleanUpStatus {
    /// Its name.
    pub tool: ToolName,
    /// Which of the instances.
    pub instance: u64,
    /// Processes that ended when they were asked to.
    pub ended: u64,
    /// Processes that were killed.
    pub killed: u64,
    /// Processes that are still there, and why.
    pub left: Vec<LeftStatus>,
    /// Processes that have ended and wait for their parents.
    pub zombies: Vec<ZombieStatus>,
    /// The tool's cgroup, where it is still there, and why.
    pub cgroup_left: Option<CgroupLeft>,
    /// How long it took in milliseconds.
    pub took_ms: f64,
}

/// A process that is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LeftStatus {
    /// Process id.
    pub pid: u32,
    /// Command name.
    pub comm: Option<String>,
    /// Why it is still there.
    pub why: String,
}

/// A cgroup that is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CgroupLeft {
    /// Its folder.
    pub path: PathBuf,
    /// Why it is still there.
    pub why: String,
}

impl CleanUpStatus {
    /// Whether nothing is left but what others have to do.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.cgroup_left.is_none()
    }
}

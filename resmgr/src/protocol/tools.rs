//! Requests that make tools.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Enforcement, LimitsAsked, OperationKind, ToolLimits, ToolName};

/// The caller becomes a tool's first process: when it executes its program, if not before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterParams {
    /// The tool's name.
    pub tool: ToolName,
    /// The instance that was initialised before, and that the caller joins; one of its own where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u64>,
    /// A file in which a container runtime writes the identity of the container that the tool starts: its processes are
    /// the tool's too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidfile: Option<PathBuf>,
    /// What the tool's CPU limit counts over.
    #[serde(default)]
    pub operation: OperationKind,
    /// Its limits, as far as they are asked for.
    #[serde(default, skip_serializing_if = "LimitsAsked::is_empty")]
    pub limits: LimitsAsked,
    /// A limit that this host cannot hold is told of, and no reason to refuse.
    #[serde(default)]
    pub best_effort: bool,
}

/// Processes that run already become a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachParams {
    /// The tool's name.
    pub tool: ToolName,
    /// Which processes.
    pub target: AttachTarget,
    /// What the tool's CPU limit counts over.
    #[serde(default)]
    pub operation: OperationKind,
    /// Its limits, as far as they are asked for.
    #[serde(default, skip_serializing_if = "LimitsAsked::is_empty")]
    pub limits: LimitsAsked,
    /// As in [`RegisterParams`].
    #[serde(default)]
    pub best_effort: bool,
}

/// The processes that become a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachTarget {
    /// A process and its descendants.
    Pid(u32),
    /// The processes of a cgroup (v2) and of those below it, now and later.
    Cgroup(PathBuf),
}

/// The limits of tools that run are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLimitsParams {
    /// The tools' name.
    pub tool: ToolName,
    /// One instance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u64>,
    /// What is asked for.
    pub limits: LimitsAsked,
    /// As in [`RegisterParams`].
    #[serde(default)]
    pub best_effort: bool,
}

/// The limits that instances of a tool have now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LimitsSet {
    /// By instance.
    pub tools: Vec<ToolLimitsStatus>,
}

/// The limits of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolLimitsStatus {
    /// Its name.
    pub tool: ToolName,
    /// Which of the instances.
    pub instance: u64,
    /// Its limits.
    pub limits: ToolLimits,
    /// How they are held.
    pub enforcement: Enforcement,
}

/// A tool that is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Registered {
    /// Its name.
    pub tool: ToolName,
    /// Which of the instances.
    pub instance: u64,
    /// The cgroup that it is in or that makes it up.
    pub cgroup: Option<PathBuf>,
    /// Processes that belong to it so far.
    pub processes: u64,
    /// What could not be done, and what follows.
    pub warnings: Vec<String>,
}

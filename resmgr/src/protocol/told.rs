//! Requests about tools that live in their client's own process: told, not seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Enforcement, LimitsAsked, OperationKind, Resource, ResourceStatus, ToldUse, ToolLimits, ToolName};

/// A tool begins that lives in the caller's own process. It has no process until one registers with its instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitializeParams {
    /// The tool's name.
    pub tool: ToolName,
    /// What the tool's CPU limit counts over.
    #[serde(default)]
    pub operation: OperationKind,
    /// Its limits, as far as they are asked for.
    #[serde(default, skip_serializing_if = "LimitsAsked::is_empty")]
    pub limits: LimitsAsked,
}

/// What tools use that were initialised before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportParams {
    /// By instance.
    pub tools: Vec<ToolReport>,
}

/// What one of them uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolReport {
    /// Which instance.
    pub instance: u64,
    /// What it uses.
    #[serde(flatten)]
    pub told: ToldUse,
}

/// How tools stand whose use was reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Those that are there.
    pub tools: Vec<ToldStatus>,
    /// Instances that are not: they have ended, or were never the caller's.
    pub ended: Vec<u64>,
}

/// How a tool stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToldStatus {
    /// Its name.
    pub tool: ToolName,
    /// Which of the instances.
    pub instance: u64,
    /// How close it is to its limits: its worst resource.
    pub status: ResourceStatus,
    /// What it uses of each resource, in the resource's unit: what was told and what its processes use.
    pub values: BTreeMap<Resource, u64>,
    /// Its limits.
    pub limits: ToolLimits,
    /// How they are held.
    pub enforcement: Enforcement,
}

/// A tool's use is looked at, and its limits are adjusted now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustParams {
    /// The tool's name.
    pub tool: ToolName,
    /// Which of the instances.
    pub instance: u64,
}

//! Requests about operations that somebody tells of, and how a tool stands.

use serde::{Deserialize, Serialize};

use crate::model::{EndCause, OperationUse, Resource, ResourceStatus};

/// An operation of a tool begins. It ends with the connection, if not before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginOperationParams {
    /// Which of the instances.
    pub instance: u64,
    /// What it is called; what is learned is learned by this name.
    pub name: String,
    /// It has begun already: it is counted, whatever the tool's limits are.
    #[serde(default)]
    pub under_way: bool,
}

/// An operation has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationBegun {
    /// Its number.
    pub operation: u64,
}

/// An operation that the same connection has begun ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndOperationParams {
    /// Its number.
    pub operation: u64,
    /// Nobody waits for it any more, and it may go on: it ends once the tool is idle, or when this is asked without this.
    #[serde(default)]
    pub once_idle: bool,
}

/// Asks how a tool stands: once that is not as it was seen, or after 20 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchParams {
    /// Which of the instances.
    pub instance: u64,
    /// What the last answer was; without it there is an answer at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<ToolState>,
}

/// How a tool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolState {
    /// How close it is to its limits: its worst resource.
    pub status: ResourceStatus,
    /// Why it may begin no operation; null where it may.
    pub refusing: Option<OverLimit>,
    /// Operations under way that have used all the CPU time that they may.
    pub over: Vec<OperationOver>,
    /// Why it has ended, or its first process has; null while it goes on.
    pub ended: Option<ToolEnd>,
}

impl ToolState {
    /// Whether there is nothing in it that another one does not say: values may be others.
    pub fn is_as(&self, other: &Self) -> bool {
        let resource = |state: &Self| state.refusing.as_ref().map(|over| over.resource);
        let over = |state: &Self| state.over.iter().map(|over| over.used.operation).collect::<Vec<_>>();
        self.status == other.status
            && resource(self) == resource(other)
            && over(self) == over(other)
            && self.ended == other.ended
    }
}

/// A resource that has come to its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverLimit {
    /// Which.
    pub resource: Resource,
    /// How much of it is used, in the resource's unit.
    pub value: u64,
    /// The limit in force.
    pub limit: u64,
    /// The same for people, with what to type to raise it.
    pub message: String,
}

/// An operation that has used all that it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationOver {
    /// What it has used.
    #[serde(flatten)]
    pub used: OperationUse,
    /// The limit of CPU time.
    pub limit: OverLimit,
}

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolEnd {
    /// Why; null where that was not seen.
    pub cause: Option<EndCause>,
}

//! What can go wrong between a program and its tools' resources.

use std::{io, path::PathBuf};

use crate::{
    agent::AgentError,
    model::{Resource, ToolName},
    protocol::ClientError,
};

/// A request about a tool's resources failed.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// No such tool was initialised here.
    #[error("no tool {0} is initialised here: call initialize_tool first")]
    Unknown(ToolName),
    /// A tool of this name was initialised here before.
    #[error("the tool {0} is initialised already: cleanup_tool ends it, reset_tool begins it anew")]
    Known(ToolName),
    /// The tool was ended by somebody else.
    #[error("the tool {0} was ended from outside: call cleanup_tool, then initialize_tool")]
    Ended(ToolName),
    /// It would use more than it may.
    #[error(
        "{tool} would use more {resource} than it may: {wanted} {unit}, and at most {limit}; update_limits raises that",
        unit = unit(*.resource)
    )]
    LimitExceeded {
        /// The tool.
        tool: ToolName,
        /// Of which resource.
        resource: Resource,
        /// What it would use, in the resource's unit.
        wanted: u64,
        /// What it may.
        limit: u64,
    },
    /// The agent did not do what it was asked.
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// The agent within this process could not be started, or failed.
    #[error("the embedded agent: {0}")]
    Embedded(#[from] AgentError),
    /// Its folder or its thread could not be had.
    #[error("the embedded agent, in {}: {source}", folder.display())]
    Start {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The thread of the embedded agent has panicked.
    #[error("the embedded agent has panicked")]
    Panicked,
    /// The task that talks to the agent has ended, with the runtime that it ran on.
    #[error("the runtime on which this manager was made has ended")]
    Closed,
}

const fn unit(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "bytes",
        Resource::Cpu => "ms",
        Resource::Fds => "descriptors",
        Resource::Connections => "connections",
    }
}

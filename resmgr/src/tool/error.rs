//! What can go wrong with a tool of a program.

use std::error::Error;

use crate::{manager::ResourceError, model::ToolName, protocol::ClientError, protocol::RefusalCode};

/// What executors fail with.
pub type ExecutorError = Box<dyn Error + Send + Sync>;

/// What an execution says that was refused or ended for its tool's limits.
const LIMITS: &str = "Resource limits exceeded";

/// Something about a tool failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// An execution was refused, or failed, for its tool's limits: which one and by how much is in
    /// [`ToolManager::attempts`](super::ToolManager::attempts).
    #[error("{0}")]
    ExecutionFailed(String),
    /// No such tool is registered.
    #[error("no tool {0} is registered: call register_tool first")]
    NotRegistered(ToolName),
    /// One of this name is.
    #[error("a tool {0} is registered already: call unregister_tool first")]
    AlreadyRegistered(ToolName),
    /// The executor returned an error.
    #[error("the tool {tool} failed: {source}")]
    Failed {
        /// The tool.
        tool: ToolName,
        /// What its executor said.
        source: ExecutorError,
    },
    /// The executor panicked. The tool goes on.
    #[error("the tool {tool} panicked: {message}")]
    Panicked {
        /// The tool.
        tool: ToolName,
        /// With what.
        message: String,
    },
    /// Its resources could not be managed.
    #[error(transparent)]
    Resources(#[from] ResourceError),
}

impl ToolError {
    pub(super) fn limits() -> Self {
        Self::ExecutionFailed(LIMITS.to_owned())
    }

    /// An error of an executor: one that comes from the tool's limits is told as that.
    pub(super) fn of_executor(tool: &ToolName, source: ExecutorError) -> Self {
        match source.downcast_ref::<ResourceError>() {
            Some(error) if is_for_limits(error) => Self::limits(),
            _ => Self::Failed {
                tool: tool.clone(),
                source,
            },
        }
    }

    /// Whether another try may help: not where limits are exceeded, and not where there is no such tool.
    pub(super) const fn may_recover(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Panicked { .. })
    }
}

/// Whether something was refused because a limit is exceeded.
pub(super) fn is_for_limits(error: &ResourceError) -> bool {
    match error {
        ResourceError::LimitExceeded { .. } => true,
        ResourceError::Agent(ClientError::Refused(refusal)) => refusal.code == RefusalCode::LimitsExceeded,
        _ => false,
    }
}

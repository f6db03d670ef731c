//! `ToolManager`: registers a program's tools and executes them under tracking, within their limits. Counts nothing itself.

mod error;
mod executor;
mod gate;
pub mod mcp;
mod process;
mod program;
mod recovery;
mod registered;
mod server;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde_json::Value;

use self::{recovery::Try, registered::Registered};
use crate::{
    manager::{EnhancedResourceManager, ResourceError},
    model::{LimitsAsked, Mode, OperationKind, ResourceLimits, ToolLimits, ToolName},
};

pub use error::{ExecutorError, ToolError};
pub use executor::{Execution, FunctionExecutor, ToolExecutor};
pub use process::{ProcessError, ProcessExecutor};
pub use program::StartError;
pub use recovery::{Attempt, Recovery, Try as Tried};
pub use server::{McpError, McpExecutor};

/// Executions of a tool that go on at a time, where nothing else is said.
const CONCURRENCY: usize = 16;
/// How often the end of a tool is tried, and the time before the second try, which doubles.
const CLEANUPS: u32 = 4;
const CLEANUP_AGAIN: Duration = Duration::from_millis(100);

/// A tool to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub id: ToolName,
    /// The lowest that its limits may become.
    pub base_limits: ResourceLimits,
    /// The highest.
    pub max_limits: ResourceLimits,
    /// What is done about a use that reaches its limit.
    pub mode: Mode,
    /// How many executions go on at a time; others wait. At Warning half as many do.
    pub concurrency: usize,
    /// What is tried after an execution has failed.
    pub recovery: Recovery,
}

impl Tool {
    /// A tool with the specification's limits, in mode `throttle`: beyond them new operations are refused, and nothing is ended.
    pub fn new(id: ToolName) -> Self {
        Self {
            id,
            base_limits: ToolLimits::LIGHT.bases(),
            max_limits: ToolLimits::LIGHT.maxima(),
            mode: Mode::Throttle,
            concurrency: CONCURRENCY,
            recovery: Recovery::default(),
        }
    }
}

/// The tools of a program. A clone is another handle of the same.
///
/// ```no_run
/// use resmgr::{
///     manager::EnhancedResourceManager,
///     tool::{FunctionExecutor, Tool, ToolManager},
/// };
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = EnhancedResourceManager::connect("/run/resmgr/resmgr.sock").await?;
/// let tools = ToolManager::new(manager);
/// let shout = FunctionExecutor::new(|input: serde_json::Value, _| async move {
///     Ok(input.as_str().unwrap_or_default().to_uppercase().into())
/// });
/// tools.register_tool(Tool::new("shout".parse()?), shout).await?;
/// assert_eq!(tools.execute(&"shout".parse()?, "quiet".into()).await?, "QUIET");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ToolManager {
    resource_manager: EnhancedResourceManager,
    tools: Arc<RwLock<HashMap<ToolName, Arc<Registered>>>>,
}

impl ToolManager {
    /// One whose tools' resources are managed by this.
    pub fn new(resource_manager: EnhancedResourceManager) -> Self {
        Self {
            resource_manager,
            tools: Arc::default(),
        }
    }

    /// The resources of its tools.
    pub fn resource_manager(&self) -> &EnhancedResourceManager {
        &self.resource_manager
    }

    /// Registers a tool: its resources are managed from here on, between its base and its maximum.
    pub async fn register_tool(&self, tool: Tool, executor: impl ToolExecutor + 'static) -> Result<(), ToolError> {
        let limits = LimitsAsked {
            mode: Some(tool.mode),
            ..LimitsAsked::between(&tool.base_limits, &tool.max_limits)
        };
        let id = tool.id.clone();
        // What the manager knows already, whoever made it, is not another's.
        let begun = self
            .resource_manager
            .initialize_tool_with(&id, limits, OperationKind::Api)
            .await;
        begun.map_err(|error| match error {
            ResourceError::Known(id) => ToolError::AlreadyRegistered(id),
            error => error.into(),
        })?;
        let registered = Arc::new(Registered::new(tool, Arc::new(executor)));
        self.tools
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, registered);
        Ok(())
    }

    fn registered(&self, id: &ToolName) -> Result<Arc<Registered>, ToolError> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools
            .get(id)
            .cloned()
            .ok_or_else(|| ToolError::NotRegistered(id.clone()))
    }

    /// Executes a tool: waits for a place, is refused where the tool stands at Critical or above after a raise of its limits was
    /// considered (unless it is only observed), counts as an operation, and has its tool's limits looked at when it is over.
    /// Dropping it ends the execution. What is tried where it fails, its [`Recovery`] says.
    pub async fn execute(&self, id: &ToolName, input: Value) -> Result<Value, ToolError> {
        let registered = self.registered(id)?;
        let recovery = registered.tool.recovery;
        let manager = &self.resource_manager;
        let mut result = registered.execute(manager, input.clone(), Try::Execute).await;
        for retry in 0..recovery.retries {
            if !is_worth_another(&result) {
                return result;
            }
            tokio::time::sleep(recovery.backoff.saturating_mul(1 << retry.min(16))).await;
            result = registered.execute(manager, input.clone(), Try::Retry).await;
        }
        while is_worth_another(&result) && registered.take_restart() {
            result = match registered.restart(manager).await {
                Ok(()) => registered.execute(manager, input.clone(), Try::Restart).await,
                Err(error) => {
                    registered.tried(Try::Restart, Some(error.to_string()));
                    Err(error)
                }
            };
        }
        if is_worth_another(&result) && recovery.unregister {
            let ended = self.unregister_tool(id).await;
            registered.tried(Try::Unregister, ended.err().map(|error| error.to_string()));
        }
        result
    }

    /// What was tried lately of a tool, the oldest first, with why it failed.
    pub fn attempts(&self, id: &ToolName) -> Result<Vec<Attempt>, ToolError> {
        Ok(self.registered(id)?.attempts())
    }

    /// Unregisters a tool: nothing new is executed, its executor lets go of what it keeps, its processes are ended, its resources
    /// cleaned up. Where that fails it is tried again, and what is left then is an error.
    pub async fn unregister_tool(&self, id: &ToolName) -> Result<(), ToolError> {
        let removed = self.tools.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        let Some(removed) = removed else {
            return Err(ToolError::NotRegistered(id.clone()));
        };
        if let Err(error) = removed.let_go().await {
            tracing::debug!(tool = %id, %error, "an executor did not let go of what it keeps");
        }
        let mut tried = 1;
        loop {
            match self.resource_manager.cleanup_tool(id).await {
                Err(error) if tried < CLEANUPS => {
                    tracing::warn!(tool = %id, %error, tried, "a tool was not cleaned up");
                    tokio::time::sleep(CLEANUP_AGAIN * (1 << tried)).await;
                    tried += 1;
                }
                done => return Ok(done?),
            }
        }
    }
}

fn is_worth_another(result: &Result<Value, ToolError>) -> bool {
    result.as_ref().is_err_and(ToolError::may_recover)
}

impl std::fmt::Debug for ToolManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToolManager").finish_non_exhaustive()
    }
}

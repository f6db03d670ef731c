//! A registered tool, and one execution of it. Decides nothing about what is tried after that.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    Attempt, Execution, Tool, ToolError,
    error::is_for_limits,
    executor::{AnyExecutor, Work},
    gate::Gate,
    recovery::{Attempts, Try},
};
use crate::{
    manager::{EnhancedResourceManager, Operation, ResourceError, now},
    model::{ResourceStatus, ToolName},
    protocol::ClientError,
};

/// A tool with what executes it.
pub(super) struct Registered {
    pub(super) tool: Tool,
    executor: Arc<dyn AnyExecutor>,
    gate: Arc<Gate>,
    attempts: Mutex<Attempts>,
}

impl Registered {
    pub(super) fn new(tool: Tool, executor: Arc<dyn AnyExecutor>) -> Self {
        Self {
            gate: Arc::new(Gate::new(tool.concurrency)),
            tool,
            executor,
            attempts: Mutex::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Attempts) -> T) -> T {
        change(&mut self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.with(|attempts| attempts.list())
    }

    pub(super) fn tried(&self, what: Try, failure: Option<String>) {
        let at = now();
        self.with(|attempts| attempts.add(Attempt { at, what, failure }));
    }

    /// Takes one of the restarts that there may be.
    pub(super) fn take_restart(&self) -> bool {
        self.with(|attempts| {
            let is_left = attempts.restarts < self.tool.recovery.restarts;
            attempts.restarts += u32::from(is_left);
            is_left
        })
    }

    /// Begins the executor and the tool's resources anew.
    pub(super) async fn restart(&self, manager: &EnhancedResourceManager) -> Result<(), ToolError> {
        let restarted = self.run(self.executor.clone().restart()).await;
        restarted.map_err(|failure| failure.told(&self.tool.id).0)?;
        Ok(manager.reset_tool(&self.tool.id).await?)
    }

    /// One execution: refused or let in, tracked, looked at when it is over.
    pub(super) async fn execute(
        &self,
        manager: &EnhancedResourceManager,
        input: Value,
        what: Try,
    ) -> Result<Value, ToolError> {
        let result = self.try_to_execute(manager, input).await;
        let failure = result.as_ref().err().map(|(_, why)| why.clone());
        self.tried(what, failure);
        result.map_err(|(error, _)| error)
    }

    /// The error comes with why it is, in words.
    async fn try_to_execute(
        &self,
        manager: &EnhancedResourceManager,
        input: Value,
    ) -> Result<Value, (ToolError, String)> {
        let told = |error: ResourceError| {
            let why = error.to_string();
            let is_for_limits = is_for_limits(&error);
            (
                if is_for_limits {
                    ToolError::limits()
                } else {
                    error.into()
                },
                why,
            )
        };
        let id = &self.tool.id;
        let account = manager.account(id).map_err(told)?;
        let status = || account.status();
        let place = self.gate.clone().enter(status).await;
        if account.refuses_operations() {
            // The agent may raise limits first. One that does not answer raises nothing.
            if let Err(error) = manager.adjust_limits(id).await {
                tracing::debug!(tool = %id, %error, "limits were not looked at");
            }
            if account.refuses_operations() {
                return Err((ToolError::limits(), format!("{id} stands at {:?}", account.status())));
            }
        }
        let operation = self.begin(manager).await.map_err(told)?;
        let execution = Execution::new(account.clone(), manager.socket().to_owned());
        let result = self.run(self.executor.clone().execute(input, execution)).await;
        drop(place);
        if let Some(operation) = operation
            && let Err(error) = operation.end().await
        {
            tracing::debug!(tool = %id, %error, "what an operation used is not known");
        }
        if account.status() >= ResourceStatus::Warning
            && let Err(error) = manager.adjust_limits(id).await
        {
            tracing::debug!(tool = %id, %error, "limits were not looked at");
        }
        result.map_err(|failure| failure.told(id))
    }

    /// Without an agent an execution is no operation, and goes on all the same.
    async fn begin(&self, manager: &EnhancedResourceManager) -> Result<Option<Operation>, ResourceError> {
        match manager.begin_operation(&self.tool.id, self.tool.id.as_str()).await {
            Ok(operation) => Ok(Some(operation)),
            Err(ResourceError::Agent(error)) if !matches!(error, ClientError::Refused(_)) => {
                tracing::warn!(tool = %self.tool.id, %error, "executed untracked");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Works in a task of its own: a panic is an error of that work alone, and who does not wait any more ends it.
    async fn run(&self, work: Work) -> Result<Value, Failure> {
        let mut task = JoinSet::new();
        task.spawn(work);
        match task.join_next().await {
            Some(Ok(done)) => done.map_err(Failure::Error),
            Some(Err(error)) => Err(match error.try_into_panic() {
                Ok(panic) => Failure::Panic(message(&*panic)),
                Err(error) => Failure::Error(error.into()),
            }),
            None => Err(Failure::Panic("it was never begun".to_owned())),
        }
    }
}

/// Why work was not done.
enum Failure {
    Error(super::ExecutorError),
    Panic(String),
}

impl Failure {
    /// As an error, and in words.
    fn told(self, id: &ToolName) -> (ToolError, String) {
        match self {
            Self::Error(source) => {
                let why = source.to_string();
                (ToolError::of_executor(id, source), why)
            }
            Self::Panic(message) => {
                let (tool, why) = (id.clone(), format!("panicked: {message}"));
                (ToolError::Panicked { tool, message }, why)
            }
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("with no message").to_owned()
}

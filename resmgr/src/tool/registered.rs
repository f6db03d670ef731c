//! A registered tool, and one execution of it. Decides nothing about what is tried after that.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use chrono::{DateTime, Utc};
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
    manager::{Account, EnhancedResourceManager, Operation, ResourceError, now},
    model::{Action, Reason, ResourceStatus, Step, ToolName},
    protocol::ClientError,
};

/// A tool with what executes it.
pub(super) struct Registered {
    pub(super) tool: Tool,
    executor: Arc<dyn AnyExecutor>,
    gate: Arc<Gate>,
    /// How often the kernel had killed for want of memory when it was last looked.
    oom_kills: AtomicU64,
    attempts: Mutex<Attempts>,
}

impl Registered {
    pub(super) fn new(tool: Tool, executor: Arc<dyn AnyExecutor>) -> Self {
        Self {
            gate: Arc::new(Gate::new(tool.concurrency)),
            tool,
            executor,
            oom_kills: AtomicU64::new(0),
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

    /// Has the executor let go of what it keeps between executions.
    pub(super) async fn let_go(&self) -> Result<(), ToolError> {
        let done = self.run(self.executor.clone().restart()).await;
        done.map_err(|failure| failure.told(&self.tool.id).0)?;
        Ok(())
    }

    /// Begins the executor and the tool's resources anew.
    pub(super) async fn restart(&self, manager: &EnhancedResourceManager) -> Result<(), ToolError> {
        self.let_go().await?;
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
        if account.has_ended() {
            manager.begin_anew(&account).await.map_err(told)?;
            self.oom_kills.store(0, Relaxed);
        }
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
        let began = now();
        let operation = self.begin(manager, &input).await.map_err(told)?;
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
        match result {
            Ok(output) => Ok(output),
            Err(failure) => {
                let (error, why) = failure.told(id);
                match self.was_ended(manager, &account, began).await {
                    Some(limit) if error.may_recover() => Err((ToolError::limits(), format!("{limit}: {why}"))),
                    _ => Err((error, why)),
                }
            }
        }
    }

    /// Whether processes of the tool have been ended for its limits since then, which is why an execution fails: in words.
    async fn was_ended(
        &self,
        manager: &EnhancedResourceManager,
        account: &Account,
        since: DateTime<Utc>,
    ) -> Option<String> {
        let report = manager.last_report(account).await.ok()?;
        let killed_before = self.oom_kills.swap(report.oom_kills, Relaxed);
        if report.oom_kills > killed_before {
            return Some("the kernel killed it for want of memory".to_owned());
        }
        let is_for_limits = |action: &&Action| {
            action.step == Step::CleanUp && matches!(action.reason, Reason::Held | Reason::Budget) && action.at >= since
        };
        let action = report.actions.iter().find(is_for_limits)?;
        // What is executed next is not to be ended with it.
        if let Err(error) = manager.end_instance(account, report.instance).await {
            tracing::debug!(tool = %self.tool.id, %error, "a tool was not ended");
        }
        Some(match action.resource {
            Some(resource) => format!("resmgr ended it at its limit of {resource}"),
            None => "resmgr ended it at its limits".to_owned(),
        })
    }

    /// Without an agent an execution is no operation, and goes on all the same.
    async fn begin(
        &self,
        manager: &EnhancedResourceManager,
        input: &Value,
    ) -> Result<Option<Operation>, ResourceError> {
        let name = self.executor.operation(input);
        let name = name.as_deref().unwrap_or(self.tool.id.as_str());
        match manager.begin_operation(&self.tool.id, name).await {
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

//! Executors: what does a tool's work. One of functions is here; it is told how much CPU time each of its turns took.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::ExecutorError;
use crate::{
    manager::{Account, ResourceError},
    model::ToolName,
};

/// A future whose type is not known.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Value, ExecutorError>> + Send>>;

/// Does a tool's work. Executions may overlap.
///
/// ```
/// use resmgr::tool::{Execution, ExecutorError, ToolExecutor};
/// use serde_json::Value;
///
/// struct Echo;
///
/// impl ToolExecutor for Echo {
///     async fn execute(&self, input: Value, _: Execution) -> Result<Value, ExecutorError> {
///         Ok(input)
///     }
/// }
/// ```
pub trait ToolExecutor: Send + Sync {
    /// Does what is asked for. It may be dropped before it is done.
    fn execute(&self, input: Value, execution: Execution) -> impl Future<Output = Result<Value, ExecutorError>> + Send;

    /// What an execution with this input is called as an operation: what is learned of operations is learned by this name. By
    /// default, and where there is none, that is the tool's own.
    fn operation(&self, _input: &Value) -> Option<String> {
        None
    }

    /// Lets go of what it keeps between executions, where there is such a thing; the next execution begins it anew. Called
    /// before another try ([`Recovery`](super::Recovery)), and when the tool is unregistered.
    fn restart(&self) -> impl Future<Output = Result<(), ExecutorError>> + Send {
        async { Ok(()) }
    }
}

/// The same for executors of any type.
pub(super) trait AnyExecutor: Send + Sync {
    fn execute(self: Arc<Self>, input: Value, execution: Execution) -> Work;
    fn operation(&self, input: &Value) -> Option<String>;
    fn restart(self: Arc<Self>) -> Work;
}

impl<E: ToolExecutor + 'static> AnyExecutor for E {
    fn execute(self: Arc<Self>, input: Value, execution: Execution) -> Work {
        Box::pin(async move { ToolExecutor::execute(&*self, input, execution).await })
    }

    fn operation(&self, input: &Value) -> Option<String> {
        ToolExecutor::operation(self, input)
    }

    fn restart(self: Arc<Self>) -> Work {
        Box::pin(async move { ToolExecutor::restart(&*self).await.map(|()| Value::Null) })
    }
}

/// One execution of a tool, as its executor sees it. What it tells that it takes counts against the tool's limits; what it has
/// not given back when it is over, is given back then. What a tool keeps for longer goes through [`Execution::account`].
#[derive(Clone, Debug)]
pub struct Execution(Arc<Held>);

#[derive(Debug)]
struct Held {
    account: Account,
    socket: PathBuf,
    taken: Mutex<Taken>,
}

/// What an execution holds.
#[derive(Debug, Default)]
struct Taken {
    memory_bytes: u64,
    file_handles: BTreeSet<u32>,
    connections: BTreeSet<u32>,
}

impl Execution {
    pub(super) fn new(account: Account, socket: PathBuf) -> Self {
        Self(Arc::new(Held {
            account,
            socket,
            taken: Mutex::default(),
        }))
    }

    /// The tool.
    pub fn tool(&self) -> &ToolName {
        self.0.account.tool()
    }

    /// The tool's account.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// The agent's socket.
    pub(super) fn socket(&self) -> &std::path::Path {
        &self.0.socket
    }

    fn with<T>(&self, change: impl FnOnce(&mut Taken) -> T) -> T {
        change(&mut self.0.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`Account::track_memory_allocation`].
    pub fn track_memory_allocation(&self, bytes: u64) -> Result<(), ResourceError> {
        self.0.account.track_memory_allocation(bytes)?;
        self.with(|taken| taken.memory_bytes = taken.memory_bytes.saturating_add(bytes));
        Ok(())
    }

    /// Memory is given back: of what this execution took, no more.
    pub fn release_memory(&self, bytes: u64) {
        let bytes = self.with(|taken| {
            let given = bytes.min(taken.memory_bytes);
            taken.memory_bytes -= given;
            given
        });
        self.0.account.release_memory(bytes);
    }

    /// See [`Account::track_cpu_time`].
    pub fn track_cpu_time(&self, time: Duration) -> Result<(), ResourceError> {
        self.0.account.track_cpu_time(time)
    }

    /// See [`Account::track_file_handle`].
    pub fn track_file_handle(&self, handle: u32) -> Result<(), ResourceError> {
        self.0.account.track_file_handle(handle)?;
        self.with(|taken| taken.file_handles.insert(handle));
        Ok(())
    }

    /// See [`Account::release_file_handle`].
    pub fn release_file_handle(&self, handle: u32) -> bool {
        self.with(|taken| taken.file_handles.remove(&handle)) && self.0.account.release_file_handle(handle)
    }

    /// See [`Account::track_network_connection`].
    pub fn track_network_connection(&self, connection: u32) -> Result<(), ResourceError> {
        self.0.account.track_network_connection(connection)?;
        self.with(|taken| taken.connections.insert(connection));
        Ok(())
    }

    /// See [`Account::release_network_connection`].
    pub fn release_network_connection(&self, connection: u32) -> bool {
        self.with(|taken| taken.connections.remove(&connection))
            && self.0.account.release_network_connection(connection)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let taken = self.taken.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.account.release_memory(taken.memory_bytes);
        for &handle in &taken.file_handles {
            self.account.release_file_handle(handle);
        }
        for &connection in &taken.connections {
            self.account.release_network_connection(connection);
        }
    }
}

/// An async function as an executor. The CPU time of each of its turns on a thread is told by itself; what it hands to other
/// tasks and threads, they have to tell.
///
/// ```
/// use resmgr::tool::FunctionExecutor;
///
/// let shout = FunctionExecutor::new(|input, execution| async move {
///     let text = input.as_str().ok_or("write a text")?.to_uppercase();
///     execution.track_memory_allocation(text.len() as u64)?;
///     Ok(text.into())
/// });
/// ```
#[derive(Debug)]
pub struct FunctionExecutor<F>(F);

impl<F, R> FunctionExecutor<F>
where
    F: Fn(Value, Execution) -> R + Send + Sync,
    R: Future<Output = Result<Value, ExecutorError>> + Send,
{
    /// An executor that calls this function.
    pub const fn new(function: F) -> Self {
        Self(function)
    }
}

impl<F, R> ToolExecutor for FunctionExecutor<F>
where
    F: Fn(Value, Execution) -> R + Send + Sync,
    R: Future<Output = Result<Value, ExecutorError>> + Send,
{
    async fn execute(&self, input: Value, execution: Execution) -> Result<Value, ExecutorError> {
        let account = execution.account().clone();
        let mut work = Box::pin((self.0)(input, execution));
        poll_fn(|context| {
            let turn = Turn::begin(&account);
            let polled = work.as_mut().poll(context);
            drop(turn);
            polled
        })
        .await
    }
}

/// A turn on a thread: its CPU time is told when it is over, by a panic too.
struct Turn<'a> {
    account: &'a Account,
    began: Duration,
}

impl<'a> Turn<'a> {
    fn begin(account: &'a Account) -> Self {
        Self {
            account,
            began: thread_time(),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Of a tool that has ended nothing is counted.
        let _ = self.account.track_cpu_time(thread_time().saturating_sub(self.began));
    }
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

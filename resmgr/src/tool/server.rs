//! An MCP server on standard streams as an executor: one process that is kept between executions, each of which calls one of
//! its tools.

use std::{
    ffi::OsString,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::{
    RoleClient, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResult, ErrorData},
    service::{ClientInitializeError, RunningService, ServiceError},
    transport::async_rw::AsyncRwTransport,
};
use serde_json::Value;
use tokio::{process::Child, sync::OnceCell, time::timeout};

use super::{Execution, ExecutorError, StartError, ToolExecutor, program::Program};

/// Bytes that a message of a server may have.
const MOST_BYTES: usize = 64 << 20;
/// How long a server may take to end once nobody speaks to it.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Speaks to an MCP server. It is started by the first execution, and again by the next one where it has ended; each execution is
/// a `tools/call`, and an operation that is named by the tool that is called. The input is its parameters, the output its result;
/// a result that says of itself that it is an error is one. Where an execution is dropped its call is cancelled.
///
/// ```
/// use resmgr::tool::McpExecutor;
///
/// let server = McpExecutor::new("npx").arg("-y").arg("@modelcontextprotocol/server-everything");
/// let input = serde_json::json!({ "name": "echo", "arguments": { "message": "hello" } });
/// # let _ = (server, input);
/// ```
#[derive(Debug)]
pub struct McpExecutor {
    program: Program,
    server: Mutex<Arc<Running>>,
}

/// A server that runs once somebody needs it.
type Running = OnceCell<Arc<Server>>;

/// A server that is spoken to.
#[derive(Debug)]
struct Server {
    service: RunningService<RoleClient, ()>,
    child: Mutex<Option<Child>>,
}

/// An MCP server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It was started, and does not speak MCP.
    #[error("{} does not answer as an MCP server: {source}", program.display())]
    Initialize {
        /// The program.
        program: OsString,
        /// What came instead.
        source: Box<ClientInitializeError>,
    },
    /// The input is not one.
    #[error(
        "{0}: write the tool of the server and its arguments, as {{\"name\": \"echo\", \"arguments\": {{\"message\": \"hello\"}}}}"
    )]
    Input(serde_json::Error),
    /// It answered with an error.
    #[error("{tool}: {} ({})", error.message, error.code.0)]
    Refused {
        /// The tool that was called.
        tool: String,
        /// The error, as JSON-RPC has it.
        error: ErrorData,
    },
    /// The tool's result says that it failed.
    #[error("{tool}: {said}")]
    Failed {
        /// The tool that was called.
        tool: String,
        /// What it said, the texts of its result.
        said: String,
    },
    /// It ended before it answered.
    #[error("{} ended before it answered {tool}{}", program.display(), status.map(|status| format!(": {status}")).unwrap_or_default())]
    Ended {
        /// The program.
        program: OsString,
        /// The tool that was called.
        tool: String,
        /// How, where it has.
        status: Option<ExitStatus>,
    },
    /// The conversation went wrong otherwise.
    #[error("{tool}: {source}")]
    Call {
        /// The tool that was called.
        tool: String,
        /// What went wrong.
        source: Box<ServiceError>,
    },
}

impl McpExecutor {
    /// Speaks to this program, found as a shell finds it. What it writes to standard error goes where this process's does.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: Program::new(program.into()),
            server: Mutex::default(),
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.program.arguments.push(argument.into());
        self
    }

    /// With a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.program.variables.push((name.into(), value.into()));
        self
    }

    /// Does not start it where no agent answers, which is only untracked otherwise.
    #[must_use]
    pub fn require_agent(mut self) -> Self {
        self.program.required = true;
        self
    }

    fn server(&self) -> MutexGuard<'_, Arc<Running>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server that runs, or one that is started.
    async fn running(&self, execution: &Execution) -> Result<Arc<Server>, McpError> {
        let running = {
            let mut current = self.server();
            if current.get().is_some_and(|server| server.has_ended()) {
                *current = Arc::default();
            }
            Arc::clone(&current)
        };
        let start = || async { self.start(execution).await.map(Arc::new) };
        Ok(Arc::clone(running.get_or_try_init(start).await?))
    }

    async fn start(&self, execution: &Execution) -> Result<Server, McpError> {
        let mut child = self.program.spawn(execution, Stdio::inherit())?;
        let program = || self.program.path.clone();
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            let source = std::io::Error::other("it was started without streams");
            let program = program();
            return Err(StartError::Start { program, source }.into());
        };
        let transport = AsyncRwTransport::new(stdout, stdin).with_max_line_length(MOST_BYTES);
        let service = ().serve(transport).await.map_err(|source| McpError::Initialize {
            program: program(),
            source: Box::new(source),
        })?;
        Ok(Server {
            service,
            child: Mutex::new(Some(child)),
        })
    }

    async fn call(&self, input: Value, execution: Execution) -> Result<CallToolResult, McpError> {
        let params: CallToolRequestParams = serde_json::from_value(input).map_err(McpError::Input)?;
        let tool = params.name.clone().into_owned();
        let server = self.running(&execution).await?;
        match server.service.peer().call_tool(params).await {
            Ok(result) if result.is_error == Some(true) => Err(McpError::Failed {
                tool,
                said: said(&result),
            }),
            Ok(result) => Ok(result),
            Err(ServiceError::McpError(error)) => Err(McpError::Refused { tool, error }),
            Err(source) if server.has_ended() => {
                tracing::debug!(%source, "an MCP server has ended");
                Err(McpError::Ended {
                    program: self.program.path.clone(),
                    tool,
                    status: server.status().await,
                })
            }
            Err(source) => Err(McpError::Call {
                tool,
                source: Box::new(source),
            }),
        }
    }
}

/// The texts of a result.
fn said(result: &CallToolResult) -> String {
    let texts = result.content.iter().filter_map(|block| block.as_text());
    let texts: Vec<&str> = texts.map(|text| text.text.as_str()).collect();
    if texts.is_empty() {
        "it failed, and says no more".to_owned()
    } else {
        texts.join("\n")
    }
}

impl Server {
    fn has_ended(&self) -> bool {
        self.service.peer().is_transport_closed()
    }

    /// Waits for its end, a moment: what ends last is its process.
    async fn status(&self) -> Option<ExitStatus> {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        timeout(END_WITHIN, child?.wait()).await.ok()?.ok()
    }
}

impl ToolExecutor for McpExecutor {
    async fn execute(&self, input: Value, execution: Execution) -> Result<Value, ExecutorError> {
        Ok(serde_json::to_value(self.call(input, execution).await?)?)
    }

    fn operation(&self, input: &Value) -> Option<String> {
        Some(input.get("name")?.as_str()?.to_owned())
    }

    /// The server is told that nobody speaks any more, and made to end where it goes on; the next execution starts another one.
    async fn restart(&self) -> Result<(), ExecutorError> {
        let server = std::mem::take(&mut *self.server());
        if let Some(server) = server.get() {
            server.service.cancellation_token().cancel();
            server.status().await;
        }
        Ok(())
    }
}

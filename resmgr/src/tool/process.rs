//! A program as an executor: one process an execution, the tool's from its first instruction.

use std::{ffi::OsString, io, process::Stdio};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::{Execution, ExecutorError, StartError, ToolExecutor, program::Program};

/// Bytes that a program may print, on each of its outputs.
const MOST_OUTPUT: u64 = 64 << 20;
/// What is told of the end of its standard error.
const TOLD: usize = 4096;

/// Runs a program. The input is written to its standard input as JSON, unless it is null; what it prints is the output: a
/// value where it is JSON, a text otherwise. The program is killed where the execution is dropped.
///
/// ```
/// use resmgr::tool::ProcessExecutor;
///
/// let sort = ProcessExecutor::new("sort").arg("--numeric-sort");
/// ```
#[derive(Clone, Debug)]
pub struct ProcessExecutor(Program);

/// A program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It ended otherwise than well.
    #[error("{} ended with {status}: {said}", program.display())]
    Ended {
        /// The program.
        program: OsString,
        /// How.
        status: std::process::ExitStatus,
        /// The end of its standard error.
        said: String,
    },
    /// It printed too much.
    #[error("{} printed more than {MOST_OUTPUT} bytes, and was ended", program.display())]
    TooLong {
        /// The program.
        program: OsString,
    },
    /// What it prints cannot be read, or it cannot be waited for.
    #[error("{}: {source}", program.display())]
    Io {
        /// The program.
        program: OsString,
        /// What went wrong.
        source: io::Error,
    },
}

impl ProcessExecutor {
    /// Runs this program, found as a shell finds it.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self(Program::new(program.into()))
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.0.arguments.push(argument.into());
        self
    }

    /// With a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.0.variables.push((name.into(), value.into()));
        self
    }

    /// Does not run it where no agent answers, which is only untracked otherwise.
    #[must_use]
    pub const fn require_agent(mut self) -> Self {
        self.0.required = true;
        self
    }

    async fn run(&self, input: Value, execution: Execution) -> Result<Value, ProcessError> {
        let io = |source| ProcessError::Io {
            program: self.0.path.clone(),
            source,
        };
        let mut child = self.0.spawn(&execution, Stdio::piped())?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let (Some(mut stdin), false) = (stdin, input.is_null()) {
                // One that does not read all of its input may be right not to.
                let _ = stdin.write_all(input.to_string().as_bytes()).await;
            }
        };
        let ((), printed, said) = tokio::join!(write, read(stdout), read(stderr));
        let (printed, said) = (printed.map_err(io)?, said.map_err(io)?);
        if printed.len() as u64 > MOST_OUTPUT || said.len() as u64 > MOST_OUTPUT {
            let program = self.0.path.clone();
            return Err(ProcessError::TooLong { program });
        }
        let status = child.wait().await.map_err(io)?;
        if !status.success() {
            let last = said.len().saturating_sub(TOLD);
            let said = String::from_utf8_lossy(said.get(last..).unwrap_or_default());
            return Err(ProcessError::Ended {
                program: self.0.path.clone(),
                status,
                said: said.trim_end().to_owned(),
            });
        }
        let value = serde_json::from_slice(&printed);
        Ok(value.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&printed).into_owned())))
    }
}

/// All of an output, and one byte more where it is too long.
async fn read(output: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    if let Some(output) = output {
        output.take(MOST_OUTPUT + 1).read_to_end(&mut all).await?;
    }
    Ok(all)
}

impl ToolExecutor for ProcessExecutor {
    async fn execute(&self, input: Value, execution: Execution) -> Result<Value, ExecutorError> {
        Ok(self.run(input, execution).await?)
    }
}

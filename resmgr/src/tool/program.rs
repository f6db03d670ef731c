//! A program to start as one of a tool's processes: the tool's from its first instruction.

use std::{ffi::OsString, io, process::Stdio};

use tokio::process::{Child, Command};

use super::Execution;
use crate::{
    kernel::register_at_start,
    model::{LimitsAsked, OperationKind},
    protocol::{Method, Outcome, RegisterParams, Request, Response},
};

/// What is to be started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: Vec<(OsString, OsString)>,
    /// Not where no agent answers.
    pub(super) required: bool,
}

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system did not.
    #[error("run {}: {source}", program.display())]
    Start {
        /// The program.
        program: OsString,
        /// Why not.
        source: io::Error,
    },
    /// The agent refused it.
    #[error("{} was not run: {message}", program.display())]
    Refused {
        /// The program.
        program: OsString,
        /// What the agent said.
        message: String,
    },
}

impl Program {
    /// A program, found as a shell finds it.
    pub(super) fn new(program: OsString) -> Self {
        Self {
            path: program,
            arguments: Vec::new(),
            variables: Vec::new(),
            required: false,
        }
    }

    /// Starts it for an execution's tool, with pipes to its input and from its output. It is killed where it is dropped.
    pub(super) fn spawn(&self, execution: &Execution, stderr: Stdio) -> Result<Child, StartError> {
        let failed = |source| StartError::Start {
            program: self.path.clone(),
            source,
        };
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true);
        let request = Request::new(Method::Register(RegisterParams {
            tool: execution.tool().clone(),
            instance: Some(execution.account().instance()),
            cidfile: None,
            operation: OperationKind::default(),
            limits: LimitsAsked::default(),
            best_effort: true,
        }));
        let mut line = serde_json::to_vec(&request).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let refusals = register_at_start(&mut command, execution.socket(), line, self.required).map_err(failed)?;
        let spawned = command.spawn();
        // What could write to it is gone with it.
        drop(command);
        spawned.map_err(|source| match refusals.read() {
            Some(said) => StartError::Refused {
                program: self.path.clone(),
                message: refusal(&said),
            },
            None => failed(source),
        })
    }
}

/// What a refusal says to people.
fn refusal(said: &[u8]) -> String {
    match serde_json::from_slice::<Response<()>>(said).map(|response| response.outcome) {
        Ok(Outcome::Error(refusal)) => refusal.message,
        _ => String::from_utf8_lossy(said).into_owned(),
    }
}

//! How a command fails: one error on standard error, and an exit code that says which kind it was.

use std::{fmt, io, process::ExitCode};

use crate::{agent::AgentError, kernel::KernelError, protocol::ClientError};

/// Exit codes; documented in docs/cli.md. Clap uses 2 for wrong arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    /// Anything without a code of its own.
    Failed = 1,
    /// Wrong arguments, or a configuration that cannot be used.
    Usage = 2,
    /// No agent answers, or it has gone.
    NoAgent = 3,
    /// Not root.
    NotPermitted = 4,
    /// This host lacks what is needed.
    Unsupported = 5,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    code: Code,
    error: anyhow::Error,
}

impl Failure {
    pub(super) fn new(code: Code, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }

    /// Tells a person, and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        let pipe_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if self.error.downcast_ref::<io::Error>().is_some_and(pipe_closed) {
            // Whoever read the output has read enough.
            return ExitCode::SUCCESS;
        }
        eprintln!("resmgr: {self}");
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Errors name their causes themselves.
        write!(f, "{}", self.error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Code::Failed, error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::NoAgent { .. } | ClientError::Gone { .. } | ClientError::Silent { .. } => Code::NoAgent,
            ClientError::Garbled { .. } | ClientError::Refused(_) => Code::Failed,
        };
        Self::new(code, error)
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let code = match &error {
            AgentError::Kernel(KernelError::NotRoot) => Code::NotPermitted,
            AgentError::Kernel(
                KernelError::NoBtf { .. }
                | KernelError::BadBtf { .. }
                | KernelError::Layout(_)
                | KernelError::Mount { .. }
                | KernelError::Verifier { .. },
            ) => Code::Unsupported,
            AgentError::PathTooLong { .. } | AgentError::NotASocket { .. } => Code::Usage,
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

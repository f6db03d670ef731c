//! Why an agent does not start, or stops.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{enforce::JournalError, kernel::KernelError, model::SourceError};

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Reading from the kernel failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What was changed on the host cannot be known, or not be noted.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another agent answers at the socket.
    #[error(
        "an agent already answers at {}{}: stop it, or give this one a --socket of its own",
        socket.display(),
        pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
    )]
    AlreadyRunning {
        /// The socket.
        socket: PathBuf,
        /// The other agent's process id.
        pid: Option<i32>,
    },
    /// Something that is no socket is in the way.
    #[error("{} is there and is no socket: move it away, or give another --socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The path does not fit into a socket's address.
    #[error("the socket's path {} has {length} bytes, the system allows 107: give a shorter --socket", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// A file or folder could not be used.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Scrapes cannot be answered where they were to be.
    #[error(
        "answer scrapes at {address}: {source}: write another address as `[metrics] listen` or --metrics-listen, one that ends \
         with :0 for any free port, or off"
    )]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The runtime refused something.
    #[error("{operation}: {source}")]
    Runtime {
        /// What was done.
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

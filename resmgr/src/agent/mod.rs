//! The agent: the one task that owns the state and the clock, and the socket through which it is asked.

mod clock;
mod commands;
mod error;
mod instance;
mod report;
mod run;
mod server;

use std::{path::PathBuf, time::Duration};

use crate::kernel::BpfObject;

pub use clock::SystemClock;
pub use error::AgentError;
pub use run::run;

/// Where an agent lives and how it works.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The control socket.
    pub socket: PathBuf,
    /// The folder for what survives a restart.
    pub state_dir: PathBuf,
    /// The folder for pins, under a BPF file system.
    pub pin_dir: PathBuf,
    /// The cgroup under which tools get leaves of their own; the root of cgroup v2 where not given.
    pub cgroup_root: Option<PathBuf>,
    /// Undo everything on exit.
    pub ephemeral: bool,
    /// Go by events alone.
    pub no_sweep: bool,
    /// Time between sweeps.
    pub sweep_interval: Duration,
    /// Processes that can have event counters at a time.
    pub max_processes: u32,
    /// Bytes of the event ring.
    pub ring_bytes: u32,
    /// The BPF object.
    pub object: BpfObject,
    /// The kernel's type information, where it is not in its usual place.
    pub btf: Option<PathBuf>,
}

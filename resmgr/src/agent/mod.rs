//! The agent: the one task that owns the state and the clock, and the socket through which it is asked.

mod alerting;
mod clock;
mod configuration;
mod error;
mod historian;
mod instance;
mod metrics;
mod operations;
mod proc;
mod report;
mod run;
mod server;
mod start;
mod tools;

use std::path::{Path, PathBuf};

use resmgr_common::ABI_VERSION;

use crate::{
    config::{Config, ConfigSource, Loaded},
    kernel::{BpfObject, HostFacts, Kernel, KernelError},
};

pub use clock::SystemClock;
pub use error::AgentError;
pub use run::run;
pub use tools::leaves;

/// Where an agent lives and how it works.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct AgentOptions {
    /// The control socket.
    pub socket: PathBuf,
    /// The folder for what survives a restart.
    pub state_dir: PathBuf,
    /// The folder for pins, under a BPF file system.
    pub pin_dir: PathBuf,
    /// The cgroup under which tools get leaves of their own; `resmgr` under the root of cgroup v2 where not given.
    pub cgroup_root: Option<PathBuf>,
    /// Undo everything on exit.
    pub ephemeral: bool,
    /// It is a part of another program, whose signals and limits it leaves alone.
    pub embedded: bool,
    /// Go by events alone.
    pub no_sweep: bool,
    /// Count events of every process, not of tools' alone.
    pub track_all: bool,
    /// The configuration, as it was read.
    pub configuration: Loaded,
    /// Where it is read from again; `None` where a program has given it.
    pub source: Option<ConfigSource>,
    /// The BPF object.
    pub object: BpfObject,
    /// The kernel's type information, where it is not in its usual place.
    pub btf: Option<PathBuf>,
}

impl AgentOptions {
    /// An agent that is part of a program: its socket and state are in a folder of the program's own, nothing is pinned, and
    /// on exit everything is undone.
    pub fn embedded(folder: &Path, config: Config) -> Self {
        let cgroup2 = HostFacts::look(None).cgroup2;
        Self {
            socket: folder.join("resmgr.sock"),
            state_dir: folder.join("state"),
            pin_dir: folder.join("pins"),
            cgroup_root: cgroup2.map(|root| root.join(format!("resmgr-{}", std::process::id()))),
            ephemeral: true,
            embedded: true,
            no_sweep: false,
            track_all: false,
            configuration: Loaded::given(config),
            source: None,
            object: BpfObject::embedded(),
            btf: None,
        }
    }
}

/// Removes what an agent has left: detaches its programs and forgets what they counted, and puts back what it changed for
/// tools, by the journal in its state folder. An agent that runs keeps its own.
pub fn release(pin_dir: &Path, state_dir: &Path, cgroup_root: Option<PathBuf>) -> Result<(), AgentError> {
    if !rustix::process::geteuid().is_root() {
        return Err(KernelError::NotRoot.into());
    }
    // Both are locked by an agent that runs: neither is touched before both are ours.
    let journal = state_dir.is_dir().then(|| start::open_journal(state_dir)).transpose()?;
    if pin_dir.exists() {
        Kernel::release(pin_dir, ABI_VERSION)?;
    }
    let facts = HostFacts::look(None);
    let leaves = leaves(facts.cgroup2.as_deref(), cgroup_root);
    if let Some(journal) = journal {
        for error in tools::put_all_back(&journal, leaves.as_ref(), |_, _| false) {
            tracing::warn!("{error}");
        }
        journal.remove()?;
    }
    Ok(())
}

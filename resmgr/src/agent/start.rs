//! What an agent begins with: its own limits, the programs, the journal, the signals that it heeds.

use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{AgentError, AgentOptions};
use crate::{
    enforce::Journal,
    kernel::{HostFacts, Kernel, LoadOptions},
};

/// The journal in a state folder, of this run of the kernel.
pub(super) fn open_journal(state_dir: &Path) -> Result<Journal, AgentError> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|source| AgentError::Io {
        operation: "read",
        path: "/proc/sys/kernel/random/boot_id".into(),
        source,
    })?;
    Ok(Journal::open(state_dir, boot.trim())?)
}

/// An agent that ends a large tool holds a descriptor for each process: it takes all that it may have.
pub(super) fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: now.maximum,
        ..now
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::info!(%error, "the agent's own limit of descriptors stays");
    }
}

/// Loads the programs, and attaches them or takes over those that are there.
pub(super) fn start_kernel(facts: &HostFacts, options: &AgentOptions) -> Result<Kernel, AgentError> {
    let load = LoadOptions {
        object: options.object.clone(),
        max_processes: options.max_processes,
        ring_bytes: options.ring_bytes,
        // Without sweeps nobody else counts the others.
        track_all: options.track_all || options.no_sweep,
        pin_dir: (!options.ephemeral).then(|| options.pin_dir.clone()),
        ..LoadOptions::default()
    };
    Ok(Kernel::start(facts, &load)?)
}

/// The signals that an agent heeds.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hang_up: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, AgentError> {
        let listen = |kind| {
            signal(kind).map_err(|source| AgentError::Runtime {
                operation: "listen for signals",
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }
}

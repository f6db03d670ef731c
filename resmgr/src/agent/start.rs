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
        max_processes: options.configuration.config.max_processes,
        ring_bytes: options.configuration.config.ring_bytes,
        // Without sweeps nobody else counts the others.
        track_all: options.track_all || options.no_sweep,
        pin_dir: (!options.ephemeral).then(|| options.pin_dir.clone()),
        ..LoadOptions::default()
    };
    Ok(Kernel::start(facts, &load)?)
}

/// The signals that an agent heeds; none where the process is its user's.
pub(super) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hang_up: Option<Signal>,
}

/// What a signal has asked for.
pub(super) enum Signalled {
    Stop(&'static str),
    Reload,
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
            terminate: Some(listen(SignalKind::terminate())?),
            interrupt: Some(listen(SignalKind::interrupt())?),
            hang_up: Some(listen(SignalKind::hangup())?),
        })
    }

    /// None: they are its user's.
    pub(super) const fn none() -> Self {
        Self {
            terminate: None,
            interrupt: None,
            hang_up: None,
        }
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signalled {
        tokio::select! {
            biased;
            () = received(self.terminate.as_mut()) => Signalled::Stop("SIGTERM"),
            () = received(self.interrupt.as_mut()) => Signalled::Stop("SIGINT"),
            () = received(self.hang_up.as_mut()) => Signalled::Reload,
        }
    }
}

/// Waits for a signal; for ever where it is not listened for.
async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

//! The agent's loop: one task owns all state; everything that can wake it is one of [`Wake`].

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{
    AgentError, AgentOptions, SystemClock,
    instance::{self, Instance},
    report,
    server::{self, Caller, Question},
};
use crate::{
    kernel::{HostFacts, Kernel, KernelError, LoadOptions, Mounts, Readable},
    manager::EnhancedResourceManager,
    model::{Clock as _, Drained, Timestamp},
    protocol::{Method, Refusal, RefusalCode, Response, StatusReport},
};

/// Requests that wait for the loop at most; clients beyond that wait in their own tasks.
const WAITING_REQUESTS: usize = 64;

/// What wakes the loop.
enum Wake {
    /// The ring holds something urgent, or more than one batch of it.
    Kernel,
    /// A program has logged something.
    Log,
    /// It is time for a sweep.
    Tick,
    /// A client asks.
    Request(Question),
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT, or whoever started the loop wants it to end.
    Stop(&'static str),
}

/// Runs an agent until it is told to stop: by SIGTERM, by SIGINT, or by `stop`. `ready` is called once clients are
/// answered.
///
/// Where it fails, nothing stays attached, and what it mounted is unmounted.
pub async fn run(options: AgentOptions, ready: impl FnOnce(), stop: mpsc::Receiver<()>) -> Result<(), AgentError> {
    let clock = SystemClock;
    let started = clock.now();
    if !rustix::process::geteuid().is_root() {
        return Err(KernelError::NotRoot.into());
    }
    // Signals that come while the programs load are remembered, not deadly.
    let signals = Signals::listen()?;
    let (claim, listener) = Instance::claim(&options.socket).await?;
    let mut state_made = Vec::new();
    let mut mounts = Mounts::default();
    let result = async {
        state_made = instance::make_folder(&options.state_dir, 0o700)?;
        let kernel = start_kernel(&mut mounts, &options)?;
        let (ask, questions) = mpsc::channel(WAITING_REQUESTS);
        let agent = Agent::new(kernel, options.clone(), started, questions, signals)?;
        let server = tokio::spawn(server::serve(listener, ask));
        let result = agent.run(ready, stop).await;
        server.abort();
        result
    }
    .await;
    if options.ephemeral || result.is_err() {
        mounts.undo();
        instance::remove_empty(&state_made);
    }
    drop(claim);
    result
}

fn start_kernel(mounts: &mut Mounts, options: &AgentOptions) -> Result<Kernel, AgentError> {
    mounts.ensure()?;
    let facts = HostFacts::look(options.btf.as_deref());
    let load = LoadOptions {
        object: options.object.clone(),
        max_processes: options.max_processes,
        ring_bytes: options.ring_bytes,
    };
    Ok(Kernel::start(&facts, &load)?)
}

/// The signals that an agent heeds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, AgentError> {
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

/// All state of the loop.
struct Agent {
    manager: EnhancedResourceManager<Kernel>,
    options: AgentOptions,
    clock: SystemClock,
    started: Timestamp,
    questions: mpsc::Receiver<Question>,
    signals: Signals,
    ring: Readable,
    log: Option<Readable>,
    tick: Interval,
    /// The last batch of events did not empty the ring.
    more_events: bool,
}

impl Agent {
    fn new(
        kernel: Kernel,
        options: AgentOptions,
        started: Timestamp,
        questions: mpsc::Receiver<Question>,
        signals: Signals,
    ) -> Result<Self, AgentError> {
        let watch = |source| AgentError::Runtime {
            operation: "watch the event ring",
            source,
        };
        let ring = kernel.ring_fd().and_then(Readable::new).map_err(watch)?;
        let log = kernel
            .log_fd()
            .and_then(|fd| fd.map(Readable::new).transpose())
            .map_err(watch)?;
        let mut tick = interval_at(Instant::now() + options.sweep_interval, options.sweep_interval);
        // After a stall the next sweep tells all that there is to know: none is made up for.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            manager: EnhancedResourceManager::new(kernel, !options.no_sweep),
            options,
            clock: SystemClock,
            started,
            questions,
            signals,
            ring,
            log,
            tick,
            more_events: false,
        })
    }

    async fn run(mut self, ready: impl FnOnce(), mut stop: mpsc::Receiver<()>) -> Result<(), AgentError> {
        // Everything that runs already is known before the first answer.
        self.manager.refresh(&self.clock)?;
        self.announce();
        ready();
        loop {
            match self.next_wake(&mut stop).await {
                Wake::Kernel => self.more_events = self.manager.drain(&self.clock)? == Drained::BudgetSpent,
                Wake::Log => self.manager.source_mut().flush_log(),
                Wake::Tick => self.sweep(),
                Wake::Request(question) => self.answer(question),
                Wake::Reload => tracing::info!("nothing to reload: the agent runs on its flags"),
                Wake::Stop(why) => {
                    tracing::info!(why, "stopping");
                    return Ok(());
                }
            }
        }
    }

    fn announce(&self) {
        let capabilities = self.manager.capabilities();
        for missing in &capabilities.hooks_missing {
            tracing::warn!(hook = missing.hook, reason = missing.reason, "{}", missing.consequence);
        }
        tracing::info!(
            socket = %self.options.socket.display(),
            hooks = capabilities.hooks_attached,
            processes = self.manager.tracker().processes().count(),
            object = %self.options.object.origin(),
            "ready"
        );
    }

    async fn next_wake(&mut self, stop: &mut mpsc::Receiver<()>) -> Wake {
        tokio::select! {
            biased;
            _ = self.signals.terminate.recv() => Wake::Stop("SIGTERM"),
            _ = self.signals.interrupt.recv() => Wake::Stop("SIGINT"),
            Some(()) = stop.recv() => Wake::Stop("asked to"),
            _ = self.signals.hang_up.recv() => Wake::Reload,
            _ = self.tick.tick() => Wake::Tick,
            Some(question) = self.questions.recv() => Wake::Request(question),
            () = self.ring.ready() => Wake::Kernel,
            () = ready(self.log.as_ref()) => Wake::Log,
            () = std::future::ready(()), if self.more_events => Wake::Kernel,
        }
    }

    /// A sweep that fails, for want of memory perhaps, is counted; the next one may succeed.
    fn sweep(&mut self) {
        if let Err(error) = self.manager.refresh(&self.clock) {
            tracing::warn!(%error, "a sweep failed");
        }
    }

    fn answer(&mut self, question: Question) {
        let Question { method, caller, answer } = question;
        let outcome = self.report(&method, caller).and_then(|report| {
            serde_json::to_vec(&Response::new(Ok(report)))
                .map_err(|error| Refusal::new(RefusalCode::Internal, error.to_string()))
        });
        // A client that has hung up needs no answer.
        let _ = answer.send(outcome);
    }

    fn report(&mut self, method: &Method, caller: Caller) -> Result<StatusReport, Refusal> {
        match *method {
            Method::Status(params) => report::status(
                &mut self.manager,
                params,
                caller,
                &self.options,
                self.started,
                &self.clock,
            ),
        }
    }
}

/// Waits for a descriptor; for ever where there is none.
async fn ready(watched: Option<&Readable>) {
    match watched {
        Some(watched) => watched.ready().await,
        None => std::future::pending().await,
    }
}

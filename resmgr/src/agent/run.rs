//! The agent's loop: one task owns all state; everything that can wake it is one of [`Wake`].

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    AgentError, AgentOptions, SystemClock,
    alerting::Alerting,
    instance::{self, Instance},
    report,
    server::{self, Question},
    tools::{Asked, Entry, Tools},
};
use crate::{
    kernel::{HostFacts, Kernel, KernelError, LoadOptions, Mounts, Readable},
    manager::EnhancedResourceManager,
    model::{Clock as _, Timestamp},
    protocol::{Method, Refusal, RefusalCode, Registered, Response},
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
    /// The end of a tool asks.
    Ending(Asked),
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
    raise_descriptors();
    // Signals that come while the programs load are remembered, not deadly.
    let signals = Signals::listen()?;
    let (claim, listener) = Instance::claim(&options.socket).await?;
    let mut state_made = Vec::new();
    let mut mounts = Mounts::default();
    let result = async {
        state_made = instance::make_folder(&options.state_dir, 0o700)?;
        mounts.ensure()?;
        let facts = HostFacts::look(options.btf.as_deref());
        let kernel = start_kernel(&facts, &options)?;
        mounts.release();
        let (tools, endings) = Tools::new(
            facts.cgroup2,
            options.cgroup_root.clone(),
            options.rules.clone(),
            options.limits.clone(),
        );
        let (ask, questions) = mpsc::channel(WAITING_REQUESTS);
        let agent = Agent::new(kernel, (tools, endings), options.clone(), started, questions, signals)?;
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

/// An agent that ends a large tool holds a descriptor for each process: it takes all that it may have.
fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: now.maximum,
        ..now
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::info!(%error, "the agent's own limit of descriptors stays");
    }
}

fn start_kernel(facts: &HostFacts, options: &AgentOptions) -> Result<Kernel, AgentError> {
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

/// Programs executed that are matched with rules before anything else gets a turn.
const MATCHES: usize = 256;

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
    tools: Tools,
    alerting: Alerting,
    options: AgentOptions,
    clock: SystemClock,
    started: Timestamp,
    questions: mpsc::Receiver<Question>,
    endings: mpsc::Receiver<Asked>,
    signals: Signals,
    ring: Readable,
    log: Option<Readable>,
    tick: Interval,
    /// When tools are to be looked at again, if not before.
    look_again: Option<Instant>,
}

impl Agent {
    fn new(
        kernel: Kernel,
        (tools, endings): (Tools, mpsc::Receiver<Asked>),
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
            tools,
            alerting: Alerting::new(options.alert_command.clone()),
            options,
            clock: SystemClock,
            started,
            questions,
            endings,
            signals,
            ring,
            log,
            tick,
            look_again: None,
        })
    }

    async fn run(mut self, ready: impl FnOnce(), mut stop: mpsc::Receiver<()>) -> Result<(), AgentError> {
        // Everything that runs already is known before the first answer.
        let adopted = self.tools.start(&mut self.manager, &self.clock)?;
        self.announce(adopted);
        ready();
        loop {
            match self.next_wake(&mut stop).await {
                Wake::Kernel => self.drain()?,
                Wake::Log => self.manager.source_mut().flush_log(),
                Wake::Tick => {
                    self.drain()?;
                    self.sweep();
                }
                Wake::Request(question) => {
                    self.drain()?;
                    self.answer(question);
                }
                Wake::Ending(asked) => {
                    self.drain()?;
                    self.tools.answer(&mut self.manager, asked, &self.clock)?;
                }
                Wake::Reload => tracing::info!("nothing to reload: the agent runs on its flags"),
                Wake::Stop(why) => {
                    tracing::info!(why, "stopping");
                    if self.options.ephemeral {
                        self.tools.let_go(&self.manager);
                    }
                    return Ok(());
                }
            }
        }
    }

    fn announce(&self, adopted_tools: usize) {
        let capabilities = self.manager.capabilities();
        for missing in &capabilities.hooks_missing {
            tracing::warn!(hook = missing.hook, reason = missing.reason, "{}", missing.consequence);
        }
        tracing::info!(
            socket = %self.options.socket.display(),
            hooks = capabilities.hooks_attached,
            adopted_hooks = capabilities.hooks_adopted,
            adopted_tools,
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
            () = sleep_until(self.look_again.unwrap_or_else(Instant::now)), if self.look_again.is_some() => Wake::Tick,
            Some(asked) = self.endings.recv() => Wake::Ending(asked),
            Some(question) = self.questions.recv() => Wake::Request(question),
            () = self.ring.ready() => Wake::Kernel,
            () = ready(self.log.as_ref()) => Wake::Log,
            () = std::future::ready(()), if self.manager.is_behind() => Wake::Kernel,
        }
    }

    /// Takes in events, and matches rules with what has been executed.
    fn drain(&mut self) -> Result<(), AgentError> {
        let track_all = self.options.track_all || self.options.no_sweep;
        let mut decided = false;
        for _ in 0..MATCHES {
            self.manager.drain(&self.clock)?;
            let images = self.manager.take_images();
            if images.is_empty() {
                break;
            }
            decided |= self
                .tools
                .match_executed(&mut self.manager, &images, &self.clock, track_all)?;
        }
        if decided {
            self.manager.take_in(&self.clock)?;
        }
        let crossings = self.manager.take_crossings();
        if !crossings.is_empty() {
            self.alerting.crossed(&self.manager, &crossings, &self.clock);
            self.manager.raise(&crossings, &self.clock)?;
            self.hold();
        }
        Ok(())
    }

    /// A sweep that fails, for want of memory perhaps, is counted; the next one may succeed.
    fn sweep(&mut self) {
        let swept = self
            .tools
            .tick(&mut self.manager, &self.clock)
            .and_then(|()| self.manager.refresh(&self.clock))
            .and_then(|()| {
                self.alerting.swept(&self.manager, &self.clock);
                self.manager.adapt(&self.clock)
            });
        match swept {
            Ok(()) => {
                self.tools
                    .look_for_orphans(&mut self.manager, &mut self.alerting, &self.clock);
                self.hold();
            }
            Err(error) => {
                self.look_again = None;
                tracing::warn!(%error, "a sweep failed");
            }
        }
    }

    /// Holds tools by what is known of them, and remembers when to look again.
    fn hold(&mut self) {
        let now_ns = self.clock.now().monotonic_ns;
        let again = self.tools.hold(&mut self.manager, &self.clock);
        let within = |at_ns: u64| Duration::from_nanos(at_ns.saturating_sub(now_ns));
        self.look_again = again.map(|at_ns| Instant::now() + within(at_ns));
    }

    fn answer(&mut self, question: Question) {
        let Question { method, caller, answer } = question;
        let outcome = match method {
            Method::Status(params) => {
                if params.fresh {
                    self.tools.look_into_leaves(&mut self.manager);
                }
                report::status(
                    &mut self.manager,
                    &params,
                    caller,
                    &self.options,
                    self.started,
                    &self.clock,
                )
                .and_then(to_line)
            }
            Method::Attach(params) => self
                .tools
                .attach(&mut self.manager, &params, caller, &self.clock)
                .and_then(to_line),
            Method::SetLimits(params) => self
                .tools
                .set_limits(&mut self.manager, &params, caller, &self.clock)
                .and_then(to_line),
            Method::Alerts(params) => {
                self.alerting.ask(params, caller, answer);
                return;
            }
            Method::CleanUp(params) => match self.tools.clean_up(&mut self.manager, &params, caller, &self.clock) {
                Ok(endings) => {
                    tokio::spawn(async move {
                        let _ = answer.send(to_line(endings.run().await));
                    });
                    return;
                }
                Err(refusal) => Err(refusal),
            },
            Method::Register(params) => {
                match self.tools.register(&mut self.manager, &params, caller, &self.clock) {
                    Ok((registered, Some(entry))) => {
                        // The kernel lets a process wait on its way into a cgroup: not this loop.
                        tokio::spawn(async move {
                            // A client that has hung up needs no answer.
                            let _ = answer.send(to_line(enter(registered, entry).await));
                        });
                        return;
                    }
                    Ok((registered, None)) => to_line(registered),
                    Err(refusal) => Err(refusal),
                }
            }
        };
        let _ = answer.send(outcome);
    }
}

/// An answer's line.
pub(super) fn to_line(content: impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(&Response::new(Ok(content)))
        .map_err(|error| Refusal::new(RefusalCode::Internal, error.to_string()))
}

/// Moves a caller into its tool's leaf; where that fails, it goes on where it is, and is told.
async fn enter(mut registered: Registered, entry: Entry) -> Registered {
    registered.warnings.extend(entry.enter().await);
    registered
}

/// Waits for a descriptor; for ever where there is none.
async fn ready(watched: Option<&Readable>) {
    match watched {
        Some(watched) => watched.ready().await,
        None => std::future::pending().await,
    }
}

//! The agent's loop: one task owns all state; everything that can wake it is one of [`Wake`].

mod answers;
mod lines;
mod reloading;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    AgentError, AgentOptions, SystemClock,
    alerting::Alerting,
    configuration::Configuration,
    historian::{Found, Historian, HistoryOptions, Opening},
    instance::{self, Instance},
    metrics::{self, Metrics},
    operations::Operations,
    server::{self, Told as FromClients},
    start::{Signalled, Signals, open_journal, raise_descriptors, start_kernel},
    tools::{Asked, Tools},
};
use crate::{
    adapt::AdaptiveResourceManager,
    config::MetricsListen,
    enforce::Journal,
    engine::Engine,
    kernel::{HostFacts, Kernel, KernelError, Mounts, Readable},
    model::{Clock as _, Timestamp},
};

pub(super) use answers::to_line;

/// Requests that wait for the loop at most; clients beyond that wait in their own tasks.
const WAITING_REQUESTS: usize = 64;

/// What wakes the loop.
enum Wake {
    /// The ring holds something urgent, or more than one batch of it.
    Kernel,
    /// The memory of a leaf came to a line.
    Charge,
    /// A program has logged something.
    Log,
    /// It is time for a sweep.
    Tick,
    /// A client asks, or has hung up.
    Client(FromClients),
    /// The end of a tool asks.
    Ending(Asked),
    /// A scraper asks.
    Scraper(metrics::Asked),
    /// A look at the history has found a season, or none.
    Season(Found),
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT, or whoever started the loop wants it to end.
    Stop(&'static str),
}

/// Runs an agent until it is told to stop: by SIGTERM, by SIGINT, or by `stop`; an embedded one by `stop` alone. `ready` is called once clients are
/// answered.
///
/// Where it fails, nothing stays attached, and what it mounted is unmounted.
pub async fn run(mut options: AgentOptions, ready: impl FnOnce(), stop: mpsc::Receiver<()>) -> Result<(), AgentError> {
    let clock = SystemClock;
    let started = clock.now();
    if !rustix::process::geteuid().is_root() {
        return Err(KernelError::NotRoot.into());
    }
    let signals = if options.embedded {
        Signals::none()
    } else {
        raise_descriptors();
        // Signals that come while the programs load are remembered, not deadly.
        Signals::listen()?
    };
    let group = options.configuration.config.group;
    let (claim, listener) = Instance::claim(&options.socket, group).await?;
    let scrapes = metrics::listen(&options).await?;
    options.configuration.config.metrics = Some(match scrapes {
        Some((_, address)) => MetricsListen::At(address),
        None => MetricsListen::Off,
    });
    let config = &options.configuration.config;
    let mut state_made = Vec::new();
    let mut journal = None;
    let mut mounts = Mounts::default();
    let result = async {
        state_made = instance::make_folder(&options.state_dir, 0o700)?;
        let opened = journal.insert(Arc::new(open_journal(&options.state_dir)?)).clone();
        // It is opened while the programs load.
        let history = Historian::start(HistoryOptions {
            path: (!options.ephemeral).then(|| options.state_dir.join("history.redb")),
            retention: config.retention,
        })?;
        mounts.ensure()?;
        let facts = HostFacts::look(options.btf.as_deref());
        let kernel = start_kernel(&facts, &options)?;
        mounts.release();
        let (rules, limits) = (config.rules.clone(), config.limits.clone());
        let (tools, endings) = Tools::new(facts.cgroup2, options.cgroup_root.clone(), rules, limits, opened);
        let (ask, clients) = mpsc::channel(WAITING_REQUESTS);
        let (scrape, scrapers) = mpsc::channel(WAITING_REQUESTS);
        let told = Told {
            clients,
            endings,
            scrapers,
            signals,
        };
        let agent = Agent::new(kernel, tools, history, options.clone(), started, told)?;
        let mut servers = JoinSet::new();
        servers.spawn(server::serve(listener, group, ask));
        if let Some((listener, _)) = scrapes {
            servers.spawn(metrics::serve(listener, scrape, agent.metrics.refused()));
        }
        let result = agent.run(ready, stop).await;
        servers.abort_all();
        result
    }
    .await;
    if options.ephemeral || result.is_err() {
        // What is still in it has not been put back, and whoever starts next has to know.
        if let Some(Err(error)) = journal.and_then(Arc::into_inner).map(Journal::remove) {
            tracing::warn!(%error, "the journal stays");
        }
        mounts.undo();
        instance::remove_empty(&state_made);
    }
    drop(claim);
    result
}

/// Programs executed that are matched with rules before anything else gets a turn.
const MATCHES: usize = 256;

/// What tells the loop of others.
struct Told {
    clients: mpsc::Receiver<FromClients>,
    endings: mpsc::Receiver<Asked>,
    scrapers: mpsc::Receiver<metrics::Asked>,
    signals: Signals,
}

/// All state of the loop.
struct Agent {
    engine: Engine<Kernel>,
    tools: Tools,
    alerting: Alerting,
    operations: Operations,
    historian: Historian,
    metrics: Metrics,
    /// The history of earlier agents, until it is known.
    opening: Option<Opening>,
    seasons: mpsc::Receiver<Found>,
    options: AgentOptions,
    configuration: Configuration,
    clock: SystemClock,
    started: Timestamp,
    told: Told,
    ring: Readable,
    charges: Option<Readable>,
    log: Option<Readable>,
    tick: Interval,
    /// When tools are to be looked at again, if not before.
    look_again: Option<Instant>,
}

impl Agent {
    fn new(
        kernel: Kernel,
        tools: Tools,
        (historian, opening, seasons): (Historian, Opening, mpsc::Receiver<Found>),
        options: AgentOptions,
        started: Timestamp,
        told: Told,
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
        let charges = tools.charges_fd().map(Readable::new).transpose().map_err(watch)?;
        let config = &options.configuration.config;
        let tick = ticks(config.sweep_interval);
        let mut engine = Engine::new(kernel, !options.no_sweep);
        engine.adapt_by(AdaptiveResourceManager::new(config.tuning));
        Ok(Self {
            engine,
            tools,
            alerting: Alerting::new(config.alert_command.clone()),
            operations: Operations::default(),
            historian,
            metrics: Metrics::default(),
            opening: Some(opening),
            seasons,
            configuration: Configuration::new(options.source.clone(), options.configuration.clone(), started.wall),
            options,
            clock: SystemClock,
            started,
            told,
            ring,
            charges,
            log,
            tick,
            look_again: None,
        })
    }

    async fn run(mut self, ready: impl FnOnce(), mut stop: mpsc::Receiver<()>) -> Result<(), AgentError> {
        let past = match self.opening.take() {
            Some(opening) => Some(opening.done().await),
            None => None,
        };
        if let Some(past) = &past {
            self.historian.resume(past, &mut self.engine, &self.clock);
        }
        // Everything that runs already is known before the first answer.
        let adopted = self.tools.start(&mut self.engine, &self.clock)?;
        if let Some(past) = past {
            self.historian.adopt(past, &mut self.engine, &self.clock).await;
        }
        self.announce(adopted);
        ready();
        loop {
            match self.next_wake(&mut stop).await {
                Wake::Kernel => self.drain()?,
                Wake::Charge => {
                    self.drain()?;
                    self.take_charges()?;
                }
                Wake::Log => self.engine.source_mut().flush_log(),
                Wake::Tick => {
                    self.drain()?;
                    self.sweep();
                }
                Wake::Client(FromClients::Asked(question)) => {
                    self.drain()?;
                    self.answer(*question);
                }
                Wake::Client(FromClients::HungUp(connection)) => {
                    self.drain()?;
                    self.operations.hung_up(&mut self.engine, connection, &self.clock)?;
                }
                Wake::Ending(asked) => {
                    self.drain()?;
                    self.tools.answer(&mut self.engine, asked, &self.clock)?;
                }
                Wake::Scraper(asked) => {
                    self.drain()?;
                    self.tell_scraper(asked);
                }
                Wake::Season(found) => {
                    let adaptive = self.engine.adaptive_mut();
                    adaptive.set_season(found.instance, found.resource, found.season);
                }
                Wake::Reload => {
                    self.drain()?;
                    // What came of it is in the log, and in the status.
                    let _ = self.reload();
                }
                Wake::Stop(why) => {
                    tracing::info!(why, "stopping");
                    if self.options.ephemeral {
                        // Who would ask this loop waits for it no longer.
                        self.told.endings.close();
                        self.tools.let_go().await;
                    }
                    self.historian.stop(&mut self.engine).await;
                    return Ok(());
                }
            }
            self.operations.tell(&self.engine, &self.clock);
        }
    }

    fn announce(&self, adopted_tools: usize) {
        let capabilities = self.engine.capabilities();
        for missing in &capabilities.hooks_missing {
            tracing::warn!(hook = missing.hook, reason = missing.reason, "{}", missing.consequence);
        }
        tracing::info!(
            socket = %self.options.socket.display(),
            metrics = %self.configuration.scraped_at().map_or(MetricsListen::Off, MetricsListen::At),
            hooks = capabilities.hooks_attached,
            adopted_hooks = capabilities.hooks_adopted,
            adopted_tools,
            processes = self.engine.tracker().processes().count(),
            object = %self.options.object.origin(),
            "ready"
        );
    }

    async fn next_wake(&mut self, stop: &mut mpsc::Receiver<()>) -> Wake {
        tokio::select! {
            biased;
            signalled = self.told.signals.next() => match signalled {
                Signalled::Stop(why) => Wake::Stop(why),
                Signalled::Reload => Wake::Reload,
            },
            Some(()) = stop.recv() => Wake::Stop("asked to"),
            _ = self.tick.tick() => Wake::Tick,
            () = sleep_until(self.look_again.unwrap_or_else(Instant::now)), if self.look_again.is_some() => Wake::Tick,
            Some(asked) = self.told.endings.recv() => Wake::Ending(asked),
            Some(told) = self.told.clients.recv() => Wake::Client(told),
            Some(asked) = self.told.scrapers.recv() => Wake::Scraper(asked),
            () = self.ring.ready() => Wake::Kernel,
            () = ready(self.charges.as_ref()) => Wake::Charge,
            () = ready(self.log.as_ref()) => Wake::Log,
            Some(found) = self.seasons.recv() => Wake::Season(found),
            () = std::future::ready(()), if self.engine.is_behind() => Wake::Kernel,
        }
    }

    /// Takes in events, and matches rules with what has been executed.
    fn drain(&mut self) -> Result<(), AgentError> {
        let track_all = self.options.track_all || self.options.no_sweep;
        let mut decided = false;
        for _ in 0..MATCHES {
            self.engine.drain(&self.clock)?;
            let images = self.engine.take_images();
            if images.is_empty() {
                break;
            }
            decided |= self
                .tools
                .match_executed(&mut self.engine, &images, &self.clock, track_all)?;
        }
        if decided {
            self.engine.take_in(&self.clock)?;
        }
        Ok(self.heed_crossings()?)
    }

    /// A sweep that fails, for want of memory perhaps, is counted; the next one may succeed.
    fn sweep(&mut self) {
        let swept = self
            .tools
            .tick(&mut self.engine, &self.clock)
            .and_then(|()| self.engine.refresh(&self.clock))
            .and_then(|()| self.tools.share_budgets(&mut self.engine, &self.clock))
            .and_then(|()| {
                self.alerting.swept(&self.engine, &self.clock);
                self.engine.adapt(&self.clock)
            });
        match swept {
            Ok(()) => {
                self.tools
                    .look_for_orphans(&mut self.engine, &mut self.alerting, &self.clock);
                self.tools.tell(&self.engine, &mut self.alerting, &self.clock);
                let ended = self.tools.take_ended();
                let (running, raised) = (self.engine.tracker().tools(), self.alerting.take_raised());
                self.metrics.swept(running, &ended, raised, self.clock.now());
                self.historian.record(&mut self.engine, ended, &self.clock);
                self.hold();
                let is_idle = |instance| self.tools.is_idle(instance);
                if let Err(error) = self.operations.end_idle(&mut self.engine, is_idle, &self.clock) {
                    tracing::warn!(%error, "operations go on");
                }
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
        let again = self.tools.hold(&mut self.engine, &self.clock);
        let within = |at_ns: u64| Duration::from_nanos(at_ns.saturating_sub(now_ns));
        self.look_again = again.map(|at_ns| Instant::now() + within(at_ns));
    }
}

/// When to sweep.
fn ticks(every: Duration) -> Interval {
    let mut tick = interval_at(Instant::now() + every, every);
    // After a stall the next sweep tells all that there is to know: none is made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// Waits for a descriptor; for ever where there is none.
async fn ready(watched: Option<&Readable>) {
    match watched {
        Some(watched) => watched.ready().await,
        None => std::future::pending().await,
    }
}

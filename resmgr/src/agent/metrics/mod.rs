//! What a scrape is told: each name and user once, however many instances there were. Series of tools that have ended go
//! after a while, so that those of many short ones do not stay.

mod http;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    engine::Engine,
    export::metrics::{AgentMeasured, Format, InForce, Measured, ToolMeasured, ToolNow, ToolTotals},
    model::{
        AlertKind, Clock, Resource, ResourceStatus, ResourceUsage, Source, SourceError, Timestamp, ToolLimits, ToolName,
    },
    protocol::AgentStatus,
    track::TrackedTool,
};

pub(super) use http::{listen, serve};

/// How long the totals of a name stay once no instance runs.
const KEPT_NS: u64 = 300 * 1_000_000_000;
/// Names of which no instance runs and the totals stay, at most: those that ended first are forgotten.
const KEPT: usize = 256;

/// A name, and the user whose it is.
type Key = (ToolName, u32);
/// Alerts that were raised, by whose they were and what they were about.
pub(super) type Raised = BTreeMap<(Key, AlertKind, ResourceStatus), u64>;

/// What scrapers ask the loop.
pub(super) enum Asked {
    /// For the numbers of now; an error where they cannot be had.
    Numbers(oneshot::Sender<Result<Arc<Scrape>, String>>),
    /// Whether its numbers are those of now; an error where they are old.
    Health(oneshot::Sender<Result<(), String>>),
}

/// The numbers of one sweep, and their text once somebody has asked for it.
#[derive(Debug)]
pub(super) struct Scrape {
    measured: Measured,
    prometheus: OnceLock<Bytes>,
    open_metrics: OnceLock<Bytes>,
}

impl Scrape {
    /// The text in a format, written once.
    fn text(&self, format: Format) -> Bytes {
        let once = match format {
            Format::Prometheus => &self.prometheus,
            Format::OpenMetrics => &self.open_metrics,
        };
        once.get_or_init(|| self.measured.text(format).into()).clone()
    }
}

/// What has ended of a name.
#[derive(Debug, Default)]
struct Past {
    totals: ToolTotals,
    /// When an instance was last seen to run, or something was counted.
    last_ns: u64,
}

/// What scrapes need of the past.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    past: BTreeMap<Key, Past>,
    /// Names that were forgotten before their time.
    forgotten: u64,
    /// Scrapes that found no room.
    refused: Arc<AtomicU64>,
    /// The numbers of the last refresh, where somebody asked for them.
    last: Option<(Timestamp, Arc<Scrape>)>,
}

impl Metrics {
    /// Where scrapes that find no room are counted.
    pub(super) fn refused(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.refused)
    }

    /// Takes in what has ended and what was raised since, and forgets what has been over for long.
    pub(super) fn swept<'t>(
        &mut self,
        running: impl Iterator<Item = &'t TrackedTool>,
        ended: &[TrackedTool],
        raised: Raised,
        now: Timestamp,
    ) {
        self.last = None;
        let now_ns = now.monotonic_ns;
        for tool in ended {
            let past = self.past_of(key(tool), now_ns);
            past.totals += totals(tool);
            *past.totals.ended.entry(tool.end_cause()).or_default() += 1;
        }
        self.raised(raised, now);
        let running: BTreeSet<Key> = running.map(key).collect();
        for (key, past) in &mut self.past {
            if running.contains(key) {
                past.last_ns = now_ns;
            }
        }
        self.forget(&running, now_ns);
    }

    /// Takes in what was raised since.
    pub(super) fn raised(&mut self, raised: Raised, now: Timestamp) {
        for ((key, kind, level), count) in raised {
            let past = self.past_of(key, now.monotonic_ns);
            *past.totals.alerts.entry((kind, level)).or_default() += count;
        }
    }

    fn past_of(&mut self, key: Key, now_ns: u64) -> &mut Past {
        let past = self.past.entry(key).or_default();
        past.last_ns = now_ns;
        past
    }

    /// Forgets names that have been over for long, and of too many of them those that ended first.
    fn forget(&mut self, running: &BTreeSet<Key>, now_ns: u64) {
        self.past
            .retain(|_, past| now_ns.saturating_sub(past.last_ns) < KEPT_NS);
        let over = self.past.iter().filter(|(key, _)| !running.contains(*key));
        let mut over: Vec<(u64, Key)> = over.map(|(key, past)| (past.last_ns, key.clone())).collect();
        let too_many = over.len().saturating_sub(KEPT);
        over.sort();
        for (_, key) in over.drain(..too_many) {
            self.past.remove(&key);
            self.forgotten += 1;
        }
    }

    /// The numbers of the last refresh. Descriptors are looked at once for each, however often it is asked.
    pub(super) fn numbers<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        ended: &[TrackedTool],
        agent: impl FnOnce(&mut Engine<S>) -> Result<AgentStatus, SourceError>,
        clock: &impl Clock,
    ) -> Result<Arc<Scrape>, SourceError> {
        if engine.refreshed().is_none() {
            engine.refresh(clock)?;
        }
        let refreshed = engine.refreshed().unwrap_or_else(|| clock.now());
        if let Some((_, scrape)) = self.last.as_ref().filter(|(of, _)| *of == refreshed) {
            return Ok(Arc::clone(scrape));
        }
        let began = clock.now();
        engine.read_sums()?;
        let tools = self.tools(engine, ended)?;
        let agent = agent(engine)?;
        let agent = AgentMeasured {
            scrape_ns: clock.now().monotonic_ns.saturating_sub(began.monotonic_ns),
            scrapes_refused: self.refused.load(Ordering::Relaxed),
            tools_forgotten: self.forgotten,
            ..measured(agent, clock.now())
        };
        let scrape = Arc::new(Scrape {
            measured: Measured { agent, tools },
            prometheus: OnceLock::new(),
            open_metrics: OnceLock::new(),
        });
        self.last = Some((refreshed, Arc::clone(&scrape)));
        Ok(scrape)
    }

    /// Every name and user that runs, or has not been over for long.
    fn tools<S: Source>(
        &self,
        engine: &mut Engine<S>,
        ended: &[TrackedTool],
    ) -> Result<Vec<ToolMeasured>, SourceError> {
        let mut all: BTreeMap<Key, (ToolTotals, Option<ToolNow>)> = BTreeMap::new();
        for (key, past) in &self.past {
            all.insert(key.clone(), (past.totals.clone(), None));
        }
        for tool in ended {
            all.entry(key(tool)).or_default().0 += totals(tool);
        }
        let tools: Vec<TrackedTool> = engine.tracker().tools().cloned().collect();
        // Of connections their states are told, of which each has one; peers are not told.
        let usages = engine.tool_usages(&tools, |_| true)?;
        for (tool, usage) in tools.iter().zip(usages) {
            let (counted, now) = all.entry(key(tool)).or_default();
            *counted += totals(tool);
            *now.get_or_insert_default() += running(engine, tool, usage);
        }
        let measured = all
            .into_iter()
            .map(|((name, uid), (totals, now))| ToolMeasured { name, uid, totals, now });
        Ok(measured.collect())
    }
}

fn key(tool: &TrackedTool) -> Key {
    (tool.identity.name.clone(), tool.identity.uid)
}

/// What has been counted of one instance.
fn totals(tool: &TrackedTool) -> ToolTotals {
    let sums = &tool.sums;
    ToolTotals {
        cpu_ns: tool.cpu_ns(),
        processes: tool.processes_total(),
        fds_opened: sums.fds_opened,
        fds_refused: sums.fds_refused,
        connections_made: sums.connections_made,
        connections_accepted: sums.connections_accepted,
        connections_failed: sums.connections_failed,
        connections_refused: sums.connections_refused,
        crossings: tool.crossings_total,
        oom_kills: tool.oom_kills,
        high_events: tool.stall.high_events,
        actions: tool.acted.clone(),
        ..ToolTotals::default()
    }
}

/// What one instance uses.
fn running<S: Source>(engine: &Engine<S>, tool: &TrackedTool, usage: ResourceUsage) -> ToolNow {
    let used = &tool.usage;
    let mut connections = BTreeMap::new();
    for connection in &usage.connections {
        *connections.entry(connection.state).or_default() += 1;
    }
    let mut reaches_max_s = [None; 4];
    for growing in engine
        .growth(tool.identity.instance)
        .iter()
        .flat_map(|growth| &growth.growing)
    {
        reaches_max_s[growing.resource as usize] = growing.reaches_max.map(|reached| reached.after_s);
    }
    ToolNow {
        instances: 1,
        status: tool.status(),
        memory_bytes: usage.memory_bytes as u64,
        memory: usage.memory,
        virtual_bytes: used.virtual_bytes,
        fds: usage.file_handles_by_kind,
        connections,
        operation_ms: tool.value(Resource::Cpu),
        limits: Resource::ALL.map(|resource| in_force(&tool.limits, resource)),
        used: Resource::ALL.map(|resource| ratio(tool.value(resource), tool.limits.range(resource).current)),
        needs: engine.needs(tool.identity.instance),
        reaches_max_s,
        processes: used.processes,
        threads: used.threads,
        orphans: used.orphans.len() as u64,
        zombies: used.zombies.len() as u64,
        escaped: used.escaped.len() as u64,
    }
}

fn in_force(limits: &ToolLimits, resource: Resource) -> InForce {
    let range = limits.range(resource);
    InForce {
        base: range.base,
        current: range.current,
        max: range.max,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, of which a few digits are shown")]
fn ratio(value: u64, limit: u64) -> f64 {
    value as f64 / limit.max(1) as f64
}

/// What the agent says of itself.
fn measured(status: AgentStatus, now: Timestamp) -> AgentMeasured {
    let now_s = u64::try_from(now.wall.timestamp()).unwrap_or(0);
    AgentMeasured {
        version: status.version,
        started_s: now_s.saturating_sub(status.uptime_s),
        cpu_ns: status.cpu_time_ns,
        resident_bytes: status.resident_bytes,
        sweeps: status.sweeps,
        sweeps_failed: status.sweeps_failed,
        sweep_ns: status.sweep_ns,
        sweep_bytes: status.sweep_bytes,
        sweep_interval_ms: status.sweep_interval_ms,
        losses: status.losses,
        drift: status.drift_total,
        maps: status.maps,
        programs: status.programs,
        hooks_attached: status.hooks_attached,
        hooks_missing: status.hooks_missing.len() as u64,
        ended: status.ended,
        history_bytes: status.history.bytes,
        samples_lost: status.history.samples_lost,
        ..AgentMeasured::default()
    }
}

#[cfg(test)]
mod tests;

//! What is told to people: by the log, by a command, and to who asks for it.

mod words;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

pub(super) use self::words::message;
use self::words::raise;
use super::{
    metrics::Raised,
    server::{Answer, Caller},
};
use crate::{
    alert::{Alerts, Hook, Seen},
    engine::Engine,
    export::growth as growth_in_words,
    model::{
        Alert, AlertKind, AlertState, Clock, Crossing, Growth, Resource, ResourceStatus, Source, ToolName, ToolSlot,
    },
    protocol::{AlertsParams, AlertsReport},
    track::TrackedTool,
};

/// The longest that somebody may wait for an alert.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Births a second, on the average over a sweep interval, that are worth an alert.
const SPAWNS_PER_SECOND: u64 = 100;
/// How long a process may be on its way into its tool's cgroup, in nanoseconds.
const WAY_IN_NS: u64 = 1_000_000_000;

/// Who waits for the next alert.
struct Waiting {
    params: AlertsParams,
    caller: Caller,
    until: Instant,
    answer: Answer,
}

/// What was seen of a tool at the last sweep.
#[derive(Clone, Copy)]
struct Looked {
    /// How many processes it had had.
    processes_total: u64,
    /// Since when processes have been outside of its cgroup.
    out_since_ns: Option<u64>,
    at_ns: u64,
}

/// Alerts and their ways.
pub(super) struct Alerting {
    alerts: Alerts,
    hook: Option<Hook>,
    waiting: Vec<Waiting>,
    looked: HashMap<u64, Looked>,
    raised: Raised,
}

impl Alerting {
    /// Alerts that are delivered to a command, where one is given.
    pub(super) fn new(command: Option<String>) -> Self {
        Self {
            alerts: Alerts::default(),
            hook: command.map(Hook::new),
            waiting: Vec::new(),
            looked: HashMap::new(),
            raised: Raised::new(),
        }
    }

    /// Delivers to another command from now on, or to none; what waits for the one before is still told to it.
    pub(super) fn deliver_to(&mut self, command: Option<String>) {
        self.hook = command.map(Hook::new);
    }

    /// What the kernel has just told.
    pub(super) fn crossed<S: Source>(&mut self, engine: &Engine<S>, crossings: &[Crossing], clock: &impl Clock) {
        for crossing in crossings.iter().filter(|crossing| crossing.risen) {
            let tool = engine.tracker().tool(crossing.slot);
            let Some(tool) = tool.filter(|tool| tool.identity.instance == crossing.instance) else {
                continue;
            };
            let kind = AlertKind::Limit(crossing.resource);
            let limit = tool.limits.range(crossing.resource).current;
            // The line may have been raised since: that it was crossed is worth a warning all the same.
            let now = ResourceStatus::of(crossing.value, limit).max(ResourceStatus::Warning);
            self.see(
                tool,
                kind,
                crossing.level.min(now),
                Some(crossing.value),
                Some(limit),
                clock,
            );
        }
    }

    /// What tools' leaves are charged with, which the kernel has just told of.
    pub(super) fn charged<S: Source>(&mut self, engine: &Engine<S>, slots: &BTreeSet<ToolSlot>, clock: &impl Clock) {
        for tool in slots.iter().filter_map(|slot| engine.tracker().tool(*slot)) {
            self.stands(tool, Resource::Memory, clock);
        }
    }

    /// How a resource stands.
    fn stands(&mut self, tool: &TrackedTool, resource: Resource, clock: &impl Clock) {
        let (value, limit) = (tool.value(resource), tool.limits.range(resource).current);
        let level = tool.level(resource);
        self.see(tool, AlertKind::Limit(resource), level, Some(value), Some(limit), clock);
    }

    /// What the last sweep has found.
    pub(super) fn swept<S: Source>(&mut self, engine: &Engine<S>, clock: &impl Clock) {
        let now_ns = clock.now().monotonic_ns;
        let before = std::mem::take(&mut self.looked);
        let speakers = speakers(engine);
        for tool in engine.tracker().tools() {
            let instance = tool.identity.instance;
            for resource in Resource::ALL {
                self.stands(tool, resource, clock);
            }
            self.grows(tool, engine.growth(instance), clock);
            let escaped = tool.usage.escaped.len() as u64;
            let before = before.get(&instance);
            let looked = Looked {
                processes_total: tool.processes_total(),
                out_since_ns: (escaped > 0).then(|| before.and_then(|before| before.out_since_ns).unwrap_or(now_ns)),
                at_ns: now_ns,
            };
            if let Some(before) = before {
                let born = looked.processes_total.saturating_sub(before.processes_total);
                let per_second = born * 1_000_000_000 / now_ns.saturating_sub(before.at_ns).max(1);
                self.see(
                    tool,
                    AlertKind::SpawnRate,
                    worth(per_second >= SPAWNS_PER_SECOND),
                    Some(per_second),
                    Some(SPAWNS_PER_SECOND),
                    clock,
                );
            }
            self.looked.insert(instance, looked);
            for (resource, of) in Resource::ALL.into_iter().zip(tool.budgets) {
                let Some(of) = of.filter(|_| speakers.contains(&instance)) else {
                    continue;
                };
                let kind = AlertKind::Budget(resource);
                self.see(tool, kind, of.level(), Some(of.used), Some(of.limit), clock);
            }
            // Under Critical it is page cache that is dropped at the line, and nothing that the tool needs.
            let level = if tool.stall.is_felt() && tool.level(Resource::Memory) >= ResourceStatus::Critical {
                ResourceStatus::Critical
            } else {
                ResourceStatus::Normal
            };
            let per_second = Some(tool.stall.high_per_second);
            self.see(tool, AlertKind::Stalled, level, per_second, None, clock);
            let (fullest, most) = fullest_table(engine, tool).unwrap_or((0, u64::MAX));
            let level = ResourceStatus::of(fullest, most);
            self.see(tool, AlertKind::ProcessFds, level, Some(fullest), Some(most), clock);
            // One that has just registered is on its way in.
            let is_out = looked
                .out_since_ns
                .is_some_and(|since| now_ns.saturating_sub(since) >= WAY_IN_NS);
            self.see(tool, AlertKind::Escaped, worth(is_out), Some(escaped), None, clock);
        }
        self.alerts.retain(|instance| self.looked.contains_key(&instance));
        self.answer_who_waited_long();
    }

    /// A tool runs on without those that it belongs to, or does no more.
    pub(super) fn left(&mut self, tool: &TrackedTool, is_left: bool, clock: &impl Clock) {
        let processes = Some(tool.usage.processes);
        self.see(tool, AlertKind::Left, worth(is_left), processes, None, clock);
    }

    /// What is known of its growth.
    fn grows(&mut self, tool: &TrackedTool, growth: Option<&Growth>, clock: &impl Clock) {
        let first = growth.and_then(|growth| growth.growing.first());
        let value = first.map(|growing| tool.value(growing.resource));
        let limit = first.map(|growing| tool.limits.range(growing.resource).max);
        let seen = seen(tool, AlertKind::Growth, worth(growth.is_some()), value, limit);
        let name = &tool.identity.name;
        let message = || match (growth, first) {
            (Some(growth), Some(first)) => format!(
                "{}; to raise that: {}; what was learned: resmgr explain {name}",
                growth_in_words(growth),
                raise(tool, first.resource, tool.limits.range(first.resource).max),
            ),
            _ => "it does not grow any more".to_owned(),
        };
        self.tell(&seen, message, clock);
    }

    /// What could not be written of what is to hold a tool, and why.
    pub(super) fn held(&mut self, tool: &TrackedTool, failure: Option<&str>, clock: &impl Clock) {
        let seen = seen(tool, AlertKind::NotHeld, worth(failure.is_some()), None, None);
        let message = || match failure {
            Some(failure) => format!("a limit does not hold: {failure}"),
            None => "all limits hold".to_owned(),
        };
        self.tell(&seen, message, clock);
    }

    fn see(
        &mut self,
        tool: &TrackedTool,
        kind: AlertKind,
        level: ResourceStatus,
        value: Option<u64>,
        limit: Option<u64>,
        clock: &impl Clock,
    ) {
        let seen = seen(tool, kind, level, value, limit);
        self.tell(&seen, || message(tool, &seen), clock);
    }

    fn tell(&mut self, seen: &Seen, message: impl FnOnce() -> String, clock: &impl Clock) {
        if let Some(alert) = self.alerts.see(seen, message, clock.now()) {
            if alert.state == AlertState::Raised {
                let whose = (alert.tool.clone(), seen.uid);
                *self.raised.entry((whose, alert.kind, alert.level)).or_default() += 1;
            }
            self.deliver(&alert);
        }
    }

    /// The alerts that were raised since this was last asked.
    pub(super) fn take_raised(&mut self) -> Raised {
        std::mem::take(&mut self.raised)
    }

    fn deliver(&mut self, alert: &Alert) {
        let (id, tool, instance) = (alert.id, &alert.tool, alert.instance);
        match alert.state {
            AlertState::Cleared => tracing::info!(id, %tool, instance, "over: {}", alert.message),
            AlertState::Raised | AlertState::Repeated => tracing::warn!(id, %tool, instance, "{}", alert.message),
        }
        if let Some(hook) = &mut self.hook {
            hook.deliver(alert);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.answer_or_wait(waiting);
        }
    }

    /// Answers who asks for alerts: at once where there are some, else when there is one or the time is over.
    pub(super) fn ask(&mut self, params: AlertsParams, caller: Caller, answer: Answer) {
        let wait = Duration::from_millis(params.wait_ms).min(LONGEST_WAIT);
        self.answer_or_wait(Waiting {
            params,
            caller,
            until: Instant::now() + wait,
            answer,
        });
    }

    fn answer_or_wait(&mut self, waiting: Waiting) {
        let (caller, own) = (waiting.caller, waiting.caller.uid);
        let acknowledged = match waiting.params.acknowledge {
            // Who may see all may change their own alone.
            Some(up_to) => self.alerts.acknowledge(up_to, (!caller.is_root()).then_some(own)),
            None => 0,
        };
        let shown = (!caller.sees_all()).then_some(own);
        let alerts: Vec<Alert> = self.alerts.after(waiting.params.after, shown).cloned().collect();
        let is_over = waiting.answer.is_closed() || Instant::now() >= waiting.until;
        if alerts.is_empty() && waiting.params.acknowledge.is_none() && !is_over {
            self.waiting.push(waiting);
            return;
        }
        // Who hung up needs no answer.
        let _ = waiting
            .answer
            .send(super::run::to_line(AlertsReport { alerts, acknowledged }));
    }

    fn answer_who_waited_long(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.answer_or_wait(waiting);
        }
    }
}

/// Of the instances of each name that share a budget, the oldest: what is told of it is told of that one.
fn speakers<S: Source>(engine: &Engine<S>) -> BTreeSet<u64> {
    let mut oldest: BTreeMap<(&ToolName, u32), u64> = BTreeMap::new();
    for tool in engine.tracker().tools() {
        let identity = &tool.identity;
        let first = oldest
            .entry((&identity.name, identity.uid))
            .or_insert(identity.instance);
        *first = identity.instance.min(*first);
    }
    oldest.into_values().collect()
}

/// Worth a warning, or nothing.
fn worth(is_so: bool) -> ResourceStatus {
    if is_so {
        ResourceStatus::Warning
    } else {
        ResourceStatus::Normal
    }
}

/// How something of a tool stands.
pub(super) fn seen(
    tool: &TrackedTool,
    kind: AlertKind,
    level: ResourceStatus,
    value: Option<u64>,
    limit: Option<u64>,
) -> Seen {
    Seen {
        tool: tool.identity.name.clone(),
        instance: tool.identity.instance,
        uid: tool.identity.uid,
        kind,
        level,
        value,
        limit,
        is_last: matches!(kind, AlertKind::Limit(resource) if limit == Some(tool.limits.range(resource).max)),
    }
}

/// Of a tool's processes, the one whose table comes closest to the most descriptors that it may have (its soft
/// `RLIMIT_NOFILE`): how many it has, and may have. Only processes that have many are asked.
fn fullest_table<S: Source>(engine: &Engine<S>, tool: &TrackedTool) -> Option<(u64, u64)> {
    /// No limit that is in use is lower than this; four fifths of it are near it.
    const MANY: u64 = 200;
    let processes = tool.usage.pids.iter().filter_map(|&pid| engine.tracker().process(pid));
    let many = processes.filter(|process| process.sample.open_fds >= MANY);
    let near = many.filter_map(|process| {
        let most = crate::enforce::most_descriptors(process.sample.id.pid)?;
        Some((process.sample.open_fds, most))
    });
    // The larger share: a / b > c / d where a * d > c * b.
    near.max_by(|a, b| (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1))))
}

//! What is told to people: by the log, by a command, and to who asks for it.

use std::{collections::HashMap, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::server::Caller;
use crate::{
    alert::{Alerts, Hook, Seen},
    export::{amount, count},
    manager::EnhancedResourceManager,
    model::{Alert, AlertKind, AlertState, Clock, Crossing, Resource, ResourceStatus, Source},
    protocol::{AlertsParams, AlertsReport, Refusal},
    track::TrackedTool,
};

/// The longest that somebody may wait for an alert.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Births a second, on the average over a sweep interval, that are worth an alert.
const SPAWNS_PER_SECOND: u64 = 100;

/// An answer's line, to be sent.
type Answer = oneshot::Sender<Result<Vec<u8>, Refusal>>;

/// Who waits for the next alert.
struct Waiting {
    params: AlertsParams,
    caller: Caller,
    until: Instant,
    answer: Answer,
}

/// How many processes a tool had had, and when.
#[derive(Clone, Copy)]
struct Births {
    total: u64,
    at_ns: u64,
}

/// Alerts and their ways.
pub(super) struct Alerting {
    alerts: Alerts,
    hook: Option<Hook>,
    waiting: Vec<Waiting>,
    births: HashMap<u64, Births>,
}

impl Alerting {
    /// Alerts that are delivered to a command, where one is given.
    pub(super) fn new(command: Option<String>) -> Self {
        Self {
            alerts: Alerts::default(),
            hook: command.map(Hook::new),
            waiting: Vec::new(),
            births: HashMap::new(),
        }
    }

    /// What the kernel has just told.
    pub(super) fn crossed<S: Source>(
        &mut self,
        manager: &EnhancedResourceManager<S>,
        crossings: &[Crossing],
        clock: &impl Clock,
    ) {
        for crossing in crossings.iter().filter(|crossing| crossing.risen) {
            let tool = manager.tracker().tool(crossing.slot);
            let Some(tool) = tool.filter(|tool| tool.identity.instance == crossing.instance) else {
                continue;
            };
            let kind = AlertKind::Limit(crossing.resource);
            let limit = tool.limits.range(crossing.resource).current;
            self.see(tool, kind, crossing.level, Some(crossing.value), Some(limit), clock);
        }
    }

    /// What the last sweep has found.
    pub(super) fn swept<S: Source>(&mut self, manager: &EnhancedResourceManager<S>, clock: &impl Clock) {
        let now_ns = clock.now().monotonic_ns;
        let before = std::mem::take(&mut self.births);
        for tool in manager.tracker().tools() {
            let instance = tool.identity.instance;
            for resource in Resource::ALL {
                let (value, limit) = (tool.value(resource), tool.limits.range(resource).current);
                self.see(
                    tool,
                    AlertKind::Limit(resource),
                    tool.level(resource),
                    Some(value),
                    Some(limit),
                    clock,
                );
            }
            let births = Births {
                total: tool.processes_total(),
                at_ns: now_ns,
            };
            if let Some(before) = before.get(&instance) {
                let born = births.total.saturating_sub(before.total);
                let per_second = born * 1_000_000_000 / now_ns.saturating_sub(before.at_ns).max(1);
                let level = if per_second >= SPAWNS_PER_SECOND {
                    ResourceStatus::Warning
                } else {
                    ResourceStatus::Normal
                };
                self.see(
                    tool,
                    AlertKind::SpawnRate,
                    level,
                    Some(per_second),
                    Some(SPAWNS_PER_SECOND),
                    clock,
                );
            }
            self.births.insert(instance, births);
            let (fullest, most) = fullest_table(manager, tool).unwrap_or((0, u64::MAX));
            let level = ResourceStatus::of(fullest, most);
            self.see(tool, AlertKind::ProcessFds, level, Some(fullest), Some(most), clock);
        }
        self.alerts.retain(|instance| self.births.contains_key(&instance));
        self.answer_who_waited_long();
    }

    /// A tool runs on without those that it belongs to, or does no more.
    pub(super) fn left(&mut self, tool: &TrackedTool, is_left: bool, clock: &impl Clock) {
        let level = if is_left {
            ResourceStatus::Warning
        } else {
            ResourceStatus::Normal
        };
        self.see(tool, AlertKind::Left, level, Some(tool.usage.processes), None, clock);
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
        let seen = Seen {
            tool: tool.identity.name.clone(),
            instance: tool.identity.instance,
            uid: tool.identity.uid,
            kind,
            level,
            value,
            limit,
        };
        if let Some(alert) = self.alerts.see(&seen, || message(tool, &seen), clock.now()) {
            self.deliver(&alert);
        }
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
        let of_user = (!waiting.caller.is_root()).then_some(waiting.caller.uid);
        let acknowledged = match waiting.params.acknowledge {
            Some(up_to) => self.alerts.acknowledge(up_to, of_user),
            None => 0,
        };
        let alerts: Vec<Alert> = self.alerts.after(waiting.params.after, of_user).cloned().collect();
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

/// Of a tool's processes, the one whose table comes closest to the most descriptors that it may have (its soft
/// `RLIMIT_NOFILE`): how many it has, and may have. Only processes that have many are asked.
fn fullest_table<S: Source>(manager: &EnhancedResourceManager<S>, tool: &TrackedTool) -> Option<(u64, u64)> {
    /// No limit that is in use is lower than this; four fifths of it are near it.
    const MANY: u64 = 200;
    let processes = tool.usage.pids.iter().filter_map(|&pid| manager.tracker().process(pid));
    let many = processes.filter(|process| process.sample.open_fds >= MANY);
    let near = many.filter_map(|process| {
        let most = crate::enforce::most_descriptors(process.sample.id.pid)?;
        Some((process.sample.open_fds, most))
    });
    // The larger share: a / b > c / d where a * d > c * b.
    near.max_by(|a, b| (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1))))
}

/// What a person should know, and what to type.
fn message(tool: &TrackedTool, seen: &Seen) -> String {
    let name = &seen.tool;
    let (value, limit) = (seen.value.unwrap_or(0), seen.limit.unwrap_or(0));
    match seen.kind {
        AlertKind::Limit(resource) => {
            let range = tool.limits.range(resource);
            let flag = match resource {
                Resource::Memory => "--memory",
                Resource::Cpu => "--cpu",
                Resource::Fds => "--fds",
                Resource::Connections => "--connections",
            };
            format!(
                "{resource}: {} of {}, the maximum is {}; to raise it: resmgr limits set {name} {flag} MAX",
                amount(resource, value),
                amount(resource, limit),
                amount(resource, range.max),
            )
        }
        AlertKind::SpawnRate => format!(
            "{} processes are born a second; to end them all: resmgr cleanup {name}",
            count(value)
        ),
        AlertKind::ProcessFds => format!(
            "one process has {} of the {} descriptors that it may have itself; to raise that: ulimit -n in the shell \
             that starts it, or LimitNOFILE= in its unit",
            count(value),
            count(limit),
        ),
        AlertKind::Left => format!(
            "{} processes run on without the tool's first one, or without whoever started it; to end them: resmgr \
             cleanup {name}; to have that done: --orphans reap, or --orphans keep to hear no more of it",
            count(value)
        ),
    }
}

//! What tools are held by: brought in line with what the ladder says, by tasks of their own, since the kernel may take its
//! time over each file.

use std::collections::HashMap;

use rustix::process::Signal;
use tokio::sync::mpsc;

use super::{
    Tools,
    cleanup::{Asked, Which, acted, whose},
};
use crate::{
    enforce::{self, Controllers, Hold, Holding, Ladder, Leaf, Seen},
    manager::EnhancedResourceManager,
    model::{
        Action, Clock, Evidence, Mode, OperationKind, ProcessId, Reason, Resource, Source, Step, Timestamp, ToolOrigin,
        ToolSlot,
    },
    track::TrackedTool,
};

/// A tool that uses fewer cores than this is idle.
const IDLE_CORES: f64 = 0.01;

/// How one instance is held.
#[derive(Debug, Default)]
struct Held {
    ladder: Ladder,
    /// What holds, as far as it was written.
    now: Hold,
    /// What each process's private memory is limited to, where no leaf counts it.
    data_bytes: Option<u64>,
    /// What its leaf can hold.
    controllers: Controllers,
    /// A task writes.
    busy: bool,
    /// That something cannot be written was said.
    told: bool,
}

/// How all are held.
#[derive(Debug)]
pub(super) struct Holds {
    /// What a tool's memory never goes beyond, in bytes.
    memory_ceiling: u64,
    held: HashMap<u64, Held>,
}

impl Holds {
    /// Holds under a ceiling of memory, which is half of what the host has where none is given.
    pub(super) fn new(memory_ceiling: Option<u64>) -> Self {
        let host = rustix::system::sysinfo();
        let half = host.totalram as u64 * u64::from(host.mem_unit) / 2;
        Self {
            memory_ceiling: memory_ceiling.unwrap_or(half),
            held: HashMap::new(),
        }
    }

    /// What a tool that was adopted is held by already.
    pub(super) fn adopt(&mut self, tool: &TrackedTool) {
        let mut held = Held::default();
        if let Some(leaf) = own_leaf(tool) {
            held.controllers = Controllers::of(leaf.path());
            held.now = leaf.held();
        }
        self.held.insert(tool.identity.instance, held);
    }

    /// An end has left something of a tool: it is looked at as if for the first time.
    pub(super) fn begin_anew(&mut self, instance: u64) {
        if let Some(held) = self.held.get_mut(&instance) {
            held.ladder = Ladder::default();
        }
    }

    /// A tool is no more.
    pub(super) fn forget(&mut self, instance: u64) {
        self.held.remove(&instance);
    }
}

/// The rest of a registration: a leaf that holds, and the caller's way into it, on both of which the kernel makes us wait.
pub(in crate::agent) struct Entry {
    pub(super) leaf: Leaf,
    pub(super) process: ProcessId,
    pub(super) hold: Hold,
    pub(super) data_bytes: Option<u64>,
    pub(super) which: Which,
    pub(super) tell: mpsc::Sender<Asked>,
}

impl Entry {
    /// Holds the tool, and moves the caller in; what could not be done is returned.
    pub(in crate::agent) async fn enter(self) -> Vec<String> {
        let Self {
            leaf,
            process,
            hold,
            data_bytes,
            which,
            tell,
        } = self;
        let entering = tokio::task::spawn_blocking(move || {
            let holding = leaf.hold(&hold, &Hold::default());
            let mut warnings: Vec<String> = Vec::new();
            if let Err(error) = leaf.enter(process) {
                warnings.push(format!("the tool is not in its cgroup: {error}"));
            }
            if hold != Hold::default() {
                enforce::raise_oom_score(process);
            }
            if data_bytes.is_some()
                && let Err(error) = enforce::limit_data(process, data_bytes)
            {
                warnings.push(format!("its memory is not limited: {error}"));
            }
            (holding, warnings)
        });
        match entering.await {
            Ok((holding, mut warnings)) => {
                warnings.extend(
                    holding
                        .failed
                        .iter()
                        .map(|error| format!("a limit does not hold: {error}")),
                );
                // A loop that has ended keeps nothing.
                let _ = tell.send(Asked::Held(which, holding, data_bytes)).await;
                warnings
            }
            Err(error) => vec![format!("the tool is not in its cgroup: {error}")],
        }
    }
}

/// A change of what holds, as it is remembered.
fn changes(before: &Hold, now: &Hold, tool: &TrackedTool, at: Timestamp) -> Vec<Action> {
    let action = |step, resource, from: Option<u64>, to: Option<u64>, reason, limit| Action {
        at: at.wall,
        step,
        resource: Some(resource),
        from,
        to,
        reason,
        evidence: Evidence {
            value: Some(tool.value(resource)),
            limit: Some(limit),
            over_s: None,
        },
    };
    let near = |tightened| if tightened { Reason::Near } else { Reason::Rest };
    let (memory, cpu) = (tool.limits.memory, tool.limits.cpu);
    let mut actions = Vec::new();
    if before.memory_max != now.memory_max {
        let (from, to) = (before.memory_max, now.memory_max);
        actions.push(action(
            Step::HardLine,
            Resource::Memory,
            from,
            to,
            Reason::Asked,
            memory.max,
        ));
    }
    if before.memory_high != now.memory_high {
        let (from, to) = (before.memory_high, now.memory_high);
        let reason = near(to.is_some());
        actions.push(action(
            Step::SoftLine,
            Resource::Memory,
            from,
            to,
            reason,
            memory.current,
        ));
    }
    if before.cpu_percent != now.cpu_percent {
        let (from, to) = (before.cpu_percent, now.cpu_percent);
        let reason = near(to.unwrap_or(u64::MAX) < from.unwrap_or(u64::MAX));
        actions.push(action(Step::Quota, Resource::Cpu, from, to, reason, cpu.max));
    }
    actions
}

impl Tools {
    /// What a tool that begins is held by.
    pub(super) fn first_hold(&mut self, tool: &TrackedTool, leaf: &Leaf, now: Timestamp) -> (Hold, Option<u64>) {
        let held = self.holds.held.entry(tool.identity.instance).or_default();
        held.controllers = Controllers::of(leaf.path());
        // Until that is written.
        held.busy = true;
        let verdict = held.ladder.step(&seen(tool, self.holds.memory_ceiling, now));
        (verdict.hold.by(held.controllers), data_limit(tool, held.controllers))
    }

    /// What a tool that is enforced is held by in place of what its host lacks, in words.
    pub(super) fn lacks(tool: &TrackedTool, leaf: &Leaf) -> Vec<String> {
        let controllers = Controllers::of(leaf.path());
        let mut said = Vec::new();
        if tool.identity.enforcement.mode != Mode::Enforce {
            return said;
        }
        if !controllers.memory {
            said.push(
                "cgroup v2 has no memory controller here: memory is limited for each process by itself (RLIMIT_DATA)"
                    .to_owned(),
            );
        }
        if !controllers.cpu {
            said.push("cgroup v2 has no cpu controller here: the tool is not slowed before it is ended".to_owned());
        }
        said
    }

    /// Brings what tools are held by in line with what they use, and ends those that it does not help with; returns when to
    /// look again at the latest, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(in crate::agent) fn hold<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        clock: &impl Clock,
    ) -> Option<u64> {
        let now = clock.now();
        let slots: Vec<ToolSlot> = manager.tracker().tools().map(|tool| tool.identity.slot).collect();
        let mut look_again: Option<u64> = None;
        for slot in slots {
            let Some(tool) = manager.tracker().tool(slot) else {
                continue;
            };
            if tool.usage.processes == 0 {
                continue;
            }
            let instance = tool.identity.instance;
            let which = Which { slot, instance };
            let held = self.holds.held.entry(instance).or_default();
            let verdict = held.ladder.step(&seen(tool, self.holds.memory_ceiling, now));
            look_again = match (look_again, verdict.look_again_ns) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let leaf = own_leaf(tool);
            let wanted = verdict.hold.by(held.controllers);
            let data_bytes = data_limit(tool, held.controllers);
            if !held.busy && (wanted != held.now || data_bytes != held.data_bytes) {
                held.busy = true;
                let before = held.now;
                let processes: Vec<ProcessId> = if data_bytes == held.data_bytes {
                    Vec::new()
                } else {
                    let known = tool.usage.pids.iter().filter_map(|&pid| manager.tracker().process(pid));
                    known.map(|process| process.sample.id).collect()
                };
                let tell = self.ask.clone();
                tokio::task::spawn_blocking(move || {
                    for process in processes {
                        // One that has gone needs no limit.
                        let _ = enforce::limit_data(process, data_bytes);
                    }
                    let holding = match leaf {
                        Some(leaf) => leaf.hold(&wanted, &before),
                        None => Holding {
                            now: before,
                            failed: Vec::new(),
                        },
                    };
                    let _ = tell.blocking_send(Asked::Held(which, holding, data_bytes));
                });
            }
            if let Some(end) = verdict.end {
                tracing::warn!(
                    tool = %tool.identity.name,
                    instance,
                    resource = %end.resource,
                    value = end.evidence.value,
                    maximum = end.evidence.limit,
                    "stays at its maximum and is ended"
                );
                let first = match end.resource {
                    Resource::Cpu => Signal::XCPU,
                    Resource::Memory | Resource::Fds | Resource::Connections => Signal::TERM,
                };
                let ending = self.ending(tool, whose(tool.identity.uid), None, first);
                acted(manager, which, Some(end.resource), Reason::Held, end.evidence, clock);
                ending.start();
            }
        }
        look_again
    }

    /// Takes in what holds now.
    pub(super) fn took_hold<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        which: Which,
        holding: &Holding,
        data_bytes: Option<u64>,
        clock: &impl Clock,
    ) {
        let Some(held) = self.holds.held.get_mut(&which.instance) else {
            return;
        };
        held.busy = false;
        held.data_bytes = data_bytes;
        let before = std::mem::replace(&mut held.now, holding.now);
        let Some(tool) = manager
            .tool_mut(which.slot)
            .filter(|tool| tool.identity.instance == which.instance)
        else {
            return;
        };
        for action in changes(&before, &holding.now, tool, clock.now()) {
            tool.acted(action);
        }
        let is_told = std::mem::replace(&mut held.told, !holding.failed.is_empty());
        for error in holding.failed.iter().filter(|_| !is_told) {
            tracing::warn!(tool = %tool.identity.name, instance = which.instance, %error, "a limit does not hold");
        }
    }
}

/// The leaf that was made for a tool: another's cgroup is only read.
fn own_leaf(tool: &TrackedTool) -> Option<Leaf> {
    let is_own = tool.identity.origin == ToolOrigin::Exec;
    tool.identity.cgroup.clone().filter(|_| is_own).map(Leaf::at)
}

/// What each process's private memory is limited to, where no leaf counts it, in bytes.
fn data_limit(tool: &TrackedTool, controllers: Controllers) -> Option<u64> {
    let is_enforced = tool.identity.enforcement.mode == Mode::Enforce && tool.identity.origin == ToolOrigin::Exec;
    (is_enforced && !controllers.memory).then_some(tool.limits.memory.max)
}

/// Whether a tool whose operations end by idleness is idle.
fn rests(tool: &TrackedTool) -> bool {
    let ends_idle = tool.identity.operation == OperationKind::Busy;
    ends_idle && tool.usage.cpu_share.is_some_and(|cores| cores < IDLE_CORES)
}

fn seen(tool: &TrackedTool, memory_ceiling: u64, now: Timestamp) -> Seen {
    let used = |resource| match resource {
        // The programs see that an operation is over when the next one begins: one that rests is not held for it.
        Resource::Cpu if rests(tool) => 0,
        _ => tool.value(resource),
    };
    Seen {
        limits: tool.limits,
        enforcement: tool.identity.enforcement,
        uses: Resource::ALL.map(used),
        memory_ceiling,
        now_ns: now.monotonic_ns,
    }
}

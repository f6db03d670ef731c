//! What tools are held by: brought in line with what the ladder says, by tasks of their own, since the kernel may take its
//! time over each file.

mod entry;
mod held;
mod slowed;
mod steps;

use std::collections::{BTreeSet, HashSet};

use rustix::process::Signal;

use self::{entry::hold_each, held::own_leaf, steps::steps};
use super::{
    Tools,
    cleanup::{Asked, Which, acted, whose},
};
use crate::{
    agent::alerting::Alerting,
    enforce::{Change, Controllers, HeldBy, Hold, Holding, Leaf, Means, ProcessHold},
    engine::Engine,
    model::{Clock, Mode, ProcessId, Reason, Resource, Source, Timestamp, ToolSlot},
    track::TrackedTool,
};

pub(super) use entry::ToolHold;
pub(in crate::agent) use entry::{Done, Entry};
pub(super) use held::Holds;

/// Without a quota a tool gives way to others while it were to have this much of a core; for less it is frozen by turns,
/// and then has its part whoever else runs.
const GIVES_WAY_PERCENT: u64 = 50;

impl Tools {
    /// What a tool that begins is held by.
    pub(super) fn first_hold(&mut self, tool: &TrackedTool, leaf: &Leaf, now: Timestamp) -> ToolHold {
        let held = self.holds.held.entry(tool.identity.instance).or_default();
        held.controllers = Controllers::of(leaf.path());
        // Until that is written.
        held.busy = true;
        let verdict = held.step(tool, None, self.holds.memory_ceiling, now);
        wanted(tool, verdict.hold, held.controllers, self.means)
    }

    /// Whether an instance has used next to no CPU time for a while, and does not wait for any.
    pub(in crate::agent) fn is_idle(&self, instance: u64) -> bool {
        self.holds.held.get(&instance).is_some_and(held::Held::is_idle)
    }

    /// What holds a tool in place of what its host lacks, in a line of words.
    pub(super) fn stand_ins(&self, tool: &TrackedTool) -> Option<String> {
        let (mode, origin) = (tool.identity.enforcement.mode, tool.identity.origin);
        // What its leaf has may be less than what leaves have here.
        let held = self.holds.held.get(&tool.identity.instance);
        let means = held.map_or(self.means, |held| Means {
            controllers: held.controllers,
            ..self.means
        });
        let said: Vec<String> = Resource::ALL
            .into_iter()
            .filter_map(|resource| match means.hold(resource, mode, origin) {
                HeldBy::Instead(stand_in) => Some(format!("{resource} by {stand_in}")),
                HeldBy::Kernel(_) | HeldBy::Nothing(_) => None,
            })
            .collect();
        // Where nobody is ended it is not worth a line with every command; `resmgr doctor` tells.
        let is_worth = mode == Mode::Enforce && !said.is_empty();
        is_worth.then(|| {
            format!(
                "this host lacks means to hold the tool as a whole: it holds {}",
                said.join("; ")
            )
        })
    }

    /// Brings what tools are held by in line with what they use, and ends those that it does not help with; returns when to
    /// look again at the latest, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(in crate::agent) fn hold<S: Source>(&mut self, engine: &mut Engine<S>, clock: &impl Clock) -> Option<u64> {
        let now = clock.now();
        self.holds.mend();
        let slots: Vec<ToolSlot> = engine.tracker().tools().map(|tool| tool.identity.slot).collect();
        let mut look_again: Option<u64> = None;
        for slot in slots {
            let Some(tool) = engine.tracker().tool(slot) else {
                continue;
            };
            // Of one that has just begun, the programs alone know that it runs.
            if tool.usage.processes == 0 && tool.sums.processes == 0 {
                continue;
            }
            let instance = tool.identity.instance;
            let which = Which { slot, instance };
            let leaf = own_leaf(tool);
            let ceiling = self.holds.memory_ceiling;
            let held = self.holds.held.entry(instance).or_default();
            let verdict = held.step(tool, leaf.as_ref(), ceiling, now);
            look_again = match (look_again, verdict.look_again_ns) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let wanted = wanted(tool, verdict.hold, held.controllers, self.means);
            let mut turned = None;
            if tool.identity.origin.has_leaf() && !held.ending {
                self.bring_in_line(engine, which, tool, leaf.as_ref(), wanted);
                turned = leaf.and_then(|leaf| self.holds.turn(tool, &leaf, wanted.runs_percent));
            }
            let ending = verdict.end.map(|end| {
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
                (end, self.ending(tool, whose(tool.identity.uid), None, first))
            });
            if let Some((before, held_by)) = turned
                && let Some(tool) = engine.tool_mut(slot)
            {
                for action in steps(&before, &held_by, tool, now) {
                    tool.acted(action);
                }
            }
            if let Some((end, ending)) = ending {
                acted(engine, which, Some(end.resource), Reason::Held, end.evidence, clock);
                ending.start();
            }
        }
        look_again
    }

    /// Has a task hold a tool's leaf and its processes by what is wanted, where something else does.
    fn bring_in_line<S: Source>(
        &mut self,
        engine: &Engine<S>,
        which: Which,
        tool: &TrackedTool,
        leaf: Option<&Leaf>,
        wanted: ToolHold,
    ) {
        let Some(held) = self.holds.held.get_mut(&which.instance) else {
            return;
        };
        let living: Vec<ProcessId> = living(engine, tool).collect();
        held.retain(&living);
        let known = living.into_iter().map(|id| (id, held.of(id)));
        let processes: Vec<_> = known.filter(|(_, before)| *before != Some(wanted.each)).collect();
        let before = held.now.leaf;
        if held.busy || wanted.leaf == before && processes.is_empty() {
            return;
        }
        held.busy = true;
        let (journal, tell, leaf) = (self.holds.journal.clone(), self.ask.clone(), leaf.cloned());
        let escaped = escaped(engine, tool);
        self.holds.write(move || {
            if !escaped.is_empty()
                && let Err(error) = journal.note(which.instance, Change::Escaped { processes: escaped })
            {
                tracing::warn!(%error, "processes outside of their leaf are not remembered");
            }
            let unheld = Holding {
                now: before,
                failed: Vec::new(),
            };
            let each = hold_each(&journal, which.instance, processes, wanted.each);
            let leaf = leaf.map_or(unheld, |leaf| leaf.hold(&wanted.leaf, &before));
            let _ = tell.blocking_send(Asked::Held(which, Done { leaf, ..each }));
        });
    }

    /// Takes in what holds now.
    pub(super) fn took_hold<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        which: Which,
        done: Done,
        clock: &impl Clock,
    ) {
        let Some(held) = self.holds.held.get_mut(&which.instance) else {
            return;
        };
        held.busy = false;
        for &process in &done.processes {
            held.holds(process, done.each);
        }
        let now = ToolHold {
            leaf: done.leaf.now,
            each: done.each,
            ..held.now
        };
        let mut before = std::mem::replace(&mut held.now, now);
        if std::mem::take(&mut held.adopted) {
            // Whatever it is held by, an earlier agent has begun it.
            before.each = now.each;
        }
        let Some(tool) = engine
            .tool_mut(which.slot)
            .filter(|tool| tool.identity.instance == which.instance)
        else {
            return;
        };
        for action in steps(&before, &now, tool, clock.now()) {
            tool.acted(action);
        }
        let of_leaf = done.leaf.failed.iter().map(ToString::to_string);
        held.failure = of_leaf.chain(done.failed).next();
    }

    /// Has told which tools' limits do not hold.
    pub(in crate::agent) fn tell<S: Source>(&self, engine: &Engine<S>, alerting: &mut Alerting, clock: &impl Clock) {
        for tool in engine.tracker().tools() {
            let held = self.holds.held.get(&tool.identity.instance);
            alerting.held(tool, held.and_then(|held| held.failure.as_deref()), clock);
        }
    }
}

/// What holds a tool by what its leaf can, and in place of what it cannot.
fn wanted(tool: &TrackedTool, hold: Hold, controllers: Controllers, means: Means) -> ToolHold {
    let enforcement = tool.identity.enforcement;
    let percent = hold.cpu_percent.filter(|_| !controllers.cpu);
    ToolHold {
        leaf: hold.by(controllers),
        each: ProcessHold {
            data_bytes: (enforcement.mode == Mode::Enforce && !controllers.memory).then_some(tool.limits.memory.max),
            descriptors: enforcement.most(tool.limits.fds).filter(|_| !means.descriptors),
            idle: percent.is_some_and(|percent| percent >= GIVES_WAY_PERCENT),
            expendable: enforcement.mode != Mode::Observe,
        },
        runs_percent: percent.filter(|percent| *percent < GIVES_WAY_PERCENT),
    }
}

/// The processes of a tool that have not ended.
fn living<'m, S: Source>(engine: &'m Engine<S>, tool: &'m TrackedTool) -> impl Iterator<Item = ProcessId> + 'm {
    let known = tool.usage.pids.iter().filter_map(|&pid| engine.tracker().process(pid));
    known
        .filter(|process| !process.sample.zombie)
        .map(|process| process.sample.id)
}

/// The processes of a tool that are in another cgroup.
fn escaped<S: Source>(engine: &Engine<S>, tool: &TrackedTool) -> BTreeSet<ProcessId> {
    let pids: HashSet<u32> = tool.usage.escaped.iter().copied().collect();
    living(engine, tool).filter(|id| pids.contains(&id.pid)).collect()
}

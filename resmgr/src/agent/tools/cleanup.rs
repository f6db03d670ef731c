//! Tools that are ended: by request, or because of what outlives them. Ending one takes as long as its processes take, so
//! it is a task of its own, which asks the loop who is there.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

use super::{Tools, holding::Done, is_theirs, own_cgroup};
use crate::{
    agent::{alerting::Alerting, report, server::Caller},
    enforce::{self, CleanUp, Leaf, Member, Whose},
    engine::Engine,
    model::{
        Action, Clock, Evidence, LONGEST_GRACE_MS, Orphans, ProcessId, Reason, Resource, Source, SourceError, Step,
        ToolName, ToolSlot,
    },
    protocol::{
        CgroupLeft, CleanUpParams, CleanUpReport, CleanUpStatus, LeftStatus, Refusal, RefusalCode, ZombieStatus,
    },
    track::TrackedTool,
};

/// One instance of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::agent) struct Which {
    pub(super) slot: ToolSlot,
    pub(super) instance: u64,
}

/// What tasks of tools ask the loop, and tell it.
pub(in crate::agent) enum Asked {
    /// Its processes, as they are now.
    Members(Which, oneshot::Sender<Vec<Member>>),
    /// It is over, as far as that can be had; who waits for a parent is the answer.
    Over(Which, oneshot::Sender<Vec<ZombieStatus>>),
    /// It is held by this now.
    Held(Which, Done),
}

/// An end that is to be.
pub(super) struct Ending {
    which: Which,
    name: ToolName,
    cgroup: Option<PathBuf>,
    order: CleanUp,
    ask: mpsc::Sender<Asked>,
}

impl Ending {
    async fn run(self) -> CleanUpStatus {
        let began = Instant::now();
        let (which, ask) = (self.which, self.ask);
        let members = || {
            let ask = ask.clone();
            async move {
                let (answer, answered) = oneshot::channel();
                // A loop that has ended tells nobody any more.
                let _ = ask.send(Asked::Members(which, answer)).await;
                answered.await.unwrap_or_default()
            }
        };
        let done = self.order.run(members).await;
        let (answer, answered) = oneshot::channel();
        let _ = ask.send(Asked::Over(which, answer)).await;
        let zombies = answered.await.unwrap_or_default();
        let left = done.kept.into_iter().map(|kept| LeftStatus {
            pid: kept.id.pid,
            comm: comm(kept.id),
            why: kept.why,
        });
        CleanUpStatus {
            tool: self.name,
            instance: which.instance,
            ended: done.ended,
            killed: done.killed,
            left: left.collect(),
            zombies,
            cgroup_left: self
                .cgroup
                .zip(done.leaf_kept)
                .map(|(path, why)| CgroupLeft { path, why }),
            took_ms: began.elapsed().as_secs_f64() * 1000.0,
        }
    }
}

impl Ending {
    /// Ends it without anybody waiting; what came of it is in the log.
    pub(super) fn start(self) {
        tokio::spawn(async {
            let status = self.run().await;
            let (tool, instance) = (&status.tool, status.instance);
            tracing::info!(%tool, instance, ended = status.ended, killed = status.killed, "ended");
            for left in &status.left {
                tracing::warn!(%tool, instance, pid = left.pid, "not ended: {}", left.why);
            }
        });
    }
}

/// Ends of instances, at the same time.
pub(in crate::agent) struct Endings(Vec<Ending>);

impl Endings {
    /// Ends them.
    pub(in crate::agent) async fn run(self) -> CleanUpReport {
        let mut running: JoinSet<CleanUpStatus> = self.0.into_iter().map(Ending::run).collect();
        let mut tools = Vec::new();
        while let Some(status) = running.join_next().await {
            tools.extend(status);
        }
        tools.sort_unstable_by_key(|status| status.instance);
        CleanUpReport { tools }
    }
}

fn comm(id: ProcessId) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{}/comm", id.pid)).ok()?;
    enforce::identify(id.pid).filter(|now| now.is_same_by_tick(id))?;
    Some(comm.trim_end().to_owned())
}

/// Whose processes may be ended for a user: what belongs to others is not theirs to end.
pub(super) fn whose(uid: u32) -> Whose {
    match uid {
        0 => Whose::Everybodys,
        uid => Whose::Users(uid),
    }
}

/// Whether a tool runs on although its first process has ended, or whoever started it.
fn is_left<S: Source>(engine: &Engine<S>, tool: &TrackedTool) -> bool {
    let has_ended = |id: ProcessId| match engine.tracker().process(id.pid) {
        Some(process) => !process.sample.id.is_same_by_tick(id) || process.sample.zombie,
        // Where not everything is swept, others are unknown.
        None => !enforce::is_alive(id),
    };
    tool.usage.processes > 0
        && (tool.identity.root.is_some_and(has_ended) || tool.identity.owner.is_some_and(has_ended))
}

impl Tools {
    /// The ends of the tools of a name that are the caller's.
    pub(in crate::agent) fn clean_up<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        params: &CleanUpParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<Endings, Refusal> {
        let name = &params.tool;
        let is_meant = |instance| params.instance.is_none_or(|wanted| wanted == instance);
        let whose = whose(caller.uid);
        let grace = params
            .grace_ms
            .map(|ms| Duration::from_millis(ms.min(LONGEST_GRACE_MS)));
        let endings: Vec<Ending> = engine
            .tracker()
            .tools()
            .filter(|tool| tool.identity.name == *name && is_meant(tool.identity.instance))
            .filter(|tool| is_theirs(caller, tool.identity.uid, tool.identity.uid))
            .map(|tool| self.ending(tool, whose, grace, Signal::TERM))
            .collect();
        if endings.is_empty() {
            let which = params
                .instance
                .map_or_else(String::new, |instance| format!(" (instance {instance})"));
            let message = format!("no tool {name}{which} of yours runs");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        for ending in &endings {
            acted(engine, ending.which, None, Reason::Asked, Evidence::default(), clock);
        }
        Ok(Endings(endings))
    }

    /// The end of a tool, which begins with a signal.
    pub(super) fn ending(
        &mut self,
        tool: &TrackedTool,
        whose: Whose,
        grace: Option<Duration>,
        first: Signal,
    ) -> Ending {
        let identity = &tool.identity;
        self.holds.let_hear(tool);
        // Another's cgroup is only read.
        let cgroup = own_cgroup(identity);
        Ending {
            which: Which {
                slot: identity.slot,
                instance: identity.instance,
            },
            name: identity.name.clone(),
            order: CleanUp {
                leaf: cgroup.clone().map(Leaf::at),
                grace: grace.unwrap_or(Duration::from_millis(identity.enforcement.grace_ms)),
                whose,
                first,
            },
            cgroup,
            ask: self.ask.clone(),
        }
    }

    /// Answers what the end of a tool asks.
    pub(in crate::agent) fn answer<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        asked: Asked,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        match asked {
            Asked::Members(which, answer) => {
                // What cannot be swept now is as it was: one tool's end is no reason to end the agent.
                if let Err(error) = engine.refresh(clock) {
                    tracing::warn!(%error, "a sweep failed");
                }
                // Who asked may have gone.
                let _ = answer.send(members(engine, which));
            }
            Asked::Held(which, done) => self.took_hold(engine, which, done, clock),
            Asked::Over(which, answer) => {
                let zombies = instance(engine, which).map(|tool| report::zombies(tool, engine.tracker()));
                self.over(engine, which, clock)?;
                let _ = answer.send(zombies.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Ends a tool that nothing is left of. A cgroup that was attached is not followed any more.
    fn over<S: Source>(&mut self, engine: &mut Engine<S>, which: Which, clock: &impl Clock) -> Result<(), SourceError> {
        let is_empty = instance(engine, which).is_some_and(|tool| tool.usage.pids.is_empty());
        if is_empty {
            self.end(engine, which.slot, clock)?;
        } else {
            // Something is left, and may be ended again.
            self.left.remove(&which.instance);
            self.holds.begin_anew(which.instance);
        }
        Ok(())
    }

    /// Does what is to be done about tools that have been left by those that they belong to: once for each.
    pub(in crate::agent) fn look_for_orphans<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        alerting: &mut Alerting,
        clock: &impl Clock,
    ) {
        let before = std::mem::take(&mut self.left);
        let mut reaped = Vec::new();
        for tool in engine.tracker().tools() {
            let identity = &tool.identity;
            let (instance, orphans) = (identity.instance, identity.enforcement.orphans);
            let is_left = is_left(engine, tool);
            alerting.left(tool, is_left && orphans != Orphans::Keep, clock);
            if !is_left {
                continue;
            }
            self.left.insert(instance, orphans);
            if orphans == Orphans::Reap && before.get(&instance) != Some(&orphans) {
                reaped.push(self.ending(tool, whose(identity.uid), None, Signal::TERM));
            }
        }
        for ending in reaped {
            acted(engine, ending.which, None, Reason::Left, Evidence::default(), clock);
            ending.start();
        }
    }
}

/// Remembers that a tool is ended, and why.
pub(super) fn acted<S: Source>(
    engine: &mut Engine<S>,
    which: Which,
    resource: Option<Resource>,
    reason: Reason,
    evidence: Evidence,
    clock: &impl Clock,
) {
    if let Some(tool) = engine.tool_mut(which.slot) {
        tool.acted(Action {
            at: clock.now().wall,
            step: Step::CleanUp,
            resource,
            from: None,
            to: None,
            reason,
            evidence,
        });
    }
}

/// An instance, where it still is the one that has the slot.
fn instance<S: Source>(engine: &Engine<S>, which: Which) -> Option<&TrackedTool> {
    let tool = engine.tracker().tool(which.slot)?;
    (tool.identity.instance == which.instance).then_some(tool)
}

fn members<S: Source>(engine: &Engine<S>, which: Which) -> Vec<Member> {
    let pids = instance(engine, which).map(|tool| tool.usage.pids.as_slice());
    let process = |pid: &u32| engine.tracker().process(*pid);
    pids.unwrap_or_default()
        .iter()
        .filter_map(process)
        .map(|process| Member {
            id: process.sample.id,
            zombie: process.sample.zombie,
        })
        .collect()
}

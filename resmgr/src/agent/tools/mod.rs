//! Tools as callers and rules make them: who may, which processes, what becomes of them when those have gone.

mod attach;
mod budgets;
mod cleanup;
mod containers;
mod holding;
mod limits;
mod reconfigure;
mod register;
mod rules;
mod sharing;
mod told;
mod undo;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::mpsc;

use super::server::Caller;
use crate::{
    config::{LimitPolicy, Rule},
    enforce::{self, Charges, Journal, Leaf, Leaves, Means},
    engine::{Engine, RegisterError},
    model::{Clock, Orphans, ProcessId, Source, SourceError, Timestamp, ToolIdentity, ToolOrigin, ToolSlot},
    protocol::{Refusal, RefusalCode},
    track::{Counted, TrackedTool},
};

pub(super) use cleanup::Asked;
use told::forsaken;

pub(super) use told::{adjust, report, reported};

pub(super) use holding::Entry;
pub(super) use undo::put_all_back;

/// A caller that has registered and is yet to execute its program.
#[derive(Clone, Copy, Debug)]
struct Pending {
    process: ProcessId,
    slot: ToolSlot,
}

/// A file in which a container's identity is to appear.
#[derive(Clone, Debug)]
struct ContainerFile {
    slot: ToolSlot,
    path: PathBuf,
    /// Whose the file has to be.
    uid: u32,
}

/// A cgroup whose processes are a tool's.
#[derive(Clone, Debug)]
struct Followed {
    slot: ToolSlot,
    path: PathBuf,
}

/// What the agent keeps of tools, beside what the engine does.
#[derive(Debug)]
pub(super) struct Tools {
    /// Where cgroup v2 is mounted.
    cgroup2: Option<PathBuf>,
    leaves: Option<Leaves>,
    rules: Vec<Rule>,
    policy: LimitPolicy,
    /// What there is to hold tools by.
    means: Means,
    /// Processes that matched one and found no room.
    refused_by_rule: u64,
    pending: Vec<Pending>,
    container_files: Vec<ContainerFile>,
    followed: Vec<Followed>,
    sharing: sharing::Sharing,
    /// Where the ends of tools ask the loop.
    ask: mpsc::Sender<Asked>,
    holds: holding::Holds,
    /// What tells of leaves' memory; `None` where the kernel does not.
    charges: Option<Charges>,
    /// Budgets that are used up.
    exceeded: budgets::Exceeded,
    /// Tools that have ended since somebody last asked for them.
    ended: Vec<TrackedTool>,
    /// Instances that have been left by those that they belong to, and what was done about it.
    left: BTreeMap<u64, Orphans>,
}

/// Where leaves are made; nowhere where cgroup v2 is not mounted.
pub fn leaves(cgroup2: Option<&Path>, cgroup_root: Option<PathBuf>) -> Option<Leaves> {
    let cgroup2 = cgroup2?;
    Some(Leaves::under(cgroup_root.unwrap_or_else(|| cgroup2.join("resmgr"))))
}

/// The cgroup that was made for a tool: another's is only read.
fn own_cgroup(tool: &ToolIdentity) -> Option<PathBuf> {
    tool.cgroup.clone().filter(|_| tool.origin.has_leaf())
}

/// What ends of tools may ask before the loop gets to it.
const ASKED: usize = 64;

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Full(_) => Self::new(RefusalCode::Busy, error.to_string()),
            RegisterError::Source(error) => error.into(),
        }
    }
}

/// An ordinary user sees and touches the processes that are theirs alone: one that changed its user is not.
pub(super) fn is_theirs(caller: Caller, uid: u32, euid: u32) -> bool {
    caller.is_root() || (uid == caller.uid && euid == caller.uid)
}

impl Tools {
    /// What is kept of tools on a host with cgroup v2 at `cgroup2`, with leaves under `cgroup_root`; and what the ends of
    /// tools will ask.
    pub(super) fn new(
        cgroup2: Option<PathBuf>,
        cgroup_root: Option<PathBuf>,
        rules: Vec<Rule>,
        policy: LimitPolicy,
        journal: Arc<Journal>,
    ) -> (Self, mpsc::Receiver<Asked>) {
        let (ask, asked) = mpsc::channel(ASKED);
        let tools = Self {
            leaves: leaves(cgroup2.as_deref(), cgroup_root),
            cgroup2,
            rules,
            holds: holding::Holds::new(policy.memory_ceiling(), journal),
            policy,
            means: Means::default(),
            refused_by_rule: 0,
            pending: Vec::new(),
            container_files: Vec::new(),
            followed: Vec::new(),
            sharing: sharing::Sharing::default(),
            ask,
            charges: Charges::new().ok(),
            exceeded: budgets::Exceeded::new(),
            ended: Vec::new(),
            left: BTreeMap::new(),
        };
        (tools, asked)
    }

    /// Goes on with the tools that an earlier agent left, and begins with what rules find among what runs already.
    pub(super) fn start<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        clock: &impl Clock,
    ) -> Result<usize, SourceError> {
        self.means = Means {
            controllers: self.leaves.as_ref().map(Leaves::controllers).unwrap_or_default(),
            connects: engine.capabilities().refuses_connects(),
            descriptors: engine.capabilities().refuses_descriptors,
        };
        let adopted = engine.adopt_tools(clock)?;
        // Those that an earlier agent waited for.
        for joining in engine.joining()? {
            self.pending.push(Pending {
                process: ProcessId {
                    pid: joining.pid,
                    start_ns: joining.start_ns,
                },
                slot: joining.tool,
            });
        }
        for tool in engine.tracker().tools() {
            self.holds.adopt(tool);
            if let (ToolOrigin::Cgroup, Some(path)) = (tool.identity.origin, &tool.identity.cgroup) {
                self.followed.push(Followed {
                    slot: tool.identity.slot,
                    path: path.clone(),
                });
            }
        }
        // What they were given by is not known any more; but no limit goes beyond the ceiling.
        self.take_over(engine, &self.policy, clock)?;
        self.follow(engine)?;
        engine.source_mut().set_matching(!self.rules.is_empty())?;
        self.put_strays_back(engine);
        engine.refresh(clock)?;
        self.match_running(engine, clock)?;
        Ok(adopted)
    }

    /// Brings what tools' cgroups are and hold up to date, and ends the tools that are over.
    pub(super) fn tick<S: Source>(&mut self, engine: &mut Engine<S>, clock: &impl Clock) -> Result<(), SourceError> {
        self.look_for_containers();
        if let Err(error) = self.follow(engine) {
            tracing::warn!(%error, "cgroups are not followed");
        }
        self.look_into_leaves(engine, clock);
        self.sharing.tick(engine, clock);
        self.settle(engine, clock)?;
        for slot in engine.finished().into_iter().chain(forsaken(engine, clock)) {
            self.end(engine, slot, clock)?;
        }
        Ok(())
    }

    /// Has the processes of the cgroups that are followed taken in, now and later, and those of cgroups below them.
    fn follow<S: Source>(&mut self, engine: &mut Engine<S>) -> Result<(), SourceError> {
        let mut cgroups = Vec::new();
        for followed in &self.followed {
            cgroups.extend(
                enforce::descendants(&followed.path)
                    .into_iter()
                    .map(|id| (id, followed.slot)),
            );
        }
        engine.source_mut().set_cgroups(&cgroups)
    }

    /// Reads what leaves are charged with.
    pub(super) fn look_into_leaves<S: Source>(&mut self, engine: &mut Engine<S>, clock: &impl Clock) {
        let now = clock.now();
        let slots: Vec<ToolSlot> = engine.tracker().tools().map(|tool| tool.identity.slot).collect();
        for slot in slots {
            self.look_into_leaf(engine, slot, now);
        }
    }

    /// Reads what a tool's leaf is charged with, where it has one.
    fn look_into_leaf<S: Source>(&mut self, engine: &mut Engine<S>, slot: ToolSlot, now: Timestamp) {
        let Some(tool) = engine.tool_mut(slot) else { return };
        let identity = &tool.identity;
        let Some(path) = own_cgroup(identity) else {
            return;
        };
        let mut ids = enforce::descendants(&path);
        // What runs in its container is where it belongs.
        let containers = self.followed.iter().filter(|followed| followed.slot == slot);
        ids.extend(containers.flat_map(|followed| enforce::descendants(&followed.path)));
        let leaf = Leaf::at(path);
        if let Some(charges) = &mut self.charges {
            charges.watch(identity.instance, &leaf);
        }
        let (charged, oom_kills) = (leaf.working_set_bytes(), leaf.oom_kills());
        let counted = Counted {
            high_events: leaf.high_events(),
            waited_us: leaf.waited_for_memory_us(),
        };
        tool.oom_kills = oom_kills;
        tool.stall.count(counted, now.monotonic_ns);
        // Of a leaf that somebody has removed, all that runs has left it.
        if !ids.is_empty() {
            tool.leaf = ids;
        }
        // What has left the leaf is charged elsewhere, and so is a container.
        let whole = tool.usage.escaped.is_empty() && !self.followed.iter().any(|f| f.slot == slot);
        tool.charged_bytes = charged.filter(|_| whole);
    }

    /// What becomes readable when the memory of a leaf came to a line; nothing where the kernel does not tell.
    pub(super) fn charges_fd(&self) -> Option<OwnedFd> {
        self.charges.as_ref().and_then(|charges| charges.fd().ok())
    }

    /// Takes in what tools' leaves are charged with that came to a line of memory since; tells which.
    pub(super) fn take_charges<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        clock: &impl Clock,
    ) -> Result<BTreeSet<ToolSlot>, SourceError> {
        let told = self.charges.as_ref().map(Charges::told).unwrap_or_default();
        let identities = engine.tracker().tools().map(|tool| &tool.identity);
        let slots: BTreeSet<ToolSlot> = identities
            .filter(|identity| told.contains(&identity.instance))
            .map(|identity| identity.slot)
            .collect();
        let now = clock.now();
        for slot in &slots {
            self.look_into_leaf(engine, *slot, now);
        }
        engine.adjust_charges(&slots)?;
        Ok(slots)
    }

    /// Forgets callers that have become their tool's first process, and ends the tools of those that never did.
    fn settle<S: Source>(&mut self, engine: &mut Engine<S>, clock: &impl Clock) -> Result<(), SourceError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // One that has come and gone since the last refresh did join.
        engine.read_sums()?;
        for pending in std::mem::take(&mut self.pending) {
            let tool = engine.tracker().tool(pending.slot);
            // One of the library may have other processes, and needs none.
            let is_told = tool.is_some_and(|tool| tool.identity.origin == ToolOrigin::Api);
            let joined = if is_told {
                let process = engine.tracker().process(pending.process.pid).map(|known| &known.sample);
                process
                    .is_some_and(|known| known.id.is_same_by_tick(pending.process) && known.tool == Some(pending.slot))
            } else {
                tool.is_some_and(|tool| tool.sums.processes_total > 0)
            };
            if !joined && enforce::is_alive(pending.process) {
                self.pending.push(pending);
                continue;
            }
            engine.unjoin(pending.process.pid)?;
            if !joined && !is_told {
                self.end(engine, pending.slot, clock)?;
            }
        }
        Ok(())
    }

    /// The tools that have ended since they were last taken.
    pub(super) fn ended(&self) -> &[TrackedTool] {
        &self.ended
    }

    /// Takes those.
    pub(super) fn take_ended(&mut self) -> Vec<TrackedTool> {
        std::mem::take(&mut self.ended)
    }

    fn end<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        slot: ToolSlot,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        let before = self.followed.len();
        self.followed.retain(|followed| followed.slot != slot);
        if self.followed.len() != before {
            // Before another tool has the slot.
            self.follow(engine)?;
        }
        self.pending.retain(|pending| pending.slot != slot);
        self.container_files.retain(|file| file.slot != slot);
        if let Some(tool) = engine.tool_mut(slot)
            && let Some(path) = own_cgroup(&tool.identity)
        {
            // The leaf goes with the tool, and with it what the kernel tells of it.
            tool.oom_kills = tool.oom_kills.max(Leaf::at(path).oom_kills());
        }
        if let Some(tool) = engine.end_tool(slot, clock)? {
            tracing::debug!(tool = %tool.identity.name, instance = tool.identity.instance, "ended");
            self.holds.forget(&tool);
            if let Some(charges) = &mut self.charges {
                charges.forget(tool.identity.instance);
            }
            self.ended.push(tool.clone());
            if let Some(path) = own_cgroup(&tool.identity) {
                // What is still in it is no member of the tool, and is left alone.
                if let Err(error) = Leaf::at(path).remove() {
                    tracing::debug!(%error, "a leaf stays");
                }
            }
        }
        Ok(())
    }
}

//! Tools as callers and rules make them: who may, which processes, what becomes of them when those have gone.

mod attach;
mod cleanup;
mod containers;
mod holding;
mod limits;
mod rules;
mod sharing;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tokio::sync::mpsc;

use super::server::Caller;
use crate::{
    config::{LimitPolicy, Rule},
    enforce::{self, Leaf, Leaves},
    manager::{EnhancedResourceManager, NewTool, ToolError},
    model::{Clock, Joining, Orphans, PROC_TICK_NS, ProcessId, Source, SourceError, ToolName, ToolOrigin, ToolSlot},
    protocol::{Refusal, RefusalCode, RegisterParams, Registered},
};

pub(super) use cleanup::Asked;
pub(super) use holding::Entry;

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

/// What the agent keeps of tools, beside what the manager does.
#[derive(Debug)]
pub(super) struct Tools {
    /// Where cgroup v2 is mounted.
    cgroup2: Option<PathBuf>,
    leaves: Option<Leaves>,
    rules: Vec<Rule>,
    policy: LimitPolicy,
    /// Processes that matched one and found no room.
    refused_by_rule: u64,
    pending: Vec<Pending>,
    container_files: Vec<ContainerFile>,
    followed: Vec<Followed>,
    sharing: sharing::Sharing,
    /// Where the ends of tools ask the loop.
    ask: mpsc::Sender<Asked>,
    holds: holding::Holds,
    /// Instances that have been left by those that they belong to, and what was done about it.
    left: BTreeMap<u64, Orphans>,
}

/// Where leaves are made; nowhere where cgroup v2 is not mounted.
pub(super) fn leaves(cgroup2: Option<&Path>, cgroup_root: Option<PathBuf>) -> Option<Leaves> {
    let cgroup2 = cgroup2?;
    Some(Leaves::under(cgroup_root.unwrap_or_else(|| cgroup2.join("resmgr"))))
}

/// What ends of tools may ask before the loop gets to it.
const ASKED: usize = 64;

impl From<ToolError> for Refusal {
    fn from(error: ToolError) -> Self {
        match error {
            ToolError::Full(_) => Self::new(RefusalCode::Busy, error.to_string()),
            ToolError::Source(error) => error.into(),
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
    ) -> (Self, mpsc::Receiver<Asked>) {
        let (ask, asked) = mpsc::channel(ASKED);
        let tools = Self {
            leaves: leaves(cgroup2.as_deref(), cgroup_root),
            cgroup2,
            rules,
            holds: holding::Holds::new(policy.memory_ceiling()),
            policy,
            refused_by_rule: 0,
            pending: Vec::new(),
            container_files: Vec::new(),
            followed: Vec::new(),
            sharing: sharing::Sharing::default(),
            ask,
            left: BTreeMap::new(),
        };
        (tools, asked)
    }

    /// Goes on with the tools that an earlier agent left, and begins with what rules find among what runs already.
    pub(super) fn start<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        clock: &impl Clock,
    ) -> Result<usize, SourceError> {
        let adopted = manager.adopt_tools()?;
        // Those that an earlier agent waited for.
        for joining in manager.joining()? {
            self.pending.push(Pending {
                process: ProcessId {
                    pid: joining.pid,
                    start_ns: joining.start_ns,
                },
                slot: joining.tool,
            });
        }
        for tool in manager.tracker().tools() {
            self.holds.adopt(tool);
            if let (ToolOrigin::Cgroup, Some(path)) = (tool.identity.origin, &tool.identity.cgroup) {
                self.followed.push(Followed {
                    slot: tool.identity.slot,
                    path: path.clone(),
                });
            }
        }
        self.follow(manager)?;
        manager.source_mut().set_matching(!self.rules.is_empty())?;
        manager.refresh(clock)?;
        self.match_running(manager, clock)?;
        Ok(adopted)
    }

    /// Makes a caller a tool's first process.
    pub(super) fn register<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        params: &RegisterParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<(Registered, Option<Entry>), Refusal> {
        let gone = || {
            Refusal::new(
                RefusalCode::NotFound,
                "the caller has gone, or is in another pid namespace",
            )
        };
        // Who connected is who asks: not whoever has its number by now, nor what it has become.
        let process = caller.pid.and_then(enforce::describe);
        let process = process.filter(|process| is_theirs(caller, process.uid, process.euid) && !process.zombie);
        let process = process.ok_or_else(gone)?;
        let known = manager.tracker().process(process.id.pid).map(|known| &known.sample);
        let known = known
            .filter(|known| known.id.is_same_by_tick(process.id))
            .and_then(|known| known.tool);
        if let Some(tool) = known.and_then(|slot| manager.tracker().tool(slot))
            && !is_theirs(caller, tool.identity.uid, tool.identity.uid)
        {
            let message = "the caller belongs to another user's tool, and stays in it";
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let (limits, enforcement) = self.limits(&params.tool, &params.limits, ToolOrigin::Exec)?;
        let slot = manager.register(
            NewTool {
                name: params.tool.clone(),
                origin: ToolOrigin::Exec,
                operation: params.operation,
                uid: caller.uid,
                root: Some(process.id),
                owner: enforce::describe(process.ppid).map(|owner| owner.id),
                cgroup: None,
                limits,
                enforcement,
            },
            clock,
        )?;
        manager.join(Joining {
            pid: process.id.pid,
            start_ns: process.id.start_ns,
            tick_ns: PROC_TICK_NS,
            tool: slot,
        })?;
        let instance = manager.tracker().tool(slot).map_or(0, |tool| tool.identity.instance);
        let mut warnings = Vec::new();
        let leaf = self.leaf(&params.tool, instance, &mut warnings);
        if let Some(leaf) = &leaf {
            manager.describe(slot, |tool| {
                tool.identity.cgroup = Some(leaf.path().to_owned());
                tool.leaf = enforce::descendants(leaf.path());
            })?;
        }
        self.pending.push(Pending {
            process: process.id,
            slot,
        });
        if let Some(path) = &params.cidfile {
            self.container_files.push(ContainerFile {
                slot,
                path: path.clone(),
                uid: caller.uid,
            });
        }
        let cgroup = leaf.as_ref().map(|leaf| leaf.path().to_owned());
        let entry = leaf.and_then(|leaf| {
            let tool = manager.tracker().tool(slot)?;
            warnings.extend(Self::lacks(tool, &leaf));
            let (hold, data_bytes) = self.first_hold(tool, &leaf, clock.now());
            Some(Entry {
                leaf,
                process: process.id,
                hold,
                data_bytes,
                which: cleanup::Which { slot, instance },
                tell: self.ask.clone(),
            })
        });
        let registered = Registered {
            tool: params.tool.clone(),
            instance,
            cgroup,
            processes: 0,
            warnings,
        };
        Ok((registered, entry))
    }

    /// A leaf for a tool; where there can be none, why.
    fn leaf(&self, name: &ToolName, instance: u64, warnings: &mut Vec<String>) -> Option<Leaf> {
        let Some(leaves) = &self.leaves else {
            warnings.push("cgroup v2 is not mounted: the tool has no cgroup of its own".to_owned());
            return None;
        };
        leaves
            .make(name, instance)
            .inspect_err(|error| warnings.push(format!("the tool has no cgroup of its own: {error}")))
            .ok()
    }

    /// Brings what tools' cgroups are and hold up to date, and ends the tools that are over.
    pub(super) fn tick<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        self.look_for_containers();
        if let Err(error) = self.follow(manager) {
            tracing::warn!(%error, "cgroups are not followed");
        }
        self.look_into_leaves(manager);
        self.sharing.tick(manager, clock);
        self.settle(manager, clock)?;
        for slot in manager.finished() {
            self.end(manager, slot, clock)?;
        }
        Ok(())
    }

    /// Has the processes of the cgroups that are followed taken in, now and later, and those of cgroups below them.
    fn follow<S: Source>(&mut self, manager: &mut EnhancedResourceManager<S>) -> Result<(), SourceError> {
        let mut cgroups = Vec::new();
        for followed in &self.followed {
            cgroups.extend(
                enforce::descendants(&followed.path)
                    .into_iter()
                    .map(|id| (id, followed.slot)),
            );
        }
        manager.source_mut().set_cgroups(&cgroups)
    }

    /// Reads what leaves are charged with.
    pub(super) fn look_into_leaves<S: Source>(&self, manager: &mut EnhancedResourceManager<S>) {
        let tools: Vec<(ToolSlot, Option<PathBuf>)> = manager
            .tracker()
            .tools()
            .filter(|tool| tool.identity.origin == ToolOrigin::Exec)
            .map(|tool| (tool.identity.slot, tool.identity.cgroup.clone()))
            .collect();
        for (slot, path) in tools {
            let Some(path) = path else { continue };
            let ids = enforce::descendants(&path);
            let leaf = Leaf::at(path);
            let (charged, oom_kills) = (leaf.working_set_bytes(), leaf.oom_kills());
            if let Some(tool) = manager.tool_mut(slot) {
                tool.oom_kills = oom_kills;
                tool.leaf = ids;
                // What has left the leaf is charged elsewhere, and so is a container.
                let whole = tool.usage.escaped.is_empty() && !self.followed.iter().any(|f| f.slot == slot);
                tool.charged_bytes = charged.filter(|_| whole);
            }
        }
    }

    /// Forgets callers that have become their tool's first process, and ends the tools of those that never did.
    fn settle<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // One that has come and gone since the last refresh did join.
        manager.read_sums()?;
        for pending in std::mem::take(&mut self.pending) {
            let joined = manager
                .tracker()
                .tool(pending.slot)
                .is_some_and(|tool| tool.sums.processes_total > 0);
            if !joined && enforce::is_alive(pending.process) {
                self.pending.push(pending);
                continue;
            }
            manager.unjoin(pending.process.pid)?;
            if !joined {
                self.end(manager, pending.slot, clock)?;
            }
        }
        Ok(())
    }

    fn end<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        slot: ToolSlot,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        let before = self.followed.len();
        self.followed.retain(|followed| followed.slot != slot);
        if self.followed.len() != before {
            // Before another tool has the slot.
            self.follow(manager)?;
        }
        self.pending.retain(|pending| pending.slot != slot);
        self.container_files.retain(|file| file.slot != slot);
        if let Some(tool) = manager.tool_mut(slot)
            && let (ToolOrigin::Exec, Some(path)) = (tool.identity.origin, tool.identity.cgroup.clone())
        {
            // The leaf goes with the tool, and with it what the kernel tells of it.
            tool.oom_kills = tool.oom_kills.max(Leaf::at(path).oom_kills());
        }
        if let Some(tool) = manager.end_tool(slot, clock)? {
            tracing::debug!(tool = %tool.identity.name, instance = tool.identity.instance, "ended");
            self.holds.forget(tool.identity.instance);
            if let (ToolOrigin::Exec, Some(path)) = (tool.identity.origin, tool.identity.cgroup) {
                // What is still in it is no member of the tool, and is left alone.
                if let Err(error) = Leaf::at(path).remove() {
                    tracing::debug!(%error, "a leaf stays");
                }
            }
        }
        Ok(())
    }

    /// Lets go of all that tools are held by, and removes the leaves that nothing is in.
    pub(super) fn let_go<S: Source>(&self, manager: &EnhancedResourceManager<S>) {
        for tool in manager.tracker().tools() {
            if let (ToolOrigin::Exec, Some(path)) = (tool.identity.origin, tool.identity.cgroup.clone()) {
                // One that something is in stays, with what is in it.
                let _ = Leaf::at(path).release();
            }
        }
        if let Some(leaves) = &self.leaves {
            leaves.remove_root();
        }
    }
}

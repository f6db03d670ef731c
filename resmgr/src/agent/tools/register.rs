//! `resmgr exec`: the caller becomes a tool's first process, in a leaf of the tool's own.

use std::path::PathBuf;

use super::{ContainerFile, Entry, Pending, Tools, cleanup::Which, is_theirs, told::told};
use crate::{
    agent::{proc, server::Caller},
    enforce::{self, Change, Described, Leaf},
    engine::{Engine, NewTool},
    model::{Clock, Joining, PROC_TICK_NS, ProcessId, Source, ToolName, ToolOrigin, ToolSlot},
    protocol::{Refusal, RefusalCode, RegisterParams, Registered},
};

impl Tools {
    /// Makes a caller a tool's first process.
    pub(in crate::agent) fn register<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
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
        let known = engine.tracker().process(process.id.pid).map(|known| &known.sample);
        let known = known
            .filter(|known| known.id.is_same_by_tick(process.id))
            .and_then(|known| known.tool);
        if let Some(tool) = known.and_then(|slot| engine.tracker().tool(slot))
            && !is_theirs(caller, tool.identity.uid, tool.identity.uid)
        {
            let message = "the caller belongs to another user's tool, and stays in it";
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let slot = match params.instance {
            Some(instance) => told(engine, &params.tool, instance, caller)?,
            None => self.begin(engine, params, caller, process, clock)?,
        };
        engine.join(Joining {
            pid: process.id.pid,
            start_ns: process.id.start_ns,
            tick_ns: PROC_TICK_NS,
            tool: slot,
        })?;
        let instance = engine.tracker().tool(slot).map_or(0, |tool| tool.identity.instance);
        let mut warnings = Vec::new();
        let leaf = self.leaf(&params.tool, instance, &mut warnings);
        if let Some(leaf) = &leaf {
            engine.describe(slot, |tool| {
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
            let tool = engine.tracker().tool(slot)?;
            let wanted = self.first_hold(tool, &leaf, clock.now());
            warnings.extend(self.stand_ins(tool));
            Some(Entry {
                leaf,
                process: process.id,
                from: self.cgroup_of(process.id),
                wanted,
                which: Which { slot, instance },
                journal: self.holds.journal().clone(),
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

    /// A tool that begins with its first process.
    fn begin<S: Source>(
        &self,
        engine: &mut Engine<S>,
        params: &RegisterParams,
        caller: Caller,
        process: Described,
        clock: &impl Clock,
    ) -> Result<ToolSlot, Refusal> {
        let (limits, enforcement) = self.limits(&params.tool, &params.limits, ToolOrigin::Exec, params.best_effort)?;
        self.may_begin(engine, &params.tool, caller.uid, enforcement.mode)?;
        let tool = NewTool {
            name: params.tool.clone(),
            origin: ToolOrigin::Exec,
            operation: params.operation,
            uid: caller.uid,
            root: Some(process.id),
            owner: enforce::describe(process.ppid).map(|owner| owner.id),
            cgroup: None,
            limits,
            enforcement,
        };
        Ok(engine.register(tool, clock)?)
    }

    /// A leaf for a tool; where there can be none, why.
    fn leaf(&self, name: &ToolName, instance: u64, warnings: &mut Vec<String>) -> Option<Leaf> {
        let Some(leaves) = &self.leaves else {
            warnings.push("cgroup v2 is not mounted: the tool has no cgroup of its own".to_owned());
            return None;
        };
        let path = leaves.place(name, instance);
        // What cannot be noted is made all the same: a leaf is found again by where it is.
        if let Err(error) = self.holds.journal().note(instance, Change::Leaf { path: path.clone() }) {
            warnings.push(format!("{error}: the tool's cgroup is not remembered"));
        }
        leaves
            .make(path)
            .inspect_err(|error| warnings.push(format!("the tool has no cgroup of its own: {error}")))
            .ok()
    }

    /// The cgroup that a process is in.
    fn cgroup_of(&self, process: ProcessId) -> Option<PathBuf> {
        let path = proc::cgroup(process.pid)?;
        Some(self.cgroup2.as_ref()?.join(path.trim_start_matches('/')))
    }
}

//! Processes that run already become a tool: by process id, or by cgroup.

use std::path::{Path, PathBuf};

use super::{Followed, Tools, is_theirs};
use crate::{
    agent::server::Caller,
    enforce::{self, Described},
    engine::{Engine, NewTool},
    model::{Clock, Enforcement, Joining, PROC_TICK_NS, Source, ToolLimits, ToolOrigin, ToolSlot},
    protocol::{AttachParams, AttachTarget, Refusal, RefusalCode, Registered},
};

impl Tools {
    /// Makes processes that run already a tool.
    pub(in crate::agent) fn attach<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        params: &AttachParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<Registered, Refusal> {
        let held = |origin| self.limits(&params.tool, &params.limits, origin, params.best_effort);
        let slot = match &params.target {
            AttachTarget::Pid(pid) => {
                let held = held(ToolOrigin::Process)?;
                attach_process(engine, params, held, *pid, caller, clock)?
            }
            AttachTarget::Cgroup(path) => {
                let held = held(ToolOrigin::Cgroup)?;
                self.attach_cgroup(engine, params, held, path, caller, clock)?
            }
        };
        let tool = engine.tracker().tool(slot);
        let tool = tool.ok_or_else(|| Refusal::new(RefusalCode::NotFound, "the tool has ended meanwhile"))?;
        Ok(Registered {
            tool: tool.identity.name.clone(),
            instance: tool.identity.instance,
            cgroup: tool.identity.cgroup.clone(),
            processes: tool.usage.processes,
            warnings: Vec::new(),
        })
    }

    fn attach_cgroup<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        params: &AttachParams,
        (limits, enforcement): (ToolLimits, Enforcement),
        path: &Path,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<ToolSlot, Refusal> {
        if !caller.is_root() {
            let message = "only root may make a cgroup a tool: its processes may be anybody's";
            return Err(Refusal::new(RefusalCode::NotPermitted, message));
        }
        let path = self.resolve(path)?;
        let slot = engine.register(
            NewTool {
                name: params.tool.clone(),
                origin: ToolOrigin::Cgroup,
                operation: params.operation,
                uid: caller.uid,
                root: None,
                owner: None,
                cgroup: Some(path.clone()),
                limits,
                enforcement,
            },
            clock,
        )?;
        self.followed.push(Followed { slot, path });
        self.follow(engine)?;
        engine.take_in(clock)?;
        Ok(slot)
    }

    /// The folder of a cgroup, given by its folder or by its path as `/proc/PID/cgroup` has it.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(code, message));
        let Some(root) = &self.cgroup2 else {
            return refuse(
                RefusalCode::Conflict,
                "cgroup v2 is not mounted on this host".to_owned(),
            );
        };
        let inside = path.strip_prefix(root).or_else(|_| path.strip_prefix("/"));
        let folder = root.join(inside.unwrap_or(path));
        match folder.canonicalize() {
            Ok(folder) if folder == *root => {
                let message = "the root of cgroup v2 holds all processes of this host: name one below it";
                refuse(RefusalCode::Conflict, message.to_owned())
            }
            Ok(folder) if folder.starts_with(root) && folder.join("cgroup.procs").is_file() => Ok(folder),
            _ => refuse(
                RefusalCode::NotFound,
                format!("there is no cgroup {} under {}", path.display(), root.display()),
            ),
        }
    }
}

fn attach_process<S: Source>(
    engine: &mut Engine<S>,
    params: &AttachParams,
    (limits, enforcement): (ToolLimits, Enforcement),
    pid: u32,
    caller: Caller,
    clock: &impl Clock,
) -> Result<ToolSlot, Refusal> {
    let refuse = |code, message: String| Err(Refusal::new(code, message));
    let gone = || {
        Refusal::new(
            RefusalCode::NotFound,
            format!("there is no process {pid}, or it is not yours"),
        )
    };
    let process: Described = enforce::describe(pid)
        .filter(|process| is_theirs(caller, process.uid, process.euid) && !process.zombie)
        .ok_or_else(gone)?;
    if pid == 1 {
        let message = "process 1 is the parent of all others: the whole host would be one tool".to_owned();
        return refuse(RefusalCode::Conflict, message);
    }
    if pid == std::process::id() {
        return refuse(RefusalCode::Conflict, format!("process {pid} is this agent"));
    }
    if process.kernel_thread {
        return refuse(
            RefusalCode::Conflict,
            format!("process {pid} is a thread of the kernel"),
        );
    }
    let known = engine.tracker().process(pid).and_then(|known| known.sample.tool);
    if let Some(tool) = known.and_then(|slot| engine.tracker().tool(slot)) {
        let (name, instance) = (&tool.identity.name, tool.identity.instance);
        return refuse(
            RefusalCode::Conflict,
            format!("process {pid} belongs to the tool {name} already (instance {instance})"),
        );
    }
    let slot = engine.register(
        NewTool {
            name: params.tool.clone(),
            origin: ToolOrigin::Process,
            operation: params.operation,
            uid: process.uid,
            root: Some(process.id),
            owner: enforce::describe(process.ppid).map(|owner| owner.id),
            cgroup: None,
            limits,
            enforcement,
        },
        clock,
    )?;
    engine.join(Joining {
        pid,
        start_ns: process.id.start_ns,
        tick_ns: PROC_TICK_NS,
        tool: slot,
    })?;
    let taken_in = engine.take_in(clock);
    engine.unjoin(pid)?;
    taken_in?;
    let is_there = engine.tracker().tool(slot).is_some_and(|tool| tool.usage.processes > 0);
    if !is_there {
        engine.end_tool(slot, clock)?;
        return Err(gone());
    }
    Ok(slot)
}

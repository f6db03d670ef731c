//! Tools as callers and rules make them: who may, which processes, what becomes of them when those have gone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    proc::{self, Described},
    server::Caller,
};
use crate::{
    config::{Executed, Rule},
    enforce::{self, Leaf, Leaves},
    manager::{EnhancedResourceManager, NewTool, ToolError},
    model::{
        Clock, ImageEvent, Joining, PROC_TICK_NS, ProcessId, ProcessSample, Source, SourceError, ToolLimits, ToolName,
        ToolOrigin, ToolSlot,
    },
    protocol::{AttachParams, AttachTarget, Refusal, RefusalCode, RegisterParams, Registered},
};

/// Bytes of a container's identity that are read at most.
const LONGEST_CONTAINER_ID: u64 = 128;
/// Digits that a container's identity has at least.
const SHORTEST_CONTAINER_ID: usize = 12;

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
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// Where cgroup v2 is mounted.
    cgroup2: Option<PathBuf>,
    leaves: Option<Leaves>,
    rules: Vec<Rule>,
    pending: Vec<Pending>,
    container_files: Vec<ContainerFile>,
    followed: Vec<Followed>,
}

/// The rest of a registration: the caller's way into its leaf, on which the kernel makes us wait.
pub(super) struct Entry {
    pub(super) leaf: Leaf,
    pub(super) pid: u32,
}

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
    /// What is kept of tools on a host with cgroup v2 at `cgroup2`, with leaves under `cgroup_root`.
    pub(super) fn new(cgroup2: Option<PathBuf>, cgroup_root: Option<PathBuf>, rules: Vec<Rule>) -> Self {
        let root = cgroup_root.or_else(|| Some(cgroup2.as_ref()?.join("resmgr")));
        Self {
            leaves: root.filter(|_| cgroup2.is_some()).map(Leaves::under),
            cgroup2,
            rules,
            ..Self::default()
        }
    }

    /// Goes on with the tools that an earlier agent left, and begins with what rules find among what runs already.
    pub(super) fn start<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        clock: &impl Clock,
    ) -> Result<usize, SourceError> {
        let adopted = manager.adopt_tools()?;
        for tool in manager.tracker().tools() {
            if let (ToolOrigin::Cgroup, Some(path)) = (tool.identity.origin, &tool.identity.cgroup) {
                self.followed.push(Followed {
                    slot: tool.identity.slot,
                    path: path.clone(),
                });
            }
        }
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
        let process = caller.pid.and_then(proc::describe).ok_or_else(gone)?;
        let slot = manager.register(
            NewTool {
                name: params.tool.clone(),
                origin: ToolOrigin::Exec,
                uid: caller.uid,
                root: Some(process.id),
                owner: proc::describe(process.ppid).map(|owner| owner.id),
                cgroup: None,
                limits: ToolLimits::LIGHT,
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
        let registered = Registered {
            tool: params.tool.clone(),
            instance,
            cgroup: leaf.as_ref().map(|leaf| leaf.path().to_owned()),
            processes: 0,
            warnings,
        };
        let pid = process.id.pid;
        Ok((registered, leaf.map(|leaf| Entry { leaf, pid })))
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

    /// Makes processes that run already a tool.
    pub(super) fn attach<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        params: &AttachParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<Registered, Refusal> {
        let slot = match &params.target {
            AttachTarget::Pid(pid) => attach_process(manager, &params.tool, *pid, caller, clock)?,
            AttachTarget::Cgroup(path) => self.attach_cgroup(manager, &params.tool, path, caller, clock)?,
        };
        let tool = manager.tracker().tool(slot);
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
        manager: &mut EnhancedResourceManager<S>,
        name: &ToolName,
        path: &Path,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<ToolSlot, Refusal> {
        if !caller.is_root() {
            let message = "only root may make a cgroup a tool: its processes may be anybody's";
            return Err(Refusal::new(RefusalCode::NotPermitted, message));
        }
        let path = self.resolve(path)?;
        let slot = manager.register(
            NewTool {
                name: name.clone(),
                origin: ToolOrigin::Cgroup,
                uid: caller.uid,
                root: None,
                owner: None,
                cgroup: Some(path.clone()),
                limits: ToolLimits::LIGHT,
            },
            clock,
        )?;
        self.followed.push(Followed { slot, path });
        self.follow(manager)?;
        manager.take_in(clock)?;
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

    /// Brings what tools' cgroups are and hold up to date, and ends the tools that are over.
    pub(super) fn tick<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        self.look_for_containers();
        self.follow(manager)?;
        self.look_into_leaves(manager);
        self.settle(manager, clock)?;
        for slot in manager.finished() {
            self.end(manager, slot, clock)?;
        }
        Ok(())
    }

    /// Has the processes of the cgroups that are followed taken in, now and later, and those of cgroups below them.
    fn follow<S: Source>(&mut self, manager: &mut EnhancedResourceManager<S>) -> Result<(), SourceError> {
        if self.followed.is_empty() {
            return Ok(());
        }
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
    fn look_into_leaves<S: Source>(&self, manager: &mut EnhancedResourceManager<S>) {
        let tools: Vec<(ToolSlot, Option<PathBuf>)> = manager
            .tracker()
            .tools()
            .filter(|tool| tool.identity.origin == ToolOrigin::Exec)
            .map(|tool| (tool.identity.slot, tool.identity.cgroup.clone()))
            .collect();
        for (slot, path) in tools {
            let Some(path) = path else { continue };
            let ids = enforce::descendants(&path);
            let charged = Leaf::at(path).working_set_bytes();
            if let Some(tool) = manager.tool_mut(slot) {
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
        for pending in std::mem::take(&mut self.pending) {
            let joined = manager
                .tracker()
                .tool(pending.slot)
                .is_some_and(|tool| tool.sums.processes_total > 0);
            if !joined && proc::is_alive(pending.process) {
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
        self.followed.retain(|followed| followed.slot != slot);
        self.container_files.retain(|file| file.slot != slot);
        if let Some(tool) = manager.end_tool(slot, clock)? {
            tracing::debug!(tool = %tool.identity.name, instance = tool.identity.instance, "ended");
            if let (ToolOrigin::Exec, Some(path)) = (tool.identity.origin, tool.identity.cgroup) {
                Leaf::at(path).remove();
            }
        }
        Ok(())
    }

    /// Follows the cgroups of containers whose identities have appeared in their files, and ends what followed cgroups
    /// that are no more.
    fn look_for_containers(&mut self) {
        let Some(root) = self.cgroup2.clone() else {
            return;
        };
        for file in std::mem::take(&mut self.container_files) {
            match container_id(&file).and_then(|id| find_cgroup(&root, &id)) {
                Some(path) => {
                    tracing::info!(cgroup = %path.display(), "a container joins its tool");
                    self.followed.push(Followed { slot: file.slot, path });
                }
                None => self.container_files.push(file),
            }
        }
    }

    /// Matches rules with what has been executed.
    pub(super) fn match_executed<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        images: &[ImageEvent],
        clock: &impl Clock,
        track_all: bool,
    ) -> Result<(), SourceError> {
        let mut decided = false;
        for image in images {
            let id = image.event.id;
            let executed = self.executed(image);
            match self.rules.iter().find(|rule| rule.matches(&executed)) {
                Some(rule) if !is_untouchable(id.pid) => {
                    let name = rule.tool.clone();
                    decided |= begin_by_rule(manager, name, id, image.event.ppid, image.event.uid, clock)?;
                }
                _ if track_all => {}
                _ => manager.source_mut().dismiss(id),
            }
        }
        if decided { manager.take_in(clock) } else { Ok(()) }
    }

    /// What was executed: from `/proc` where the process lives, else from what the programs have copied.
    fn executed(&self, image: &ImageEvent) -> Executed {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let arguments: Vec<String> = image.arguments.iter().map(|argument| lossy(argument)).collect();
        let path = lossy(&image.path);
        // A path that was given relative to a folder is whole in `/proc` only.
        let whole = (!path.starts_with('/'))
            .then(|| fs::read_link(format!("/proc/{}/exe", image.event.id.pid)).ok())
            .flatten();
        let asks_for_cgroup = self.rules.iter().any(Rule::asks_for_cgroup);
        let cgroup = if asks_for_cgroup {
            proc::cgroup(image.event.id.pid).or_else(|| cgroup_path(self.cgroup2.as_deref()?, image.cgroup))
        } else {
            None
        };
        Executed {
            path: whole.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(path),
            command: arguments.join(" "),
            cgroup,
            uid: image.event.uid,
        }
    }

    /// Matches rules with what runs already.
    fn match_running<S: Source>(
        &mut self,
        manager: &mut EnhancedResourceManager<S>,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let mut running: Vec<ProcessSample> = manager
            .tracker()
            .processes()
            .map(|process| process.sample.clone())
            .filter(|sample| !sample.kernel_thread && !sample.zombie && sample.tool.is_none())
            .collect();
        // Parents first: what descends from a tool's process is the tool's, whatever else it matches.
        running.sort_by_key(|sample| sample.id.start_ns);
        let mut taken: BTreeSet<u32> = BTreeSet::new();
        for sample in running {
            if taken.contains(&sample.ppid) {
                taken.insert(sample.id.pid);
                continue;
            }
            let executed = proc::executed(sample.id, sample.uid);
            let rule = executed.and_then(|executed| self.rules.iter().find(|rule| rule.matches(&executed)));
            if let Some(rule) = rule
                && !is_untouchable(sample.id.pid)
                && begin_by_rule(manager, rule.tool.clone(), sample.id, sample.ppid, sample.uid, clock)?
            {
                taken.insert(sample.id.pid);
            }
        }
        if taken.is_empty() {
            Ok(())
        } else {
            manager.take_in(clock)
        }
    }

    /// Removes the leaves that nothing is in.
    pub(super) fn remove_leaves<S: Source>(&self, manager: &EnhancedResourceManager<S>) {
        for tool in manager.tracker().tools() {
            if let (ToolOrigin::Exec, Some(path)) = (tool.identity.origin, tool.identity.cgroup.clone()) {
                Leaf::at(path).remove();
            }
        }
        if let Some(leaves) = &self.leaves {
            leaves.remove_root();
        }
    }
}

/// Processes that are never a tool's by a rule: the host's first, and the agent.
fn is_untouchable(pid: u32) -> bool {
    pid == 1 || pid == std::process::id()
}

/// Begins an instance of a rule's tool with a process; false where there is no room.
fn begin_by_rule<S: Source>(
    manager: &mut EnhancedResourceManager<S>,
    name: ToolName,
    root: ProcessId,
    ppid: u32,
    uid: u32,
    clock: &impl Clock,
) -> Result<bool, SourceError> {
    let new = NewTool {
        name,
        origin: ToolOrigin::Rule,
        uid,
        root: Some(root),
        owner: proc::describe(ppid).map(|owner| owner.id),
        cgroup: None,
        limits: ToolLimits::LIGHT,
    };
    match manager.register(new, clock) {
        Ok(slot) => {
            manager.decide(root, slot)?;
            Ok(true)
        }
        Err(ToolError::Source(error)) => Err(error),
        Err(error @ ToolError::Full(_)) => {
            tracing::warn!(pid = root.pid, %error, "a process matches a rule, and is no tool");
            Ok(false)
        }
    }
}

fn attach_process<S: Source>(
    manager: &mut EnhancedResourceManager<S>,
    name: &ToolName,
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
    let process: Described = proc::describe(pid)
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
    let known = manager.tracker().process(pid).and_then(|known| known.sample.tool);
    if let Some(tool) = known.and_then(|slot| manager.tracker().tool(slot)) {
        let (name, instance) = (&tool.identity.name, tool.identity.instance);
        return refuse(
            RefusalCode::Conflict,
            format!("process {pid} belongs to the tool {name} already (instance {instance})"),
        );
    }
    let slot = manager.register(
        NewTool {
            name: name.clone(),
            origin: ToolOrigin::Process,
            uid: process.uid,
            root: Some(process.id),
            owner: proc::describe(process.ppid).map(|owner| owner.id),
            cgroup: None,
            limits: ToolLimits::LIGHT,
        },
        clock,
    )?;
    manager.join(Joining {
        pid,
        start_ns: process.id.start_ns,
        tick_ns: PROC_TICK_NS,
        tool: slot,
    })?;
    let taken_in = manager.take_in(clock);
    manager.unjoin(pid)?;
    taken_in?;
    let is_there = manager
        .tracker()
        .tool(slot)
        .is_some_and(|tool| tool.usage.processes > 0);
    if !is_there {
        manager.end_tool(slot, clock)?;
        return Err(gone());
    }
    Ok(slot)
}

/// The identity of the container that a file names; `None` where it is not there yet, or is none.
fn container_id(file: &ContainerFile) -> Option<String> {
    use std::io::Read as _;
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
    let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let open = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nofollow.bits().cast_signed())
        .open(&file.path)
        .ok()?;
    let metadata = open.metadata().ok()?;
    // The agent reads as root: what the caller could not have written is not read for them.
    if !metadata.is_file() || (metadata.uid() != file.uid && file.uid != 0) {
        return None;
    }
    let mut text = String::new();
    open.take(LONGEST_CONTAINER_ID).read_to_string(&mut text).ok()?;
    let id = text.trim();
    let is_id = id.len() >= SHORTEST_CONTAINER_ID && id.chars().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// The cgroup whose name holds a container's identity.
fn find_cgroup(root: &Path, id: &str) -> Option<PathBuf> {
    enforce::below(root).into_iter().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.contains(id))
    })
}

/// The path of a cgroup as `/proc/PID/cgroup` would have it, by its identity.
fn cgroup_path(root: &Path, id: u64) -> Option<String> {
    let folder = enforce::below(root)
        .into_iter()
        .find(|path| enforce::identity(path).is_ok_and(|own| own == id))?;
    Some(format!("/{}", folder.strip_prefix(root).ok()?.display()))
}

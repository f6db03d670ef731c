//! What is remembered of how each tool is held, and where it stands on the ladder. Writes nothing but what freezes by turns.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::task::JoinSet;

use super::{super::own_cgroup, entry::ToolHold, slowed::Slowed};
use crate::{
    enforce::{Controllers, Cycles, Journal, Ladder, Leaf, ProcessHold, Seen, Verdict},
    model::{OperationKind, ProcessId, Resource, Timestamp},
    track::TrackedTool,
};

/// A tool that uses fewer cores than this for as long as that, in nanoseconds, is idle.
const IDLE_CORES: f64 = 0.01;
const IDLE_NS: u64 = 1_000_000_000;

/// How one instance is held.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) ladder: Ladder,
    /// What holds, as far as it was done.
    pub(super) now: ToolHold,
    /// What holds each process, by its id; those that were born since have it from their parents, and are seen to.
    each: HashMap<u32, (ProcessId, ProcessHold)>,
    /// An earlier agent did, by means that only the journal tells.
    pub(super) adopted: bool,
    /// What its leaf can hold.
    pub(super) controllers: Controllers,
    /// A task writes.
    pub(super) busy: bool,
    /// What could not be done at the last try, and why.
    pub(super) failure: Option<String>,
    slowed: Slowed,
    rest: Rest,
    /// It is being ended: what held it is let go, so that it hears of that.
    pub(super) ending: bool,
}

/// Whether a tool rests.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    /// Since when it has used next to no CPU time, in nanoseconds of `CLOCK_MONOTONIC`.
    since_ns: Option<u64>,
    /// It has done so for long enough, and not for being slowed.
    is_idle: bool,
}

/// How all are held.
#[derive(Debug)]
pub(in crate::agent::tools) struct Holds {
    /// What a tool's memory never goes beyond, in bytes.
    pub(super) memory_ceiling: u64,
    pub(super) held: HashMap<u64, Held>,
    cycles: Cycles,
    pub(super) journal: Arc<Journal>,
    /// Tasks that write, and those that have.
    writing: JoinSet<()>,
}

/// Half of the memory that the host has, in bytes.
fn half_of_host() -> u64 {
    let host = rustix::system::sysinfo();
    host.totalram as u64 * u64::from(host.mem_unit) / 2
}

impl Holds {
    /// Holds under a ceiling of memory, which is half of what the host has where none is given.
    pub(in crate::agent::tools) fn new(memory_ceiling: Option<u64>, journal: Arc<Journal>) -> Self {
        Self {
            memory_ceiling: memory_ceiling.unwrap_or_else(half_of_host),
            held: HashMap::new(),
            cycles: Cycles::default(),
            journal,
            writing: JoinSet::new(),
        }
    }

    /// Holds under another ceiling of memory from now on.
    pub(in crate::agent::tools) fn set_ceiling(&mut self, memory_ceiling: Option<u64>) {
        self.memory_ceiling = memory_ceiling.unwrap_or_else(half_of_host);
    }

    /// Has a task write.
    pub(super) fn write(&mut self, task: impl FnOnce() + Send + 'static) {
        while self.writing.try_join_next().is_some() {}
        self.writing.spawn_blocking(task);
    }

    /// Waits until no task writes any more.
    pub(in crate::agent::tools) async fn written(&mut self) {
        while self.writing.join_next().await.is_some() {}
    }

    /// Where changes are noted.
    pub(in crate::agent::tools) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// What a tool that was adopted is held by already.
    pub(in crate::agent::tools) fn adopt(&mut self, tool: &TrackedTool) {
        let mut held = Held::default();
        if let Some(leaf) = own_leaf(tool) {
            held.controllers = Controllers::of(leaf.path());
            held.now.leaf = leaf.held();
            held.adopted = true;
            // An agent that was killed while it was frozen by turns has left that to who froze it; make sure.
            let _ = leaf.thaw();
        }
        self.held.insert(tool.identity.instance, held);
    }

    /// A tool is being ended: nothing keeps its processes from hearing of it.
    pub(in crate::agent::tools) fn let_hear(&mut self, tool: &TrackedTool) {
        if let Some(held) = self.held.get_mut(&tool.identity.instance) {
            held.ending = true;
        }
        self.run_freely(tool);
    }

    /// Nothing is frozen by turns any more.
    pub(in crate::agent::tools) fn run_all_freely(&mut self) {
        self.cycles = Cycles::default();
    }

    /// Whoever freezes by turns is there, or another is.
    pub(in crate::agent::tools) fn mend(&mut self) {
        if let Err(error) = self.cycles.mend() {
            tracing::warn!(%error, "tools are not frozen by turns");
        }
    }

    fn run_freely(&mut self, tool: &TrackedTool) {
        if let Some(leaf) = own_leaf(tool) {
            self.turn(tool, &leaf, None);
        }
    }

    /// Has a tool run for a part of the time; where that is another than before, returns what held it and what does.
    pub(super) fn turn(
        &mut self,
        tool: &TrackedTool,
        leaf: &Leaf,
        percent: Option<u64>,
    ) -> Option<(ToolHold, ToolHold)> {
        let held = self.held.get_mut(&tool.identity.instance)?;
        let before = held.now;
        if before.runs_percent == percent {
            return None;
        }
        held.now.runs_percent = percent;
        if let Err(error) = self.cycles.set(leaf, percent) {
            let (tool, instance) = (&tool.identity.name, tool.identity.instance);
            tracing::warn!(%tool, instance, %error, "a tool is not frozen by turns");
        }
        Some((before, held.now))
    }

    /// An end has left something of a tool: it is looked at as if for the first time.
    pub(in crate::agent::tools) fn begin_anew(&mut self, instance: u64) {
        if let Some(held) = self.held.get_mut(&instance) {
            held.ladder = Ladder::default();
            held.ending = false;
        }
    }

    /// A tool is no more.
    pub(in crate::agent::tools) fn forget(&mut self, tool: &TrackedTool) {
        let instance = tool.identity.instance;
        self.run_freely(tool);
        self.held.remove(&instance);
        if let Err(error) = self.journal.settle(instance) {
            tracing::warn!(%error, "the journal is not up to date");
        }
    }
}

impl Held {
    /// What holds a process, where that is known.
    pub(super) fn of(&self, id: ProcessId) -> Option<ProcessHold> {
        // Whoever has just registered is known by its start's tick.
        let (known, hold) = self.each.get(&id.pid)?;
        known.is_same_by_tick(id).then_some(*hold)
    }

    /// A process is held by this from now on.
    pub(super) fn holds(&mut self, id: ProcessId, hold: ProcessHold) {
        self.each.insert(id.pid, (id, hold));
    }

    /// Only these processes are there still.
    pub(super) fn retain(&mut self, living: &[ProcessId]) {
        if self.each.len() > living.len() {
            let there: HashSet<u32> = living.iter().map(|id| id.pid).collect();
            self.each.retain(|pid, _| there.contains(pid));
        }
    }

    /// Whether it has used next to no CPU time for a while, and does not wait for any.
    pub(super) fn is_idle(&self) -> bool {
        self.rest.is_idle
    }

    /// Whether a tool uses no CPU time to speak of; of no use where its life is one operation.
    fn rests(&mut self, tool: &TrackedTool, now_ns: u64) -> bool {
        let may_rest = tool.identity.operation != OperationKind::Run;
        let is_quiet = may_rest && tool.cpu_share().is_some_and(|cores| cores < IDLE_CORES);
        self.rest.since_ns = is_quiet.then(|| self.rest.since_ns.unwrap_or(now_ns));
        self.rest.since_ns.is_some_and(|since_ns| now_ns - since_ns >= IDLE_NS)
    }

    /// A step on the ladder, from what the tool uses now.
    pub(super) fn step(
        &mut self,
        tool: &TrackedTool,
        leaf: Option<&Leaf>,
        memory_ceiling: u64,
        now: Timestamp,
    ) -> Verdict {
        // The programs see that an operation is over when the next one begins: one that rests is not held for it. Where
        // operations are told of, they end when that is told.
        let (value_ms, rests) = (tool.value(Resource::Cpu), self.rests(tool, now.monotonic_ns));
        let counted_ms = if self.now.slows() {
            self.slowed.operation_ms(value_ms, rests, leaf, now.monotonic_ns)
        } else {
            self.slowed = Slowed::default();
            if rests { 0 } else { value_ms }
        };
        self.rest.is_idle = rests && counted_ms == 0;
        let is_told = tool.identity.operation.is_told();
        let operation_ms = if is_told { value_ms } else { counted_ms };
        let used = |resource| match resource {
            Resource::Cpu => operation_ms,
            _ => tool.value(resource),
        };
        self.ladder.step(&Seen {
            limits: tool.limits,
            enforcement: tool.identity.enforcement,
            uses: Resource::ALL.map(used),
            stalls: tool.stall.is_felt(),
            memory_ceiling,
            now_ns: now.monotonic_ns,
        })
    }
}

/// The leaf that was made for a tool: another's cgroup is only read.
pub(super) fn own_leaf(tool: &TrackedTool) -> Option<Leaf> {
    own_cgroup(&tool.identity).map(Leaf::at)
}

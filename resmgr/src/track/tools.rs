//! Tools as they are tracked: what their processes use together, what the kernel summed up for them, what they crossed.

use std::collections::{BTreeSet, VecDeque};

use super::{Stall, operations::Operations};
use crate::model::{
    Action, BudgetUse, Crossing, EndCause, ExitStatus, Memory, OperationKind, ProcessEvent, Resource, ResourceStatus,
    Step, ToolAdjustment, ToolIdentity, ToolLimits, ToolSums,
};

/// Crossings that are remembered of a tool.
const CROSSINGS_KEPT: usize = 32;
/// Actions that are remembered of a tool.
const ACTIONS_KEPT: usize = 64;

/// The signal that the kernel kills with when memory is out.
const SIGKILL: u32 = 9;
/// Signals by which a program ends for its own mistakes: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const CRASHES: [u32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// What a tool's processes use together, by the last refresh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolUse {
    /// Its processes, those that have ended and wait for their parents included.
    pub pids: Vec<u32>,
    /// Processes that run.
    pub processes: u64,
    /// Their threads.
    pub threads: u64,
    /// Ended, and not yet reaped: each with the parent that has to.
    pub zombies: Vec<Zombie>,
    /// Processes whose parent in the tool has ended.
    pub orphans: Vec<u32>,
    /// Processes that have left the tool's leaf.
    pub escaped: Vec<u32>,
    /// Memory by kind, each address space once; `None` where no sweep has seen it.
    pub memory: Option<Memory>,
    /// Of these, what processes were born with by fork and have not left for another program: their parents' pages.
    pub born_bytes: u64,
    /// Memory in bytes of the process that has most.
    pub largest_bytes: u64,
    /// Virtual memory in bytes, each address space once.
    pub virtual_bytes: u64,
    /// CPU time in nanoseconds, of processes that have ended too.
    pub cpu_ns: u64,
    /// CPU use over the last interval, in cores.
    pub cpu_share: Option<f64>,
    /// Open descriptors, each distinct table once.
    pub open_fds: u64,
    /// Distinct connections.
    pub connections: u64,
    /// What is to be added to the programs' sum of descriptors: less what processes share, plus what those hold that have
    /// no counters.
    pub(super) fds_off: i64,
}

impl ToolUse {
    /// The most that its processes can share in bytes: all but what one of them has.
    pub fn most_shared_bytes(&self) -> u64 {
        let held = self.memory.as_ref().map_or(0, Memory::counted_bytes);
        held.saturating_sub(self.largest_bytes)
    }
}

/// By how many bytes pages that are counted in each process are more than they are together, as the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shared {
    bytes: u64,
    /// What of it processes were born with.
    born_bytes: u64,
}

/// A process that has ended and waits for its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zombie {
    /// Its process id.
    pub pid: u32,
    /// The parent that has to reap it.
    pub ppid: u32,
}

/// The most that a tool used, as far as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolPeaks {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU time of one operation, in milliseconds.
    pub operation_cpu_ms: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Connections.
    pub connections: u64,
    /// Processes.
    pub processes: u64,
}

impl ToolPeaks {
    /// Takes in what was reached before, of each resource in the order of [`Resource::ALL`].
    pub fn reach(&mut self, before: [u64; 4]) {
        let [memory, cpu_ms, fds, connections] = before;
        self.memory_bytes = self.memory_bytes.max(memory);
        self.operation_cpu_ms = self.operation_cpu_ms.max(cpu_ms);
        self.open_fds = self.open_fds.max(fds);
        self.connections = self.connections.max(connections);
    }
}

/// What was counted for a tool from events alone: of processes that ended before the programs knew whose they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latecomers {
    /// Processes.
    pub processes: u64,
    /// Their CPU time in nanoseconds.
    pub cpu_ns: u64,
}

/// A tool.
#[derive(Clone, Debug)]
pub struct TrackedTool {
    /// Who it is.
    pub identity: ToolIdentity,
    /// Its limits.
    pub limits: ToolLimits,
    /// What the programs have summed up.
    pub sums: ToolSums,
    /// What its processes use together.
    pub usage: ToolUse,
    /// What its leaf is charged with, less what can be dropped, in bytes; `None` where there is no leaf that counts it.
    pub charged_bytes: Option<u64>,
    shared: Option<Shared>,
    /// The most that it used.
    pub peaks: ToolPeaks,
    /// What only events have told.
    pub latecomers: Latecomers,
    /// The last crossings, the oldest first.
    pub crossings: VecDeque<Crossing>,
    /// Crossings ever.
    pub crossings_total: u64,
    /// The last things done to it, the oldest first.
    pub actions: VecDeque<Action>,
    /// Actions ever.
    pub actions_total: u64,
    /// The identities of its leaf and of the cgroups below it; empty where it has none.
    pub leaf: BTreeSet<u64>,
    /// How its first process ended; `None` where it has not, or was not seen to.
    pub root_exit: Option<ExitStatus>,
    /// How often the kernel has killed in its leaf for want of memory.
    pub oom_kills: u64,
    /// What all instances of its name use of their budget, by resource.
    pub budgets: [Option<BudgetUse>; 4],
    /// How much it is kept waiting for memory.
    pub stall: Stall,
    /// When it ended, in nanoseconds of `CLOCK_MONOTONIC`.
    pub ended_at_ns: Option<u64>,
    /// By how many connections the programs' sum was off at the last refresh; `None` where some came or went meanwhile.
    connections_off: Option<i64>,
    operations: Operations,
    adjustment: ToolAdjustment,
}

impl TrackedTool {
    /// A tool of which nothing is known yet.
    pub fn new(identity: ToolIdentity, limits: ToolLimits) -> Self {
        Self {
            sums: ToolSums {
                instance: identity.instance,
                ..ToolSums::default()
            },
            identity,
            limits,
            usage: ToolUse::default(),
            charged_bytes: None,
            shared: None,
            peaks: ToolPeaks::default(),
            latecomers: Latecomers::default(),
            crossings: VecDeque::new(),
            crossings_total: 0,
            actions: VecDeque::new(),
            actions_total: 0,
            leaf: BTreeSet::new(),
            root_exit: None,
            oom_kills: 0,
            budgets: [None; 4],
            stall: Stall::default(),
            ended_at_ns: None,
            connections_off: None,
            operations: Operations::default(),
            adjustment: ToolAdjustment::default(),
        }
    }

    /// Memory in bytes that counts against its limit: what its leaf is charged with, or what its processes hold, less
    /// what they share.
    pub fn memory_bytes(&self) -> u64 {
        let held = || match self.usage.memory {
            Some(memory) => memory.counted_bytes() - self.shared_bytes(),
            None => u64::try_from(self.sums.memory_bytes).unwrap_or(0),
        };
        self.charged_bytes.unwrap_or_else(held)
    }

    /// By how many bytes what its processes hold, counted in each, is more than they hold together: as the kernel last
    /// said, and with what was born since. A child shares all that it is born with.
    pub fn shared_bytes(&self) -> u64 {
        let born = self.usage.born_bytes;
        let shared = match self.shared {
            Some(shared) => (shared.bytes + born).saturating_sub(shared.born_bytes),
            None => born,
        };
        shared.min(self.usage.most_shared_bytes())
    }

    /// Takes in what the kernel says that its processes share.
    pub fn shares(&mut self, bytes: u64) {
        self.shared = Some(Shared {
            bytes,
            born_bytes: self.usage.born_bytes,
        });
    }

    /// Processes ever.
    pub fn processes_total(&self) -> u64 {
        self.sums.processes_total + self.latecomers.processes
    }

    /// Its use of a resource now, in the resource's unit: what the programs have summed up, corrected by the last sweep.
    pub fn value(&self, resource: Resource) -> u64 {
        let sum = match resource {
            Resource::Memory => self.sums.memory_bytes + self.adjustment.memory_bytes,
            Resource::Cpu => {
                let ns = match self.identity.operation {
                    OperationKind::Busy => self.sums.operation_cpu_ns,
                    OperationKind::Run => self.sums.cpu_ns,
                };
                return ns / 1_000_000;
            }
            Resource::Fds => self.sums.fds_open + self.adjustment.fds,
            Resource::Connections => self.sums.connections_open + self.adjustment.connections,
        };
        u64::try_from(sum).unwrap_or(0)
    }

    /// Looks whether operations have ended since it was last looked.
    pub fn look_for_operations(&mut self) {
        self.operations.look(&self.sums, self.identity.operation);
    }

    /// CPU time in milliseconds of an operation that had ended when it was last looked; the mean of several.
    pub fn ended_operation_ms(&self) -> Option<u64> {
        self.operations.ended_ms()
    }

    /// CPU time in milliseconds of the operation that ended with the tool.
    pub fn last_operation_ms(&self) -> Option<u64> {
        (self.sums.operations > 0).then(|| self.value(Resource::Cpu))
    }

    /// Its limits, less what others have of a budget that they share.
    pub fn limits_now(&self) -> ToolLimits {
        let most = |resource: Resource| {
            let of = self.budgets[resource as usize]?;
            Some(of.most(self.value(resource)))
        };
        self.limits.within(Resource::ALL.map(most))
    }

    /// How close a resource is to its limit.
    pub fn level(&self, resource: Resource) -> ResourceStatus {
        ResourceStatus::of(self.value(resource), self.limits.range(resource).current)
    }

    /// How close it is to its limits: its worst resource.
    pub fn status(&self) -> ResourceStatus {
        Resource::ALL
            .into_iter()
            .map(|resource| self.level(resource))
            .max()
            .unwrap_or_default()
    }

    /// Takes in a crossing.
    pub(super) fn crossed(&mut self, crossing: Crossing) {
        self.crossings_total += u64::from(crossing.risen);
        if self.crossings.len() == CROSSINGS_KEPT {
            self.crossings.pop_front();
        }
        self.crossings.push_back(crossing);
    }

    /// Why it ended, or its first process has; `None` where neither is known to have.
    pub fn end_cause(&self) -> Option<EndCause> {
        let was_ended = self.actions.iter().any(|action| action.step == Step::CleanUp);
        let exit = self.root_exit?;
        Some(match exit.signal() {
            Some(_) if was_ended => EndCause::Resmgr,
            Some(SIGKILL) if self.oom_kills > 0 => EndCause::OutOfMemory,
            Some(signal) if CRASHES.contains(&signal) => EndCause::Crash,
            Some(_) => EndCause::Signal,
            None => EndCause::Exit,
        })
    }

    /// Takes in the end of one of its processes. Those that ended before the programs knew whose they were are counted
    /// here: of those that they have counted they name the tool.
    pub(super) fn left(&mut self, event: &ProcessEvent) {
        if event.tool.is_none() {
            self.latecomers.processes += 1;
            self.latecomers.cpu_ns += event.counts.cpu_time_ns;
        }
        if self.identity.root.is_some_and(|root| root.is_same_by_tick(event.id)) {
            self.root_exit = Some(event.exit);
        }
    }

    /// Takes in what was done to it.
    pub fn acted(&mut self, action: Action) {
        self.actions_total += 1;
        if self.actions.len() == ACTIONS_KEPT {
            self.actions.pop_front();
        }
        self.actions.push_back(action);
    }

    /// Takes in what its processes use together. CPU time never falls: a process that ended in between is in neither sum
    /// for a moment.
    pub fn used(&mut self, mut usage: ToolUse) {
        usage.cpu_ns = (usage.cpu_ns + self.sums.ended_cpu_ns + self.latecomers.cpu_ns).max(self.usage.cpu_ns);
        self.usage = usage;
        let operation_cpu_ms = self.last_operation_ms().unwrap_or(0);
        let peaks = &mut self.peaks;
        peaks.operation_cpu_ms = peaks.operation_cpu_ms.max(operation_cpu_ms);
        peaks.open_fds = peaks.open_fds.max(self.usage.open_fds);
        peaks.connections = peaks.connections.max(self.usage.connections);
        peaks.processes = peaks.processes.max(self.usage.processes);
        let memory = self.memory_bytes().max(self.sums.memory_peak_bytes);
        self.peaks.memory_bytes = self.peaks.memory_bytes.max(memory);
    }

    /// What is added to the programs' sums, as it was last told them.
    pub fn adjustment(&self) -> ToolAdjustment {
        self.adjustment
    }

    /// What is to be added to the programs' sums, `now` being what they are; `None` where nothing changes. Its own sums are
    /// still those from before the refresh.
    ///
    /// A sweep misses connections that are made while it runs, and sees some that are gone since. What would be added for
    /// those is what a tool may have beyond its maximum, so a difference counts only where none came or went meanwhile, and
    /// two refreshes in turn have found it.
    pub fn adjust(&mut self, now: &ToolSums) -> Option<ToolAdjustment> {
        self.usage.memory?;
        let is_quiet = self.sums.connections() == now.connections();
        let off = is_quiet.then(|| signed(self.usage.connections) - now.connections_open);
        let before = std::mem::replace(&mut self.connections_off, off);
        self.adjusted(ToolAdjustment {
            memory_bytes: self.memory_off(now),
            fds: self.usage.fds_off,
            connections: off.filter(|_| off == before).unwrap_or(self.adjustment.connections),
        })
    }

    /// The same of what its leaf is charged with alone, between refreshes.
    pub fn adjust_charge(&mut self, now: &ToolSums) -> Option<ToolAdjustment> {
        self.charged_bytes?;
        self.adjusted(ToolAdjustment {
            memory_bytes: self.memory_off(now),
            ..self.adjustment
        })
    }

    fn memory_off(&self, now: &ToolSums) -> i64 {
        signed(self.memory_bytes()) - now.memory_bytes
    }

    fn adjusted(&mut self, adjustment: ToolAdjustment) -> Option<ToolAdjustment> {
        let changed = adjustment != self.adjustment;
        self.adjustment = adjustment;
        changed.then_some(adjustment)
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

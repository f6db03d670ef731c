//! Tools as they are tracked: what their processes use together, what the kernel summed up for them, what they crossed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    ByClient, Stall,
    operations::Operations,
    told::ToldOperations,
    used::{Latecomers, Shared, ToolPeaks, ToolUse},
};
use crate::model::{
    Action, BudgetUse, Crossing, EndCause, ExitStatus, OperationKind, ProcessEvent, ProcessId, Resource,
    ResourceStatus, Step, ToolAdjustment, ToolIdentity, ToolLimits, ToolSums,
};

/// Crossings that are remembered of a tool.
const CROSSINGS_KEPT: usize = 32;
/// Actions that are remembered of a tool.
const ACTIONS_KEPT: usize = 64;

/// The signal that the kernel kills with when memory is out.
const SIGKILL: u32 = 9;
/// Signals by which a program ends for its own mistakes: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const CRASHES: [u32; 7] = [4, 5, 6, 7, 8, 11, 31];

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
    /// What its client told of it, beside its processes.
    pub by_client: ByClient,
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
    /// The same by what was done, and about which resource.
    pub acted: BTreeMap<(Step, Option<Resource>), u64>,
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
    /// Operations that somebody tells of.
    pub told: ToldOperations,
    /// What is added to the programs' sums for what they do not know of its processes.
    adjustment: ToolAdjustment,
    /// That, and what was told: what the programs' sums are compared with lines by.
    lined: ToolAdjustment,
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
            by_client: ByClient::default(),
            charged_bytes: None,
            shared: None,
            peaks: ToolPeaks::default(),
            latecomers: Latecomers::default(),
            crossings: VecDeque::new(),
            crossings_total: 0,
            actions: VecDeque::new(),
            actions_total: 0,
            acted: BTreeMap::new(),
            leaf: BTreeSet::new(),
            root_exit: None,
            oom_kills: 0,
            budgets: [None; 4],
            stall: Stall::default(),
            ended_at_ns: None,
            connections_off: None,
            operations: Operations::default(),
            told: ToldOperations::default(),
            adjustment: ToolAdjustment::default(),
            lined: ToolAdjustment::default(),
        }
    }

    /// Memory in bytes that counts against its limit: what its leaf is charged with, or what its processes hold, less
    /// what they share; and what was told.
    pub fn memory_bytes(&self) -> u64 {
        self.held_bytes() + self.by_client.memory_bytes()
    }

    /// The part of it that its processes hold.
    fn held_bytes(&self) -> u64 {
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
                    OperationKind::Mcp | OperationKind::Api => self.told.most_cpu_ns(),
                };
                return (ns + self.by_client.operation_ns(self.identity.operation)) / 1_000_000;
            }
            Resource::Fds => self.sums.fds_open + self.adjustment.fds,
            Resource::Connections => self.sums.connections_open + self.adjustment.connections,
        };
        u64::try_from(sum).unwrap_or(0) + self.by_client.value(resource)
    }

    /// Looks whether operations have ended since it was last looked.
    pub fn look_for_operations(&mut self, now_ns: u64) {
        self.operations.look(&self.sums, self.identity.operation);
        self.by_client.look(now_ns);
    }

    /// CPU time in milliseconds of an operation that had ended when it was last looked; the mean of several.
    pub fn ended_operation_ms(&self) -> Option<u64> {
        self.operations.ended_ms().or(self.by_client.ended_ms())
    }

    /// CPU time in milliseconds of the operation that ended with the tool.
    pub fn last_operation_ms(&self) -> Option<u64> {
        let is_under_way = if self.identity.operation.is_told() {
            self.told.is_under_way()
        } else {
            self.sums.operations > 0 || self.by_client.has_operated()
        };
        is_under_way.then(|| self.value(Resource::Cpu))
    }

    /// Shares out what it has used until now among the operations under way, of CPU time so much since it began.
    pub fn share_out(&mut self, cpu_ns: u64) {
        let mut seen = [Resource::Memory, Resource::Fds, Resource::Connections].map(|resource| self.value(resource));
        for (seen, beyond) in seen.iter_mut().zip(self.by_client.beyond()) {
            *seen += beyond;
        }
        self.told.share_out(cpu_ns + self.by_client.cpu_ns(), seen);
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
        if self.begins_with(event.id) {
            self.root_exit = Some(event.exit);
        }
    }

    /// Whether a process is its first.
    pub fn begins_with(&self, process: ProcessId) -> bool {
        self.identity.root.is_some_and(|root| root.is_same_by_tick(process))
    }

    /// Takes in what was done to it.
    pub fn acted(&mut self, action: Action) {
        self.actions_total += 1;
        *self.acted.entry((action.step, action.resource)).or_default() += 1;
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
        peaks.open_fds = peaks
            .open_fds
            .max(self.usage.open_fds + self.by_client.value(Resource::Fds));
        let connections = self.usage.connections + self.by_client.value(Resource::Connections);
        peaks.connections = peaks.connections.max(connections);
        peaks.processes = peaks.processes.max(self.usage.processes);
        let memory = self.memory_bytes().max(self.sums.memory_peak_bytes);
        self.peaks.memory_bytes = self.peaks.memory_bytes.max(memory);
    }

    /// What is added to the programs' sums, as it was last told them.
    pub fn lined(&self) -> ToolAdjustment {
        self.lined
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
            cpu_ns: self.cpu_off(now),
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

    /// The same of CPU time alone, after operations have begun or ended.
    pub fn adjust_operations(&mut self, now: &ToolSums) -> Option<ToolAdjustment> {
        self.adjusted(ToolAdjustment {
            cpu_ns: self.cpu_off(now),
            ..self.adjustment
        })
    }

    /// What makes of all CPU time that of the operation that has used most; nothing where the programs know operations.
    fn cpu_off(&self, now: &ToolSums) -> i64 {
        if self.identity.operation.is_told() {
            signed(self.told.most_cpu_ns()) - signed(now.cpu_ns)
        } else {
            0
        }
    }

    fn memory_off(&self, now: &ToolSums) -> i64 {
        signed(self.held_bytes()) - now.memory_bytes
    }

    fn adjusted(&mut self, adjustment: ToolAdjustment) -> Option<ToolAdjustment> {
        self.adjustment = adjustment;
        let lined = self.by_client.beside(adjustment);
        let changed = lined != std::mem::replace(&mut self.lined, lined);
        changed.then_some(lined)
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

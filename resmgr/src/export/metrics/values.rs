//! The values that a scrape shows, and how those of several instances come together.

use std::collections::BTreeMap;

use crate::model::{
    AlertKind, Drift, EndCause, EndedTotals, FileKind, Losses, MapUse, Memory, ProgramCost, Resource, ResourceStatus,
    SocketState, Step, ToolName,
};

/// All that a scrape shows.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The agent itself.
    pub agent: AgentMeasured,
    /// Tools, each name and user once.
    pub tools: Vec<ToolMeasured>,
}

/// The agent: its own cost, and what it loses.
#[derive(Clone, Debug, Default)]
pub struct AgentMeasured {
    /// Its version.
    pub version: String,
    /// When it started, in seconds since 1970.
    pub started_s: u64,
    /// Its CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Its resident memory in bytes; `None` before the first sweep.
    pub resident_bytes: Option<u64>,
    /// Sweeps so far.
    pub sweeps: u64,
    /// Sweeps that failed.
    pub sweeps_failed: u64,
    /// Duration of the last sweep in nanoseconds.
    pub sweep_ns: u64,
    /// Bytes that the kernel wrote for the last sweep.
    pub sweep_bytes: u64,
    /// Milliseconds between sweeps.
    pub sweep_interval_ms: u64,
    /// What it took the agent's loop to put this together, in nanoseconds.
    pub scrape_ns: u64,
    /// Scrapes that found too many others under way.
    pub scrapes_refused: u64,
    /// What was lost, by cause.
    pub losses: Losses,
    /// How far events had drifted at all sweeps together.
    pub drift: Drift,
    /// How full the maps of the programs are.
    pub maps: Vec<MapUse>,
    /// What the programs cost in the last sample.
    pub programs: ProgramCost,
    /// Hooks attached.
    pub hooks_attached: u32,
    /// Hooks that this host lacks.
    pub hooks_missing: u64,
    /// Processes that ended while it watched.
    pub ended: EndedTotals,
    /// Bytes of the history's file in use.
    pub history_bytes: u64,
    /// Samples of the history that could not be written.
    pub samples_lost: u64,
    /// Ended tools whose totals were forgotten before their time.
    pub tools_forgotten: u64,
}

/// All instances of a name that are one user's.
#[derive(Clone, Debug)]
pub struct ToolMeasured {
    /// The name.
    pub name: ToolName,
    /// The user's id.
    pub uid: u32,
    /// What has been counted, of the instances that have ended too.
    pub totals: ToolTotals,
    /// What those that run use together; `None` where none does.
    pub now: Option<ToolNow>,
}

/// What only ever grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolTotals {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Processes.
    pub processes: u64,
    /// Descriptors that calls have opened.
    pub fds_opened: u64,
    /// Descriptors that were refused.
    pub fds_refused: u64,
    /// Outgoing connections that were established.
    pub connections_made: u64,
    /// Incoming connections that were accepted.
    pub connections_accepted: u64,
    /// Outgoing connections that failed, the refused ones included.
    pub connections_failed: u64,
    /// Outgoing connections that were refused.
    pub connections_refused: u64,
    /// How often a line was passed.
    pub crossings: u64,
    /// How often the kernel killed for want of memory.
    pub oom_kills: u64,
    /// How often the tool was slowed at its soft line of memory.
    pub high_events: u64,
    /// What was done, and about which resource.
    pub actions: BTreeMap<(Step, Option<Resource>), u64>,
    /// Alerts that were raised.
    pub alerts: BTreeMap<(AlertKind, ResourceStatus), u64>,
    /// Instances that have ended, by how the first process did; `None` where that is not known.
    pub ended: BTreeMap<Option<EndCause>, u64>,
}

/// A limit between its bounds, in the resource's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The lowest that it may become.
    pub base: u64,
    /// The limit in force.
    pub current: u64,
    /// The highest.
    pub max: u64,
}

/// What runs now: sums over the instances, unless a field says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolNow {
    /// Instances.
    pub instances: u64,
    /// The status of the one that is worst.
    pub status: ResourceStatus,
    /// Memory in bytes that counts against the limit.
    pub memory_bytes: u64,
    /// Memory by kind; `None` without sweeps.
    pub memory: Option<Memory>,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Open descriptors by kind.
    pub fds: BTreeMap<FileKind, u64>,
    /// Connections by state.
    pub connections: BTreeMap<SocketState, u64>,
    /// CPU time in milliseconds of the operation under way.
    pub operation_ms: u64,
    /// Limits, in the order of [`Resource::ALL`].
    pub limits: [InForce; 4],
    /// Of each resource the use by the limit in force, of the instance for which that is most.
    pub used: [f64; 4],
    /// What they are expected to need, in the resource's unit; 0 where that is not known.
    pub needs: [u64; 4],
    /// When the first of them reaches its maximum if it grows on, in seconds from now.
    pub reaches_max_s: [Option<f64>; 4],
    /// Processes.
    pub processes: u64,
    /// Their threads.
    pub threads: u64,
    /// Processes whose parent in the tool has ended.
    pub orphans: u64,
    /// Processes that wait for their parents to reap them.
    pub zombies: u64,
    /// Processes that have left the tool's cgroup.
    pub escaped: u64,
}

fn add<K: Ord>(sums: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    for (key, count) in more {
        *sums.entry(key).or_default() += count;
    }
}

impl std::ops::AddAssign for ToolTotals {
    fn add_assign(&mut self, more: Self) {
        self.cpu_ns += more.cpu_ns;
        self.processes += more.processes;
        self.fds_opened += more.fds_opened;
        self.fds_refused += more.fds_refused;
        self.connections_made += more.connections_made;
        self.connections_accepted += more.connections_accepted;
        self.connections_failed += more.connections_failed;
        self.connections_refused += more.connections_refused;
        self.crossings += more.crossings;
        self.oom_kills += more.oom_kills;
        self.high_events += more.high_events;
        add(&mut self.actions, more.actions);
        add(&mut self.alerts, more.alerts);
        add(&mut self.ended, more.ended);
    }
}

impl std::ops::AddAssign for ToolNow {
    fn add_assign(&mut self, more: Self) {
        self.instances += more.instances;
        self.status = self.status.max(more.status);
        self.memory_bytes += more.memory_bytes;
        match (&mut self.memory, more.memory) {
            (Some(memory), Some(more)) => *memory += more,
            (memory, more) => *memory = memory.or(more),
        }
        self.virtual_bytes += more.virtual_bytes;
        add(&mut self.fds, more.fds);
        add(&mut self.connections, more.connections);
        self.operation_ms += more.operation_ms;
        for (limit, more) in self.limits.iter_mut().zip(more.limits) {
            limit.base += more.base;
            limit.current += more.current;
            limit.max += more.max;
        }
        for (used, more) in self.used.iter_mut().zip(more.used) {
            *used = used.max(more);
        }
        for (need, more) in self.needs.iter_mut().zip(more.needs) {
            *need += more;
        }
        for (reached, more) in self.reaches_max_s.iter_mut().zip(more.reaches_max_s) {
            *reached = match (*reached, more) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        self.processes += more.processes;
        self.threads += more.threads;
        self.orphans += more.orphans;
        self.zombies += more.zombies;
        self.escaped += more.escaped;
    }
}

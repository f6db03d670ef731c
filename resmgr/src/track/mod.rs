//! `ResourceTracker`: from events and sweeps to what each process uses. Reads no clock, file or map.

mod belonging;
mod by_client;
mod drift;
mod operations;
mod stall;
mod summing;
mod told;
mod tools;
mod used;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::model::{
    Crossing, Drift, EndedTotals, EventCounts, HostTotals, Memory, ProcessEvent, ProcessEventKind, ProcessId,
    ProcessSample, SocketId, Sweep, Timestamp, ToolSlot,
};

use belonging::Belonging;
pub use by_client::{ByClient, TooMany};
pub use stall::{Counted, Stall};
pub use told::ToldOperations;
pub use tools::TrackedTool;
pub use used::{Latecomers, ToolPeaks, ToolUse, Zombie};

/// A process, and what follows from seeing it more than once.
#[derive(Clone, Debug)]
pub struct TrackedProcess {
    /// As it was last seen.
    pub sample: ProcessSample,
    /// CPU use between the last two times that it was seen, in cores; `None` until then.
    pub cpu_share: Option<f64>,
    /// When it was last brought up to date.
    pub last_update: Timestamp,
    /// The parent that it was born to, or had when it was first seen; 0 while none is known.
    pub first_ppid: u32,
    /// Where the measurement of its CPU use began: time and CPU time, in nanoseconds.
    measured_from: (u64, u64),
}

/// CPU use is measured over no less than this: the kernel brings a running thread's CPU time up to date at its ticks.
const SHORTEST_MEASUREMENT_NS: u64 = 100_000_000;

/// What every process uses.
#[derive(Debug, Default)]
pub struct ResourceTracker {
    processes: BTreeMap<u32, TrackedProcess>,
    ended: EndedTotals,
    drift: Drift,
    drift_total: Drift,
    tools: BTreeMap<ToolSlot, TrackedTool>,
    belonging: Belonging,
    /// The process that observes: it is no tool's.
    observer: u32,
}

impl ResourceTracker {
    /// A tracker that a process drives, which is no tool's.
    pub fn driven_by(observer: u32) -> Self {
        Self {
            observer,
            ..Self::default()
        }
    }

    /// The processes, by pid.
    pub fn processes(&self) -> impl Iterator<Item = &TrackedProcess> {
        self.processes.values()
    }

    /// One process.
    pub fn process(&self, pid: u32) -> Option<&TrackedProcess> {
        self.processes.get(&pid)
    }

    /// The tools, by slot.
    pub fn tools(&self) -> impl Iterator<Item = &TrackedTool> {
        self.tools.values()
    }

    /// One tool.
    pub fn tool(&self, slot: ToolSlot) -> Option<&TrackedTool> {
        self.tools.get(&slot)
    }

    /// One tool, to be brought up to date.
    pub fn tool_mut(&mut self, slot: ToolSlot) -> Option<&mut TrackedTool> {
        self.tools.get_mut(&slot)
    }

    /// Tracks a tool from now on.
    pub fn begin_tool(&mut self, tool: TrackedTool) {
        self.tools.insert(tool.identity.slot, tool);
    }

    /// Tracks a tool no more; returns it as it was last.
    pub fn end_tool(&mut self, slot: ToolSlot) -> Option<TrackedTool> {
        self.belonging.end_tool(slot);
        for process in self.processes.values_mut() {
            if process.sample.tool == Some(slot) {
                process.sample.tool = None;
            }
        }
        self.tools.remove(&slot)
    }

    /// Whether a process belongs to a tool and the programs are not known to know it.
    pub fn is_decided(&self, process: ProcessId) -> bool {
        self.belonging.is_decided(process)
    }

    /// A process belongs to a tool, although the programs do not know it yet.
    pub fn decide(&mut self, process: ProcessId, tool: ToolSlot) {
        self.belonging.decide(process, tool);
        if let Some(known) = self.processes.get_mut(&process.pid)
            && known.sample.id == process
        {
            known.sample.tool = Some(tool);
        }
    }

    /// Takes in a crossing.
    pub fn apply_crossing(&mut self, crossing: Crossing) {
        if let Some(tool) = self.tools.get_mut(&crossing.slot)
            && tool.identity.instance == crossing.instance
        {
            tool.crossed(crossing);
        }
    }

    /// What has ended.
    pub fn ended(&self) -> EndedTotals {
        self.ended
    }

    /// How far events had drifted at the last sweep, and in all sweeps together.
    pub fn drift(&self) -> (Drift, Drift) {
        (self.drift, self.drift_total)
    }

    /// Sums over the processes for which `include` holds.
    pub fn totals(&self, include: impl Fn(&ProcessSample) -> bool) -> HostTotals {
        let mut totals = HostTotals::default();
        let mut sockets: HashSet<SocketId> = HashSet::new();
        let mut unidentified = 0;
        for TrackedProcess { sample, cpu_share, .. } in self.processes.values() {
            if sample.kernel_thread || !include(sample) {
                continue;
            }
            totals.processes += 1;
            totals.threads += u64::from(sample.threads);
            totals.zombies += u64::from(sample.zombie);
            if let Some(memory) = sample.memory {
                *totals.memory.get_or_insert_default() += memory;
            }
            totals.cpu_time_ns += sample.cpu_ns;
            totals.open_fds += sample.open_fds;
            sockets.extend(&sample.sockets);
            unidentified += sample.connections - sample.sockets.len() as u64;
            if let Some(share) = cpu_share {
                *totals.cpu_share.get_or_insert(0.0) += share;
            }
        }
        totals.connections = sockets.len() as u64 + unidentified;
        totals
    }

    /// Takes in what happened, in its order.
    pub fn apply_events(&mut self, events: &[ProcessEvent], now: Timestamp) {
        for event in events {
            match event.kind {
                ProcessEventKind::Fork | ProcessEventKind::Exec => self.apply_birth_or_exec(event, now),
                ProcessEventKind::Exit => {
                    self.ended.processes += 1;
                    self.ended.cpu_time_ns += event.counts.cpu_time_ns;
                    let known = self.processes.get(&event.id.pid).map(|known| &known.sample);
                    let known = known.filter(|sample| sample.id == event.id);
                    let seen = known.and_then(|sample| sample.tool);
                    if known.is_some() {
                        self.processes.remove(&event.id.pid);
                    }
                    let whose = self.belonging.ended(event.id, event.tool.or(seen));
                    if let Some(tool) = whose.and_then(|slot| self.tools.get_mut(&slot)) {
                        tool.left(event);
                    }
                }
            }
        }
    }

    fn apply_birth_or_exec(&mut self, event: &ProcessEvent, now: Timestamp) {
        let is_known = |known: &TrackedProcess| known.sample.id == event.id;
        if !self.processes.get(&event.id.pid).is_some_and(is_known) {
            let born = ProcessSample {
                ppid: event.ppid,
                ..seen_by_events(event.id, &event.counts)
            };
            self.insert(born, None, now);
        }
        let inherited = self.tool_of(event.ppid, event.id.start_ns);
        let Some(TrackedProcess { sample, .. }) = self.processes.get_mut(&event.id.pid) else {
            return;
        };
        sample.comm = event.comm;
        sample.ppid = event.ppid;
        sample.uid = event.uid;
        sample.euid = event.euid;
        sample.tool = event.tool.or(sample.tool);
        // Born before the programs knew the parent to be the tool's.
        if sample.tool.is_none()
            && event.id.pid != self.observer
            && let Some(slot) = inherited
        {
            sample.tool = inherited;
            self.belonging.decide(event.id, slot);
        }
    }

    /// The tool of the process that had a pid at a time, also where only this tracker knows, or remembers.
    fn tool_of(&self, pid: u32, at_ns: u64) -> Option<ToolSlot> {
        let known = self.processes.get(&pid).map(|known| &known.sample);
        if let Some(sample) = known.filter(|sample| sample.id.start_ns <= at_ns) {
            return sample.tool;
        }
        self.belonging.tool_of(pid, at_ns)
    }

    /// Takes a sample in; `known` is the same process as it was last seen.
    fn insert(&mut self, sample: ProcessSample, known: Option<&TrackedProcess>, now: Timestamp) {
        let (cpu_share, measured_from) = match known {
            Some(known) => measure(known, sample.cpu_ns, now),
            None => (None, (now.monotonic_ns, sample.cpu_ns)),
        };
        let process = TrackedProcess {
            cpu_share,
            last_update: now,
            first_ppid: known
                .map(|known| known.first_ppid)
                .filter(|&ppid| ppid != 0)
                .unwrap_or(sample.ppid),
            measured_from,
            sample,
        };
        self.processes.insert(process.sample.id.pid, process);
    }

    /// Puts a sweep's truth in the place of everything known before.
    pub fn apply_sweep(&mut self, sweep: Sweep, now: Timestamp) {
        let before = std::mem::take(&mut self.processes);
        self.drift = Drift::default();
        for mut sample in sweep.processes {
            let known = before.get(&sample.id.pid).filter(|known| known.sample.id == sample.id);
            self.drift += drift::of(known.map(|known| &known.sample), &sample);
            let is_known_to_programs = sample.events.is_some() && sample.tool.is_some();
            if let Some(known) = known {
                // A thread that ended while the sweep went on may be missing from it: the sum never falls.
                sample.cpu_ns = sample.cpu_ns.max(known.sample.cpu_ns);
                // One that waits to be reaped has no counters any more, but is still its tool's.
                if sample.tool.is_none() && (sample.zombie || self.belonging.is_decided(sample.id)) {
                    sample.tool = known.sample.tool;
                }
            }
            if sample.zombie {
                sample.tool = sample.tool.or_else(|| self.belonging.tool_of_ended(sample.id));
            }
            if is_known_to_programs {
                self.belonging.settle(sample.id);
            }
            self.insert(sample, known, now);
        }
        let is_there = |id: ProcessId| self.processes.get(&id.pid).is_some_and(|now| now.sample.id == id);
        let missed = before.into_values().map(|known| known.sample);
        self.belonging.swept(missed.filter(|sample| !is_there(sample.id)));
        self.belonging.reaped_but(is_there);
        self.inherit();
        self.sum_up_tools();
        self.drift_total += self.drift;
    }

    /// A process that has no counters (it has ended and waits for its parent, or there was no room for them) belongs to
    /// its parent's tool.
    fn inherit(&mut self) {
        let homeless = |process: &&TrackedProcess| {
            let sample = &process.sample;
            let is_counted = sample.tool.is_some() || sample.events.is_some();
            !is_counted && !sample.kernel_thread && sample.id.pid != self.observer
        };
        if self.tools.is_empty() {
            return;
        }
        // Once for each generation that has none.
        loop {
            let of_parent = |process: &TrackedProcess| {
                let parent = self.processes.get(&process.sample.ppid)?;
                Some((process.sample.id.pid, parent.sample.tool?))
            };
            let found: Vec<(u32, ToolSlot)> = self.processes.values().filter(homeless).filter_map(of_parent).collect();
            if found.is_empty() {
                return;
            }
            for (pid, slot) in found {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.sample.tool = Some(slot);
                }
            }
        }
    }

    /// Sums up what each tool's processes use together.
    fn sum_up_tools(&mut self) {
        if self.tools.is_empty() {
            return;
        }
        let mut sums: HashMap<ToolSlot, summing::Summing> = HashMap::new();
        for process in self.processes.values() {
            if let Some(slot) = process.sample.tool {
                sums.entry(slot).or_default().add(process);
            }
        }
        for (slot, tool) in &mut self.tools {
            let summing = sums.remove(slot).unwrap_or_default();
            let usage = summing.finish(&tool.identity, &tool.leaf, &self.processes);
            tool.used(usage);
        }
    }

    /// Takes in what events have counted, where there is no sweep.
    pub fn apply_counts(&mut self, counts: Vec<(ProcessId, Option<ToolSlot>, EventCounts)>, now: Timestamp) {
        for (id, tool, counts) in counts {
            let mut fresh = seen_by_events(id, &counts);
            fresh.tool = tool;
            let known = self.processes.remove(&id.pid).filter(|known| known.sample.id == id);
            let sample = match &known {
                Some(known) => ProcessSample {
                    comm: known.sample.comm,
                    ppid: known.sample.ppid,
                    uid: known.sample.uid,
                    euid: known.sample.euid,
                    tool: fresh.tool.or(known.sample.tool),
                    ..fresh
                },
                None => fresh,
            };
            self.insert(sample, known.as_ref(), now);
        }
        // Who waits for a parent only a sweep sees.
        self.belonging.reaped_but(|_| false);
        self.sum_up_tools();
    }
}

/// A process of which only events are known.
fn seen_by_events(id: ProcessId, counts: &EventCounts) -> ProcessSample {
    ProcessSample {
        id,
        ppid: 0,
        uid: 0,
        euid: 0,
        comm: crate::model::Comm::default(),
        kernel_thread: false,
        zombie: false,
        threads: 1,
        cpu_ns: counts.cpu_time_ns,
        memory: None::<Memory>,
        born_bytes: 0,
        virtual_bytes: counts.virtual_bytes,
        peak_rss_bytes: None,
        address_space: None,
        open_fds: counts.fds_open,
        tables: Vec::new(),
        connections: counts.connections_open,
        sockets: Vec::new(),
        events: Some(*counts),
        tool: None,
        cgroup: 0,
    }
}

/// CPU use since the measurement began, in cores, and where the next one begins; the former use until it is due.
#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio of nanoseconds needs no more than 52 bits"
)]
fn measure(known: &TrackedProcess, cpu_ns: u64, now: Timestamp) -> (Option<f64>, (u64, u64)) {
    let (since_ns, from_ns) = known.measured_from;
    let elapsed = now.monotonic_ns.saturating_sub(since_ns);
    if elapsed < SHORTEST_MEASUREMENT_NS {
        return (known.cpu_share, known.measured_from);
    }
    let used = cpu_ns.saturating_sub(from_ns);
    (Some(used as f64 / elapsed as f64), (now.monotonic_ns, cpu_ns))
}

#[cfg(test)]
mod tests;

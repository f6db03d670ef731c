//! `ResourceTracker`: from events and sweeps to what each process uses. Reads no clock, file or map.

use std::collections::{BTreeMap, HashSet};

use crate::model::{
    Drift, EndedTotals, EventCounts, HostTotals, Memory, ProcessEvent, ProcessEventKind, ProcessId, ProcessSample,
    SocketId, Sweep, Timestamp,
};

/// A process, and what follows from seeing it more than once.
#[derive(Clone, Debug)]
pub struct TrackedProcess {
    /// As it was last seen.
    pub sample: ProcessSample,
    /// CPU use between the last two times that it was seen, in cores; `None` until then.
    pub cpu_share: Option<f64>,
    /// When it was last brought up to date.
    pub last_update: Timestamp,
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
}

impl ResourceTracker {
    /// The processes, by pid.
    pub fn processes(&self) -> impl Iterator<Item = &TrackedProcess> {
        self.processes.values()
    }

    /// One process.
    pub fn process(&self, pid: u32) -> Option<&TrackedProcess> {
        self.processes.get(&pid)
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
                    if self
                        .processes
                        .get(&event.id.pid)
                        .is_some_and(|known| known.sample.id == event.id)
                    {
                        self.processes.remove(&event.id.pid);
                    }
                }
            }
        }
    }

    fn apply_birth_or_exec(&mut self, event: &ProcessEvent, now: Timestamp) {
        match self.processes.get_mut(&event.id.pid) {
            Some(known) if known.sample.id == event.id => {
                known.sample.comm = event.comm;
                known.sample.ppid = event.ppid;
                known.sample.uid = event.uid;
                known.sample.euid = event.euid;
            }
            _ => {
                let mut sample = seen_by_events(event.id, &event.counts);
                sample.comm = event.comm;
                sample.ppid = event.ppid;
                sample.uid = event.uid;
                sample.euid = event.euid;
                self.insert(sample, None, now);
            }
        }
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
            if let Some(known) = known {
                add_drift(&mut self.drift, &known.sample, &sample);
                // A thread that ended while the sweep went on may be missing from it: the sum never falls.
                sample.cpu_ns = sample.cpu_ns.max(known.sample.cpu_ns);
            }
            self.insert(sample, known, now);
        }
        self.drift_total.cpu_time_ns += self.drift.cpu_time_ns;
        self.drift_total.virtual_bytes += self.drift.virtual_bytes;
        self.drift_total.fds += self.drift.fds;
        self.drift_total.connections += self.drift.connections;
    }

    /// Takes in what events have counted, where there is no sweep.
    pub fn apply_counts(&mut self, counts: Vec<(ProcessId, EventCounts)>, now: Timestamp) {
        for (id, counts) in counts {
            let fresh = seen_by_events(id, &counts);
            let known = self.processes.remove(&id.pid).filter(|known| known.sample.id == id);
            let sample = match &known {
                Some(known) => ProcessSample {
                    comm: known.sample.comm,
                    ppid: known.sample.ppid,
                    uid: known.sample.uid,
                    euid: known.sample.euid,
                    ..fresh
                },
                None => fresh,
            };
            self.insert(sample, known.as_ref(), now);
        }
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
        virtual_bytes: counts.virtual_bytes,
        peak_rss_bytes: None,
        open_fds: counts.fds_open,
        connections: counts.connections_open,
        sockets: Vec::new(),
        events: Some(*counts),
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

/// Adds how far events had drifted from the truth since the last sweep.
fn add_drift(drift: &mut Drift, before: &ProcessSample, now: &ProcessSample) {
    let (Some(counted_before), Some(counted)) = (&before.events, &now.events) else {
        return;
    };
    drift.virtual_bytes += counted.virtual_bytes.abs_diff(now.virtual_bytes);
    drift.fds += counted.fds_open.abs_diff(now.open_fds);
    drift.connections += counted.connections_open.abs_diff(now.connections);
    // The count of CPU time is not overwritten by a sweep: what it misses once is missing ever after, but drifted once.
    let used = now.cpu_ns.saturating_sub(before.cpu_ns);
    let used_by_events = counted.cpu_time_ns.saturating_sub(counted_before.cpu_time_ns);
    drift.cpu_time_ns += used_by_events.abs_diff(used);
}

#[cfg(test)]
mod tests;

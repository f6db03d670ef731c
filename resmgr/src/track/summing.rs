//! What a tool's processes use together, summed up from each: tables, address spaces and sockets once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    TrackedProcess,
    used::{ToolUse, Zombie},
};
use crate::model::{AddressSpaceId, ProcessId, SocketId, TableId, ToolIdentity};

/// Sums up what a tool's processes use together, each table, address space and socket once.
#[derive(Default)]
pub(super) struct Summing {
    usage: ToolUse,
    tables: HashMap<TableId, u64>,
    address_spaces: BTreeSet<AddressSpaceId>,
    sockets: BTreeSet<SocketId>,
    without_tables: u64,
    unidentified: u64,
    /// Descriptors of processes that have counters, each process's own.
    counted_fds: u64,
}

impl Summing {
    /// Adds a process.
    pub(super) fn add(&mut self, process: &TrackedProcess) {
        let sample = &process.sample;
        let usage = &mut self.usage;
        usage.pids.push(sample.id.pid);
        if sample.zombie {
            usage.zombies.push(Zombie {
                pid: sample.id.pid,
                ppid: sample.ppid,
            });
            return;
        }
        usage.processes += 1;
        usage.threads += u64::from(sample.threads);
        usage.cpu_ns += sample.cpu_ns;
        if let Some(share) = process.cpu_share {
            *usage.cpu_share.get_or_insert(0.0) += share;
        }
        let is_new = sample.address_space.is_none_or(|id| self.address_spaces.insert(id));
        if is_new {
            usage.virtual_bytes += sample.virtual_bytes;
            if let Some(memory) = sample.memory {
                *usage.memory.get_or_insert_default() += memory;
                usage.born_bytes += sample.born_bytes.min(memory.counted_bytes());
                usage.largest_bytes = usage.largest_bytes.max(memory.counted_bytes());
            }
        }
        if sample.tables.is_empty() {
            self.without_tables += sample.open_fds;
        }
        for &(table, fds) in &sample.tables {
            self.tables.insert(table, fds);
        }
        if sample.events.is_some() {
            self.counted_fds += sample.open_fds;
        }
        self.sockets.extend(&sample.sockets);
        self.unidentified += sample.connections - sample.sockets.len() as u64;
    }

    /// The sum.
    pub(super) fn finish(
        mut self,
        identity: &ToolIdentity,
        leaf: &BTreeSet<u64>,
        processes: &BTreeMap<u32, TrackedProcess>,
    ) -> ToolUse {
        self.usage.open_fds = self.tables.values().sum::<u64>() + self.without_tables;
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.usage.fds_off = signed(self.usage.open_fds) - signed(self.counted_fds);
        self.usage.connections = self.sockets.len() as u64 + self.unidentified;
        let members = &self.usage.pids;
        for process in members.iter().filter_map(|pid| processes.get(pid)) {
            let sample = &process.sample;
            if sample.zombie {
                continue;
            }
            if is_orphan(process, identity.root) && members.binary_search(&sample.ppid).is_err() {
                self.usage.orphans.push(sample.id.pid);
            }
            if !leaf.is_empty() && sample.cgroup != 0 && !leaf.contains(&sample.cgroup) {
                self.usage.escaped.push(sample.id.pid);
            }
        }
        self.usage
    }
}

/// Whether a process's parent is not the one that it was born to.
fn is_orphan(process: &TrackedProcess, root: Option<ProcessId>) -> bool {
    let sample = &process.sample;
    !root.is_some_and(|root| root.is_same_by_tick(sample.id)) && (sample.ppid != process.first_ppid || sample.ppid == 1)
}

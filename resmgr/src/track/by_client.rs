//! What a client told of a tool that lives in its own process: totals and numbers, taken as they are said, within bounds.

use std::collections::BTreeSet;

use super::TrackedTool;
use crate::model::{FileKind, OperationKind, Resource, ResourceStatus, ResourceUsage, ToldUse, ToolAdjustment};

/// The most that is believed, in bytes and in nanoseconds: sums over all tools stay numbers.
const MOST_BYTES: u64 = 1 << 52;
const MOST_NS: u64 = 1 << 60;
/// Descriptors, and connections, that are remembered of a tool.
const NUMBERS: usize = 16_384;
/// Less of a core than this over as long as that is idleness, as for processes.
const IDLE_CORES: f64 = 0.05;
const IDLE_NS: u64 = 900_000_000;

/// What was told.
#[derive(Clone, Debug, Default)]
pub struct ByClient {
    memory_bytes: u64,
    cpu_ns: u64,
    file_handles: BTreeSet<u32>,
    connections: BTreeSet<u32>,
    /// What had been used when the operation under way began.
    operation_from_ns: u64,
    /// CPU time is used, or was until shortly.
    is_busy: bool,
    ended_ms: Option<u64>,
    cpu_share: Option<f64>,
    /// When it was last looked for idleness, and what had been used then.
    looked: Option<(u64, u64)>,
    /// When something was last told, in nanoseconds of `CLOCK_MONOTONIC`.
    at_ns: u64,
    /// By how much memory, descriptors and connections were more since they were last told than they are now.
    beyond: [u64; 3],
    /// How close each resource was then to its limit.
    levels: [ResourceStatus; 4],
}

/// More is told than is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {NUMBERS} descriptors or connections of one tool: tell of no more")]
pub struct TooMany;

impl ByClient {
    /// Takes in what is told; of a client that begins anew, what it told before is nothing.
    pub fn take(&mut self, told: &ToldUse, now_ns: u64) -> Result<(), TooMany> {
        if told.anew {
            self.file_handles.clear();
            self.connections.clear();
        }
        self.at_ns = now_ns;
        self.memory_bytes = told.memory_bytes.min(MOST_BYTES);
        // A client that counts anew does not take back what was used.
        self.cpu_ns = self.cpu_ns.max(told.cpu_ns.min(MOST_NS));
        change(&mut self.file_handles, &told.opened, &told.closed)?;
        change(&mut self.connections, &told.connected, &told.disconnected)?;
        let now = [Resource::Memory, Resource::Fds, Resource::Connections].map(|resource| self.value(resource));
        let most = [MOST_BYTES, NUMBERS as u64, NUMBERS as u64];
        for ((beyond, peak), (now, most)) in self.beyond.iter_mut().zip(told.peaks).zip(now.into_iter().zip(most)) {
            *beyond = peak.min(most).saturating_sub(now);
        }
        Ok(())
    }

    /// By how much memory, descriptors and connections were more, shortly before they were last told.
    pub(super) const fn beyond(&self) -> [u64; 3] {
        self.beyond
    }

    /// That has been seen.
    pub(super) const fn is_seen(&mut self) {
        self.beyond = [0; 3];
    }

    /// When something was last told, in nanoseconds of `CLOCK_MONOTONIC`.
    pub const fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// Memory in bytes.
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// CPU time in nanoseconds.
    pub const fn cpu_ns(&self) -> u64 {
        self.cpu_ns
    }

    /// CPU use over the last look, in cores.
    pub const fn cpu_share(&self) -> Option<f64> {
        self.cpu_share
    }

    /// What was told of a resource that is used at a time; of CPU time nothing.
    pub fn value(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Memory => self.memory_bytes,
            Resource::Cpu => 0,
            Resource::Fds => self.file_handles.len() as u64,
            Resource::Connections => self.connections.len() as u64,
        }
    }

    /// CPU time in nanoseconds of the operation under way.
    pub const fn operation_ns(&self, kind: OperationKind) -> u64 {
        match kind {
            OperationKind::Busy => self.cpu_ns - self.operation_from_ns,
            OperationKind::Run => self.cpu_ns,
            // What those used that are under way is shared out among them.
            OperationKind::Mcp | OperationKind::Api => 0,
        }
    }

    /// Whether any CPU time was told.
    pub const fn has_operated(&self) -> bool {
        self.cpu_ns > 0
    }

    /// CPU time in milliseconds of an operation that had ended at the last look.
    pub const fn ended_ms(&self) -> Option<u64> {
        self.ended_ms
    }

    /// Looks whether the tool is idle: that ends an operation.
    #[expect(clippy::cast_precision_loss, reason = "a use in cores needs seven digits")]
    pub fn look(&mut self, now_ns: u64) {
        self.ended_ms = None;
        if self.cpu_ns == 0 {
            return;
        }
        let Some((looked_ns, before_ns)) = self.looked else {
            self.looked = Some((now_ns, 0));
            return;
        };
        let passed_ns = now_ns.saturating_sub(looked_ns);
        if passed_ns < IDLE_NS {
            return;
        }
        let share = (self.cpu_ns - before_ns) as f64 / passed_ns as f64;
        self.looked = Some((now_ns, self.cpu_ns));
        self.cpu_share = Some(share);
        let was_busy = std::mem::replace(&mut self.is_busy, share >= IDLE_CORES);
        if self.is_busy {
            return;
        }
        if was_busy {
            self.ended_ms = Some((self.cpu_ns - self.operation_from_ns) / 1_000_000);
        }
        self.operation_from_ns = self.cpu_ns;
    }

    /// What was told and what the programs are to be told beside it.
    pub(super) fn beside(&self, adjustment: ToolAdjustment) -> ToolAdjustment {
        let signed = |resource| i64::try_from(self.value(resource)).unwrap_or(i64::MAX);
        ToolAdjustment {
            memory_bytes: adjustment.memory_bytes + signed(Resource::Memory),
            fds: adjustment.fds + signed(Resource::Fds),
            connections: adjustment.connections + signed(Resource::Connections),
            ..adjustment
        }
    }

    /// Adds the numbers that were told to what processes use. Of what kind they are, only their client knows.
    pub fn add_to(&self, usage: &mut ResourceUsage) {
        usage.file_handles.extend(&self.file_handles);
        usage.network_connections.extend(&self.connections);
        if !self.file_handles.is_empty() {
            *usage.file_handles_by_kind.entry(FileKind::Other).or_default() += self.file_handles.len() as u64;
        }
    }
}

fn change(numbers: &mut BTreeSet<u32>, more: &[u32], less: &[u32]) -> Result<(), TooMany> {
    for number in less {
        numbers.remove(number);
    }
    for &number in more {
        if numbers.len() >= NUMBERS && !numbers.contains(&number) {
            return Err(TooMany);
        }
        numbers.insert(number);
    }
    Ok(())
}

impl TrackedTool {
    /// CPU time in nanoseconds of all its processes, and what was told.
    pub fn cpu_ns(&self) -> u64 {
        self.usage.cpu_ns + self.by_client.cpu_ns
    }

    /// CPU use over the last interval, in cores.
    pub fn cpu_share(&self) -> Option<f64> {
        match (self.usage.cpu_share, self.by_client.cpu_share) {
            (Some(processes), Some(told)) => Some(processes + told),
            (processes, told) => processes.or(told),
        }
    }

    /// Which lines what was told has passed or fallen back behind since this was last asked: resource, level, whether it
    /// was passed.
    pub fn crossings_told(&mut self) -> Vec<(Resource, ResourceStatus, bool)> {
        let mut crossings = Vec::new();
        for resource in Resource::ALL {
            let (value, limit) = (self.value(resource), self.limits.range(resource).current);
            let now = ResourceStatus::of(value, limit);
            let was = self.by_client.levels[resource as usize];
            let has_risen = now > was;
            if !has_risen && (now == was || value >= was.falls_under(limit)) {
                continue;
            }
            let (low, high) = (was.min(now), was.max(now));
            let passed = ResourceStatus::RISEN
                .into_iter()
                .filter(|level| (low..=high).contains(level) && *level != low);
            crossings.extend(passed.map(|level| (resource, level, has_risen)));
            self.by_client.levels[resource as usize] = now;
        }
        let [memory, cpu, fds, connections] = Resource::ALL.map(|resource| self.value(resource));
        let [more_memory, more_fds, more_connections] = self.by_client.beyond();
        self.peaks.reach([
            memory + more_memory,
            cpu,
            fds + more_fds,
            connections + more_connections,
        ]);
        self.by_client.is_seen();
        crossings
    }
}

#[cfg(test)]
mod tests {
    //! Reports as a client sends them.
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn numbers_are_a_set_and_a_client_that_begins_anew_has_told_nothing() {
        let mut told = ByClient::default();
        let mut tell = |opened: &[u32], closed: &[u32], anew| {
            let report = ToldUse {
                anew,
                opened: opened.to_vec(),
                closed: closed.to_vec(),
                ..ToldUse::default()
            };
            told.take(&report, 0).unwrap();
            told.value(Resource::Fds)
        };
        assert_eq!(tell(&[3, 4, 4], &[], false), 2);
        assert_eq!(tell(&[4], &[3, 9], false), 1);
        assert_eq!(tell(&[7], &[], true), 1);
    }

    #[test]
    fn more_numbers_than_are_remembered_are_refused() {
        let mut told = ByClient::default();
        let report = ToldUse {
            connected: (0..20_000).collect(),
            ..ToldUse::default()
        };
        assert_eq!(told.take(&report, 0), Err(TooMany));
        assert_eq!(told.value(Resource::Connections), NUMBERS as u64);
    }

    #[test]
    fn an_operation_ends_with_idleness_and_the_next_begins_at_nothing() {
        let mut told = ByClient::default();
        let mut at = |second: u64, cpu_ms: u64| {
            let report = ToldUse {
                cpu_ns: cpu_ms * 1_000_000,
                ..ToldUse::default()
            };
            told.take(&report, second * S).unwrap();
            told.look(second * S);
            (told.operation_ns(OperationKind::Busy) / 1_000_000, told.ended_ms())
        };
        assert_eq!(at(1, 500), (500, None));
        assert_eq!(at(2, 1000), (1000, None));
        assert_eq!(at(3, 1010), (0, Some(1010)), "1 % of a core");
        assert_eq!(at(4, 1010), (0, None));
        assert_eq!(at(5, 1500), (490, None));
        assert_eq!(told.operation_ns(OperationKind::Run), 1500 * 1_000_000);
    }
}

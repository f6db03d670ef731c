//! The maps that user space reads and writes while the programs run.

use std::collections::HashSet;

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf},
};
use resmgr_common::{Active, Correction, Loss, Owner, ProcessCounters, SweepFacts, names};

use super::{KernelError, tracked::Shared, wire::Wire};
use crate::model::{Losses, MapUse};

/// Connections that can be known at a time.
const MAX_SOCKETS: u32 = 65_536;

/// The maps, taken out of the loaded object.
pub(super) struct Maps {
    pub(super) ring: RingBuf<MapData>,
    counters: HashMap<MapData, u32, Wire<ProcessCounters>>,
    wanted: HashMap<MapData, u32, u8>,
    corrections: HashMap<MapData, u32, Wire<Correction>>,
    /// The processes that have corrections.
    corrected: HashSet<u32>,
    sockets: HashMap<MapData, u64, Wire<Owner>>,
    tracked: Shared,
    facts: Array<MapData, Wire<SweepFacts>>,
    active: Array<MapData, Wire<Active>>,
    losses: PerCpuArray<MapData, u64>,
}

pub(super) fn failed(operation: &'static str, map: &'static str) -> impl Fn(aya::maps::MapError) -> KernelError {
    move |error| KernelError::Map {
        operation,
        map,
        message: super::attach::chain(&error),
    }
}

/// Takes a map of a known type out of the object.
pub(super) fn take<M>(bpf: &mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = bpf.take_map(name).ok_or_else(|| KernelError::Map {
        operation: "find",
        map: name,
        message: "the BPF object has no such map: rebuild it with `cargo xtask ebpf`".to_owned(),
    })?;
    map.try_into().map_err(failed("open", name))
}

impl Maps {
    /// Takes the maps out of the object.
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            ring: take(bpf, names::EVENTS)?,
            counters: take(bpf, names::COUNTERS)?,
            wanted: take(bpf, names::WANTED)?,
            corrections: take(bpf, names::CORRECTIONS)?,
            corrected: HashSet::new(),
            sockets: take(bpf, names::SOCKETS)?,
            tracked: Shared::take(bpf)?,
            facts: take(bpf, names::FACTS)?,
            active: take(bpf, names::ACTIVE)?,
            losses: take(bpf, names::LOSSES)?,
        })
    }

    /// Every process's counters.
    pub(super) fn counters(&self) -> Result<Vec<(u32, ProcessCounters)>, KernelError> {
        let entries = self
            .counters
            .iter()
            .map(|entry| entry.map(|(pid, counters)| (pid, counters.0)));
        entries
            .collect::<Result<_, _>>()
            .map_err(failed("read", names::COUNTERS))
    }

    /// One process's counters; `None` where it has none.
    pub(super) fn of(&self, pid: u32) -> Option<ProcessCounters> {
        self.counters.get(&pid, 0).ok().map(|counters| counters.0)
    }

    /// Tells the programs what they cannot find out themselves.
    pub(super) fn set_facts(&mut self, facts: SweepFacts) -> Result<(), KernelError> {
        self.facts.set(0, Wire(facts), 0).map_err(failed("write", names::FACTS))
    }

    /// Makes a generation of programs the one that counts, from this store on, and no other. While another one is still
    /// attached that it takes over from, that is named too.
    pub(super) fn activate(&mut self, now: u32, from: u32) -> Result<(), KernelError> {
        let active = Wire(Active { now, from });
        self.active.set(0, active, 0).map_err(failed("write", names::ACTIVE))
    }

    /// Stops counting a process that is in no tool.
    pub(super) fn dismiss(&mut self, pid: u32, start_ns: u64) {
        let is_candidate = |counters: Wire<ProcessCounters>| counters.0.start_ns == start_ns && counters.0.tool == 0;
        // One that is gone already is what was asked for.
        if self.counters.get(&pid, 0).is_ok_and(is_candidate) && self.counters.remove(&pid).is_ok() {
            self.tracked.process_dismissed(pid);
        }
    }

    /// Forgets the connections of a tool that is no more, so that their ends are not counted for who has its slot next.
    pub(super) fn forget_sockets(&mut self, slot: u32) {
        let of_tool = |entry: Result<(u64, Wire<Owner>), _>| entry.ok().filter(|(_, owner)| owner.0.tool == slot);
        let sockets: Vec<u64> = self.sockets.iter().filter_map(of_tool).map(|(sock, _)| sock).collect();
        for sock in sockets {
            if self.sockets.remove(&sock).is_ok() {
                self.tracked.socket_forgotten(sock);
            }
        }
    }

    /// How full the maps are that fill up with use.
    pub(super) fn fill(&self, max_processes: u32) -> Vec<MapUse> {
        let of = |map: &str, entries: usize, max_entries: u32| MapUse {
            map: map.to_owned(),
            entries: entries as u64,
            max_entries: u64::from(max_entries),
        };
        vec![
            of(names::COUNTERS, self.counters.keys().count(), max_processes),
            of(names::SOCKETS, self.sockets.keys().count(), MAX_SOCKETS),
        ]
    }

    /// Makes a detailed pass visit these processes and no others.
    pub(super) fn want(&mut self, pids: &[u32]) -> Result<(), KernelError> {
        let wanted: HashSet<u32> = pids.iter().copied().collect();
        let before: Vec<u32> = self.wanted.keys().filter_map(Result::ok).collect();
        for pid in before.iter().filter(|pid| !wanted.contains(pid)) {
            // One that is gone already is what was asked for.
            let _ = self.wanted.remove(pid);
        }
        for pid in pids {
            self.wanted.insert(pid, 1, 0).map_err(failed("write", names::WANTED))?;
        }
        Ok(())
    }

    /// Leaves corrections of processes' counters to the next sweep: these, and no others. Where there is no room for one,
    /// its process's counters go by the leader's table.
    pub(super) fn correct(&mut self, corrections: std::collections::HashMap<u32, Correction>) {
        self.corrected.retain(|pid| {
            let stays = corrections.contains_key(pid);
            if !stays {
                let _ = self.corrections.remove(pid);
            }
            stays
        });
        for (pid, correction) in corrections {
            if self.corrections.insert(pid, Wire(correction), 0).is_ok() {
                self.corrected.insert(pid);
            }
        }
    }

    /// How much was lost, over all CPUs.
    pub(super) fn losses(&self) -> Result<Losses, KernelError> {
        let total = |loss: Loss| {
            let per_cpu = self
                .losses
                .get(&(loss as u32), 0)
                .map_err(failed("read", names::LOSSES))?;
            Ok::<u64, KernelError>(per_cpu.iter().sum())
        };
        Ok(Losses {
            ring_full: total(Loss::RingFull)?,
            counters_full: total(Loss::CountersFull)?,
            sockets_full: total(Loss::SocketsFull)?,
            crossings_full: total(Loss::CrossingsFull)?,
            runs_missed: total(Loss::RunsMissed)?,
        })
    }

    /// Remembers runs that the kernel left out of programs that are about to go.
    pub(super) fn remember_missed(&mut self, runs: u64) -> Result<(), KernelError> {
        let key = Loss::RunsMissed as u32;
        let before = self.losses.get(&key, 0).map_err(failed("read", names::LOSSES))?;
        // Programs do not count it: all of it may stand at the first CPU.
        let mut per_cpu = vec![0; before.len()];
        if let Some(first) = per_cpu.first_mut() {
            *first = before.iter().sum::<u64>() + runs;
        }
        PerCpuValues::try_from(per_cpu)
            .map_err(aya::maps::MapError::from)
            .and_then(|per_cpu| self.losses.set(key, per_cpu, 0))
            .map_err(failed("write", names::LOSSES))
    }
}

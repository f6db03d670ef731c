//! The maps of tools: their sums, lines and records, and who is to join them.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use resmgr_common::{
    CrossedKey, Joining as JoiningRecord, TOOL_LEVELS, TOOL_RESOURCES, ToolCounters, ToolLines, ToolMost, ToolRecord,
    ToolRefused, names,
};

use super::{
    KernelError,
    counters::{failed, take},
    records::{identity, limits, record},
    wire::Wire,
};
use crate::model::{
    Joining, MapUse, OperationKind, Resource, ResourceStatus, ToolAdjustment, ToolIdentity, ToolLimits, ToolSlot,
    ToolSums,
};

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// Entries that there is room for in `JOINING` and in `CROSSED`.
const MAX_ENTRIES: u64 = 4096;

/// The maps, taken out of the loaded object.
pub(super) struct ToolMaps {
    sums: Array<MapData, Wire<ToolCounters>>,
    lines: Array<MapData, Wire<ToolLines>>,
    records: Array<MapData, Wire<ToolRecord>>,
    crossed: HashMap<MapData, Wire<CrossedKey>, u8>,
    joining: HashMap<MapData, u32, Wire<JoiningRecord>>,
    cgroups: HashMap<MapData, u64, u32>,
    most: Array<MapData, Wire<ToolMost>>,
    refused: Array<MapData, Wire<ToolRefused>>,
    /// Whether hooks refuse descriptors.
    refuses_descriptors: bool,
    page_bytes: u64,
}

impl ToolMaps {
    /// Slots that there are, the one of no tool included.
    pub(super) const SLOTS: u32 = 1024;

    /// Takes the maps out of the object.
    pub(super) fn take(bpf: &mut Ebpf, page_bytes: u64) -> Result<Self, KernelError> {
        Ok(Self {
            sums: take(bpf, names::TOOLS)?,
            lines: take(bpf, names::TOOL_LINES)?,
            records: take(bpf, names::TOOL_RECORDS)?,
            crossed: take(bpf, names::CROSSED)?,
            joining: take(bpf, names::JOINING)?,
            cgroups: take(bpf, names::CGROUPS)?,
            most: take(bpf, names::TOOL_MOST)?,
            refused: take(bpf, names::TOOL_REFUSED)?,
            refuses_descriptors: false,
            page_bytes,
        })
    }

    /// Whether hooks refuse descriptors beyond the lines that are drawn from now on.
    pub(super) fn refuse_descriptors(&mut self, refuses: bool) {
        self.refuses_descriptors = refuses;
    }

    /// The tools that are there.
    pub(super) fn kept(&self) -> Result<Vec<(ToolIdentity, ToolLimits)>, KernelError> {
        let mut kept = Vec::new();
        for slot in 1..Self::SLOTS {
            let Wire(record) = self
                .records
                .get(&slot, 0)
                .map_err(failed("read", names::TOOL_RECORDS))?;
            if record.instance != 0 {
                kept.extend(identity(ToolSlot(slot), &record).map(|identity| (identity, limits(&record))));
            }
        }
        Ok(kept)
    }

    fn counters(&self, slot: ToolSlot) -> Result<ToolCounters, KernelError> {
        let counters = self.sums.get(&slot.0, 0).map_err(failed("read", names::TOOLS))?;
        Ok(counters.0)
    }

    /// Begins a tool.
    pub(super) fn begin(&mut self, tool: &ToolIdentity, limits: &ToolLimits) -> Result<(), KernelError> {
        self.set_lines(tool, limits, ToolAdjustment::default())?;
        self.describe(tool, limits)?;
        self.refused
            .set(tool.slot.0, Wire(ToolRefused::default()), 0)
            .map_err(failed("write", names::TOOL_REFUSED))?;
        let counters = ToolCounters {
            instance: tool.instance,
            ..ToolCounters::default()
        };
        self.sums
            .set(tool.slot.0, Wire(counters), 0)
            .map_err(failed("write", names::TOOLS))
    }

    /// Writes down who a tool is.
    pub(super) fn describe(&mut self, tool: &ToolIdentity, limits: &ToolLimits) -> Result<(), KernelError> {
        self.records
            .set(tool.slot.0, Wire(record(tool, limits)), 0)
            .map_err(failed("write", names::TOOL_RECORDS))
    }

    /// Ends a tool.
    pub(super) fn end(&mut self, slot: ToolSlot) -> Result<(), KernelError> {
        for resource in 0..TOOL_RESOURCES {
            for level in 1..TOOL_LEVELS {
                // A line that was not crossed has no entry.
                let _ = self.crossed.remove(&Wire(CrossedKey {
                    tool: slot.0,
                    line: u32::try_from(resource * TOOL_LEVELS + level).unwrap_or(0),
                }));
            }
        }
        self.records
            .set(slot.0, Wire(bytemuck::Zeroable::zeroed()), 0)
            .map_err(failed("write", names::TOOL_RECORDS))?;
        self.sums
            .set(slot.0, Wire(ToolCounters::default()), 0)
            .map_err(failed("write", names::TOOLS))
    }

    /// Draws a tool's lines.
    pub(super) fn set_lines(
        &mut self,
        tool: &ToolIdentity,
        limits: &ToolLimits,
        adjustment: ToolAdjustment,
    ) -> Result<(), KernelError> {
        let mut lines = self.draw(limits, adjustment);
        lines.endless = u64::from(tool.operation != OperationKind::Busy);
        if let Some(most) = tool.enforcement.most(limits.connections) {
            lines.connections_most = i64::try_from(most).unwrap_or(i64::MAX);
        }
        lines.exempt_loopback = u64::from(tool.enforcement.exempt_loopback);
        let most = tool.enforcement.most(limits.fds).filter(|_| self.refuses_descriptors);
        let most = ToolMost { fds: most.unwrap_or(0) };
        self.most
            .set(tool.slot.0, Wire(most), 0)
            .map_err(failed("write", names::TOOL_MOST))?;
        self.lines
            .set(tool.slot.0, Wire(lines), 0)
            .map_err(failed("write", names::TOOL_LINES))
    }

    fn draw(&self, limits: &ToolLimits, adjustment: ToolAdjustment) -> ToolLines {
        let page = i64::try_from(self.page_bytes).unwrap_or(4096);
        let mut lines = ToolLines {
            rise: [[i64::MAX; TOOL_LEVELS]; TOOL_RESOURCES],
            fall: [[i64::MIN; TOOL_LEVELS]; TOOL_RESOURCES],
            adjust: [
                adjustment.memory_bytes / page,
                adjustment.cpu_ns,
                adjustment.fds,
                adjustment.connections,
            ],
            endless: 0,
            connections_most: i64::MAX,
            exempt_loopback: 0,
        };
        for (n, resource) in Resource::ALL.into_iter().enumerate() {
            let limit = limits.range(resource).current;
            for (level, status) in ResourceStatus::RISEN.into_iter().enumerate() {
                lines.rise[n][level] = self.kernel_unit(resource, status.rises_at(limit));
                lines.fall[n][level + 1] = self.kernel_unit(resource, status.falls_under(limit));
            }
        }
        lines
    }

    /// A value in the unit in which the programs count.
    fn kernel_unit(&self, resource: Resource, value: u64) -> i64 {
        let value = match resource {
            Resource::Memory => value.div_ceil(self.page_bytes),
            Resource::Cpu => value.saturating_mul(MS),
            Resource::Fds | Resource::Connections => value,
        };
        i64::try_from(value).unwrap_or(i64::MAX)
    }

    /// A value that the programs counted, in the resource's unit.
    pub(super) fn own_unit(&self, resource: Resource, value: u64) -> u64 {
        match resource {
            Resource::Memory => value.saturating_mul(self.page_bytes),
            Resource::Cpu => value / MS,
            Resource::Fds | Resource::Connections => value,
        }
    }

    /// What the programs have summed up for a tool.
    pub(super) fn sums(&self, slot: ToolSlot) -> Result<ToolSums, KernelError> {
        let counters = self.counters(slot)?;
        let Wire(refused) = self
            .refused
            .get(&slot.0, 0)
            .map_err(failed("read", names::TOOL_REFUSED))?;
        let pages = |pages: i64| pages.saturating_mul(i64::try_from(self.page_bytes).unwrap_or(4096));
        let not_negative = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(ToolSums {
            instance: counters.instance,
            processes: not_negative(counters.processes),
            processes_total: counters.processes_total,
            cpu_ns: counters.cpu_ns,
            ended_cpu_ns: counters.ended_cpu_ns,
            operation_cpu_ns: counters.cpu_ns.saturating_sub(counters.operation_start_ns),
            operations: counters.operations,
            fds_opened: counters.fds_opened,
            fds_closed: counters.fds_closed,
            fds_open: counters.fds_open,
            fds_refused: refused.fds,
            connections_made: counters.connections_made,
            connections_accepted: counters.connections_accepted,
            connections_failed: counters.connections_failed,
            connections_refused: counters.connections_refused,
            connections_open: counters.connections_open,
            memory_bytes: pages(counters.memory_pages),
            memory_peak_bytes: not_negative(pages(counters.memory_peak_pages)),
            process_peak_rss_bytes: counters.peak_rss_pages.saturating_mul(self.page_bytes),
        })
    }

    /// Has a process taken into a tool.
    pub(super) fn join(&mut self, joining: Joining) -> Result<(), KernelError> {
        let record = JoiningRecord {
            start_ns: joining.start_ns,
            tick_ns: joining.tick_ns,
            tool: joining.tool.0,
            _pad: 0,
        };
        self.joining
            .insert(joining.pid, Wire(record), 0)
            .map_err(failed("write", names::JOINING))
    }

    /// Processes that are to be taken into tools.
    pub(super) fn joining(&self) -> Vec<Joining> {
        let joining = |(pid, Wire(record)): (u32, Wire<JoiningRecord>)| Joining {
            pid,
            start_ns: record.start_ns,
            tick_ns: record.tick_ns,
            tool: ToolSlot(record.tool),
        };
        self.joining.iter().filter_map(Result::ok).map(joining).collect()
    }

    /// How full the maps are that fill up with use.
    pub(super) fn fill(&self) -> [MapUse; 2] {
        let of = |map: &str, entries: usize| MapUse {
            map: map.to_owned(),
            entries: entries as u64,
            max_entries: MAX_ENTRIES,
        };
        [
            of(names::JOINING, self.joining.keys().count()),
            of(names::CROSSED, self.crossed.keys().count()),
        ]
    }

    /// Withdraws that.
    pub(super) fn unjoin(&mut self, pid: u32) {
        // One that is gone already is what was asked for.
        let _ = self.joining.remove(&pid);
    }

    /// Whether anything waits to be taken into a tool.
    pub(super) fn is_adopting(&self) -> bool {
        self.joining.keys().next().is_some() || self.cgroups.keys().next().is_some()
    }

    /// The cgroups whose processes are to be taken into tools: these, and no others.
    pub(super) fn set_cgroups(&mut self, cgroups: &[(u64, ToolSlot)]) -> Result<(), KernelError> {
        let before: Vec<u64> = self.cgroups.keys().filter_map(Result::ok).collect();
        for id in before
            .iter()
            .filter(|id| !cgroups.iter().any(|(wanted, _)| wanted == *id))
        {
            let _ = self.cgroups.remove(id);
        }
        for (id, slot) in cgroups {
            self.cgroups
                .insert(id, slot.0, 0)
                .map_err(failed("write", names::CGROUPS))?;
        }
        Ok(())
    }
}

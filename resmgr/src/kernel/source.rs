//! The programs at work, as the [`Source`] that everything above reads.

use super::{KernelError, events, files, files::Visits, inspect::process_clock_ns, load::Kernel, tools::ToolMaps};
use crate::model::{
    Capabilities, Drained, EventCounts, FileSample, Joining, KernelEvent, Losses, MapUse, ProcessId, ProgramCost,
    Source, SourceError, Sweep, Timestamp, ToolAdjustment, ToolIdentity, ToolLimits, ToolSlot, ToolSums,
};

impl Source for Kernel {
    fn observer(&self) -> u32 {
        self.facts.agent
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn drain(&mut self, budget: usize, into: &mut Vec<KernelEvent>) -> Result<Drained, SourceError> {
        let page_bytes = self.page_bytes;
        let ring = &mut self.maps.ring;
        Ok(events::drain(
            ring,
            budget,
            &mut self.batch,
            &self.tools,
            page_bytes,
            into,
        ))
    }

    fn sweep(&mut self) -> Result<Sweep, SourceError> {
        self.run_sweep().map_err(|error| source_error("sweep", &error))
    }

    fn details(&mut self, pids: &[u32], take: &mut dyn FnMut(FileSample)) -> Result<(), SourceError> {
        let mut visits = Visits::default();
        self.run_details(pids, |record| {
            if visits.is_first(record) {
                take(files::decode(record));
            }
        })
        .map_err(|error| source_error("read descriptors", &error))
    }

    fn counts(&mut self) -> Result<Vec<(ProcessId, Option<ToolSlot>, EventCounts)>, SourceError> {
        let counters = self
            .maps
            .counters()
            .map_err(|error| source_error("read counters", &error))?;
        Ok(counters
            .into_iter()
            .map(|(pid, counters)| {
                let id = ProcessId {
                    pid,
                    start_ns: counters.start_ns,
                };
                (id, events::tool(&counters), events::counts(&counters))
            })
            .collect())
    }

    fn losses(&mut self) -> Result<Losses, SourceError> {
        let losses = self
            .maps
            .losses()
            .map_err(|error| source_error("read losses", &error))?;
        Ok(Losses {
            runs_missed: losses.runs_missed + self.statistics.missed(),
            ..losses
        })
    }

    fn map_use(&mut self) -> Result<Vec<MapUse>, SourceError> {
        let mut fill = self.maps.fill(self.max_processes);
        fill.extend(self.tools.fill());
        Ok(fill)
    }

    fn program_cost(&mut self, now: Timestamp) -> ProgramCost {
        self.statistics.pass(now)
    }

    fn kept_tools(&mut self) -> Result<Vec<(ToolIdentity, ToolLimits)>, SourceError> {
        self.tools.kept().map_err(|error| source_error("read tools", &error))
    }

    fn tool_slots(&self) -> u32 {
        ToolMaps::SLOTS
    }

    fn begin_tool(&mut self, tool: &ToolIdentity, limits: &ToolLimits) -> Result<(), SourceError> {
        self.tools
            .begin(tool, limits)
            .map_err(|error| source_error("begin a tool", &error))
    }

    fn describe_tool(&mut self, tool: &ToolIdentity, limits: &ToolLimits) -> Result<(), SourceError> {
        self.tools
            .describe(tool, limits)
            .map_err(|error| source_error("describe a tool", &error))
    }

    fn set_lines(
        &mut self,
        tool: &ToolIdentity,
        limits: &ToolLimits,
        adjustment: ToolAdjustment,
    ) -> Result<(), SourceError> {
        self.tools
            .set_lines(tool, limits, adjustment)
            .map_err(|error| source_error("draw a tool's lines", &error))
    }

    fn end_tool(&mut self, slot: ToolSlot) -> Result<(), SourceError> {
        self.maps.forget_sockets(slot.0);
        self.tools.end(slot).map_err(|error| source_error("end a tool", &error))
    }

    fn tool_sums(&mut self, slot: ToolSlot) -> Result<ToolSums, SourceError> {
        self.tools
            .sums(slot)
            .map_err(|error| source_error("read a tool's sums", &error))
    }

    fn uncounted_cpu_ns(&mut self, pids: &[u32]) -> Result<u64, SourceError> {
        // One that has ended meanwhile has no clock, and is counted.
        let uncounted = |&pid: &u32| {
            let counted_ns = self.maps.of(pid)?.cpu_ns;
            Some(process_clock_ns(pid).ok()?.saturating_sub(counted_ns))
        };
        Ok(pids.iter().filter_map(uncounted).sum())
    }

    fn join(&mut self, joining: Joining) -> Result<(), SourceError> {
        let joined = self.tools.join(joining).and_then(|()| self.tell_adopting());
        joined.map_err(|error| source_error("take a process into a tool", &error))
    }

    fn joining(&mut self) -> Result<Vec<Joining>, SourceError> {
        Ok(self.tools.joining())
    }

    fn unjoin(&mut self, pid: u32) -> Result<(), SourceError> {
        self.tools.unjoin(pid);
        self.tell_adopting()
            .map_err(|error| source_error("leave a process out of a tool", &error))
    }

    fn set_cgroups(&mut self, cgroups: &[(u64, ToolSlot)]) -> Result<(), SourceError> {
        let set = self.tools.set_cgroups(cgroups).and_then(|()| self.tell_adopting());
        set.map_err(|error| source_error("follow cgroups", &error))
    }

    fn set_matching(&mut self, matching: bool) -> Result<(), SourceError> {
        self.facts.matching = u32::from(matching);
        self.maps
            .set_facts(self.facts)
            .map_err(|error| source_error("follow rules", &error))
    }

    fn dismiss(&mut self, process: ProcessId) {
        self.maps.dismiss(process.pid, process.start_ns);
    }
}

fn source_error(operation: &'static str, error: &KernelError) -> SourceError {
    SourceError {
        operation,
        message: error.to_string(),
    }
}

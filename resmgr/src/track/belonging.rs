//! Whose a process is where the programs do not know it: not yet, or not any more.

use std::collections::BTreeMap;

use crate::model::{ProcessId, ProcessSample, ToolSlot};

/// Sweeps after which the end of a process is not waited for any more: its event was lost.
const LEAVING_SWEEPS: u32 = 16;

/// Processes that belong to a tool by what only user space knows.
#[derive(Debug, Default)]
pub(super) struct Belonging {
    /// Processes whose tool is decided and not known to the programs yet.
    decided: BTreeMap<ProcessId, ToolSlot>,
    /// Processes of tools that the last sweeps have missed, and whose end is yet to be told: what they have forked may be
    /// told before that.
    leaving: BTreeMap<ProcessId, Leaving>,
    /// Processes of tools whose end was told: they may wait for their parents still.
    ended: BTreeMap<ProcessId, ToolSlot>,
}

/// A process of a tool that has ended, by the sweeps, and not yet by events.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    tool: ToolSlot,
    /// Sweeps that have missed it.
    sweeps: u32,
}

impl Belonging {
    /// A process belongs to a tool, and the programs are not known to know it.
    pub(super) fn decide(&mut self, process: ProcessId, tool: ToolSlot) {
        self.decided.insert(process, tool);
    }

    /// Whether that is so.
    pub(super) fn is_decided(&self, process: ProcessId) -> bool {
        self.decided.contains_key(&process)
    }

    /// The programs know it.
    pub(super) fn settle(&mut self, process: ProcessId) {
        self.decided.remove(&process);
    }

    /// The tool of the process that had a pid at a time.
    pub(super) fn tool_of(&self, pid: u32, at_ns: u64) -> Option<ToolSlot> {
        let born_by_then = ProcessId { pid, start_ns: 0 }..=ProcessId { pid, start_ns: at_ns };
        let decided = self.decided.range(born_by_then.clone()).next_back();
        let decided = decided.map(|(_, &tool)| tool);
        decided.or_else(|| {
            let leaving = self.leaving.range(born_by_then).next_back();
            leaving.map(|(_, leaving)| leaving.tool)
        })
    }

    /// A process's end was told, and whose it was as it was last seen; returns whose it was by all that is known here.
    pub(super) fn ended(&mut self, process: ProcessId, seen: Option<ToolSlot>) -> Option<ToolSlot> {
        let decided = self.decided.remove(&process);
        let leaving = self.leaving.remove(&process).map(|leaving| leaving.tool);
        let tool = seen.or(decided).or(leaving);
        if let Some(tool) = tool {
            self.ended.insert(process, tool);
        }
        tool
    }

    /// The tool of a process that has ended.
    pub(super) fn tool_of_ended(&self, process: ProcessId) -> Option<ToolSlot> {
        self.ended.get(&process).copied()
    }

    /// Only these still wait for their parents.
    pub(super) fn reaped_but(&mut self, waits: impl Fn(ProcessId) -> bool) {
        self.ended.retain(|&id, _| waits(id));
    }

    /// A tool has ended.
    pub(super) fn end_tool(&mut self, slot: ToolSlot) {
        self.decided.retain(|_, tool| *tool != slot);
        self.leaving.retain(|_, leaving| leaving.tool != slot);
        self.ended.retain(|_, tool| *tool != slot);
    }

    /// A sweep has missed processes that were known before.
    pub(super) fn swept(&mut self, missed: impl Iterator<Item = ProcessSample>) {
        self.leaving.retain(|_, leaving| {
            leaving.sweeps += 1;
            leaving.sweeps < LEAVING_SWEEPS
        });
        let of_tools = missed.filter_map(|sample| Some((sample.id, sample.tool?)));
        self.leaving
            .extend(of_tools.map(|(id, tool)| (id, Leaving { tool, sweeps: 0 })));
    }
}

//! Operations that somebody tells of: what a tool uses is shared out among them as they begin and end.

use std::collections::BTreeSet;

use super::{Engine, adapting::observed};
use crate::{
    model::{Clock, Crossing, OperationUse, Resource, ResourceStatus, Source, SourceError, ToolSlot},
    track::TrackedTool,
};

impl<S: Source> Engine<S> {
    /// An operation of a tool begins. Where such ones are known to need more CPU time than the limit leaves room for, it is
    /// raised.
    pub fn begin_operation(
        &mut self,
        slot: ToolSlot,
        operation: u64,
        name: &str,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        self.adjust(slot, TrackedTool::adjust_operations)?;
        let now = clock.now();
        let Some(tool) = self.tracker.tool_mut(slot) else {
            return Ok(());
        };
        tool.told.begin(operation, name.to_owned(), now.monotonic_ns);
        let decision = self.adaptive.begin_operation(&observed(tool), name);
        self.decided(slot, decision.as_slice(), now)?;
        self.adjust(slot, TrackedTool::adjust_operations)
    }

    /// An operation of a tool ends: what it used, which is learned of its name. `None` where it has ended already.
    pub fn end_operation(
        &mut self,
        slot: ToolSlot,
        operation: u64,
        clock: &impl Clock,
    ) -> Result<Option<OperationUse>, SourceError> {
        self.adjust(slot, TrackedTool::adjust_operations)?;
        let now = clock.now();
        let Some(tool) = self.tracker.tool_mut(slot) else {
            return Ok(None);
        };
        let Some(used) = tool.told.end(operation, now.monotonic_ns) else {
            return Ok(None);
        };
        let identity = &tool.identity;
        let cpu_ms = used.cpu_time_ns / 1_000_000;
        self.adaptive
            .end_operation(&identity.name, identity.uid, &used.name, cpu_ms, now);
        self.adjust(slot, TrackedTool::adjust_operations)?;
        Ok(Some(used))
    }

    /// The resources of a tool that stand at Critical or above, after raises have been considered.
    pub fn exceeded(&mut self, slot: ToolSlot, clock: &impl Clock) -> Result<Vec<Resource>, SourceError> {
        let is_over = |tool: &TrackedTool, resource| tool.level(resource) >= ResourceStatus::Critical;
        let over = |engine: &Self| {
            let tool = engine.tracker.tool(slot);
            let over = |tool| {
                Resource::ALL
                    .into_iter()
                    .filter(move |&resource| is_over(tool, resource))
            };
            tool.into_iter().flat_map(over).collect::<Vec<_>>()
        };
        if !over(self).is_empty() {
            self.raise(&BTreeSet::from([slot]), clock)?;
        }
        Ok(over(self))
    }

    /// A crossing as it is of the operations under way: the programs know the tool's CPU time, and not whose it is.
    pub(super) fn of_operations(&mut self, crossing: Crossing) -> Result<Option<Crossing>, SourceError> {
        let is_told = |tool: &TrackedTool| tool.identity.operation.is_told();
        let is_shared = crossing.resource == Resource::Cpu && crossing.risen;
        if !is_shared || !self.tracker.tool(crossing.slot).is_some_and(is_told) {
            return Ok(Some(crossing));
        }
        self.adjust(crossing.slot, TrackedTool::adjust_operations)?;
        let Some(tool) = self.tracker.tool(crossing.slot) else {
            return Ok(None);
        };
        let level = tool.level(Resource::Cpu);
        Ok((level > ResourceStatus::Normal).then(|| Crossing {
            level: crossing.level.min(level),
            value: tool.value(Resource::Cpu),
            ..crossing
        }))
    }

    /// CPU time of a tool's processes that the programs have yet to count; asked only where operations are told of.
    pub(super) fn uncounted_ns(&mut self, slot: ToolSlot) -> Result<u64, SourceError> {
        match self.tracker.tool(slot) {
            Some(tool) if tool.identity.operation.is_told() => self.source.uncounted_cpu_ns(&tool.usage.pids),
            _ => Ok(0),
        }
    }
}

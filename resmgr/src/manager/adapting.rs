//! Limits in force that follow what tools use.

use std::collections::BTreeSet;

use super::EnhancedResourceManager;
use crate::{
    adapt::Observed,
    model::{Action, Clock, Crossing, Resource, Source, SourceError, Step, ToolSlot},
};

impl<S: Source> EnhancedResourceManager<S> {
    /// Raises the limits that tools have come near to, by what the kernel has just told of them.
    pub fn raise(&mut self, crossings: &[Crossing], clock: &impl Clock) -> Result<(), SourceError> {
        let risen = crossings.iter().filter(|crossing| crossing.risen);
        let slots: BTreeSet<ToolSlot> = risen.map(|crossing| crossing.slot).collect();
        for slot in slots {
            let sums = self.source.tool_sums(slot)?;
            if let Some(tool) = self.tracker.tool_mut(slot) {
                tool.sums = sums;
            }
            self.adapt_tool(slot, false, clock)?;
        }
        Ok(())
    }

    /// Raises and lowers limits by what the last refresh has found.
    pub fn adapt(&mut self, clock: &impl Clock) -> Result<(), SourceError> {
        let losses = self.source.losses()?;
        let is_whole = self.seen_losses == losses;
        self.seen_losses = losses;
        let slots: Vec<ToolSlot> = self.tracker.tools().map(|tool| tool.identity.slot).collect();
        for slot in slots {
            self.adapt_tool(slot, is_whole, clock)?;
        }
        Ok(())
    }

    fn adapt_tool(&mut self, slot: ToolSlot, may_lower: bool, clock: &impl Clock) -> Result<(), SourceError> {
        let Some(tool) = self.tracker.tool(slot) else {
            return Ok(());
        };
        let now = clock.now();
        let observed = Observed {
            instance: tool.identity.instance,
            limits: tool.limits,
            uses: Resource::ALL.map(|resource| tool.value(resource)),
            mode: tool.identity.enforcement.mode,
            may_lower,
        };
        let enforcement = tool.identity.enforcement;
        let mut limits = tool.limits;
        let decisions = self.adaptive.decide(&observed, now);
        if decisions.is_empty() {
            return Ok(());
        }
        for decision in &decisions {
            limits = limits.with_current(decision.resource, decision.current);
        }
        self.set_limits(slot, limits, enforcement)?;
        for decision in decisions {
            let action = Action {
                at: now.wall,
                step: Step::Limit,
                resource: Some(decision.resource),
                from: Some(observed.limits.range(decision.resource).current),
                to: Some(decision.current),
                reason: decision.reason,
                evidence: decision.evidence,
            };
            tracing::debug!(?slot, ?action, "a limit is another");
            if let Some(tool) = self.tracker.tool_mut(slot) {
                tool.acted(action);
            }
        }
        Ok(())
    }
}

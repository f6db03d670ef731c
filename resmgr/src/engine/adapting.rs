//! Limits in force that follow what tools use, and what is learned of that.

use std::collections::BTreeSet;

use super::Engine;
use crate::{
    adapt::{AdaptiveResourceManager, Observed},
    model::{Action, Clock, Decision, Growth, Learned, Resource, Source, SourceError, Step, Timestamp, ToolSlot},
    track::TrackedTool,
};

/// A tool as decisions see it, between samples.
pub(super) fn observed(tool: &TrackedTool) -> Observed<'_> {
    Observed {
        instance: tool.identity.instance,
        name: &tool.identity.name,
        uid: tool.identity.uid,
        limits: tool.limits,
        uses: Resource::ALL.map(|resource| tool.value(resource)),
        cpu_share: tool.cpu_share(),
        ended_operation_ms: tool.ended_operation_ms(),
        oom_kills: tool.oom_kills,
        mode: tool.identity.enforcement.mode,
        is_sample: false,
        // Whoever waits for memory already is not given less.
        may_lower: false,
    }
}

impl<S: Source> Engine<S> {
    /// Decides by what has been learned from now on, and by this tuning.
    pub fn adapt_by(&mut self, adaptive: AdaptiveResourceManager) {
        self.adaptive = adaptive;
    }

    /// What decides what limits in force are to be, and learns.
    pub fn adaptive_mut(&mut self) -> &mut AdaptiveResourceManager {
        &mut self.adaptive
    }

    /// What an instance is expected to need, in the order of [`Resource::ALL`]; 0 where that is not known yet.
    pub fn needs(&self, instance: u64) -> [u64; 4] {
        self.adaptive.needs(instance)
    }

    /// What has been learned of a tool's use of a resource.
    pub fn learned(
        &self,
        tool: &TrackedTool,
        resource: Resource,
        with_forecast: bool,
        now: Timestamp,
    ) -> Option<Learned> {
        let instance = tool.identity.instance;
        self.adaptive
            .learned(instance, resource, &tool.limits, now, with_forecast)
    }

    /// Steady growth of an instance that somebody should know of.
    pub fn growth(&self, instance: u64) -> Option<&Growth> {
        self.adaptive.growth(instance)
    }

    /// Raises the limits that these tools have come near to, by what the kernel has just told of them.
    pub fn raise(&mut self, slots: &BTreeSet<ToolSlot>, clock: &impl Clock) -> Result<(), SourceError> {
        for &slot in slots {
            let sums = self.source.tool_sums(slot)?;
            let uncounted_ns = self.uncounted_ns(slot)?;
            let Some(tool) = self.tracker.tool_mut(slot) else {
                continue;
            };
            tool.sums = sums;
            tool.share_out(sums.cpu_ns + uncounted_ns);
            let now = clock.now();
            let decisions = self.adaptive.decide(&observed(tool), now);
            self.decided(slot, &decisions, now)?;
        }
        Ok(())
    }

    /// Raises and lowers limits by what the last refresh has found, and learns from it.
    pub fn adapt(&mut self, clock: &impl Clock) -> Result<(), SourceError> {
        let losses = self.source.losses()?;
        let is_whole = self.seen_losses == losses;
        self.seen_losses = losses;
        let slots: Vec<ToolSlot> = self.tracker.tools().map(|tool| tool.identity.slot).collect();
        for slot in slots {
            let Some(tool) = self.tracker.tool_mut(slot) else {
                continue;
            };
            let now = clock.now();
            tool.look_for_operations(now.monotonic_ns);
            let sample = Observed {
                is_sample: true,
                may_lower: is_whole && !tool.stall.is_felt(),
                ..observed(tool)
            };
            let decisions = self.adaptive.decide(&sample, now);
            self.decided(slot, &decisions, now)?;
        }
        Ok(())
    }

    /// A tool begins with what is known of its name.
    pub(super) fn begin_adapting(&mut self, slot: ToolSlot, clock: &impl Clock) -> Result<(), SourceError> {
        let Some(tool) = self.tracker.tool(slot) else {
            return Ok(());
        };
        let now = clock.now();
        let decisions = self.adaptive.begin(&observed(tool), now);
        self.decided(slot, &decisions, now)
    }

    /// A tool goes on with what is known of it, and with the limits that it has.
    pub(super) fn adopt_adapting(&mut self, tool: &TrackedTool, clock: &impl Clock) {
        let _ = self.adaptive.begin(&observed(tool), clock.now());
    }

    /// A tool has ended: what it has taught is known of its name.
    pub(super) fn end_adapting(&mut self, tool: &TrackedTool, clock: &impl Clock) {
        let peaks = tool.peaks;
        let last = Observed {
            uses: [peaks.memory_bytes, 0, peaks.open_fds, peaks.connections],
            ended_operation_ms: tool.last_operation_ms(),
            ..observed(tool)
        };
        self.adaptive.end(&last, clock.now());
    }

    /// Has the limits in force be what was decided, and remembers that.
    pub(super) fn decided(
        &mut self,
        slot: ToolSlot,
        decisions: &[Decision],
        now: Timestamp,
    ) -> Result<(), SourceError> {
        let Some(tool) = self.tracker.tool(slot).filter(|_| !decisions.is_empty()) else {
            return Ok(());
        };
        let (before, enforcement) = (tool.limits, tool.identity.enforcement);
        let limits = decisions.iter().fold(before, |limits, decision| {
            limits.with_current(decision.resource, decision.current)
        });
        self.set_limits(slot, limits, enforcement)?;
        for decision in decisions {
            let action = Action {
                at: now.wall,
                step: Step::Limit,
                resource: Some(decision.resource),
                from: Some(before.range(decision.resource).current),
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

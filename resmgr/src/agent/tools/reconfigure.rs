//! Other rules and limits than before, while tools run.

use super::{Tools, limits::asked};
use crate::{
    config::{LimitPolicy, Rule},
    engine::Engine,
    model::{Clock, Source, SourceError, ToolIdentity, ToolLimits},
};

impl Tools {
    /// Goes by other rules and limits: what runs and matches a rule is a tool from now on, tools of rules that are no more
    /// stay tools, limits that the configuration gave are what it gives now, and no limit goes beyond its ceiling. Returns
    /// how many tools have other limits.
    pub(in crate::agent) fn reconfigure<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        rules: Vec<Rule>,
        policy: LimitPolicy,
        clock: &impl Clock,
    ) -> Result<u64, SourceError> {
        let before = std::mem::replace(&mut self.policy, policy);
        let other_rules = rules != self.rules;
        self.rules = rules;
        self.holds.set_ceiling(self.policy.memory_ceiling());
        let changed = self.take_over(engine, &before, clock)?;
        engine.source_mut().set_matching(!self.rules.is_empty())?;
        // The sweep compares what tools use with their new lines, and finds what runs.
        engine.refresh(clock)?;
        if other_rules {
            self.match_running(engine, clock)?;
        }
        self.share_budgets(engine, clock)?;
        Ok(changed)
    }

    /// Has the tools that run, whose limits were given by another policy, go by this one; returns how many have other limits.
    pub(super) fn take_over<S: Source>(
        &self,
        engine: &mut Engine<S>,
        before: &LimitPolicy,
        clock: &impl Clock,
    ) -> Result<u64, SourceError> {
        let tools = engine.tracker().tools();
        let tools: Vec<(ToolIdentity, ToolLimits)> = tools.map(|tool| (tool.identity.clone(), tool.limits)).collect();
        let mut changed = 0;
        for (identity, limits) in tools {
            let now = (limits, identity.enforcement);
            let new = self.policy.in_place_of(before, (&identity.name, identity.origin), now);
            if new != now {
                changed += 1;
                engine.set_limits(identity.slot, new.0, new.1)?;
                if let Some(tool) = engine.tool_mut(identity.slot) {
                    asked(&limits, &new.0, clock.now().wall).for_each(|action| tool.acted(action));
                }
            }
            if self.policy.budget(&identity.name).is_none() {
                engine.share(identity.slot, [None; 4])?;
            }
        }
        Ok(changed)
    }
}

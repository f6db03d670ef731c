//! Budgets over all instances of a name: who may begin, what is left for each, and who ends where more than all is used.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;

use super::{
    Tools,
    cleanup::{Which, acted, whose},
};
use crate::{
    engine::Engine,
    export::{amount, count},
    model::{
        Budget, BudgetUse, Clock, Evidence, Mode, Reason, Resource, ResourceStatus, Source, SourceError, ToolName,
        ToolSlot,
    },
    protocol::{Refusal, RefusalCode},
    track::TrackedTool,
};

/// The instances of a name that are one user's.
type Group = (ToolName, u32);

/// Since when more of a budget is used than may be, in nanoseconds of `CLOCK_MONOTONIC`.
pub(super) type Exceeded = BTreeMap<(Group, Resource), u64>;

fn group(tool: &TrackedTool) -> Group {
    (tool.identity.name.clone(), tool.identity.uid)
}

/// What the instances of a group use of each resource together.
fn used<'m>(tools: impl Iterator<Item = &'m TrackedTool>) -> [u64; 4] {
    let mut sums = [0_u64; 4];
    for tool in tools {
        for (resource, sum) in Resource::ALL.into_iter().zip(&mut sums) {
            *sum = sum.saturating_add(tool.value(resource));
        }
    }
    sums
}

impl Tools {
    /// Refuses an instance of a name whose budget is used up: all the instances that there may be, or 95 % of a resource.
    pub(super) fn may_begin<S: Source>(
        &self,
        engine: &Engine<S>,
        name: &ToolName,
        uid: u32,
        mode: Mode,
    ) -> Result<(), Refusal> {
        let Some(budget) = self.policy.budget(name).filter(|_| mode != Mode::Observe) else {
            return Ok(());
        };
        let is_of_group = |tool: &&TrackedTool| tool.identity.name == *name && tool.identity.uid == uid;
        let instances: Vec<&TrackedTool> = engine.tracker().tools().filter(is_of_group).collect();
        let refused = |what: String| {
            let message = format!(
                "the budget of {name} is used up: {what}; to end one: resmgr cleanup {name} --instance N; to raise it: \
                 [tool.{name}.budget] in the configuration"
            );
            Err(Refusal::new(RefusalCode::OverBudget, message))
        };
        if let Some(most) = budget.instances.filter(|most| instances.len() as u64 >= *most) {
            return refused(format!("{} of {} instances run", instances.len(), count(most)));
        }
        for (resource, used) in Resource::ALL.into_iter().zip(used(instances.into_iter())) {
            let Some(limit) = budget.limit(resource) else { continue };
            if (BudgetUse { used, limit }).level() >= ResourceStatus::Critical {
                let (used, limit) = (amount(resource, used), amount(resource, limit));
                return refused(format!("{resource}: {used} of {limit}"));
            }
        }
        Ok(())
    }

    /// Tells each instance what is left of its name's budget, and ends the one that uses most where more than may be has
    /// been used for its grace, and it is enforced.
    pub(in crate::agent) fn share_budgets<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        if !self.policy.has_budgets() {
            return Ok(());
        }
        let groups: BTreeSet<Group> = engine.tracker().tools().map(group).collect();
        let before = std::mem::take(&mut self.exceeded);
        for group in groups {
            let Some(budget) = self.policy.budget(&group.0).copied() else {
                continue;
            };
            let slots = share(engine, &group, budget)?;
            self.end_largest(engine, &group, &slots, &before, clock);
        }
        Ok(())
    }

    fn end_largest<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        group: &Group,
        slots: &[ToolSlot],
        before: &Exceeded,
        clock: &impl Clock,
    ) {
        let now_ns = clock.now().monotonic_ns;
        for resource in Resource::ALL {
            let largest = slots
                .iter()
                .filter_map(|&slot| engine.tracker().tool(slot))
                .filter(|tool| tool.usage.processes > 0)
                .max_by_key(|tool| tool.value(resource));
            let Some((tool, of)) = largest.and_then(|tool| Some((tool, tool.budgets[resource as usize]?))) else {
                continue;
            };
            // As of one tool: memory near its end is as good as used up, what the kernel refuses beyond is no harm.
            let exceeds = match resource {
                Resource::Memory => of.level() >= ResourceStatus::Critical,
                Resource::Cpu | Resource::Fds | Resource::Connections => of.used > of.limit,
            };
            if !exceeds || tool.identity.enforcement.mode != Mode::Enforce {
                continue;
            }
            let key = (group.clone(), resource);
            let since_ns = before.get(&key).copied().unwrap_or(now_ns);
            let over_ms = (now_ns - since_ns) / 1_000_000;
            if over_ms < tool.identity.enforcement.grace_ms {
                self.exceeded.insert(key, since_ns);
                continue;
            }
            // The next one has its grace anew.
            let which = Which {
                slot: tool.identity.slot,
                instance: tool.identity.instance,
            };
            let evidence = Evidence {
                value: Some(of.used),
                limit: Some(of.limit),
                over_s: Some(over_ms / 1000),
            };
            let tool = tool.clone();
            tracing::warn!(tool = %group.0, instance = which.instance, %resource, "uses most of a budget that is used up, and is ended");
            let ending = self.ending(&tool, whose(tool.identity.uid), None, Signal::TERM);
            acted(engine, which, Some(resource), Reason::Budget, evidence, clock);
            ending.start();
        }
    }
}

/// Tells the instances of a group what is left of its budget; returns where they are.
fn share<S: Source>(engine: &mut Engine<S>, group: &Group, budget: Budget) -> Result<Vec<ToolSlot>, SourceError> {
    let is_of_group = |tool: &&TrackedTool| tool.identity.name == group.0 && tool.identity.uid == group.1;
    let sums = used(engine.tracker().tools().filter(is_of_group));
    let slots: Vec<ToolSlot> = engine
        .tracker()
        .tools()
        .filter(is_of_group)
        .map(|tool| tool.identity.slot)
        .collect();
    let mut budgets = [None; 4];
    for ((resource, used), of) in Resource::ALL.into_iter().zip(sums).zip(&mut budgets) {
        *of = budget.limit(resource).map(|limit| BudgetUse { used, limit });
    }
    for &slot in &slots {
        engine.share(slot, budgets)?;
    }
    Ok(slots)
}

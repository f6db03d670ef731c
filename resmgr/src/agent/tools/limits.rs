//! Limits as they are asked for and set: who may, and what becomes of them.

use chrono::{DateTime, Utc};

use super::{Tools, is_theirs};
use crate::{
    agent::server::Caller,
    engine::Engine,
    export::amount,
    model::{
        Action, Clock, Enforcement, Evidence, LimitsAsked, Reason, Resource, Source, Step, ToolIdentity, ToolLimits,
        ToolName, ToolOrigin,
    },
    protocol::{LimitsSet, Refusal, RefusalCode, SetLimitsParams, ToolLimitsStatus},
};

impl Tools {
    /// The limits of a new tool that asks for these, and how they are held.
    pub(super) fn limits(
        &self,
        name: &ToolName,
        asked: &LimitsAsked,
        origin: ToolOrigin,
        best_effort: bool,
    ) -> Result<(ToolLimits, Enforcement), Refusal> {
        check(asked)?;
        if !best_effort {
            self.is_allowed(asked)?;
        }
        let (limits, enforcement) = self.policy.resolve(name, asked, origin);
        if !best_effort {
            self.can_hold(asked, enforcement, origin)?;
        }
        Ok((limits, enforcement))
    }

    /// Refuses what goes beyond the operator's ceiling.
    fn is_allowed(&self, asked: &LimitsAsked) -> Result<(), Refusal> {
        let Some((resource, max, most)) = self.policy.above_ceiling(asked) else {
            return Ok(());
        };
        let (max, most) = (amount(resource, max), amount(resource, most));
        let message = format!(
            "the limit of {resource} that is asked for, {max}, is above the operator's ceiling of {most}: ask for {most} or \
             less; --best-effort takes what there may be"
        );
        Err(Refusal::new(RefusalCode::AboveCeiling, message))
    }

    /// Refuses what this host has nothing to hold by.
    fn can_hold(&self, asked: &LimitsAsked, enforcement: Enforcement, origin: ToolOrigin) -> Result<(), Refusal> {
        let Some((resource, why)) = self.means.lacks(asked, enforcement, origin) else {
            return Ok(());
        };
        let mode = enforcement.mode;
        let message = format!(
            "the limit of {resource} cannot be held in mode {mode}: {why}; --best-effort takes it all the same, and alerts"
        );
        Err(Refusal::new(RefusalCode::CannotHold, message))
    }

    /// Sets the limits of tools that run.
    pub(in crate::agent) fn set_limits<S: Source>(
        &self,
        engine: &mut Engine<S>,
        params: &SetLimitsParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<LimitsSet, Refusal> {
        check(&params.limits)?;
        if params.limits.is_empty() {
            let message = "no limit is given: say which to set";
            return Err(Refusal::new(RefusalCode::InvalidRequest, message));
        }
        if !params.best_effort {
            self.is_allowed(&params.limits)?;
        }
        let name = &params.tool;
        let is_meant = |instance| params.instance.is_none_or(|wanted| wanted == instance);
        let found: Vec<(ToolIdentity, ToolLimits)> = engine
            .tracker()
            .tools()
            .filter(|tool| tool.identity.name == *name && is_meant(tool.identity.instance))
            .filter(|tool| is_theirs(caller, tool.identity.uid, tool.identity.uid))
            .map(|tool| (tool.identity.clone(), tool.limits))
            .collect();
        if found.is_empty() {
            let message = format!("no tool {name} of yours runs");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        let mut new = Vec::new();
        for (identity, before) in found {
            let (limits, enforcement) = self.policy.set((before, identity.enforcement), &params.limits);
            if !params.best_effort {
                self.can_hold(&params.limits, enforcement, identity.origin)?;
            }
            new.push((identity, before, limits, enforcement));
        }
        let mut tools = Vec::new();
        for (identity, before, limits, enforcement) in new {
            engine.set_limits(identity.slot, limits, enforcement)?;
            if let Some(tool) = engine.tool_mut(identity.slot) {
                let at = clock.now().wall;
                asked(&before, &limits, at).for_each(|action| tool.acted(action));
            }
            tools.push(ToolLimitsStatus {
                tool: identity.name,
                instance: identity.instance,
                limits,
                enforcement,
            });
        }
        // The sweep compares what they use with the new lines.
        engine.refresh(clock)?;
        Ok(LimitsSet { tools })
    }
}

/// What somebody has changed.
pub(super) fn asked(before: &ToolLimits, now: &ToolLimits, at: DateTime<Utc>) -> impl Iterator<Item = Action> {
    let changed = |&resource: &Resource| before.range(resource) != now.range(resource);
    Resource::ALL.into_iter().filter(changed).map(move |resource| Action {
        at,
        step: Step::Limit,
        resource: Some(resource),
        from: Some(before.range(resource).current),
        to: Some(now.range(resource).current),
        reason: Reason::Asked,
        evidence: Evidence {
            limit: Some(now.range(resource).max),
            ..Evidence::default()
        },
    })
}

fn check(asked: &LimitsAsked) -> Result<(), Refusal> {
    match asked.fault() {
        None => Ok(()),
        Some((resource, fault)) => {
            let message = format!("the limit of {resource} {fault}");
            Err(Refusal::new(RefusalCode::InvalidRequest, message))
        }
    }
}

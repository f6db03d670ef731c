//! Limits as they are asked for and set: who may, and what becomes of them.

use super::{Tools, is_theirs};
use crate::{
    agent::server::Caller,
    manager::EnhancedResourceManager,
    model::{Clock, Enforcement, LimitsAsked, Source, ToolIdentity, ToolLimits, ToolName, ToolOrigin},
    protocol::{LimitsSet, Refusal, RefusalCode, SetLimitsParams, ToolLimitsStatus},
};

impl Tools {
    /// The limits of a new tool that asks for these, and how they are held.
    pub(super) fn limits(
        &self,
        name: &ToolName,
        asked: &LimitsAsked,
        origin: ToolOrigin,
    ) -> Result<(ToolLimits, Enforcement), Refusal> {
        check(asked)?;
        Ok(self.policy.resolve(name, asked, origin))
    }

    /// Sets the limits of tools that run.
    pub(in crate::agent) fn set_limits<S: Source>(
        &self,
        manager: &mut EnhancedResourceManager<S>,
        params: &SetLimitsParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<LimitsSet, Refusal> {
        check(&params.limits)?;
        if params.limits.is_empty() {
            let message = "no limit is given: say which to set";
            return Err(Refusal::new(RefusalCode::InvalidRequest, message));
        }
        let name = &params.tool;
        let is_meant = |instance| params.instance.is_none_or(|wanted| wanted == instance);
        let found: Vec<(ToolIdentity, ToolLimits)> = manager
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
        let mut tools = Vec::new();
        for (identity, limits) in found {
            let (limits, enforcement) = self.policy.set((limits, identity.enforcement), &params.limits);
            manager.set_limits(identity.slot, limits, enforcement)?;
            tools.push(ToolLimitsStatus {
                tool: identity.name,
                instance: identity.instance,
                limits,
                enforcement,
            });
        }
        // The sweep compares what they use with the new lines.
        manager.refresh(clock)?;
        Ok(LimitsSet { tools })
    }
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

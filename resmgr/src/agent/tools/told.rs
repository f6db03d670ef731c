//! Tools that live in their client's own process: begun, told of, adjusted, ended with their client.

use std::collections::HashMap;

use super::{Tools, is_theirs};
use crate::{
    agent::server::Caller,
    enforce,
    engine::{Engine, NewTool},
    model::{Clock, Resource, Source, ToldUse, ToolName, ToolOrigin, ToolSlot},
    protocol::{AdjustParams, InitializeParams, Refusal, RefusalCode, ReportParams, Reported, ToldStatus},
    track::TrackedTool,
};

/// Tools of this kind that one user may have: they cost no process.
const MOST_OF_USER: usize = 512;
/// A client whose process is not known here has gone when it has told nothing for so long, in nanoseconds.
const SILENT_NS: u64 = 60 * 1_000_000_000;

/// Tools whose client has gone, and that have no process left.
pub(super) fn forsaken<S: Source>(engine: &Engine<S>, clock: &impl Clock) -> Vec<ToolSlot> {
    let now_ns = clock.now().monotonic_ns;
    let has_gone = |tool: &TrackedTool| match tool.identity.owner {
        Some(owner) => !enforce::is_alive(owner),
        None => now_ns.saturating_sub(tool.by_client.at_ns()) > SILENT_NS,
    };
    let tools = engine.tracker().tools();
    tools
        .filter(|tool| tool.identity.origin == ToolOrigin::Api)
        .filter(|tool| tool.sums.processes == 0 && tool.usage.pids.is_empty() && has_gone(tool))
        .map(|tool| tool.identity.slot)
        .collect()
}

/// The slot of an instance that was initialised by the caller's user.
pub(super) fn told<S: Source>(
    engine: &Engine<S>,
    name: &ToolName,
    instance: u64,
    caller: Caller,
) -> Result<ToolSlot, Refusal> {
    let tool = of_instance(engine, instance, caller);
    let tool = tool.filter(|tool| tool.identity.name == *name && tool.identity.origin == ToolOrigin::Api);
    tool.map(|tool| tool.identity.slot).ok_or_else(|| {
        let message = format!("no tool {name} (instance {instance}) of yours was initialised, or it has ended");
        Refusal::new(RefusalCode::NotFound, message)
    })
}

fn of_instance<S: Source>(engine: &Engine<S>, instance: u64, caller: Caller) -> Option<&TrackedTool> {
    let mut tools = engine.tracker().tools();
    tools
        .find(|tool| tool.identity.instance == instance)
        .filter(|tool| is_theirs(caller, tool.identity.uid, tool.identity.uid))
}

/// Where the caller's tools are, for a report of many.
fn by_instance<S: Source>(engine: &Engine<S>, caller: Caller) -> HashMap<u64, ToolSlot> {
    let identities = engine.tracker().tools().map(|tool| &tool.identity);
    let theirs = identities.filter(|identity| is_theirs(caller, identity.uid, identity.uid));
    theirs.map(|identity| (identity.instance, identity.slot)).collect()
}

fn standing(tool: &TrackedTool) -> ToldStatus {
    ToldStatus {
        tool: tool.identity.name.clone(),
        instance: tool.identity.instance,
        status: tool.status(),
        values: Resource::ALL.map(|resource| (resource, tool.value(resource))).into(),
        limits: tool.limits,
        enforcement: tool.identity.enforcement,
    }
}

impl Tools {
    /// Begins a tool of a client's own process.
    pub(in crate::agent) fn initialize<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        params: &InitializeParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<ToldStatus, Refusal> {
        let name = &params.tool;
        let is_like = |tool: &&TrackedTool| tool.identity.origin == ToolOrigin::Api && tool.identity.uid == caller.uid;
        if !caller.is_root() && engine.tracker().tools().filter(is_like).count() >= MOST_OF_USER {
            let message = format!("you have {MOST_OF_USER} initialised tools already: clean up some");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        let (limits, enforcement) = self.limits(name, &params.limits, ToolOrigin::Api, false)?;
        self.may_begin(engine, name, caller.uid, enforcement.mode)?;
        let tool = NewTool {
            name: name.clone(),
            origin: ToolOrigin::Api,
            operation: params.operation,
            uid: caller.uid,
            root: None,
            owner: caller.pid.and_then(enforce::describe).map(|owner| owner.id),
            cgroup: None,
            limits,
            enforcement,
        };
        let slot = engine.register(tool, clock)?;
        if let Some(tool) = engine.tool_mut(slot) {
            // What is never told is silence from now on.
            let _ = tool.by_client.take(&ToldUse::default(), clock.now().monotonic_ns);
        }
        let tool = engine.tracker().tool(slot).map(standing);
        tool.ok_or_else(|| Refusal::new(RefusalCode::Internal, "the tool has ended meanwhile"))
    }
}

/// Takes in what a client tells of its tools.
pub(in crate::agent) fn report<S: Source>(
    engine: &mut Engine<S>,
    params: &ReportParams,
    caller: Caller,
    clock: &impl Clock,
) -> Result<(), Refusal> {
    let mut too_many = None;
    let slots = by_instance(engine, caller);
    for report in &params.tools {
        let slot = slots.get(&report.instance);
        let tool = slot.and_then(|&slot| engine.tracker().tool(slot));
        let Some(identity) = tool.map(|tool| &tool.identity) else {
            continue;
        };
        if identity.origin != ToolOrigin::Api {
            let (name, instance) = (&identity.name, report.instance);
            let message = format!("{name} (instance {instance}) was not initialised: the kernel tells what it uses");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let (slot, name) = (identity.slot, identity.name.clone());
        if let Err(error) = engine.tell(slot, &report.told, caller.pid.unwrap_or(0), clock) {
            too_many = Some(Refusal::new(RefusalCode::Conflict, format!("{name}: {error}")));
        }
    }
    too_many.map_or(Ok(()), Err)
}

/// How the tools stand that a client has told of.
pub(in crate::agent) fn reported<S: Source>(engine: &Engine<S>, params: &ReportParams, caller: Caller) -> Reported {
    let mut reported = Reported {
        tools: Vec::new(),
        ended: Vec::new(),
    };
    let slots = by_instance(engine, caller);
    for report in &params.tools {
        let slot = slots.get(&report.instance);
        match slot.and_then(|&slot| engine.tracker().tool(slot)) {
            Some(tool) => reported.tools.push(standing(tool)),
            None => reported.ended.push(report.instance),
        }
    }
    reported
}

/// Looks at a tool's use as it is now, and raises the limits that it needs raised.
pub(in crate::agent) fn adjust<S: Source>(
    engine: &mut Engine<S>,
    params: &AdjustParams,
    caller: Caller,
    clock: &impl Clock,
) -> Result<ToldStatus, Refusal> {
    let absent = || {
        let message = format!("no tool {} (instance {}) of yours runs", params.tool, params.instance);
        Refusal::new(RefusalCode::NotFound, message)
    };
    let tool = of_instance(engine, params.instance, caller).filter(|tool| tool.identity.name == params.tool);
    let slot = tool.ok_or_else(absent)?.identity.slot;
    engine.raise(&[slot].into(), clock)?;
    engine.tracker().tool(slot).map(standing).ok_or_else(absent)
}

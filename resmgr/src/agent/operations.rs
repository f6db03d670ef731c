//! Operations that clients tell of, and who waits to hear how a tool stands.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    alerting::{message, seen},
    server::{Answer, Caller},
    tools::is_theirs,
};
use crate::{
    engine::Engine,
    model::{AlertKind, Clock, Mode, OperationUse, Resource, ResourceStatus, Source, SourceError, ToolSlot},
    protocol::{
        BeginOperationParams, EndOperationParams, OperationBegun, OperationOver, OverLimit, Refusal, RefusalCode,
        ToolEnd, ToolState, WatchParams,
    },
    track::TrackedTool,
};

/// The longest that somebody waits to hear that nothing has changed.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The longest name of an operation, in bytes.
const LONGEST_NAME: usize = 256;
/// Operations of one tool that are under way at a time, at most.
const MOST: usize = 1024;

/// An operation under way.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    slot: ToolSlot,
    instance: u64,
    connection: u64,
    /// Nobody waits for it any more.
    once_idle: bool,
}

/// Who waits for a tool to stand otherwise.
struct Watcher {
    params: WatchParams,
    until: Instant,
    answer: Answer,
}

/// What the agent keeps of operations, beside what the engine does.
#[derive(Default)]
pub(super) struct Operations {
    under_way: BTreeMap<u64, UnderWay>,
    begun: u64,
    watchers: Vec<Watcher>,
}

impl Operations {
    /// Begins an operation, unless its tool is at a limit.
    pub(super) fn begin<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        params: &BeginOperationParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<OperationBegun, Refusal> {
        if params.name.len() > LONGEST_NAME {
            let message = format!("an operation's name has at most {LONGEST_NAME} bytes");
            return Err(Refusal::new(RefusalCode::InvalidRequest, message));
        }
        let tool = found(engine, params.instance, caller)?;
        let (slot, instance, mode) = (tool.identity.slot, params.instance, tool.identity.enforcement.mode);
        if !tool.identity.operation.is_told() {
            let message = format!(
                "the operations of {} are of the kind {}, which nobody tells of: register it with --operations api or mcp",
                tool.identity.name, tool.identity.operation
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        if self.under_way.values().filter(|one| one.instance == instance).count() >= MOST {
            let message = format!("{MOST} operations of this tool are under way already: end some");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        if !params.under_way && mode != Mode::Observe {
            let exceeded = engine.exceeded(slot, clock)?;
            if let Some((tool, resource)) = engine.tracker().tool(slot).zip(exceeded.first()) {
                let over = over_limit(tool, *resource);
                return Err(Refusal::new(RefusalCode::LimitsExceeded, over.message));
            }
        }
        self.begun += 1;
        let operation = self.begun;
        engine.begin_operation(slot, operation, &params.name, clock)?;
        let connection = caller.connection;
        self.under_way.insert(
            operation,
            UnderWay {
                slot,
                instance,
                connection,
                once_idle: false,
            },
        );
        Ok(OperationBegun { operation })
    }

    /// Ends an operation that the same connection has begun, now or once its tool is idle: what it has used.
    pub(super) fn end<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        params: &EndOperationParams,
        caller: Caller,
        clock: &impl Clock,
    ) -> Result<OperationUse, Refusal> {
        let operation = params.operation;
        let is_own = |one: &&mut UnderWay| one.connection == caller.connection;
        let ended = match self.under_way.get_mut(&operation).filter(is_own) {
            Some(one) if params.once_idle => {
                one.once_idle = true;
                let tool = engine.tracker().tool(one.slot);
                let under_way = tool.map(|tool| tool.told.under_way(clock.now().monotonic_ns));
                under_way.into_iter().flatten().find(|used| used.operation == operation)
            }
            Some(one) => {
                let one = *one;
                self.finish(engine, operation, one, clock)?
            }
            None => None,
        };
        ended.ok_or_else(|| {
            let message = format!("this connection has no operation {operation} under way");
            Refusal::new(RefusalCode::NotFound, message)
        })
    }

    /// A client has hung up: its operations have ended.
    pub(super) fn hung_up<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        connection: u64,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        self.finish_those(engine, |one| one.connection == connection, clock)
    }

    /// Ends the operations that nobody waits for, of tools that are idle.
    pub(super) fn end_idle<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        is_idle: impl Fn(u64) -> bool,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        self.finish_those(engine, |one| one.once_idle && is_idle(one.instance), clock)
    }

    fn finish_those<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        have_ended: impl Fn(&UnderWay) -> bool,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        let ended = self.under_way.iter().filter(|(_, one)| have_ended(one));
        for (operation, one) in ended.map(|(operation, one)| (*operation, *one)).collect::<Vec<_>>() {
            self.finish(engine, operation, one, clock)?;
        }
        Ok(())
    }

    fn finish<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        operation: u64,
        one: UnderWay,
        clock: &impl Clock,
    ) -> Result<Option<OperationUse>, SourceError> {
        self.under_way.remove(&operation);
        // Another tool may have the slot by now.
        let goes_on = |tool: &TrackedTool| tool.identity.instance == one.instance;
        if engine.tracker().tool(one.slot).is_some_and(goes_on) {
            engine.end_operation(one.slot, operation, clock)
        } else {
            Ok(None)
        }
    }

    /// Answers who asks how a tool stands: at once where that is not as it was seen.
    pub(super) fn watch<S: Source>(
        &mut self,
        engine: &Engine<S>,
        params: WatchParams,
        caller: Caller,
        answer: Answer,
        clock: &impl Clock,
    ) {
        let instance = params.instance;
        let ended = || engine.ended_tools().find(|tool| tool.identity.instance == instance);
        let tool = by_instance(engine, instance).or_else(ended);
        let may_see = |tool: &TrackedTool| caller.sees_all() || is_theirs(caller, tool.identity.uid, tool.identity.uid);
        if !tool.is_some_and(may_see) {
            let _ = answer.send(Err(unknown(instance)));
            return;
        }
        let watcher = Watcher {
            params,
            until: Instant::now() + LONGEST_WAIT,
            answer,
        };
        self.watchers.extend(told(engine, watcher, clock));
    }

    /// Tells those who wait how their tools stand, where that has changed.
    pub(super) fn tell<S: Source>(&mut self, engine: &Engine<S>, clock: &impl Clock) {
        let waiting = std::mem::take(&mut self.watchers).into_iter();
        self.watchers = waiting.filter_map(|watcher| told(engine, watcher, clock)).collect();
    }
}

/// Answers one that waits, or hands it back to wait on.
fn told<S: Source>(engine: &Engine<S>, watcher: Watcher, clock: &impl Clock) -> Option<Watcher> {
    let state = state(engine, watcher.params.instance, clock);
    let seen = watcher.params.seen.as_ref();
    if seen.is_some_and(|seen| seen.is_as(&state)) && Instant::now() < watcher.until {
        return Some(watcher);
    }
    // Who hung up needs no answer.
    let _ = watcher.answer.send(super::run::to_line(state));
    None
}

fn by_instance<S: Source>(engine: &Engine<S>, instance: u64) -> Option<&TrackedTool> {
    engine.tracker().tools().find(|tool| tool.identity.instance == instance)
}

fn found<S: Source>(engine: &Engine<S>, instance: u64, caller: Caller) -> Result<&TrackedTool, Refusal> {
    let tool = by_instance(engine, instance);
    tool.filter(|tool| is_theirs(caller, tool.identity.uid, tool.identity.uid))
        .ok_or_else(|| unknown(instance))
}

fn unknown(instance: u64) -> Refusal {
    let message = format!("no tool of yours is instance {instance}");
    Refusal::new(RefusalCode::NotFound, message)
}

/// How a tool stands; one that nobody knows any more has ended.
fn state<S: Source>(engine: &Engine<S>, instance: u64, clock: &impl Clock) -> ToolState {
    let Some(tool) = by_instance(engine, instance) else {
        let ended = engine.ended_tools().find(|tool| tool.identity.instance == instance);
        return ToolState {
            ended: Some(ToolEnd {
                cause: ended.and_then(TrackedTool::end_cause),
            }),
            ..ToolState::default()
        };
    };
    let holds = tool.identity.enforcement.mode != Mode::Observe;
    let exceeded = Resource::ALL
        .into_iter()
        .find(|&resource| tool.level(resource) >= ResourceStatus::Critical);
    let limit_ns = tool.limits.cpu.current.saturating_mul(1_000_000);
    let over = tool.told.under_way(clock.now().monotonic_ns);
    let over = over.filter(|used| holds && used.cpu_time_ns >= limit_ns);
    ToolState {
        status: tool.status(),
        refusing: exceeded.filter(|_| holds).map(|resource| over_limit(tool, resource)),
        over: over
            .map(|used| OperationOver {
                used,
                limit: over_limit(tool, Resource::Cpu),
            })
            .collect(),
        ended: tool.root_exit.map(|_| ToolEnd {
            cause: tool.end_cause(),
        }),
    }
}

/// A resource of a tool that is at its limit.
fn over_limit(tool: &TrackedTool, resource: Resource) -> OverLimit {
    let (value, limit) = (tool.value(resource), tool.limits.range(resource).current);
    let seen = seen(
        tool,
        AlertKind::Limit(resource),
        tool.level(resource),
        Some(value),
        Some(limit),
    );
    OverLimit {
        resource,
        value,
        limit,
        message: message(tool, &seen),
    }
}

//! What alerts say: what was seen, and what to type. Pure.

use crate::{
    adapt::round_limit,
    alert::Seen,
    export::{amount, count, limit, many},
    model::{AlertKind, Resource},
    track::TrackedTool,
};

/// The flag that raises a limit.
const fn flag(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "--memory",
        Resource::Cpu => "--cpu",
        Resource::Fds => "--fds",
        Resource::Connections => "--connections",
    }
}

/// What to type so that a tool that uses so much of a resource is far from its limits.
pub(super) fn raise(tool: &TrackedTool, resource: Resource, value: u64) -> String {
    let range = tool.limits.range(resource);
    // Twice as much is a Warning at neither.
    let base = round_limit(resource, value.saturating_add(value / 2)).max(range.base);
    let max = round_limit(resource, value.saturating_mul(2)).max(range.max).max(base);
    let name = &tool.identity.name;
    format!(
        "resmgr limits set {name} {} {}:{}",
        flag(resource),
        limit(resource, base),
        limit(resource, max)
    )
}

/// What a person should know, and what to type.
pub(in crate::agent) fn message(tool: &TrackedTool, seen: &Seen) -> String {
    let name = &seen.tool;
    let (value, line) = (seen.value.unwrap_or(0), seen.limit.unwrap_or(0));
    match seen.kind {
        AlertKind::Limit(resource) => {
            let range = tool.limits.range(resource);
            format!(
                "{resource}: {} of {}, the maximum is {}; to raise it: {}",
                amount(resource, value),
                amount(resource, line),
                amount(resource, range.max),
                raise(tool, resource, value),
            )
        }
        AlertKind::SpawnRate => format!(
            "{} processes are born a second; to end them all: resmgr cleanup {name}",
            count(value)
        ),
        AlertKind::Budget(resource) => format!(
            "{resource}: all instances of {name} use {} of their budget of {}; to raise it: [tool.{name}.budget] in the \
             configuration; to end one: resmgr cleanup {name} --instance N",
            amount(resource, value),
            amount(resource, line),
        ),
        AlertKind::Stalled => format!(
            "it waits for memory: slowed {} times a second at {} in use, the maximum is {}; to raise it: {}",
            count(value),
            amount(Resource::Memory, tool.value(Resource::Memory)),
            amount(Resource::Memory, tool.limits.memory.max),
            raise(tool, Resource::Memory, tool.value(Resource::Memory)),
        ),
        AlertKind::ProcessFds => format!(
            "one process has {} of the {} descriptors that it may have itself; to raise that: ulimit -n in the shell \
             that starts it, or LimitNOFILE= in its unit",
            count(value),
            count(line),
        ),
        AlertKind::Left => format!(
            "{} on without the tool's first one, or without whoever started it; to end them: resmgr \
             cleanup {name}; to have that done: --orphans reap, or --orphans keep to hear no more of it",
            many(value, "process runs", "processes run")
        ),
        AlertKind::Escaped => format!(
            "{} left the tool's cgroup, and its limits of memory, CPU time and tasks; they are counted, \
             and ended with it: resmgr cleanup {name}",
            many(value, "process has", "processes have")
        ),
        AlertKind::NotHeld => "a limit does not hold".to_owned(),
        AlertKind::Growth => "it grows".to_owned(),
    }
}

//! Steps as they are remembered: from what held a tool before, and what holds it now. Pure.

use super::entry::ToolHold;
use crate::{
    enforce::ProcessHold,
    model::{Action, Evidence, Reason, Resource, Step, Timestamp},
    track::TrackedTool,
};

/// What a step changes, from what to what.
type Change = (Step, Resource, Option<u64>, Option<u64>);

/// What was done, where a tool was held by `before` and is by `now`.
pub(super) fn steps(before: &ToolHold, now: &ToolHold, tool: &TrackedTool, at: Timestamp) -> Vec<Action> {
    let is_tighter = |from: Option<u64>, to: Option<u64>| to.unwrap_or(u64::MAX) < from.unwrap_or(u64::MAX);
    // Drawn with the hard line, a soft one is what was asked for.
    let is_asked = before.leaf.memory_max != now.leaf.memory_max;
    let change_to_action = |(step, resource, from, to): Change| {
        let range = tool.limits.range(resource);
        let (reason, limit) = match step {
            Step::HardLine | Step::DataLimit | Step::DescriptorLimit => (Reason::Asked, range.max),
            Step::SoftLine if from < to && to > Some(range.current) && tool.stall.is_felt() => {
                (Reason::Stalled, range.current)
            }
            Step::SoftLine if is_asked => (Reason::Asked, range.max),
            Step::SoftLine if is_tighter(from, to) => (Reason::Near, range.current),
            Step::SoftLine => (Reason::Rest, range.current),
            _ if is_tighter(from, to) => (Reason::Near, range.max),
            _ => (Reason::Rest, range.max),
        };
        Action {
            at: at.wall,
            step,
            resource: Some(resource),
            from,
            to,
            reason,
            evidence: Evidence {
                value: Some(tool.value(resource)),
                limit: Some(limit),
                over_s: None,
            },
        }
    };
    changes(before, now).into_iter().map(change_to_action).collect()
}

fn changes(before: &ToolHold, now: &ToolHold) -> Vec<Change> {
    let (each_before, each_now) = (before.each, now.each);
    // A percent of the time stands for whether it is idle: 100 while it runs when nobody else wants to.
    let idle = |each: ProcessHold| each.idle.then_some(100);
    let all = [
        (
            Step::HardLine,
            Resource::Memory,
            before.leaf.memory_max,
            now.leaf.memory_max,
        ),
        (
            Step::SoftLine,
            Resource::Memory,
            before.leaf.memory_high,
            now.leaf.memory_high,
        ),
        (
            Step::DataLimit,
            Resource::Memory,
            each_before.data_bytes,
            each_now.data_bytes,
        ),
        (
            Step::DescriptorLimit,
            Resource::Fds,
            each_before.descriptors,
            each_now.descriptors,
        ),
        (
            Step::Quota,
            Resource::Cpu,
            before.leaf.cpu_percent,
            now.leaf.cpu_percent,
        ),
        (Step::Idle, Resource::Cpu, idle(each_before), idle(each_now)),
        (Step::Turns, Resource::Cpu, before.runs_percent, now.runs_percent),
    ];
    all.into_iter().filter(|(_, _, from, to)| from != to).collect()
}

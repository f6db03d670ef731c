//! The families of tools: what a name and a user's instances use together, what holds them, what became of them.

use serde::Serialize;

use super::{
    text::{
        Kind::{Counter, Gauge},
        Labels,
        Number::{self, Milliseconds, Nanoseconds},
        Text,
    },
    values::{ToolMeasured, ToolNow, ToolTotals},
};
use crate::model::Resource;

/// A value's word, as JSON has it.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("unknown").to_owned()
}

/// A value of a resource, in the base unit.
fn amount(resource: Resource, value: u64) -> Number {
    match resource {
        Resource::Cpu => Milliseconds(value),
        _ => value.into(),
    }
}

/// A tool with its labels ready.
struct Labelled<'m> {
    labels: Labels,
    tool: &'m ToolMeasured,
}

/// Writes the families of tools.
pub(super) fn write(text: &mut Text, tools: &[ToolMeasured]) {
    let labelled = |tool| Labelled {
        labels: labels(tool),
        tool,
    };
    let tools: Vec<Labelled<'_>> = tools.iter().map(labelled).collect();
    use_now(text, &tools);
    limits(text, &tools);
    counts_now(text, &tools);
    totals(text, &tools);
    what_was_done(text, &tools);
}

fn labels(tool: &ToolMeasured) -> Labels {
    let labels = Labels::default().and("tool", tool.name.as_str());
    labels.and("user", &tool.uid.to_string())
}

fn running<'t>(tools: &'t [Labelled<'_>]) -> impl Iterator<Item = (&'t Labels, &'t ToolNow)> {
    tools
        .iter()
        .filter_map(|one| Some((&one.labels, one.tool.now.as_ref()?)))
}

fn use_now(text: &mut Text, tools: &[Labelled<'_>]) {
    let mut memory = text.family(
        Gauge,
        "resmgr_tool_memory_bytes",
        "Memory by kind; counted is what the limit is about, the others are what that is made of.",
    );
    for (labels, now) in running(tools) {
        memory.and(labels, "kind", "counted", now.memory_bytes);
        memory.and(labels, "kind", "virtual", now.virtual_bytes);
        if let Some(of) = now.memory {
            memory.and(labels, "kind", "anon", of.anon_bytes);
            memory.and(labels, "kind", "file", of.file_bytes);
            memory.and(labels, "kind", "shmem", of.shmem_bytes);
            memory.and(labels, "kind", "swap", of.swap_bytes);
        }
    }
    let mut fds = text.family(Gauge, "resmgr_tool_open_fds", "Open descriptors by kind.");
    for (labels, now) in running(tools) {
        for (kind, &count) in &now.fds {
            fds.and(labels, "kind", &word(kind), count);
        }
    }
    let mut connections = text.family(Gauge, "resmgr_tool_connections", "Connections by state.");
    for (labels, now) in running(tools) {
        for (state, &count) in &now.connections {
            connections.and(labels, "state", &word(state), count);
        }
    }
    let mut operation = text.family(
        Gauge,
        "resmgr_tool_operation_cpu_seconds",
        "CPU time of the operation under way, which the CPU limit is about.",
    );
    for (labels, now) in running(tools) {
        operation.with(labels, Milliseconds(now.operation_ms));
    }
    let mut status = text.family(
        Gauge,
        "resmgr_tool_status",
        "How close the instance that is closest is to its limits: 0 normal, 1 warning, 2 critical, 3 emergency.",
    );
    for (labels, now) in running(tools) {
        status.with(labels, now.status as u32);
    }
    let mut used = text.family(
        Gauge,
        "resmgr_tool_limit_used_ratio",
        "Use by the limit in force, of the instance for which that is most.",
    );
    for (labels, now) in running(tools) {
        for (resource, used_ratio) in Resource::ALL.into_iter().zip(now.used) {
            used.and(labels, "resource", &resource.to_string(), used_ratio);
        }
    }
}

/// The names of a resource's limit and of its need.
const LIMITS: [(Resource, &str, &str); 4] = [
    (
        Resource::Memory,
        "resmgr_tool_memory_limit_bytes",
        "resmgr_tool_memory_need_bytes",
    ),
    (
        Resource::Cpu,
        "resmgr_tool_cpu_limit_seconds",
        "resmgr_tool_cpu_need_seconds",
    ),
    (Resource::Fds, "resmgr_tool_fd_limit", "resmgr_tool_fd_need"),
    (
        Resource::Connections,
        "resmgr_tool_connection_limit",
        "resmgr_tool_connection_need",
    ),
];

fn limits(text: &mut Text, tools: &[Labelled<'_>]) {
    for (resource, name, _) in LIMITS {
        let of = match resource {
            Resource::Memory => "Limit of memory",
            Resource::Cpu => "Limit of CPU time of an operation",
            Resource::Fds => "Limit of descriptors",
            Resource::Connections => "Limit of connections",
        };
        let help = format!("{of}: in force (current), and what it moves between (base, max).");
        let mut family = text.family(Gauge, name, &help);
        for (labels, now) in running(tools) {
            let limit = now.limits[resource as usize];
            for (kind, value) in [("base", limit.base), ("current", limit.current), ("max", limit.max)] {
                family.and(labels, "kind", kind, amount(resource, value));
            }
        }
    }
    for (resource, _, name) in LIMITS {
        let help = format!("What is expected to be needed, once it is known: {resource}.");
        let mut family = text.family(Gauge, name, &help);
        for (labels, now) in running(tools) {
            let need = now.needs[resource as usize];
            if need > 0 {
                family.with(labels, amount(resource, need));
            }
        }
    }
    let mut reached = text.family(
        Gauge,
        "resmgr_tool_limit_reached_seconds",
        "In which time use that grows steadily is at its maximum.",
    );
    for (labels, now) in running(tools) {
        for (resource, after) in Resource::ALL.into_iter().zip(now.reaches_max_s) {
            if let Some(after) = after {
                reached.and(labels, "resource", &resource.to_string(), after);
            }
        }
    }
}

fn counts_now(text: &mut Text, tools: &[Labelled<'_>]) {
    let mut of = |name, help, count: fn(&ToolNow) -> u64| {
        let mut family = text.family(Gauge, name, help);
        for (labels, now) in running(tools) {
            family.with(labels, count(now));
        }
    };
    of("resmgr_tool_instances", "Instances that run.", |now| now.instances);
    of("resmgr_tool_processes", "Processes that run.", |now| now.processes);
    of("resmgr_tool_threads", "Threads that run.", |now| now.threads);
    of(
        "resmgr_tool_orphans",
        "Processes whose parent in the tool has ended.",
        |now| now.orphans,
    );
    of(
        "resmgr_tool_zombies",
        "Processes that have ended and wait for their parents.",
        |now| now.zombies,
    );
    of(
        "resmgr_tool_escaped",
        "Processes that have left the tool's cgroup.",
        |now| now.escaped,
    );
}

fn totals(text: &mut Text, tools: &[Labelled<'_>]) {
    let mut of = |name, help, total: fn(&ToolTotals) -> Number| {
        let mut family = text.family(Counter, name, help);
        for one in tools {
            family.with(&one.labels, total(&one.tool.totals));
        }
    };
    of(
        "resmgr_tool_cpu_seconds_total",
        "CPU time, of processes that have ended too.",
        |totals| Nanoseconds(totals.cpu_ns),
    );
    of("resmgr_tool_processes_started_total", "Processes.", |totals| {
        totals.processes.into()
    });
    of(
        "resmgr_tool_fds_opened_total",
        "Descriptors that calls have opened.",
        |totals| totals.fds_opened.into(),
    );
    of(
        "resmgr_tool_fds_refused_total",
        "Descriptors that were refused.",
        |totals| totals.fds_refused.into(),
    );
    of(
        "resmgr_tool_connections_made_total",
        "Outgoing connections that were established.",
        |totals| totals.connections_made.into(),
    );
    of(
        "resmgr_tool_connections_accepted_total",
        "Incoming connections that were accepted.",
        |totals| totals.connections_accepted.into(),
    );
    of(
        "resmgr_tool_connections_failed_total",
        "Outgoing connections that failed, the refused ones included.",
        |totals| totals.connections_failed.into(),
    );
    of(
        "resmgr_tool_connections_refused_total",
        "Outgoing connections that were refused.",
        |totals| totals.connections_refused.into(),
    );
    of(
        "resmgr_tool_crossings_total",
        "How often use went past a line.",
        |totals| totals.crossings.into(),
    );
    of(
        "resmgr_tool_oom_kills_total",
        "How often the kernel killed for want of memory.",
        |totals| totals.oom_kills.into(),
    );
    of(
        "resmgr_tool_memory_high_total",
        "How often the tool was slowed at its soft line of memory.",
        |totals| totals.high_events.into(),
    );
}

fn what_was_done(text: &mut Text, tools: &[Labelled<'_>]) {
    let mut ended = text.family(
        Counter,
        "resmgr_tool_ended_total",
        "Instances that have ended, by how the first process did.",
    );
    for one in tools {
        for (cause, &count) in &one.tool.totals.ended {
            let cause = cause.as_ref().map_or("unknown".to_owned(), word);
            ended.and(&one.labels, "cause", &cause, count);
        }
    }
    let mut alerts = text.family(Counter, "resmgr_alerts_total", "Alerts that were raised.");
    for one in tools {
        for ((kind, level), &count) in &one.tool.totals.alerts {
            let labels = one.labels.clone().and("kind", &kind.to_string());
            alerts.and(&labels, "level", &word(level), count);
        }
    }
    let mut actions = text.family(
        Counter,
        "resmgr_actions_total",
        "What was done to tools, and about which resource.",
    );
    for one in tools {
        for ((step, resource), &count) in &one.tool.totals.actions {
            let resource = resource.map_or("all".to_owned(), |resource| resource.to_string());
            let labels = one.labels.clone().and("step", &word(step));
            actions.and(&labels, "resource", &resource, count);
        }
    }
}

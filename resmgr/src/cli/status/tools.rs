//! The tools of a report, as a table; those of one name with what there is to say of each.

use std::time::Duration;

use crate::{
    cli::output,
    export::{Align, Column, Span, Table, Tone, amount, bytes, cores, count, duration},
    model::{Resource, ResourceStatus, ToolName},
    protocol::{CrossingStatus, ToolStatus},
};

/// Tools that have ended and are listed, where all are asked for.
const ENDED_LISTED: usize = 5;

/// The lines for a report's tools; none where it has none.
pub(super) fn render(tools: &[ToolStatus], asked_for: Option<&ToolName>, width: Option<usize>) -> Vec<String> {
    if let Some(name) = asked_for
        && tools.is_empty()
    {
        return vec![format!("no tool {name} runs, or has ended lately"), String::new()];
    }
    let ended = tools.iter().filter(|tool| tool.ended_s.is_some()).count();
    let passed_over = if asked_for.is_some() {
        0
    } else {
        ended.saturating_sub(ENDED_LISTED)
    };
    let mut skipped = 0;
    let shown: Vec<&ToolStatus> = tools
        .iter()
        .filter(|tool| {
            let skip = tool.ended_s.is_some() && skipped < passed_over;
            skipped += usize::from(skip);
            !skip
        })
        .collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let mut lines = output::table(&table(&shown), width);
    lines.push(String::new());
    if asked_for.is_some() {
        for tool in shown {
            lines.extend(output::fitted(&details(tool), width));
            lines.push(String::new());
        }
    }
    lines
}

fn table(tools: &[&ToolStatus]) -> Table {
    let right = |heading| Column {
        heading,
        align: Align::Right,
    };
    let left = |heading| Column {
        heading,
        align: Align::Left,
    };
    let mut table = Table::new(&[
        left("TOOL"),
        right("#"),
        left("STATUS"),
        right("PROCS"),
        right("EVER"),
        right("MEMORY"),
        right("CPU%"),
        right("CPU TIME"),
        right("FDS"),
        right("CONNS"),
    ]);
    for tool in tools {
        let of = |value: String, resource: Resource, limit: String| match tool.levels.get(&resource) {
            Some(ResourceStatus::Normal) | None => Span::from(value),
            Some(level) => Span::new(format!("{value}/{limit}"), *level),
        };
        let fds = tool.usage.file_handles.len();
        let connections = tool.usage.network_connections.len();
        table.row(vec![
            tool.name.to_string().into(),
            tool.instance.to_string().into(),
            status(tool),
            count(tool.process_count).into(),
            count(tool.processes_total).into(),
            of(
                bytes(tool.usage.memory_bytes as u64),
                Resource::Memory,
                bytes(tool.limits.memory.current),
            ),
            tool.cpu_share.map_or("-".to_owned(), cores).into(),
            duration(Duration::from_nanos(tool.cpu_time_ns)).into(),
            of(fds.to_string(), Resource::Fds, tool.limits.fds.current.to_string()),
            of(
                connections.to_string(),
                Resource::Connections,
                tool.limits.connections.current.to_string(),
            ),
        ]);
    }
    table
}

fn status(tool: &ToolStatus) -> Span {
    match tool.ended_s {
        Some(seconds) => Span::new(
            format!("ended {} ago", duration(Duration::from_secs(seconds))),
            Tone::Faint,
        ),
        None => Span::new(format!("{:?}", tool.status).to_lowercase(), tool.status),
    }
}

fn details(tool: &ToolStatus) -> Vec<String> {
    let mut lines = vec![format!(
        "{} (instance {})  by {} of user {}, {}",
        tool.name,
        tool.instance,
        format!("{:?}", tool.origin).to_lowercase(),
        tool.uid,
        tool.registered_at.format("%Y-%m-%d %H:%M:%S UTC"),
    )];
    if let Some(owner) = &tool.owner {
        let state = owner.comm.clone().unwrap_or_else(|| "gone".to_owned());
        lines.push(format!("owner        {} ({state})", owner.pid));
    }
    if let Some(cgroup) = &tool.cgroup {
        lines.push(format!("cgroup       {cgroup}"));
    }
    lines.push(format!(
        "peaks        memory {}, {} fds, {} connections, {} processes",
        bytes(tool.peak.memory_bytes),
        tool.peak.open_fds,
        tool.peak.connections,
        tool.peak.processes,
    ));
    for (what, pids) in [("orphans", &tool.orphans), ("escaped", &tool.escaped)] {
        if !pids.is_empty() {
            let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
            lines.push(format!("{what:<12} {}", pids.join(" ")));
        }
    }
    for zombie in &tool.zombies {
        lines.push(format!(
            "zombie       {} waits for its parent {} ({})",
            zombie.pid,
            zombie.parent,
            zombie.parent_comm.as_deref().unwrap_or("unknown"),
        ));
    }
    lines.extend(tool.crossings.iter().rev().take(5).map(crossing));
    lines
}

fn crossing(crossing: &CrossingStatus) -> String {
    let value = amount(crossing.resource, crossing.value);
    let way = if crossing.risen { "reached" } else { "left" };
    format!(
        "crossing     {}: {way} {:?} at {value} (process {})",
        crossing.resource, crossing.level, crossing.pid
    )
}

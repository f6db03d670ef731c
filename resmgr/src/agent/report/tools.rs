//! The tools in a status report.

use std::collections::BTreeMap;

use super::is_theirs_now;
use crate::{
    agent::server::Caller,
    enforce,
    engine::Engine,
    model::{Learned, Resource, ResourceUsage, Source, SourceError, Timestamp, ToolName},
    protocol::{
        CrossingStatus, ExitReport, OperationsStatus, OwnerStatus, PeakStatus, StatusParams, ToolEvents, ToolStatus,
        ToolSums, ZombieStatus,
    },
    track::{ResourceTracker, TrackedTool},
};

/// The tools that a caller may see and asks for: those that go on, then those that have ended, the latest last.
pub(super) fn list<S: Source>(
    engine: &mut Engine<S>,
    params: &StatusParams,
    caller: Caller,
    now: Timestamp,
) -> Result<Vec<ToolStatus>, SourceError> {
    let is_shown = |tool: &TrackedTool| {
        let identity = &tool.identity;
        (caller.sees_all() || identity.uid == caller.uid)
            && params.tool.as_ref().is_none_or(|name| *name == identity.name)
    };
    let running: Vec<TrackedTool> = engine
        .tracker()
        .tools()
        .filter(|tool| is_shown(tool))
        .cloned()
        .collect();
    let ended: Vec<TrackedTool> = engine.ended_tools().filter(|tool| is_shown(tool)).cloned().collect();
    let mut shown = Vec::new();
    // A tool may have processes that are another user's: they became so.
    let usages = engine.tool_usages(&running, |id| is_theirs_now(caller, id))?;
    for (tool, usage) in running.into_iter().zip(usages) {
        let mut status = describe(&tool, usage, engine.tracker(), now);
        status.learned = learned(engine, &tool, params.forecast, now);
        status.growth = engine.growth(tool.identity.instance).cloned();
        shown.push(status);
    }
    for tool in ended {
        let usage = ResourceUsage::without_files(None, tool.cpu_ns());
        shown.push(describe(&tool, usage, engine.tracker(), now));
    }
    Ok(shown)
}

/// What has been learned of a tool's use.
fn learned<S: Source>(
    engine: &Engine<S>,
    tool: &TrackedTool,
    with_forecast: bool,
    now: Timestamp,
) -> BTreeMap<Resource, Learned> {
    let of = |resource| Some((resource, engine.learned(tool, resource, with_forecast, now)?));
    Resource::ALL.into_iter().filter_map(of).collect()
}

/// Sums over the instances of each name that go on.
pub(super) fn by_name(tools: &[ToolStatus]) -> BTreeMap<ToolName, ToolSums> {
    let mut sums: BTreeMap<ToolName, ToolSums> = BTreeMap::new();
    for tool in tools.iter().filter(|tool| tool.ended_s.is_none()) {
        let sum = sums.entry(tool.name.clone()).or_default();
        sum.instances += 1;
        sum.memory_bytes += tool.usage.memory_bytes as u64;
        sum.cpu_time_ms += tool.usage.cpu_time_ms;
        sum.open_fds += tool.usage.file_handles.len() as u64;
        sum.connections += tool.usage.network_connections.len() as u64;
        sum.process_count += tool.process_count;
        sum.processes_total += tool.processes_total;
    }
    sums
}

/// A tool's processes that have ended and wait for their parents, each with the parent that has to reap it.
pub(in crate::agent) fn zombies(tool: &TrackedTool, tracker: &ResourceTracker) -> Vec<ZombieStatus> {
    let zombies = tool.usage.zombies.iter();
    zombies
        .map(|zombie| ZombieStatus {
            pid: zombie.pid,
            parent: zombie.ppid,
            parent_comm: comm(tracker, zombie.ppid),
        })
        .collect()
}

fn comm(tracker: &ResourceTracker, pid: u32) -> Option<String> {
    tracker.process(pid).map(|process| process.sample.comm.to_string())
}

fn describe(tool: &TrackedTool, usage: ResourceUsage, tracker: &ResourceTracker, now: Timestamp) -> ToolStatus {
    let identity = &tool.identity;
    let used = &tool.usage;
    let owner = identity.owner.map(|owner| {
        let alive = enforce::is_alive(owner);
        OwnerStatus {
            pid: owner.pid,
            comm: comm(tracker, owner.pid).filter(|_| alive),
            alive,
        }
    });
    let registered_ns = i64::try_from(identity.registered_unix_ns).unwrap_or(i64::MAX);
    ToolStatus {
        name: identity.name.clone(),
        instance: identity.instance,
        origin: identity.origin,
        operation: identity.operation,
        uid: identity.uid,
        registered_at: chrono::DateTime::from_timestamp_nanos(registered_ns),
        ended_s: tool
            .ended_at_ns
            .map(|ended| now.monotonic_ns.saturating_sub(ended) / 1_000_000_000),
        root_pid: identity.root.map(|root| root.pid),
        owner,
        cgroup: identity.cgroup.as_ref().map(|path| path.display().to_string()),
        status: tool.status(),
        levels: Resource::ALL.map(|resource| (resource, tool.level(resource))).into(),
        usage,
        limits: tool.limits,
        budgets: Resource::ALL
            .into_iter()
            .zip(tool.budgets)
            .filter_map(|(resource, of)| Some((resource, of?)))
            .collect(),
        enforcement: identity.enforcement,
        cpu_time_ns: tool.cpu_ns(),
        cpu_share: tool.cpu_share(),
        operation_cpu_ms: tool.value(Resource::Cpu),
        operations: identity.operation.is_told().then(|| OperationsStatus {
            under_way: tool.told.under_way(now.monotonic_ns).collect(),
            ended: tool.told.ended().cloned().collect(),
            ended_total: tool.told.ended_total(),
        }),
        shared_bytes: tool.charged_bytes.is_none().then(|| tool.shared_bytes()),
        virtual_bytes: used.virtual_bytes,
        peak: PeakStatus {
            memory_bytes: tool.peaks.memory_bytes,
            open_fds: tool.peaks.open_fds,
            connections: tool.peaks.connections,
            processes: tool.peaks.processes,
            process_rss_bytes: tool.sums.process_peak_rss_bytes,
        },
        learned: BTreeMap::new(),
        growth: None,
        process_count: used.processes,
        processes_total: tool.processes_total(),
        threads: used.threads,
        orphans: used.orphans.clone(),
        zombies: zombies(tool, tracker),
        escaped: used.escaped.clone(),
        events: ToolEvents {
            fds_opened: tool.sums.fds_opened,
            fds_closed: tool.sums.fds_closed,
            fds_open: tool.sums.fds_open,
            fds_refused: tool.sums.fds_refused,
            connections_made: tool.sums.connections_made,
            connections_accepted: tool.sums.connections_accepted,
            connections_failed: tool.sums.connections_failed,
            connections_refused: tool.sums.connections_refused,
            connections_open: tool.sums.connections_open,
            memory_bytes: tool.sums.memory_bytes,
            cpu_time_ns: tool.sums.cpu_ns,
        },
        crossings: tool
            .crossings
            .iter()
            .map(|crossing| CrossingStatus {
                resource: crossing.resource,
                level: crossing.level,
                risen: crossing.risen,
                value: crossing.value,
                pid: crossing.pid,
                at: now.back_at(crossing.at_ns),
            })
            .collect(),
        crossings_total: tool.crossings_total,
        root_exit: tool.root_exit.zip(tool.end_cause()).map(|(exit, cause)| ExitReport {
            cause,
            code: exit.code(),
            signal: exit.signal(),
        }),
        oom_kills: tool.oom_kills,
        high_events: tool.stall.high_events,
        actions: tool.actions.iter().copied().collect(),
        actions_total: tool.actions_total,
    }
}

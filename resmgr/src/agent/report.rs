//! From what the engine knows to what a caller is shown.

mod tools;

pub(super) use tools::zombies;

use std::cmp::Reverse;

use super::{configuration::Configuration, proc, server::Caller, tools::is_theirs};
use crate::{
    enforce,
    engine::Engine,
    model::{Clock, ProcessId, ProcessSample, Source, SourceError, Timestamp},
    protocol::{
        AgentStatus, DescriptorStatus, HistoryStatus, ProcessSelection, ProcessStatus, Refusal, RefusalCode,
        STATUS_VERSION, SortKey, StatusParams, StatusReport,
    },
    track::{ResourceTracker, TrackedProcess},
};

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        tracing::warn!(%error, "a request could not be answered");
        Self::new(RefusalCode::Internal, error.to_string())
    }
}

/// Makes the status report that a caller asks for.
pub(super) fn status<S: Source>(
    engine: &mut Engine<S>,
    params: &StatusParams,
    caller: Caller,
    configuration: &Configuration,
    started: Timestamp,
    history: HistoryStatus,
    clock: &impl Clock,
) -> Result<StatusReport, Refusal> {
    if params.fresh || engine.refreshed().is_none() {
        engine.refresh(clock)?;
    }
    let processes = match params.processes {
        ProcessSelection::None => None,
        ProcessSelection::Pid(pid) => Some(vec![one_process(engine, pid, caller)?]),
        ProcessSelection::Top | ProcessSelection::All => Some(list(engine, params, caller)),
    };
    engine.read_sums()?;
    let tools = tools::list(engine, params, caller, clock.now())?;
    let taken_at = engine.refreshed().unwrap_or_else(|| clock.now());
    Ok(StatusReport {
        version: STATUS_VERSION,
        taken_at: taken_at.wall,
        agent: AgentStatus {
            configuration: configuration.status(caller),
            ..agent(engine, configuration, started, history, clock.now())?
        },
        host: engine.tracker().totals(|sample| may_see(caller, sample)),
        tools_by_name: tools::by_name(&tools),
        tools,
        processes,
    })
}

/// An ordinary user sees the processes that are theirs alone.
fn may_see(caller: Caller, sample: &ProcessSample) -> bool {
    caller.sees_all() || is_theirs(caller, sample.uid, sample.euid)
}

/// Whether a process is the caller's now: it may have become another's since a sweep saw whose it was. Asked after what is to be
/// shown has been read.
fn is_theirs_now(caller: Caller, id: ProcessId) -> bool {
    let is_theirs = || {
        let now = enforce::describe(id.pid).filter(|now| now.id.is_same_by_tick(id));
        now.is_some_and(|now| is_theirs(caller, now.uid, now.euid))
    };
    caller.is_root() || is_theirs()
}

/// What the agent says of itself, to whoever asks.
pub(super) fn agent<S: Source>(
    engine: &mut Engine<S>,
    configuration: &Configuration,
    started: Timestamp,
    history: HistoryStatus,
    now: Timestamp,
) -> Result<AgentStatus, SourceError> {
    let pid = std::process::id();
    let losses = engine.losses()?;
    let own = engine.tracker().process(pid).map(|process| &process.sample);
    let memory = own.and_then(|own| own.memory);
    let (drift, drift_total) = engine.tracker().drift();
    let cost = engine.cost();
    Ok(AgentStatus {
        pid,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: (now.monotonic_ns - started.monotonic_ns) / 1_000_000_000,
        cpu_time_ns: own.map_or(0, |own| own.cpu_ns),
        resident_bytes: memory.map(|memory| memory.anon_bytes + memory.file_bytes + memory.shmem_bytes),
        events_lost: losses.ring_full,
        losses,
        sweeping: engine.is_sweeping(),
        sweeps: cost.sweeps,
        sweeps_failed: cost.failed,
        sweep_ns: cost.last_ns,
        sweep_bytes: cost.last_bytes,
        sweep_interval_ms: u64::try_from(configuration.config().sweep_interval.as_millis()).unwrap_or(u64::MAX),
        drift,
        drift_total,
        maps: engine.map_use()?,
        programs: engine.program_cost(),
        hooks_pinned: engine.capabilities().hooks_pinned,
        hooks_adopted: engine.capabilities().hooks_adopted,
        hooks_attached: engine.capabilities().hooks_attached,
        refuses_descriptors: engine.capabilities().refuses_descriptors,
        hooks_missing: engine.capabilities().hooks_missing.clone(),
        metrics: configuration.scraped_at().map(|address| address.to_string()),
        ended: engine.tracker().ended(),
        history,
        configuration: None,
    })
}

fn list<S: Source>(engine: &Engine<S>, params: &StatusParams, caller: Caller) -> Vec<ProcessStatus> {
    let all = params.processes == ProcessSelection::All;
    let tracker = engine.tracker();
    let is_asked_for = |process: &TrackedProcess| {
        let Some(name) = &params.tool else { return true };
        let tool = process.sample.tool.and_then(|slot| tracker.tool(slot));
        tool.is_some_and(|tool| tool.identity.name == *name)
    };
    let mut shown: Vec<&TrackedProcess> = engine
        .tracker()
        .processes()
        .filter(|process| may_see(caller, &process.sample) && (all || !process.sample.kernel_thread))
        .filter(|process| is_asked_for(process))
        .collect();
    sort(&mut shown, params.sort);
    if !all {
        shown.truncate(params.limit);
    }
    let describe = |process| describe(process, tracker, caller);
    shown.into_iter().map(describe).collect()
}

/// Orders processes, the largest first; equals by pid.
fn sort(processes: &mut [&TrackedProcess], key: SortKey) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a use in cores, made comparable"
    )]
    let micro_cores = |process: &TrackedProcess| (process.cpu_share.unwrap_or(0.0) * 1e6) as u64;
    match key {
        SortKey::Memory => processes.sort_by_key(|process| {
            Reverse(
                process
                    .sample
                    .memory
                    .map_or(process.sample.virtual_bytes, |memory| memory.counted_bytes()),
            )
        }),
        SortKey::Cpu => processes.sort_by_key(|process| Reverse((micro_cores(process), process.sample.cpu_ns))),
        SortKey::Fds => processes.sort_by_key(|process| Reverse(process.sample.open_fds)),
        SortKey::Connections => processes.sort_by_key(|process| Reverse(process.sample.connections)),
        SortKey::Pid => {}
    }
}

fn one_process<S: Source>(engine: &mut Engine<S>, pid: u32, caller: Caller) -> Result<ProcessStatus, Refusal> {
    let visible = engine
        .tracker()
        .process(pid)
        .filter(|process| may_see(caller, &process.sample));
    let absent = || {
        let message = format!("there is no process {pid}, or it is not yours");
        Refusal::new(RefusalCode::NotFound, message)
    };
    let visible = visible.ok_or_else(absent)?;
    let id = visible.sample.id;
    let mut status = describe(visible, engine.tracker(), caller);
    if let Some((usage, files)) = engine.process_usage(pid)? {
        let descriptors = files.into_iter().map(|file| DescriptorStatus {
            fd: file.fd,
            kind: file.kind,
            connection: file.connection,
        });
        status.descriptors = Some(descriptors.collect());
        status.usage = Some(usage);
    }
    if !is_theirs_now(caller, id) {
        if !caller.sees_all() {
            return Err(absent());
        }
        // Whom others talk to is theirs and root's to know.
        status.descriptors = None;
        if let Some(usage) = &mut status.usage {
            usage.connections.clear();
        }
    }
    Ok(status)
}

/// Command lines hold secrets: they are their owner's and root's to know.
fn describe(process: &TrackedProcess, tracker: &ResourceTracker, caller: Caller) -> ProcessStatus {
    let sample = &process.sample;
    let tool = sample
        .tool
        .and_then(|slot| tracker.tool(slot))
        .map(|tool| &tool.identity);
    ProcessStatus {
        pid: sample.id.pid,
        ppid: sample.ppid,
        uid: sample.uid,
        start_time_ns: sample.id.start_ns,
        comm: sample.comm.to_string(),
        command: if sample.kernel_thread {
            None
        } else {
            proc::command(sample.id).filter(|_| is_theirs_now(caller, sample.id))
        },
        tool: tool.map(|tool| tool.name.clone()),
        tool_instance: tool.map(|tool| tool.instance),
        threads: sample.threads,
        kernel_thread: sample.kernel_thread,
        zombie: sample.zombie,
        cpu_time_ns: sample.cpu_ns,
        cpu_share: process.cpu_share,
        memory_bytes: sample.memory.map(|memory| memory.counted_bytes()),
        memory: sample.memory,
        virtual_bytes: sample.virtual_bytes,
        peak_rss_bytes: sample.peak_rss_bytes,
        open_fds: sample.open_fds,
        connections: sample.connections,
        events: sample.events,
        usage: None,
        descriptors: None,
    }
}

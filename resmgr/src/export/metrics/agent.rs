//! The families of the agent: its own cost, and what it loses.

use super::{
    AgentMeasured,
    text::{
        Kind::{Counter, Gauge},
        Labels,
        Number::{Milliseconds, Nanoseconds},
        Text,
    },
};

/// Writes them all.
pub(super) fn write(text: &mut Text, agent: &AgentMeasured) {
    text.family(Gauge, "resmgr_agent_info", "The agent's version; always 1.")
        .with(&Labels::default().and("version", &agent.version), 1_u64);
    cost(text, agent);
    losses(text, agent);
    programs(text, agent);
}

fn cost(text: &mut Text, agent: &AgentMeasured) {
    let mut one = |kind, name, help, number| text.family(kind, name, help).alone(number);
    one(
        Gauge,
        "resmgr_agent_start_time_seconds",
        "When the agent started, since 1970.",
        agent.started_s.into(),
    );
    one(
        Counter,
        "resmgr_agent_cpu_seconds_total",
        "CPU time of the agent, as of the last sweep.",
        Nanoseconds(agent.cpu_ns),
    );
    one(Counter, "resmgr_agent_sweeps_total", "Sweeps.", agent.sweeps.into());
    one(
        Counter,
        "resmgr_agent_sweeps_failed_total",
        "Sweeps that failed; the numbers are then those of the last one that did not.",
        agent.sweeps_failed.into(),
    );
    one(
        Gauge,
        "resmgr_agent_sweep_seconds",
        "Duration of the last sweep, reading and taking in.",
        Nanoseconds(agent.sweep_ns),
    );
    one(
        Gauge,
        "resmgr_agent_sweep_bytes",
        "What the kernel wrote for the last sweep.",
        agent.sweep_bytes.into(),
    );
    one(
        Gauge,
        "resmgr_agent_sweep_interval_seconds",
        "Time between sweeps.",
        Milliseconds(agent.sweep_interval_ms),
    );
    one(
        Gauge,
        "resmgr_agent_scrape_seconds",
        "How long the agent's loop took for these numbers.",
        Nanoseconds(agent.scrape_ns),
    );
    one(
        Counter,
        "resmgr_agent_scrapes_refused_total",
        "Scrapes that found too many others under way.",
        agent.scrapes_refused.into(),
    );
    one(
        Gauge,
        "resmgr_agent_history_bytes",
        "Bytes of the history's file that are in use.",
        agent.history_bytes.into(),
    );
    let mut resident = text.family(Gauge, "resmgr_agent_resident_bytes", "Resident memory of the agent.");
    if let Some(bytes) = agent.resident_bytes {
        resident.alone(bytes);
    }
}

fn losses(text: &mut Text, agent: &AgentMeasured) {
    let losses = agent.losses;
    let mut lost = text.family(Counter, "resmgr_agent_lost_total", "What was lost, by cause.");
    for (cause, count) in [
        ("ring_full", losses.ring_full),
        ("counters_full", losses.counters_full),
        ("sockets_full", losses.sockets_full),
        ("crossings_full", losses.crossings_full),
        ("runs_missed", losses.runs_missed),
        ("history_samples", agent.samples_lost),
        ("tools_forgotten", agent.tools_forgotten),
    ] {
        lost.and(&Labels::default(), "cause", cause, count);
    }
    let drift = agent.drift;
    let mut one = |name, help, number| text.family(Counter, name, help).alone(number);
    one(
        "resmgr_agent_drift_cpu_seconds_total",
        "How far events were from sweeps: CPU time.",
        Nanoseconds(drift.cpu_time_ns),
    );
    one(
        "resmgr_agent_drift_virtual_bytes_total",
        "How far events were from sweeps: virtual memory.",
        drift.virtual_bytes.into(),
    );
    one(
        "resmgr_agent_drift_fds_total",
        "How far events were from sweeps: descriptors.",
        drift.fds.into(),
    );
    one(
        "resmgr_agent_drift_connections_total",
        "How far events were from sweeps: connections.",
        drift.connections.into(),
    );
}

fn programs(text: &mut Text, agent: &AgentMeasured) {
    let mut entries = text.family(
        Gauge,
        "resmgr_agent_map_entries",
        "Entries of a BPF map that are in use.",
    );
    for map in &agent.maps {
        entries.and(&Labels::default(), "map", &map.map, map.entries);
    }
    let mut room = text.family(
        Gauge,
        "resmgr_agent_map_max_entries",
        "Entries that a BPF map has room for.",
    );
    for map in &agent.maps {
        room.and(&Labels::default(), "map", &map.map, map.max_entries);
    }
    let mut hooks = text.family(
        Gauge,
        "resmgr_agent_hooks",
        "Hooks that are attached, and that this host lacks.",
    );
    hooks.and(&Labels::default(), "state", "attached", agent.hooks_attached);
    hooks.and(&Labels::default(), "state", "missing", agent.hooks_missing);
    // Zeros before the first sample are no measurement.
    let sampled = (agent.programs.sampled_ns > 0).then_some(agent.programs);
    let mut cores = text.family(
        Gauge,
        "resmgr_agent_programs_cpu_ratio",
        "CPU time of the BPF programs by time, in the last sample; 1 is a core.",
    );
    if let Some(sampled) = sampled {
        cores.alone(share(sampled.run_ns, sampled.sampled_ns));
    }
    text.family(
        Counter,
        "resmgr_agent_processes_ended_total",
        "Processes with counters that ended while the agent watched.",
    )
    .alone(agent.ended.processes);
}

#[expect(clippy::cast_precision_loss, reason = "times of seconds, in nanoseconds")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

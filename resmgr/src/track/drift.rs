//! How far events are from the truth.

use crate::model::{Drift, ProcessSample};

/// How far what events counted of a process had drifted since the last sweep, or since whenever they began to count: also
/// while no agent ran.
pub(super) fn of(before: Option<&ProcessSample>, now: &ProcessSample) -> Drift {
    let Some(counted) = &now.events else {
        return Drift::default();
    };
    // The count of CPU time is not overwritten by a sweep: what it misses once is missing ever after, but drifted once.
    let cpu_time_ns = before
        .and_then(|before| Some((before, before.events.as_ref()?)))
        .map_or(0, |(before, counted_before)| {
            let used = now.cpu_ns.saturating_sub(before.cpu_ns);
            let used_by_events = counted.cpu_time_ns.saturating_sub(counted_before.cpu_time_ns);
            used_by_events.abs_diff(used)
        });
    Drift {
        cpu_time_ns,
        virtual_bytes: counted.virtual_bytes.abs_diff(now.virtual_bytes),
        fds: counted.fds_open.abs_diff(now.open_fds),
        connections: counted.connections_open.abs_diff(now.connections),
    }
}

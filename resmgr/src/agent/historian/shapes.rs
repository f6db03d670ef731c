//! From a tool to what is kept of it, and from what was learned to bytes and back. Pure.

use chrono::{DateTime, Utc};

use crate::{
    adapt::Kept,
    model::{Measure, PastTool, Resource, Timestamp, UsageSample},
    track::TrackedTool,
};

/// A time as it is stored, in milliseconds since 1970.
pub(super) fn milliseconds(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp_millis()).unwrap_or(0)
}

pub(super) fn past(tool: &TrackedTool, ended: Option<DateTime<Utc>>) -> PastTool {
    let identity = &tool.identity;
    let began_ns = i64::try_from(identity.registered_unix_ns).unwrap_or(i64::MAX);
    PastTool {
        instance: identity.instance,
        name: identity.name.clone(),
        uid: identity.uid,
        began: DateTime::from_timestamp_nanos(began_ns),
        ended,
        peaks: peaks(tool),
    }
}

/// The most that a tool used of each resource.
pub(super) fn peaks(tool: &TrackedTool) -> [u64; 4] {
    let peaks = &tool.peaks;
    [
        peaks.memory_bytes,
        peaks.operation_cpu_ms,
        peaks.open_fds,
        peaks.connections,
    ]
}

/// What a tool uses now.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a use in cores, in thousandths"
)]
pub(super) fn sample(tool: &TrackedTool, needs: [u64; 4], now: Timestamp) -> UsageSample {
    let mut values = [0; Measure::SAMPLED];
    for (value, resource) in values.iter_mut().zip(Resource::ALL) {
        *value = tool.value(resource);
    }
    values[Measure::CpuUse as usize] = (tool.cpu_share().unwrap_or(0.0) * 1000.0).round() as u64;
    UsageSample {
        at_ms: milliseconds(now.wall),
        values,
        ended_operation_ms: tool.ended_operation_ms(),
        limits: Resource::ALL.map(|resource| tool.limits.range(resource).current),
        needs,
    }
}

/// The most that a tool has used, as one sample.
pub(super) fn at_most(tool: &TrackedTool, now: Timestamp) -> UsageSample {
    let peaks = peaks(tool);
    let mut values = [0; Measure::SAMPLED];
    values[..peaks.len()].copy_from_slice(&peaks);
    UsageSample {
        at_ms: milliseconds(now.wall),
        values,
        ended_operation_ms: tool.last_operation_ms(),
        limits: Resource::ALL.map(|resource| tool.limits.range(resource).current),
        needs: [0; 4],
    }
}

pub(super) fn key_of_instance(instance: u64) -> String {
    format!("instance/{instance}")
}

/// What was learned as it is stored; what there is nothing of is forgotten.
pub(super) fn stored(kept: Kept) -> (String, Option<Vec<u8>>) {
    let (of, bytes) = match kept {
        Kept::Instance(instance, bytes) => (key_of_instance(instance), bytes),
        Kept::Name(name, uid, bytes) => (format!("name/{uid}/{name}"), bytes),
    };
    (of, Some(bytes).filter(|bytes| !bytes.is_empty()))
}

/// What is stored as what was learned.
pub(super) fn kept(of: &str, bytes: &[u8]) -> Option<Kept> {
    if let Some(instance) = of.strip_prefix("instance/") {
        return Some(Kept::Instance(instance.parse().ok()?, bytes.to_vec()));
    }
    let (uid, name) = of.strip_prefix("name/")?.split_once('/')?;
    Some(Kept::Name(name.parse().ok()?, uid.parse().ok()?, bytes.to_vec()))
}

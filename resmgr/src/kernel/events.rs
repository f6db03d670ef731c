//! The ring: records copied out in batches, so that the kernel gets its room back at once, then decoded.

use aya::maps::{MapData, RingBuf};
use bytes::{Buf, BytesMut};
use resmgr_common::{EventKind, EventRecord, ProcessCounters};

use super::wire;
use crate::model::{Comm, Drained, EventCounts, EventTimes, ProcessEvent, ProcessEventKind, ProcessId};

/// Takes at most `budget` records out of the ring.
pub(super) fn drain(
    ring: &mut RingBuf<MapData>,
    budget: usize,
    buffer: &mut BytesMut,
    into: &mut Vec<ProcessEvent>,
) -> Drained {
    buffer.clear();
    let mut outcome = Drained::BudgetSpent;
    for _ in 0..budget {
        let Some(item) = ring.next() else {
            outcome = Drained::Empty;
            break;
        };
        // A record of another length is not of this version: it is passed over rather than misread.
        if item.len() == size_of::<EventRecord>() {
            buffer.extend_from_slice(&item);
        }
    }
    into.reserve(buffer.len() / size_of::<EventRecord>());
    while let Some(record) = wire::read::<EventRecord>(buffer) {
        buffer.advance(size_of::<EventRecord>());
        into.extend(decode(&record));
    }
    outcome
}

/// A record's meaning; `None` for a kind that this version does not know.
fn decode(record: &EventRecord) -> Option<ProcessEvent> {
    let kind = match record.kind {
        kind if kind == EventKind::Fork as u32 => ProcessEventKind::Fork,
        kind if kind == EventKind::Exec as u32 => ProcessEventKind::Exec,
        kind if kind == EventKind::Exit as u32 => ProcessEventKind::Exit,
        _ => return None,
    };
    Some(ProcessEvent {
        kind,
        id: ProcessId {
            pid: record.tgid,
            start_ns: record.counters.start_ns,
        },
        ppid: record.ppid,
        uid: record.uid,
        euid: record.euid,
        comm: Comm(record.comm),
        at_ns: record.at_ns,
        counts: counts(&record.counters),
    })
}

/// What events have counted. A count that fell below zero, because something began before we looked, is zero.
pub(super) fn counts(counters: &ProcessCounters) -> EventCounts {
    EventCounts {
        cpu_time_ns: counters.cpu_ns,
        virtual_bytes: counters.virtual_bytes,
        fds_opened: counters.fds_opened,
        fds_closed: counters.fds_closed,
        fds_open: u64::try_from(counters.fds_open).unwrap_or(0),
        connections_made: counters.connections_made,
        connections_accepted: counters.connections_accepted,
        connections_failed: counters.connections_failed,
        connections_open: u64::try_from(counters.connections_open).unwrap_or(0),
        last: EventTimes {
            cpu_ns: counters.last_cpu_ns,
            memory_ns: counters.last_memory_ns,
            fds_ns: counters.last_fds_ns,
            connections_ns: counters.last_connections_ns,
        },
    }
}

//! The ring: records copied out in batches, so that the kernel gets its room back at once, then decoded.

use aya::maps::{MapData, RingBuf};
use bytes::{Buf, BytesMut};
use resmgr_common::{CrossingRecord, EventKind, EventRecord, ImageRecord, ProcessCounters};

use super::{tools::ToolMaps, wire};
use crate::model::{
    Comm, Crossing, Drained, EventCounts, ExitStatus, ImageEvent, KernelEvent, ProcessEvent, ProcessEventKind,
    ProcessId, Resource, ResourceStatus, ToolSlot,
};

/// Takes at most `budget` records out of the ring.
pub(super) fn drain(
    ring: &mut RingBuf<MapData>,
    budget: usize,
    buffer: &mut BytesMut,
    units: &ToolMaps,
    page_bytes: u64,
    into: &mut Vec<KernelEvent>,
) -> Drained {
    buffer.clear();
    let mut lengths = Vec::new();
    let mut outcome = Drained::BudgetSpent;
    for _ in 0..budget {
        let Some(item) = ring.next() else {
            outcome = Drained::Empty;
            break;
        };
        buffer.extend_from_slice(&item);
        lengths.push(item.len());
    }
    into.reserve(lengths.len());
    for length in lengths {
        into.extend(decode(&buffer[..length], units, page_bytes));
        buffer.advance(length);
    }
    outcome
}

/// A record's meaning; `None` for a kind or a length that this version does not know: it is passed over, not misread.
fn decode(record: &[u8], units: &ToolMaps, page_bytes: u64) -> Option<KernelEvent> {
    let kind: u32 = wire::read(record)?;
    let is = |expected: EventKind, length: usize| kind == expected as u32 && record.len() == length;
    if is(EventKind::Crossing, size_of::<CrossingRecord>()) {
        return crossing(&wire::read(record)?, units).map(KernelEvent::Crossing);
    }
    if is(EventKind::Image, size_of::<ImageRecord>()) {
        return Some(KernelEvent::Image(Box::new(image(&wire::read(record)?, page_bytes))));
    }
    let what = match kind {
        kind if kind == EventKind::Fork as u32 => ProcessEventKind::Fork,
        kind if kind == EventKind::Exec as u32 => ProcessEventKind::Exec,
        kind if kind == EventKind::Exit as u32 => ProcessEventKind::Exit,
        _ => return None,
    };
    if record.len() != size_of::<EventRecord>() {
        return None;
    }
    Some(KernelEvent::Process(process(what, &wire::read(record)?, page_bytes)))
}

fn process(kind: ProcessEventKind, record: &EventRecord, page_bytes: u64) -> ProcessEvent {
    ProcessEvent {
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
        tool: tool(&record.counters),
        peak_rss_bytes: record.counters.peak_rss_pages * page_bytes,
        exit: ExitStatus(record.exit_status),
        counts: counts(&record.counters),
    }
}

fn crossing(record: &CrossingRecord, units: &ToolMaps) -> Option<Crossing> {
    let resource = *Resource::ALL.get(record.resource as usize)?;
    Some(Crossing {
        slot: ToolSlot(record.tool),
        instance: record.instance,
        resource,
        level: *ResourceStatus::RISEN.get((record.level as usize).checked_sub(1)?)?,
        risen: record.risen != 0,
        pid: record.tgid,
        value: units.own_unit(resource, record.value),
        at_ns: record.at_ns,
    })
}

fn image(record: &ImageRecord, page_bytes: u64) -> ImageEvent {
    let until_nul = |bytes: &[u8]| bytes.split(|&b| b == 0).next().unwrap_or_default().to_vec();
    let arguments = record
        .arguments
        .get(..record.arguments_len as usize)
        .unwrap_or_default();
    ImageEvent {
        event: process(ProcessEventKind::Exec, &record.event, page_bytes),
        cgroup: record.cgroup,
        path: until_nul(&record.path),
        arguments: arguments
            .strip_suffix(b"\0")
            .unwrap_or(arguments)
            .split(|&b| b == 0)
            .map(<[u8]>::to_vec)
            .collect(),
    }
}

/// The tool of a process.
pub(super) fn tool(counters: &ProcessCounters) -> Option<ToolSlot> {
    (counters.tool != 0).then_some(ToolSlot(counters.tool))
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
    }
}

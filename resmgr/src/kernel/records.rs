//! Who a tool is and what it may have, as it is kept in the map of records. Pure: values in, a record out, and back.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::PathBuf};

use resmgr_common::{ToolFlags, ToolRecord};

use crate::model::{
    Enforcement, LimitRange, LimitSource, Mode, OperationKind, Orphans, ProcessId, Resource, ToolIdentity, ToolLimits,
    ToolOrigin, ToolSlot,
};

/// Text in a field of fixed length, NUL-padded; cut where it is too long.
fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let len = text.len().min(N - 1);
    field[..len].copy_from_slice(&text[..len]);
    field
}

/// The text of such a field.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// What is written down of a tool.
pub(super) fn record(tool: &ToolIdentity, limits: &ToolLimits) -> ToolRecord {
    let path = tool.cgroup.as_ref().map_or(&[][..], |path| path.as_os_str().as_bytes());
    ToolRecord {
        instance: tool.instance,
        registered_unix_ns: tool.registered_unix_ns,
        root_start_ns: tool.root.map_or(0, |root| root.start_ns),
        owner_start_ns: tool.owner.map_or(0, |owner| owner.start_ns),
        root_tgid: tool.root.map_or(0, |root| root.pid),
        owner_tgid: tool.owner.map_or(0, |owner| owner.pid),
        uid: tool.uid,
        origin: tool.origin as u32,
        operation: tool.operation as u64,
        memory_peak_bytes: 0,
        mode: tool.enforcement.mode as u32,
        flags: flags(tool.enforcement),
        orphans: tool.enforcement.orphans as u32,
        grace_ms: u32::try_from(tool.enforcement.grace_ms).unwrap_or(u32::MAX),
        limits: Resource::ALL.map(|resource| {
            let range = limits.range(resource);
            [range.base, range.current, range.max]
        }),
        limits_from: Resource::ALL.map(|resource| {
            let range = limits.range(resource);
            [range.base_from as u32, range.max_from as u32]
        }),
        name: padded(tool.name.as_str().as_bytes()),
        cgroup: padded(path),
    }
}

/// [`ToolFlags`] of a tool.
fn flags(enforcement: Enforcement) -> u32 {
    let when = |holds: bool, flag: u32| if holds { flag } else { 0 };
    when(enforcement.strict, ToolFlags::STRICT) | when(enforcement.exempt_loopback, ToolFlags::EXEMPT_LOOPBACK)
}

/// How a record says that limits are held. A mode that it does not know is the gentlest.
fn enforcement(record: &ToolRecord) -> Enforcement {
    let mode = Mode::ALL.into_iter().find(|&mode| mode as u32 == record.mode);
    let orphans = Orphans::ALL
        .into_iter()
        .find(|&orphans| orphans as u32 == record.orphans);
    Enforcement {
        mode: mode.unwrap_or(Mode::Observe),
        strict: record.flags & ToolFlags::STRICT != 0,
        exempt_loopback: record.flags & ToolFlags::EXEMPT_LOOPBACK != 0,
        orphans: orphans.unwrap_or_default(),
        grace_ms: u64::from(record.grace_ms),
    }
}

/// Who a record describes; `None` where its name is none, which only another program can have written.
pub(super) fn identity(slot: ToolSlot, record: &ToolRecord) -> Option<ToolIdentity> {
    let process = |pid, start_ns| (pid != 0).then_some(ProcessId { pid, start_ns });
    let origins = [
        ToolOrigin::Exec,
        ToolOrigin::Process,
        ToolOrigin::Cgroup,
        ToolOrigin::Rule,
        ToolOrigin::Api,
    ];
    let cgroup = text(&record.cgroup);
    Some(ToolIdentity {
        slot,
        instance: record.instance,
        name: std::str::from_utf8(text(&record.name)).ok()?.parse().ok()?,
        origin: origins.into_iter().find(|&origin| origin as u32 == record.origin)?,
        operation: OperationKind::ALL
            .into_iter()
            .find(|&kind| kind as u64 == record.operation)
            .unwrap_or_default(),
        enforcement: enforcement(record),
        uid: record.uid,
        root: process(record.root_tgid, record.root_start_ns),
        owner: process(record.owner_tgid, record.owner_start_ns),
        cgroup: (!cgroup.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(cgroup))),
        registered_unix_ns: record.registered_unix_ns,
    })
}

/// The limits that a record holds.
/// What a record says that a tool may have.
pub(super) fn limits(record: &ToolRecord) -> ToolLimits {
    let sources = [
        LimitSource::Default,
        LimitSource::Config,
        LimitSource::ToolConfig,
        LimitSource::Flag,
        LimitSource::Set,
        LimitSource::Ceiling,
    ];
    let source = |n: u32| {
        sources
            .into_iter()
            .find(|&source| source as u32 == n)
            .unwrap_or_default()
    };
    let range = |resource: Resource| {
        let [base, current, max] = record.limits[resource as usize];
        let [base_from, max_from] = record.limits_from[resource as usize].map(source);
        LimitRange {
            base,
            current,
            max,
            base_from,
            max_from,
        }
    };
    ToolLimits {
        memory: range(Resource::Memory),
        cpu: range(Resource::Cpu),
        fds: range(Resource::Fds),
        connections: range(Resource::Connections),
    }
}

#[cfg(test)]
mod tests {
    //! Records written and read again.
    use super::*;
    use crate::model::{LimitSpan, LimitsAsked};

    #[test]
    fn a_tool_is_known_again_from_its_record() {
        let tool = ToolIdentity {
            slot: ToolSlot(3),
            instance: 7,
            name: "web-search".parse().unwrap(),
            origin: ToolOrigin::Rule,
            operation: OperationKind::Run,
            enforcement: Enforcement {
                mode: Mode::Enforce,
                strict: true,
                exempt_loopback: false,
                orphans: Orphans::Reap,
                grace_ms: 1500,
            },
            uid: 1000,
            root: Some(ProcessId { pid: 5, start_ns: 6 }),
            owner: None,
            cgroup: Some(PathBuf::from("/sys/fs/cgroup/resmgr/web-search-7")),
            registered_unix_ns: 8,
        };
        let fds = Some(LimitSpan { base: None, max: 9 });
        let asked = LimitsAsked {
            fds,
            ..LimitsAsked::default()
        };
        let asked_for = ToolLimits::HEAVY.with(&asked, LimitSource::Flag);
        let record = record(&tool, &asked_for);
        assert_eq!(identity(ToolSlot(3), &record), Some(tool));
        assert_eq!(limits(&record), asked_for);
    }
}

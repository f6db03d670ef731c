//! What lies in a folder for pins, looked at: whether it is the map or the link that its name says. Removes nothing.

use std::path::Path;

use aya::{
    maps::MapInfo,
    programs::{
        ProgramInfo,
        links::{FdLink, PinnedLink},
        loaded_programs,
    },
};
use resmgr_common::{
    Active, Correction, CrossedKey, Handed, Joining, Owner, Place, ProcessCounters, SweepFacts, ToolCounters,
    ToolLines, ToolMost, ToolRecord, ToolRefused, Tracked, names,
};

use super::{super::KernelError, foreign};

/// The kernel keeps this many bytes of a program's or map's name.
const NAME_BYTES: usize = 15;

/// Sizes of a kept map's key and value.
fn shape(map: &str) -> (usize, usize) {
    match map {
        names::TOOLS => (4, size_of::<ToolCounters>()),
        names::TOOL_LINES => (4, size_of::<ToolLines>()),
        names::TOOL_RECORDS => (4, size_of::<ToolRecord>()),
        names::CROSSED => (size_of::<CrossedKey>(), 1),
        names::JOINING => (4, size_of::<Joining>()),
        names::CGROUPS => (8, 4),
        names::HANDSHAKES => (4, size_of::<u64>()),
        names::TRACKED => (4, size_of::<Tracked>()),
        names::COUNTERS => (4, size_of::<ProcessCounters>()),
        names::SOCKETS => (8, size_of::<Owner>()),
        names::CORRECTIONS => (4, size_of::<Correction>()),
        names::FACTS => (4, size_of::<SweepFacts>()),
        names::LOSSES => (4, 8),
        names::RUNNING => (4, 16),
        names::EVENTS => (0, 0),
        names::TOOL_MOST => (4, size_of::<ToolMost>()),
        names::TOOL_REFUSED => (4, size_of::<ToolRefused>()),
        names::PLACES => (4, size_of::<Place>()),
        names::HANDED => (4, size_of::<Handed>()),
        // `ACTIVE`.
        _ => (4, size_of::<Active>()),
    }
}

/// Refuses a map that is not the one of that name, of whatever layout.
pub(super) fn named_map(path: &Path, name: &str) -> Result<MapInfo, KernelError> {
    let info = MapInfo::from_pin(path).map_err(|error| foreign(path, format!("is no map: {error}")))?;
    let own = info.name_as_str().unwrap_or(name);
    if own == &name[..name.len().min(NAME_BYTES)] {
        return Ok(info);
    }
    Err(foreign(
        path,
        format!("is a map {own}, not the {name} that belongs there: move it away, or give another --pin-dir"),
    ))
}

/// Refuses a map that is not the one of that name with today's layout.
pub(super) fn check_map(path: &Path, name: &str) -> Result<(), KernelError> {
    let info = named_map(path, name)?;
    let (key, value) = shape(name);
    if (info.key_size() as usize, info.value_size() as usize) == (key, value) {
        return Ok(());
    }
    Err(foreign(
        path,
        format!(
            "has {}-byte keys and {}-byte values, not those of the {name} that belongs there ({key}, {value}): move it \
             away, or give another --pin-dir",
            info.key_size(),
            info.value_size(),
        ),
    ))
}

/// Refuses a link whose program is not the one that its name tells.
pub(super) fn check_link(path: &Path) -> Result<(), KernelError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let expected = name.split('-').next().unwrap_or_default();
    let strange = |what: String| foreign(path, what);
    if !names::PROGRAMS.contains(&expected) {
        return Err(strange(
            "is not resmgr's: move it away, or give another --pin-dir".to_owned(),
        ));
    }
    match program_name(program_of(path)?) {
        Some(program) if program != expected[..expected.len().min(NAME_BYTES)] => Err(strange(format!(
            "is a link of the program {program}, not of {expected}"
        ))),
        _ => Ok(()),
    }
}

/// The identity of a pinned link's program.
pub(in crate::kernel) fn program_of(path: &Path) -> Result<u32, KernelError> {
    let no_link = |error: &dyn std::error::Error| foreign(path, format!("is no link: {error}"));
    let link: FdLink = PinnedLink::from_pin(path).map_err(|error| no_link(&error))?.into();
    Ok(link.info().map_err(|error| no_link(&error))?.program_id())
}

/// The name of a loaded program; `None` where it has gone.
fn program_name(id: u32) -> Option<String> {
    let of_id = |program: &ProgramInfo| program.id() == id;
    let found = loaded_programs().filter_map(Result::ok).find(of_id);
    found.and_then(|program| program.name_as_str().map(str::to_owned))
}

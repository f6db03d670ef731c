//! The steps of loading: types read, the object loaded, one hook attached; and what a refusal means.

use std::{
    fs::{self, File},
    path::Path,
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, Endianness,
    programs::{CgroupAttachMode, Program, ProgramError, links::FdLink},
};
use resmgr_common::{Calls, Layout, names};

use super::{Hook, HookKind, HostFacts, KernelError, LoadOptions, btf::Types, layout, load::at_once, pins::Pins};

/// Lines of the verifier's log that an error shows.
const LOG_LINES: usize = 12;

/// Reads the kernel's types: for us where fields are, for aya what tracepoints are called.
pub(super) fn read_types(facts: &HostFacts) -> Result<(Layout, Btf), KernelError> {
    let path = &facts.btf_path;
    let blob = fs::read(path).map_err(|source| KernelError::NoBtf {
        path: path.clone(),
        source,
    })?;
    let bad = |message: String| KernelError::BadBtf {
        path: path.clone(),
        message,
    };
    let types = Types::parse(&blob).map_err(|error| bad(error.to_string()))?;
    let layout = layout::find(&types, facts)?;
    drop(types);
    let btf = Btf::parse(&blob, Endianness::default()).map_err(|error| bad(error.to_string()))?;
    Ok((layout, btf))
}

/// Creates the maps, or opens them where they are pinned, and makes the programs ready to be loaded as a generation.
pub(super) fn load_object(
    layout: &Layout,
    btf: &Btf,
    options: &LoadOptions,
    pins: Option<&Pins>,
    generation: u32,
    calls: &Calls,
) -> Result<Ebpf, KernelError> {
    let origin = options.object.origin();
    let track_all = u32::from(options.track_all);
    let mut loader = EbpfLoader::new();
    if let Some(pins) = pins {
        pins.make_folders()?;
        for (name, _) in names::KEPT_MAPS {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    loader
        .btf(Some(btf))
        .override_global(names::LAYOUT, bytemuck::bytes_of(layout), true)
        .override_global(names::TRACK_ALL, &track_all, true)
        .override_global(names::GENERATION, &generation, true)
        .override_global(names::CALLS, &calls[..], true)
        .map_max_entries(names::COUNTERS, options.max_processes)
        .map_max_entries(names::WANTED, at_once(options.max_processes))
        .map_max_entries(names::CPU_BASES, layout.cpus)
        .map_max_entries(names::EVENTS, options.ring_bytes)
        .load(options.object.bytes())
        .map_err(|error| match &error {
            EbpfError::ParseError(_) | EbpfError::BtfError(_) | EbpfError::RelocationError(_) => {
                let message = chain(&error);
                KernelError::BadObject { origin, message }
            }
            _ => {
                let message = chain(&error);
                KernelError::Maps { origin, message }
            }
        })
}

/// Loads a program if this is its first hook, and attaches it. Returns the link where `to_pin` asks for it and the kernel
/// has links for such hooks; else the program keeps it.
pub(super) fn attach_hook(
    program: &mut Program,
    hook: Hook,
    btf: &Btf,
    facts: &HostFacts,
    to_pin: bool,
) -> Result<Option<FdLink>, ProgramError> {
    match (hook.kind, program) {
        (HookKind::Typed, Program::BtfTracePoint(program)) => {
            if program.fd().is_err() {
                program.load(hook.name, btf)?;
            }
            let link = program.attach()?;
            Ok(if to_pin {
                Some(program.take_link(link)?.into())
            } else {
                None
            })
        }
        (HookKind::Syscall, Program::TracePoint(program)) => {
            if program.fd().is_err() {
                program.load()?;
            }
            let link = program.attach("syscalls", hook.name)?;
            if !to_pin {
                return Ok(None);
            }
            // Asking for a link that the kernel does not have (before 5.15) detaches the program.
            Ok(program.take_link(link)?.try_into().ok())
        }
        (HookKind::Lsm, Program::Lsm(program)) => {
            if program.fd().is_err() {
                program.load(hook.name, btf)?;
            }
            let link = program.attach()?;
            Ok(if to_pin {
                Some(program.take_link(link)?.into())
            } else {
                None
            })
        }
        (HookKind::SocketRelease, Program::CgroupSock(program)) => {
            let root = facts.cgroup2.as_deref().unwrap_or(Path::new("/sys/fs/cgroup"));
            program.load()?;
            let link = program.attach(File::open(root)?, CgroupAttachMode::Single)?;
            Ok(if to_pin {
                program.take_link(link)?.try_into().ok()
            } else {
                None
            })
        }
        (HookKind::Connect, Program::CgroupSockAddr(program)) => {
            let root = facts.cgroup2.as_deref().unwrap_or(Path::new("/sys/fs/cgroup"));
            program.load()?;
            let link = program.attach(File::open(root)?, CgroupAttachMode::Single)?;
            Ok(if to_pin {
                program.take_link(link)?.try_into().ok()
            } else {
                None
            })
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Why a program was not loaded: the verifier's last words where it spoke.
pub(super) fn refused(program: &str, error: ProgramError) -> KernelError {
    let program = program.to_owned();
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            KernelError::Verifier {
                program,
                source: io_error,
                log: lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
            }
        }
        error => {
            let message = chain(&error);
            KernelError::Load { program, message }
        }
    }
}

/// An error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

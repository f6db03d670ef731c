//! The programs at work: loaded, attached, and read as a [`Source`].

use std::{
    collections::{HashMap, HashSet},
    io,
    net::UdpSocket,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    programs::{Program, ProgramError},
};
use aya_log::EbpfLogger;
use bytes::BytesMut;
use resmgr_common::{Correction, FileRecord, RecordKind, SweepFacts, names};

use super::{
    AttachPlan, BpfObject, HookKind, HostFacts, KernelError,
    attach::{attach_hook, chain, load_object, read_types, refused},
    counters::Maps,
    events, files, heap,
    sweep::{self, Assembly, FoundInDetail},
    wire,
};
use crate::model::{
    Capabilities, Drained, EventCounts, FileSample, Losses, MissingHook, ProcessEvent, ProcessId, Source, SourceError,
    Sweep,
};

/// What to load, and how large.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The object.
    pub object: BpfObject,
    /// Processes that can have counters at a time.
    pub max_processes: u32,
    /// Bytes of the event ring: a power of two, and at least a page.
    pub ring_bytes: u32,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            object: BpfObject::embedded(),
            max_processes: 32_768,
            ring_bytes: 1 << 20,
        }
    }
}

/// The loaded programs. Dropping it detaches them all.
pub struct Kernel {
    bpf: Ebpf,
    maps: Maps,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    capabilities: Capabilities,
    /// Room for a sweep's stream, kept between sweeps.
    stream: BytesMut,
    /// Room for a batch of events.
    batch: BytesMut,
    page_bytes: u64,
}

impl Kernel {
    /// Loads the programs and attaches them. Processes that run already have no counters before the first sweep.
    ///
    /// Where it fails, nothing stays attached.
    pub fn start(facts: &HostFacts, options: &LoadOptions) -> Result<Self, KernelError> {
        if !facts.privileged {
            return Err(KernelError::NotRoot);
        }
        let (layout, btf) = read_types(facts)?;
        let mut bpf = load_object(&layout, &btf, options)?;
        let logger = EbpfLogger::init(&mut bpf)
            .inspect_err(|error| tracing::warn!(%error, "the programs' own messages are not shown"))
            .ok();
        let maps = Maps::take(&mut bpf)?;
        let mut kernel = Self {
            bpf,
            maps,
            logger,
            capabilities: Capabilities::default(),
            stream: BytesMut::new(),
            batch: BytesMut::new(),
            page_bytes: facts.page_bytes,
        };
        kernel.load_iterator(names::SWEEP_TASKS, "task", &btf)?;
        kernel.load_iterator(names::SWEEP_FILES, "task_file", &btf)?;
        kernel.learn_sockets()?;
        kernel.attach(AttachPlan::for_host(facts), facts, &btf)?;
        drop(btf);
        heap::trim();
        Ok(kernel)
    }

    /// A descriptor that becomes readable when the ring holds something urgent.
    pub fn ring_fd(&self) -> io::Result<OwnedFd> {
        self.maps.ring.as_fd().try_clone_to_owned()
    }

    /// A descriptor that becomes readable when a program has logged something; `None` where logging is not possible.
    pub fn log_fd(&self) -> io::Result<Option<OwnedFd>> {
        self.logger
            .as_ref()
            .map(|logger| logger.as_fd().try_clone_to_owned())
            .transpose()
    }

    /// Passes on what the programs have logged.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Attaches a program that does nothing by a trampoline, and detaches it: whether this kernel allows that.
    pub fn try_trampoline(&mut self, facts: &HostFacts) -> Result<(), KernelError> {
        let (_, btf) = read_types(facts)?;
        let tried = match self.program(names::PROBE_TRAMPOLINE)? {
            Program::FEntry(program) => program
                .load("vfs_fallocate", &btf)
                .and_then(|()| program.attach())
                .and_then(|link| program.detach(link)),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        tried.map_err(|error| refused(names::PROBE_TRAMPOLINE, error))
    }

    fn program(&mut self, name: &str) -> Result<&mut Program, KernelError> {
        self.bpf.program_mut(name).ok_or_else(|| KernelError::Load {
            program: name.to_owned(),
            message: "the BPF object has no such program: rebuild it with `cargo xtask ebpf`".to_owned(),
        })
    }

    fn load_iterator(&mut self, name: &'static str, kind: &str, btf: &Btf) -> Result<(), KernelError> {
        let loaded = match self.program(name)? {
            Program::Iter(program) => program.load(kind, btf),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|error| refused(name, error))
    }

    /// Learns which file operations are those of sockets, from a socket of our own.
    fn learn_sockets(&mut self) -> Result<(), KernelError> {
        let failed = |message: String| KernelError::Iterate {
            program: names::SWEEP_FILES,
            message,
        };
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| failed(format!("make a socket: {error}")))?;
        let (pid, fd) = (std::process::id(), socket.as_raw_fd().cast_unsigned());
        let mut operations = 0;
        self.run_details(&[pid], |record| {
            if (record.tgid, record.fd) == (pid, fd) {
                operations = record.operations;
            }
        })?;
        if operations == 0 {
            return Err(failed(
                "it does not show this process: run resmgr in the host's pid namespace".to_owned(),
            ));
        }
        self.maps.set_facts(SweepFacts {
            socket_operations: operations,
        })
    }

    fn attach(&mut self, plan: AttachPlan, facts: &HostFacts, btf: &Btf) -> Result<(), KernelError> {
        self.capabilities.hooks_missing = plan.missing;
        for hook in plan.hooks {
            let program = self.program(hook.program)?;
            match attach_hook(program, hook, btf, facts) {
                Ok(()) => self.capabilities.hooks_attached += 1,
                Err(ProgramError::LoadError { io_error, verifier_log }) => {
                    let error = ProgramError::LoadError { io_error, verifier_log };
                    return Err(refused(hook.program, error));
                }
                // Sweeps make up for any hook but the switch of tasks, without which there is nothing between them.
                Err(error) if hook.kind == HookKind::Typed => {
                    return Err(KernelError::Attach {
                        program: hook.program.to_owned(),
                        hook: hook.name.to_owned(),
                        message: chain(&error),
                    });
                }
                Err(error) => self.capabilities.hooks_missing.push(MissingHook {
                    hook: hook.name.to_owned(),
                    reason: chain(&error),
                    consequence: "its effects are seen by the next sweep only".to_owned(),
                }),
            }
        }
        Ok(())
    }

    fn run_sweep(&mut self) -> Result<Sweep, KernelError> {
        let mut assembly = Assembly::default();
        let bytes = self.iterate(names::SWEEP_TASKS, |kind, record| assembly.take(kind, record))?;
        let cut = assembly.cut();
        if !cut.is_empty() {
            let mut found: HashMap<u32, FoundInDetail> = HashMap::new();
            self.run_details(&cut, |record| {
                let process = found.entry(record.tgid).or_default();
                if process.descriptors.insert((record.files, record.fd)) {
                    process.sockets.extend(files::decode(record).socket);
                }
            })?;
            for (pid, found) in found {
                if let Some(correction) = assembly.complete(pid, found)
                    && correction != Correction::default()
                {
                    self.maps.correct(pid, correction);
                }
            }
        }
        Ok(Sweep {
            processes: assembly.finish(self.page_bytes),
            bytes,
        })
    }

    fn run_details(&mut self, pids: &[u32], mut take: impl FnMut(&FileRecord)) -> Result<(), KernelError> {
        self.maps.want(pids)?;
        self.iterate(names::SWEEP_FILES, |kind, record| {
            if kind == RecordKind::File as u32
                && let Some(record) = wire::read::<FileRecord>(record)
            {
                take(&record);
            }
        })?;
        Ok(())
    }

    fn iterate(&mut self, name: &'static str, take: impl FnMut(u32, &[u8])) -> Result<u64, KernelError> {
        let mut stream = std::mem::take(&mut self.stream);
        let result = match self.program(name)? {
            Program::Iter(iterator) => sweep::run(name, iterator, &mut stream, take),
            _ => Err(refused(name, ProgramError::UnexpectedProgramType)),
        };
        self.stream = stream;
        result
    }
}

impl Source for Kernel {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn drain(&mut self, budget: usize, into: &mut Vec<ProcessEvent>) -> Result<Drained, SourceError> {
        Ok(events::drain(&mut self.maps.ring, budget, &mut self.batch, into))
    }

    fn sweep(&mut self) -> Result<Sweep, SourceError> {
        self.run_sweep().map_err(|error| source_error("sweep", &error))
    }

    fn details(&mut self, pids: &[u32]) -> Result<Vec<FileSample>, SourceError> {
        let mut samples = Vec::new();
        let mut seen = HashSet::new();
        self.run_details(pids, |record| {
            // The iterator visits a table once for each thread.
            if seen.insert((record.files, record.fd)) {
                samples.push(files::decode(record));
            }
        })
        .map_err(|error| source_error("read descriptors", &error))?;
        Ok(samples)
    }

    fn counts(&mut self) -> Result<Vec<(ProcessId, EventCounts)>, SourceError> {
        let counters = self
            .maps
            .counters()
            .map_err(|error| source_error("read counters", &error))?;
        Ok(counters
            .into_iter()
            .map(|(pid, counters)| {
                let id = ProcessId {
                    pid,
                    start_ns: counters.start_ns,
                };
                (id, events::counts(&counters))
            })
            .collect())
    }

    fn losses(&mut self) -> Result<Losses, SourceError> {
        self.maps.losses().map_err(|error| source_error("read losses", &error))
    }
}

fn source_error(operation: &'static str, error: &KernelError) -> SourceError {
    SourceError {
        operation,
        message: error.to_string(),
    }
}

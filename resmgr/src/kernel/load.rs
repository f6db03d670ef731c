//! The programs at work: loaded, attached, and read as a [`Source`].

use std::{
    collections::HashMap,
    io,
    net::UdpSocket,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::PathBuf,
};

use aya::{
    Btf, Ebpf,
    programs::{Program, ProgramError},
};
use aya_log::EbpfLogger;
use bytes::BytesMut;
use resmgr_common::{ABI_VERSION, FileRecord, RecordKind, SweepFacts, names};

use super::{
    AttachPlan, BpfObject, Hook, HookKind, HostFacts, KernelError,
    adoption::{Adoption, fingerprint},
    attach::{attach_hook, chain, load_object, read_types, refused},
    counters::Maps,
    files, heap, lsm,
    pins::{self, NOBODY, Pins},
    plan::no_descriptors,
    statistics::{Statistics, missed},
    sweep::{self, Assembly, FoundInDetail},
    tools::ToolMaps,
    wire,
};
use crate::model::{Capabilities, MissingHook, Sweep};

/// What to load, and how large.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The object.
    pub object: BpfObject,
    /// Processes that can have counters at a time.
    pub max_processes: u32,
    /// Bytes of the event ring: a power of two, and at least a page.
    pub ring_bytes: u32,
    /// Whether processes of no tool have counters too.
    pub track_all: bool,
    /// The folder for pins, under a BPF file system; `None` where nothing is to outlive the agent.
    pub pin_dir: Option<PathBuf>,
    /// The version that the programs are pinned as: [`ABI_VERSION`], but where taking over is tried out.
    pub abi: u32,
}

/// Processes whose descriptors a detailed pass reads at most, where so many can have counters: a pass visits every open file of
/// the host, so that a small map of counters is no reason for many.
pub(super) fn at_once(max_processes: u32) -> u32 {
    const LEAST: u32 = 4_096;
    max_processes.max(LEAST)
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            object: BpfObject::embedded(),
            max_processes: 32_768,
            ring_bytes: 1 << 20,
            track_all: false,
            pin_dir: None,
            abi: ABI_VERSION,
        }
    }
}

/// The loaded programs. Dropping it detaches those that are not pinned.
pub struct Kernel {
    bpf: Ebpf,
    pub(super) maps: Maps,
    pub(super) tools: ToolMaps,
    pub(super) facts: SweepFacts,
    /// Holds the folder for pins locked.
    pins: Option<Pins>,
    pub(super) statistics: Statistics,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    pub(super) capabilities: Capabilities,
    /// Room for a sweep's stream, kept between sweeps.
    stream: BytesMut,
    /// Room for a batch of events.
    pub(super) batch: BytesMut,
    pub(super) page_bytes: u64,
    pub(super) max_processes: u32,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.pins.is_none() {
            // While hooks are detached one after the other, nothing is refused by half a count. Where that fails they go as well.
            let _ = self.maps.activate(NOBODY.now, NOBODY.from);
        }
    }
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
        let plan = AttachPlan::for_host(facts);
        let calls = lsm::calls(&plan);
        let fingerprint = fingerprint(&[
            options.object.bytes(),
            bytemuck::bytes_of(&layout),
            &[u8::from(options.track_all)],
            &calls,
            &options.abi.to_le_bytes(),
        ]);
        let open = |root| Pins::open(root, options.abi);
        let pins = options.pin_dir.as_deref().map(open).transpose()?;
        let adoption = pins
            .as_ref()
            .map(|pins| Adoption::decide(pins, fingerprint))
            .transpose()?;
        let generation = adoption.as_ref().map_or(0, |adoption| adoption.generation.number);
        let mut bpf = load_object(&layout, &btf, options, pins.as_ref(), generation, &calls)?;
        let logger = EbpfLogger::init(&mut bpf)
            .inspect_err(|error| tracing::warn!(%error, "the programs' own messages are not shown"))
            .ok();
        let maps = Maps::take(&mut bpf)?;
        let tools = ToolMaps::take(&mut bpf, facts.page_bytes)?;
        let mut kernel = Self {
            bpf,
            maps,
            tools,
            facts: SweepFacts {
                agent: std::process::id(),
                ..SweepFacts::default()
            },
            pins,
            statistics: Statistics::default(),
            logger,
            capabilities: Capabilities::default(),
            stream: BytesMut::new(),
            batch: BytesMut::new(),
            page_bytes: facts.page_bytes,
            max_processes: options.max_processes,
        };
        kernel.load_iterator(names::SWEEP_TASKS, "task", &btf)?;
        kernel.load_iterator(names::SWEEP_FILES, "task_file", &btf)?;
        kernel.learn_sockets()?;
        let former = adoption.as_ref().map_or(0, |adoption| adoption.former);
        if former != 0 {
            kernel.maps.activate(former, former)?;
        }
        kernel.attach(plan, facts, &btf, adoption.as_ref())?;
        if let Some(adoption) = adoption {
            kernel.take_over(&adoption)?;
        }
        drop(btf);
        heap::trim();
        Ok(kernel)
    }

    /// Makes this generation the one that counts, and detaches the others: both are attached now, one store decides.
    fn take_over(&mut self, adoption: &Adoption) -> Result<(), KernelError> {
        let now = adoption.generation.number;
        self.maps.activate(now, adoption.former)?;
        for generation in &adoption.others {
            // With them goes what the kernel knows of them.
            self.maps.remember_missed(missed(&Pins::programs(generation)?))?;
            Pins::end(generation)?;
        }
        self.maps.activate(now, 0)?;
        self.pins.as_ref().map_or(Ok(()), Pins::retire)
    }

    /// Removes all pins: detaches the programs, forgets the counts.
    pub fn release(pin_dir: &std::path::Path, abi: u32) -> Result<(), KernelError> {
        Pins::open(pin_dir, abi)?.release()
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
        self.facts.socket_operations = operations;
        self.maps.set_facts(self.facts)
    }

    fn attach(
        &mut self,
        plan: AttachPlan,
        facts: &HostFacts,
        btf: &Btf,
        adoption: Option<&Adoption>,
    ) -> Result<(), KernelError> {
        self.capabilities.hooks_missing = plan.missing;
        // Learned from the first that the kernel has no link for: no other is tried.
        let mut syscalls_have_links = true;
        let asks_us = plan.hooks.iter().any(|hook| hook.kind == HookKind::Lsm);
        let mut not_asked = None;
        for hook in plan.hooks {
            if hook.kind == HookKind::Lsm && not_asked.is_some() {
                continue;
            }
            let pin = adoption.map(|adoption| adoption.generation.link(&hook));
            if let Some(pin) = pin.as_ref().filter(|pin| pin.exists()) {
                self.statistics.follow(pins::program_of(pin)?);
                self.capabilities.hooks_attached += 1;
                self.capabilities.hooks_adopted += 1;
                continue;
            }
            let pin = pin.filter(|_| match hook.kind {
                HookKind::Syscall => syscalls_have_links,
                // Without the exits of calls, what it lets them have would never be given back.
                HookKind::Lsm => facts.programs.pins_all(),
                _ => true,
            });
            let program = self.program(hook.program)?;
            let mut attached = attach_hook(program, hook, btf, facts, pin.is_some());
            if pin.is_some() && matches!(attached, Ok(None)) {
                syscalls_have_links = false;
                attached = attach_hook(program, hook, btf, facts, false);
            }
            match attached {
                Ok(link) => {
                    if let Ok(info) = self.program(hook.program)?.info() {
                        self.statistics.follow(info.id());
                    }
                    if let (Some(pin), Some(link)) = (pin, link) {
                        link.pin(&pin).map_err(|error| KernelError::Pin {
                            operation: "pin",
                            path: pin,
                            message: chain(&error),
                        })?;
                        self.capabilities.hooks_pinned += 1;
                    }
                    self.capabilities.hooks_attached += 1;
                }
                Err(error) if hook.kind == HookKind::Lsm => not_asked = Some(lsm::refusal(hook.program, error)?),
                Err(error) => self.miss(hook, error)?,
            }
        }
        self.capabilities.hooks_pinned += self.capabilities.hooks_adopted;
        self.capabilities.refuses_descriptors = asks_us && not_asked.is_none();
        self.tools.refuse_descriptors(self.capabilities.refuses_descriptors);
        self.capabilities.hooks_missing.extend(not_asked.map(no_descriptors));
        Ok(())
    }

    /// Goes on without a hook, where that is possible.
    fn miss(&mut self, hook: Hook, error: ProgramError) -> Result<(), KernelError> {
        match error {
            error @ ProgramError::LoadError { .. } => Err(refused(hook.program, error)),
            // Sweeps make up for any hook but the switch of tasks, without which there is nothing between them.
            error if hook.kind == HookKind::Typed => Err(KernelError::Attach {
                program: hook.program.to_owned(),
                hook: hook.name.to_owned(),
                message: chain(&error),
            }),
            error => {
                self.capabilities.hooks_missing.push(MissingHook {
                    hook: hook.name.to_owned(),
                    reason: chain(&error),
                    consequence: "its effects are seen by the next sweep only".to_owned(),
                });
                Ok(())
            }
        }
    }

    /// Tells the programs whether processes wait to be taken into tools.
    pub(super) fn tell_adopting(&mut self) -> Result<(), KernelError> {
        let adopting = u32::from(self.tools.is_adopting());
        if self.facts.adopting == adopting {
            return Ok(());
        }
        self.facts.adopting = adopting;
        self.maps.set_facts(self.facts)
    }

    pub(super) fn run_sweep(&mut self) -> Result<Sweep, KernelError> {
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
                assembly.complete(pid, found);
            }
        }
        self.maps.correct(assembly.corrections());
        Ok(Sweep {
            adopted: assembly.adopted(),
            processes: assembly.finish(self.page_bytes),
            bytes,
        })
    }

    /// Reads the open descriptors of processes, as many in a pass as there is room to name.
    pub(super) fn run_details(&mut self, pids: &[u32], mut take: impl FnMut(&FileRecord)) -> Result<(), KernelError> {
        for pids in pids.chunks(at_once(self.max_processes) as usize) {
            self.maps.want(pids)?;
            self.iterate(names::SWEEP_FILES, |kind, record| {
                if kind == RecordKind::File as u32
                    && let Some(record) = wire::read::<FileRecord>(record)
                {
                    take(&record);
                }
            })?;
        }
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

//! `Engine`: drives a source, keeps what it told, has limits follow it; reads no clock of its own.

mod adapting;
mod detail;
mod operations;
mod told;
mod tools;

use std::collections::{HashMap, VecDeque};

use crate::{
    adapt::AdaptiveResourceManager,
    model::{
        Capabilities, Clock, Crossing, Drained, FileSample, ImageEvent, KernelEvent, Losses, MapUse, ProcessEvent,
        ProcessEventKind, ProcessId, ProgramCost, ResourceUsage, Source, SourceError, Timestamp, ToolSlot,
    },
    track::{ResourceTracker, TrackedTool},
};

use detail::InDetail;
pub use tools::{NewTool, RegisterError};

/// Events taken from the ring before anything else gets a turn.
const EVENT_BUDGET: usize = 4096;

/// What the last pass over the host cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepCost {
    /// Sweeps so far.
    pub sweeps: u64,
    /// Sweeps that failed.
    pub failed: u64,
    /// Duration of the last one, reading and taking in, in nanoseconds.
    pub last_ns: u64,
    /// Bytes that the kernel wrote for the last one.
    pub last_bytes: u64,
    /// Processes that sweeps have taken into tools.
    pub adopted: u64,
}

/// Resource tracking for a host.
pub struct Engine<S> {
    source: S,
    tracker: ResourceTracker,
    sweeping: bool,
    cost: SweepCost,
    refreshed: Option<Timestamp>,
    /// Taken from the ring, and yet to be taken in; with what the ring said then.
    events: VecDeque<KernelEvent>,
    batch: Vec<KernelEvent>,
    ring: Drained,
    /// What was executed by processes of no tool, and waits for rules to be matched with it.
    images: Vec<ImageEvent>,
    /// Tools that have ended, the latest last.
    ended_tools: VecDeque<TrackedTool>,
    next_instance: u64,
    /// Processes that the programs have been told to take into tools.
    deciding: Vec<ProcessId>,
    program_cost: ProgramCost,
    adaptive: AdaptiveResourceManager,
    /// Crossings that nobody has taken yet.
    crossings: Vec<Crossing>,
    /// What was lost by the time that limits were last looked at.
    seen_losses: Losses,
}

impl<S: Source> Engine<S> {
    /// An engine over a source; without `sweeping` it goes by what events have counted.
    pub fn new(source: S, sweeping: bool) -> Self {
        Self {
            tracker: ResourceTracker::driven_by(source.observer()),
            source,
            sweeping,
            cost: SweepCost::default(),
            refreshed: None,
            events: VecDeque::new(),
            batch: Vec::new(),
            ring: Drained::Empty,
            images: Vec::new(),
            ended_tools: VecDeque::new(),
            next_instance: 1,
            deciding: Vec::new(),
            program_cost: ProgramCost::default(),
            adaptive: AdaptiveResourceManager::default(),
            crossings: Vec::new(),
            seen_losses: Losses::default(),
        }
    }

    /// What is known of every process.
    pub fn tracker(&self) -> &ResourceTracker {
        &self.tracker
    }

    /// One tool, to be brought up to date.
    pub fn tool_mut(&mut self, slot: ToolSlot) -> Option<&mut TrackedTool> {
        self.tracker.tool_mut(slot)
    }

    /// The source.
    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Gives the source back.
    pub fn into_source(self) -> S {
        self.source
    }

    /// What the last pass cost.
    pub fn cost(&self) -> SweepCost {
        self.cost
    }

    /// Whether it sweeps.
    pub fn is_sweeping(&self) -> bool {
        self.sweeping
    }

    /// When everything was last brought up to date.
    pub fn refreshed(&self) -> Option<Timestamp> {
        self.refreshed
    }

    /// What the source observes and what it misses.
    pub fn capabilities(&self) -> &Capabilities {
        self.source.capabilities()
    }

    /// How much was lost so far.
    pub fn losses(&mut self) -> Result<Losses, SourceError> {
        self.source.losses()
    }

    /// How full the maps of the programs are.
    pub fn map_use(&mut self) -> Result<Vec<MapUse>, SourceError> {
        self.source.map_use()
    }

    /// Takes in a batch of events; what is left over waits for the next call, so that a storm starves nothing.
    ///
    /// It ends with what rules are to be matched with, and goes on once that has been taken: whose tool a process is has
    /// to be known before what comes after.
    pub fn drain(&mut self, clock: &impl Clock) -> Result<(), SourceError> {
        if !self.images.is_empty() {
            return Ok(());
        }
        if self.events.is_empty() {
            self.ring = self.source.drain(EVENT_BUDGET, &mut self.batch)?;
            self.events.extend(self.batch.drain(..));
        }
        let now = clock.now();
        while let Some(event) = self.events.pop_front() {
            match event {
                KernelEvent::Process(event) => {
                    self.tracker.apply_events(&[event], now);
                    self.ended_late(&event);
                }
                KernelEvent::Crossing(crossing) => {
                    if let Some(crossing) = self.of_operations(crossing)? {
                        self.tracker.apply_crossing(crossing);
                        self.crossings.push(crossing);
                    }
                }
                KernelEvent::Image(image) => {
                    self.tracker.apply_events(&[image.event], now);
                    self.images.push(*image);
                    break;
                }
            }
        }
        Ok(())
    }

    /// A process is told to have ended when it runs no more, which may be after its tool was seen to be empty: how a tool
    /// ended that had that one for its first is known now.
    fn ended_late(&mut self, event: &ProcessEvent) {
        if event.kind == ProcessEventKind::Exit {
            let mut unknown = self.ended_tools.iter_mut().filter(|tool| tool.root_exit.is_none());
            if let Some(tool) = unknown.find(|tool| tool.begins_with(event.id)) {
                tool.root_exit = Some(event.exit);
            }
        }
    }

    /// Whether there is more to drain.
    pub fn is_behind(&self) -> bool {
        !self.images.is_empty() || !self.events.is_empty() || self.ring == Drained::BudgetSpent
    }

    /// What processes of no tool have executed since the last time that this was asked.
    pub fn take_images(&mut self) -> Vec<ImageEvent> {
        std::mem::take(&mut self.images)
    }

    /// What tools' use has crossed since the last time that this was asked.
    pub fn take_crossings(&mut self) -> Vec<Crossing> {
        std::mem::take(&mut self.crossings)
    }

    /// What the programs cost in the last sample.
    pub fn program_cost(&self) -> ProgramCost {
        self.program_cost
    }

    /// Brings everything up to date: by a sweep, or by reading the counters where there is none. The first time is a
    /// sweep in either case: what ran before has no counters until then.
    pub fn refresh(&mut self, clock: &impl Clock) -> Result<(), SourceError> {
        self.pass(clock, self.sweeping || self.refreshed.is_none())
    }

    /// Brings everything up to date, by a sweep or by the counters alone.
    fn pass(&mut self, clock: &impl Clock, sweep: bool) -> Result<(), SourceError> {
        self.drain(clock)?;
        let began = clock.now();
        // Before the sweep: a process that ends in between is in neither sum for a moment, not in both for ever.
        self.read_sums()?;
        if sweep {
            let sweep = self.source.sweep().inspect_err(|_| self.cost.failed += 1)?;
            let (bytes, adopted) = (sweep.bytes, sweep.adopted);
            self.tracker.apply_sweep(sweep, clock.now());
            self.cost = SweepCost {
                sweeps: self.cost.sweeps + 1,
                failed: self.cost.failed,
                last_ns: clock.now().monotonic_ns - began.monotonic_ns,
                last_bytes: bytes,
                adopted: self.cost.adopted + adopted,
            };
        } else {
            let counts = self.source.counts()?;
            self.tracker.apply_counts(counts, clock.now());
        }
        let now = clock.now();
        self.refreshed = Some(now);
        self.program_cost = self.source.program_cost(now);
        self.settle_decided()?;
        self.adjust_sums()
    }

    /// What tools use, with their descriptors and connections in detail: all of them in one pass. The peers of a process's
    /// connections are told where `shows_peers` says so.
    pub fn tool_usages(
        &mut self,
        tools: &[TrackedTool],
        shows_peers: impl Fn(ProcessId) -> bool,
    ) -> Result<Vec<ResourceUsage>, SourceError> {
        let mut found: Vec<InDetail> = tools.iter().map(InDetail::of).collect();
        let mut whose: HashMap<ProcessId, usize> = HashMap::new();
        for (n, tool) in tools.iter().enumerate() {
            let processes = tool.usage.pids.iter().filter_map(|&pid| self.tracker.process(pid));
            whose.extend(processes.map(|process| (process.sample.id, n)));
        }
        let pids: Vec<u32> = whose.keys().map(|id| id.pid).collect();
        self.source.details(&pids, &mut |file| {
            if let Some(&n) = whose.get(&file.id) {
                found[n].take(&file);
            }
        })?;
        let usages = found.into_iter().zip(tools);
        Ok(usages.map(|(found, tool)| found.finish(tool, &shows_peers)).collect())
    }

    /// What one process uses, with its descriptors and connections in detail; `None` where there is no such process.
    pub fn process_usage(&mut self, pid: u32) -> Result<Option<(ResourceUsage, Vec<FileSample>)>, SourceError> {
        let Some(process) = self.tracker.process(pid) else {
            return Ok(None);
        };
        let (id, memory, cpu_ns) = (process.sample.id, process.sample.memory, process.sample.cpu_ns);
        let mut files = Vec::new();
        self.source.details(&[pid], &mut |file| {
            // Another process may have the same pid by now.
            if file.id == id {
                files.push(file);
            }
        })?;
        files.sort_unstable_by_key(|file| file.fd);
        let mut usage = ResourceUsage::without_files(memory, cpu_ns);
        for file in &files {
            usage.add_file(file);
        }
        usage.settle_connections();
        Ok(Some((usage, files)))
    }
}

//! `EnhancedResourceManager`: the library's face. Drives a source and keeps what it told; reads no clock of its own.

use crate::{
    model::{Capabilities, Clock, Drained, FileSample, Losses, ResourceUsage, Source, SourceError, Timestamp},
    track::ResourceTracker,
};

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
}

/// Resource tracking for a host.
pub struct EnhancedResourceManager<S> {
    source: S,
    tracker: ResourceTracker,
    sweeping: bool,
    cost: SweepCost,
    refreshed: Option<Timestamp>,
    events: Vec<crate::model::ProcessEvent>,
}

impl<S: Source> EnhancedResourceManager<S> {
    /// A manager over a source; without `sweeping` it goes by what events have counted.
    pub fn new(source: S, sweeping: bool) -> Self {
        Self {
            source,
            tracker: ResourceTracker::default(),
            sweeping,
            cost: SweepCost::default(),
            refreshed: None,
            events: Vec::new(),
        }
    }

    /// What is known of every process.
    pub fn tracker(&self) -> &ResourceTracker {
        &self.tracker
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

    /// Takes in a batch of events; what is left over waits for the next call, so that a storm starves nothing.
    pub fn drain(&mut self, clock: &impl Clock) -> Result<Drained, SourceError> {
        self.events.clear();
        let outcome = self.source.drain(EVENT_BUDGET, &mut self.events)?;
        self.tracker.apply_events(&self.events, clock.now());
        Ok(outcome)
    }

    /// Brings everything up to date: by a sweep, or by reading the counters where there is none. The first time is a
    /// sweep in either case: what ran before has no counters until then.
    pub fn refresh(&mut self, clock: &impl Clock) -> Result<(), SourceError> {
        self.drain(clock)?;
        let began = clock.now();
        if self.sweeping || self.refreshed.is_none() {
            let sweep = self.source.sweep().inspect_err(|_| self.cost.failed += 1)?;
            let bytes = sweep.bytes;
            self.tracker.apply_sweep(sweep, clock.now());
            self.cost = SweepCost {
                sweeps: self.cost.sweeps + 1,
                failed: self.cost.failed,
                last_ns: clock.now().monotonic_ns - began.monotonic_ns,
                last_bytes: bytes,
            };
        } else {
            let counts = self.source.counts()?;
            self.tracker.apply_counts(counts, clock.now());
        }
        self.refreshed = Some(clock.now());
        Ok(())
    }

    /// What one process uses, with its descriptors and connections in detail; `None` where there is no such process.
    pub fn process_usage(&mut self, pid: u32) -> Result<Option<(ResourceUsage, Vec<FileSample>)>, SourceError> {
        let Some(process) = self.tracker.process(pid) else {
            return Ok(None);
        };
        let (id, memory, cpu_ns) = (process.sample.id, process.sample.memory, process.sample.cpu_ns);
        let mut files = self.source.details(&[pid])?;
        // Another process may have the same pid by now.
        files.retain(|file| file.id == id);
        files.sort_unstable_by_key(|file| file.fd);
        Ok(Some((ResourceUsage::from_parts(memory, cpu_ns, &files), files)))
    }
}

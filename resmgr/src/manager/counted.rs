//! What a tool has told that it uses: the one structure that all tasks and threads share. Knows no tool, agent or clock.
//!
//! Whoever tells changes a number and then marks the change; whoever reports takes the mark and then reads the numbers. So a
//! change is in the report, or the mark is there for the next one. A test tries that in all orders.

use std::collections::BTreeSet;

use super::sync::{AtomicBool, AtomicU64, Mutex, OneLock, Ordering, PoisonError};

/// Which numbers are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// Of descriptors.
    Files,
    /// Of connections.
    Connections,
}

/// Memory, CPU time, numbers of descriptors and connections.
#[derive(Debug)]
pub(super) struct Counted {
    memory_bytes: AtomicU64,
    cpu_ns: AtomicU64,
    numbers: [Numbers; 2],
    /// The most memory since it was last taken, in bytes.
    peak_bytes: AtomicU64,
    is_changed: AtomicBool,
}

#[derive(Debug)]
struct Numbers {
    set: Mutex<BTreeSet<u32>>,
    /// How many there are: to be read without the lock.
    count: AtomicU64,
    /// The most since it was last taken.
    peak: AtomicU64,
}

impl Numbers {
    fn new() -> Self {
        Self {
            set: Mutex::new(BTreeSet::new()),
            count: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeSet<u32>) -> T) -> T {
        let _one = OneLock::take();
        // A set is whole between any two of its calls, whoever panicked.
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut set);
        let count = set.len() as u64;
        self.count.store(count, Ordering::Relaxed);
        self.peak.fetch_max(count, Ordering::Relaxed);
        result
    }
}

impl Counted {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self {
            memory_bytes: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            numbers: [Numbers::new(), Numbers::new()],
            peak_bytes: AtomicU64::new(0),
            is_changed: AtomicBool::new(false),
        }
    }

    /// Memory is taken, where no more than `most` is had then; else how much there is.
    pub(super) fn allocate(&self, bytes: u64, most: u64) -> Result<(), u64> {
        let fits = |held: u64| held.checked_add(bytes).filter(|&sum| sum <= most);
        let taken = self
            .memory_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let before = taken?;
        self.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
        self.mark();
        Ok(())
    }

    /// Memory is given back.
    pub(super) fn free(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _ = self
            .memory_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.mark();
    }

    /// CPU time was used.
    pub(super) fn use_cpu(&self, ns: u64) {
        self.cpu_ns.fetch_add(ns, Ordering::Relaxed);
        self.mark();
    }

    /// A number is in use, where that makes no more than `most` of them; else how many there are.
    pub(super) fn open(&self, which: Which, number: u32, most: u64) -> Result<(), u64> {
        self.numbers[which as usize].with(|set| {
            let count = set.len() as u64;
            if count >= most && !set.contains(&number) {
                return Err(count);
            }
            set.insert(number);
            Ok(())
        })?;
        self.mark();
        Ok(())
    }

    /// A number is not in use any more; tells whether it was.
    pub(super) fn close(&self, which: Which, number: u32) -> bool {
        let was = self.numbers[which as usize].with(|set| set.remove(&number));
        self.mark();
        was
    }

    /// Something has changed, which the next report has to tell.
    pub(super) fn mark(&self) {
        // A step of reading and writing, as the one that takes it: so there is one order of them.
        self.is_changed.swap(true, Ordering::Release);
    }

    /// Whether something has changed since this was last asked. What is read after that has all that was marked before.
    pub(super) fn take_mark(&self) -> bool {
        self.is_changed.swap(false, Ordering::AcqRel)
    }

    /// Memory in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// CPU time in nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Ordering::Relaxed)
    }

    /// How many numbers are in use.
    pub(super) fn count(&self, which: Which) -> u64 {
        self.numbers[which as usize].count.load(Ordering::Relaxed)
    }

    /// The most that there was since this was last asked: of memory in bytes, of descriptors, of connections.
    pub(super) fn take_peaks(&self) -> [u64; 3] {
        let [files, connections] = &self.numbers;
        [
            self.peak_bytes.swap(0, Ordering::Relaxed).max(self.memory_bytes()),
            files.peak.swap(0, Ordering::Relaxed).max(self.count(Which::Files)),
            connections
                .peak
                .swap(0, Ordering::Relaxed)
                .max(self.count(Which::Connections)),
        ]
    }

    /// The numbers that are in use.
    pub(super) fn numbers(&self, which: Which) -> BTreeSet<u32> {
        self.numbers[which as usize].with(|set| set.clone())
    }
}

//! What is known of a descriptor table: which numbers are open in it, and what stands behind those that matter.

use std::{
    mem::MaybeUninit,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use resmgr_tests::{
    Random,
    raw::{self, Descriptor},
};
use rustix::{
    fs::{Mode, OFlags, RawDir},
    io::Result,
};

/// The board.
pub(crate) const BOARD: Descriptor = Descriptor::numbered(3);
/// Where descriptors are sent to whoever receives them.
pub(crate) const MAILBOX_IN: Descriptor = Descriptor::numbered(4);
/// Where they are received.
pub(crate) const MAILBOX_OUT: Descriptor = Descriptor::numbered(5);
/// The lowest number that is not under control: what stands below is never closed.
pub(crate) const FIRST: u32 = 6;
/// Numbers that the kernel never gives out by itself, because fewer are open: free ones to duplicate onto.
pub(crate) const FREE_NUMBERS: std::ops::Range<u32> = 400..460;
/// The lowest number of the many that fill a table.
pub(crate) const FILLING: u32 = 1000;

/// How often a table is read until nobody disturbs.
const TRIES: u32 = 100;

/// What stands behind a number, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Anything.
    Other,
    /// A TCP socket over IPv4 that listens.
    Listener4,
    /// A TCP socket over IPv6 that listens.
    Listener6,
    /// A TCP connection.
    Stream,
    /// A connected UDP socket.
    Datagram,
}

/// A descriptor that is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) descriptor: Descriptor,
    pub(crate) sort: Sort,
}

/// A descriptor table, as the threads know it that work on it.
pub(crate) struct Table {
    held: Mutex<Vec<Held>>,
    /// Written by who must not have a descriptor closed meanwhile, read by who closes one.
    pub(crate) closing: RwLock<()>,
    /// Another process uses it too, and closes what it likes.
    pub(crate) shared: bool,
}

impl Table {
    /// A table in which nothing is known to be open.
    pub(crate) fn empty(shared: bool) -> Self {
        Self {
            held: Mutex::default(),
            closing: RwLock::default(),
            shared,
        }
    }

    /// The table of this thread, as it is; as it happens to be where it is shared.
    pub(crate) fn of_this_thread(shared: bool) -> Result<Self> {
        // Another process may close the very descriptor that the table is read through.
        let numbers = (0..TRIES).find_map(|_| open_numbers().ok());
        let numbers = numbers.map_or_else(open_numbers, Ok)?;
        let known = numbers.into_iter().filter(|number| (FIRST..FILLING).contains(number));
        let held = known.map(|number| Held {
            descriptor: Descriptor::numbered(number),
            sort: Sort::Other,
        });
        Ok(Self {
            held: Mutex::new(held.collect()),
            ..Self::empty(shared)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Holds a descriptor.
    pub(crate) fn hold(&self, descriptor: Descriptor, sort: Sort) {
        self.lock().push(Held { descriptor, sort });
    }

    /// Takes any descriptor out: nobody else uses it then, unless the table is shared.
    pub(crate) fn take(&self, random: &mut Random) -> Option<Held> {
        let mut held = self.lock();
        let index = random.index(held.len().max(1));
        (index < held.len()).then(|| held.swap_remove(index))
    }

    /// Takes a descriptor of a sort out.
    pub(crate) fn take_sort(&self, sort: Sort, random: &mut Random) -> Option<Held> {
        let mut held = self.lock();
        let from = random.index(held.len().max(1));
        let (before, after) = (0..from, from..held.len());
        let index = after.chain(before).find(|&index| held[index].sort == sort)?;
        Some(held.swap_remove(index))
    }

    /// Whether one of a sort is held.
    pub(crate) fn has(&self, sort: Sort) -> bool {
        self.lock().iter().any(|held| held.sort == sort)
    }

    /// Looks at any descriptor, without taking it out.
    pub(crate) fn any(&self, random: &mut Random) -> Option<Held> {
        let held = self.lock();
        let index = random.index(held.len().max(1));
        held.get(index).copied()
    }

    /// Takes out all within a range of numbers.
    pub(crate) fn take_range(&self, first: u32, last: u32) {
        let inside = |held: &Held| (first..=last).contains(&held.descriptor.number());
        self.lock().retain(|held| !inside(held));
    }
}

/// The numbers that are open in this thread's table.
pub(crate) fn open_numbers() -> Result<Vec<u32>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = Descriptor::from(rustix::fs::open(c"/proc/thread-self/fd", flags, Mode::empty())?);
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(folder, &mut room);
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        let name: Option<u32> = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok());
        numbers.extend(name.filter(|&number| number != folder.number()));
    }
    folder.close()?;
    Ok(numbers)
}

/// One of the descriptors under control.
pub(crate) fn control(descriptor: Descriptor) -> Descriptor {
    debug_assert!(
        descriptor.number() < FIRST && raw::has_descriptor(descriptor),
        "control is lost"
    );
    descriptor
}

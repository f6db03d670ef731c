//! What all processes of the tree share: the round, who is at work, who is there, and what has been counted.
//!
//! It is a memory file under a fixed number, so that a process finds it again after an exec.

use std::{
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use resmgr_tests::{Kind, raw};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{Errno, Result},
    process::{Pid, getpid},
    thread::futex,
    time::Timespec,
};

use crate::{
    conductor::{lift, put},
    held::{BOARD, control},
};

/// Processes that can stay at a time, the conductor not counted.
pub(crate) const SLOTS: usize = 12;

/// The round that ends everything.
pub(crate) const END: u32 = u32::MAX;

// Words, by what they hold.
const ROUND: usize = 0;
const AT_WORK: usize = 1;
const OPERATIONS: usize = 2;
const SEED: usize = 3;
const CONDUCTOR: usize = 5;
const FILL: usize = 6;
const KINDS: usize = 8;
/// Of each kind: tried, succeeded, the last error.
const OF_A_KIND: usize = 3;
const FIRST_SLOT: usize = KINDS + Kind::ALL.len() * OF_A_KIND;
/// Of each slot: its state, the process.
const OF_A_SLOT: usize = 2;
const WORDS: usize = FIRST_SLOT + SLOTS * OF_A_SLOT;

// States of a slot.
const FREE: u32 = 0;
const TAKEN: u32 = 1;
const ENDED: u32 = 2;

/// A process's place among those that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u32);

/// How often a kind was tried, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) tried: u32,
    pub(crate) succeeded: u32,
    pub(crate) errno: u32,
}

/// The words that all share.
#[derive(Clone, Copy)]
pub(crate) struct Board(&'static [AtomicU32]);

impl Board {
    /// A board of this process and those that it will make.
    pub(crate) fn create(seed: u64) -> Result<Self> {
        let file = memfd_create(c"board", MemfdFlags::empty())?;
        put(lift(file)?, BOARD)?;
        let board = Self::open()?;
        board.set(CONDUCTOR, getpid().as_raw_pid().cast_unsigned());
        let [low, high] = [seed & u64::from(u32::MAX), seed >> 32];
        board.set(SEED, u32::try_from(low).unwrap_or(0));
        board.set(SEED + 1, u32::try_from(high).unwrap_or(0));
        Ok(board)
    }

    /// The board that was there before this image.
    pub(crate) fn open() -> Result<Self> {
        raw::shared_words(control(BOARD), WORDS).map(Self)
    }

    fn get(&self, word: usize) -> u32 {
        self.0[word].load(SeqCst)
    }

    fn set(&self, word: usize, value: u32) {
        self.0[word].store(value, SeqCst);
    }

    /// The seed that everything follows from.
    pub(crate) fn seed(&self) -> u64 {
        u64::from(self.get(SEED)) | u64::from(self.get(SEED + 1)) << 32
    }

    /// The conductor's process id.
    pub(crate) fn conductor(&self) -> Option<Pid> {
        Pid::from_raw(self.get(CONDUCTOR).cast_signed())
    }

    /// Operations that each process does in this round.
    pub(crate) fn operations(&self) -> u32 {
        self.get(OPERATIONS)
    }

    /// The round that is on.
    pub(crate) fn round(&self) -> u32 {
        self.get(ROUND)
    }

    /// Begins a round: everybody who holds still goes to work.
    pub(crate) fn begin(&self, round: u32, operations: u32, fill: u32) {
        self.set(OPERATIONS, operations);
        self.set(FILL, fill);
        let there = (0..SLOTS).filter(|&slot| self.state(slot) == TAKEN).count();
        self.set(AT_WORK, u32::try_from(there).unwrap_or(0));
        self.set(ROUND, round);
        wake(&self.0[ROUND]);
    }

    /// Holds still until the round is another one; returns it.
    pub(crate) fn hold_still(&self, round: u32) -> u32 {
        while self.round() == round {
            wait(&self.0[ROUND], round, None);
        }
        self.round()
    }

    /// Says that a process that stays holds still, or ends.
    pub(crate) fn arrive(&self) {
        if self.0[AT_WORK].fetch_sub(1, SeqCst) == 1 {
            wake(&self.0[AT_WORK]);
        }
    }

    /// Waits until nobody is at work, or for a while; returns how many still are.
    pub(crate) fn wait_for_quiet(&self, patience: Duration) -> u32 {
        let at_work = self.get(AT_WORK);
        if at_work > 0 {
            wait(&self.0[AT_WORK], at_work, Some(patience));
        }
        self.get(AT_WORK)
    }

    /// How many descriptors one process is to have in this round; told to one of those who ask.
    pub(crate) fn take_fill(&self) -> Option<u32> {
        Some(self.0[FILL].swap(0, SeqCst)).filter(|&many| many > 0)
    }

    /// Counts something that was tried.
    pub(crate) fn note<T>(&self, kind: Kind, result: &Result<T>) {
        let word = KINDS + kind as usize * OF_A_KIND;
        self.0[word].fetch_add(1, SeqCst);
        match result {
            Ok(_) => drop(self.0[word + 1].fetch_add(1, SeqCst)),
            Err(error) => self.set(word + 2, error.raw_os_error().cast_unsigned()),
        }
    }

    /// What has been counted of a kind.
    pub(crate) fn count(&self, kind: Kind) -> Count {
        let word = KINDS + kind as usize * OF_A_KIND;
        Count {
            tried: self.get(word),
            succeeded: self.get(word + 1),
            errno: self.get(word + 2),
        }
    }

    /// A place for a process that is about to be made, and is at work from then on; `None` where there are enough.
    pub(crate) fn take_slot(&self) -> Option<Slot> {
        let taken = (0..SLOTS).find(|&slot| {
            let state = &self.0[FIRST_SLOT + slot * OF_A_SLOT];
            state.compare_exchange(FREE, TAKEN, SeqCst, SeqCst).is_ok()
        })?;
        self.0[AT_WORK].fetch_add(1, SeqCst);
        Some(Slot(u32::try_from(taken).ok()?))
    }

    /// Gives a place back for which no process could be made.
    pub(crate) fn give_back(&self, slot: Slot) {
        self.set(FIRST_SLOT + slot.0 as usize * OF_A_SLOT, FREE);
        self.arrive();
    }

    /// Says which process has the place: itself.
    pub(crate) fn sit_down(&self, slot: Slot) {
        let pid = getpid().as_raw_pid().cast_unsigned();
        self.set(FIRST_SLOT + slot.0 as usize * OF_A_SLOT + 1, pid);
    }

    /// Says that the process ends now, for the conductor to wait for it.
    pub(crate) fn leave(&self, slot: Slot) {
        self.set(FIRST_SLOT + slot.0 as usize * OF_A_SLOT, ENDED);
        self.arrive();
    }

    /// Frees the places of processes that have ended; returns them.
    pub(crate) fn take_ended(&self) -> Vec<Pid> {
        let ended: Vec<usize> = (0..SLOTS).filter(|&slot| self.state(slot) == ENDED).collect();
        let pids = ended.iter().filter_map(|&slot| self.pid(slot)).collect();
        for slot in ended {
            self.set(FIRST_SLOT + slot * OF_A_SLOT, FREE);
        }
        pids
    }

    /// The processes that stay.
    pub(crate) fn there(&self) -> Vec<Pid> {
        let taken = (0..SLOTS).filter(|&slot| self.state(slot) == TAKEN);
        taken.filter_map(|slot| self.pid(slot)).collect()
    }

    fn state(&self, slot: usize) -> u32 {
        self.get(FIRST_SLOT + slot * OF_A_SLOT)
    }

    fn pid(&self, slot: usize) -> Option<Pid> {
        Pid::from_raw(self.get(FIRST_SLOT + slot * OF_A_SLOT + 1).cast_signed())
    }
}

/// Waits until a word changes, or for a while.
pub(crate) fn wait(word: &AtomicU32, value: u32, patience: Option<Duration>) {
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    let waited = futex::wait(word, futex::Flags::empty(), value, patience.as_ref());
    assert!(
        matches!(waited, Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT)),
        "a futex refuses to be waited for: {waited:?}"
    );
}

/// Wakes everybody who waits for a word.
pub(crate) fn wake(word: &AtomicU32) {
    let woken = futex::wake(word, futex::Flags::empty(), i32::MAX.cast_unsigned());
    assert!(woken.is_ok(), "a futex refuses to wake: {woken:?}");
}

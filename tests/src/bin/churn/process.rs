//! A process that stays: works in each round with several threads, holds still after it, and changes between rounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

use resmgr_tests::{Kind, Random, raw};
use rustix::{
    io::{Errno, Result},
    process::{Signal, getppid, set_parent_process_death_signal},
};

use crate::{
    board::{Board, END, Slot, wait, wake},
    children::{PROGRAM, arguments, wait_for_all},
    held::{BOARD, FILLING, Sort, Table, open_numbers},
    worker::{self, Weights, Worker},
};

/// Threads besides the one that leads, at most.
const THREADS: u32 = 3;

/// Descriptors that a process holds at most, as it chooses anew in each round.
const BOUNDS: std::ops::Range<u32> = 20..300;

/// A process that stays.
pub(crate) struct Process {
    board: Board,
    slot: Slot,
    round: u32,
    table: Arc<Table>,
    /// Numbers from `FILLING` on are open.
    filled: bool,
    /// The leading thread has ended.
    headless: bool,
    threads: Vec<JoinHandle<()>>,
    /// It has had another image in this round.
    resumed: bool,
}

impl Process {
    /// This process, which has a slot and begins in the round that is on, perhaps with another image than it had.
    pub(crate) fn new(board: Board, slot: Slot, round: u32, resumed: bool) -> Result<Self> {
        let filled = open_numbers()?.iter().any(|&number| number >= FILLING);
        Ok(Self {
            board,
            slot,
            round,
            table: Arc::new(Table::of_this_thread(false)?),
            filled,
            headless: false,
            threads: Vec::new(),
            resumed,
        })
    }

    /// Works from here on, so many operations in the round that is on.
    pub(crate) fn live(mut self, mut operations: u32) -> ! {
        self.settle();
        loop {
            self.work(operations);
            wait_for_all();
            self.board.arrive();
            let round = self.board.hold_still(self.round);
            for thread in self.threads.drain(..) {
                assert!(thread.join().is_ok(), "a thread panicked");
            }
            if round == END {
                raw::exit_process(0);
            }
            self.round = round;
            self.resumed = false;
            operations = self.board.operations();
            self = self.change();
        }
    }

    /// Takes its place; ends with the conductor.
    fn settle(&self) {
        let bound = set_parent_process_death_signal(Some(Signal::KILL));
        assert!(bound.is_ok(), "a process cannot be bound to its parent");
        if getppid() != self.board.conductor() {
            raw::exit_process(1);
        }
        self.board.sit_down(self.slot);
    }

    fn random(&self, user: u32) -> Random {
        Random::new(
            self.board.seed(),
            [self.round, self.slot.0 << 1 | u32::from(self.resumed), user],
        )
    }

    fn worker(&self, user: u32, may_unshare: bool, weights: Weights) -> Worker {
        Worker {
            board: self.board,
            random: self.random(user),
            table: Arc::clone(&self.table),
            may_unshare,
            may_have_children: true,
            weights,
        }
    }

    /// Works with some threads until all have done their part. They stay, holding still, until the next round.
    fn work(&mut self, operations: u32) {
        let mut random = self.random(0);
        let threads = random.below(THREADS + 1);
        let bound = (BOUNDS.start + random.below(BOUNDS.end - BOUNDS.start)) as usize;
        let weights = if random.once_in(4) {
            worker::CONNECTING
        } else {
            worker::ALL
        };
        let each = operations / (threads + 1);
        let execs = threads > 0 && !self.resumed && random.once_in(6);
        let arrived = Arc::new(AtomicU32::new(0));
        for thread in 1..=threads {
            let mut worker = self.worker(thread, true, weights);
            let (board, slot, round) = (self.board, self.slot, self.round);
            let arrived = Arc::clone(&arrived);
            // The last: while a thread is about to replace the image, the kernel makes no other.
            let execs = execs && thread == threads;
            self.threads.push(std::thread::spawn(move || {
                if execs {
                    worker.work(each / 2, bound);
                    let failed = replace_image(Kind::ExecByThread, slot, round, operations / 2);
                    board.note(Kind::ExecByThread, &failed);
                }
                worker.work(if execs { each / 2 } else { each }, bound);
                arrived.fetch_add(1, SeqCst);
                wake(&arrived);
                board.hold_still(round);
            }));
        }
        self.worker(threads + 1, false, weights).work(each, bound);
        loop {
            let there = arrived.load(SeqCst);
            if there == threads {
                break;
            }
            wait(&arrived, there, None);
        }
    }

    /// What may become of a process between two rounds. It has one thread then.
    fn change(mut self) -> Self {
        let mut random = self.random(u32::MAX);
        if self.filled {
            let emptied = raw::close_range(FILLING, u32::MAX, 0);
            assert!(emptied.is_ok(), "a table cannot be emptied: {emptied:?}");
            self.filled = false;
        }
        if let Some(many) = self.board.take_fill() {
            self.fill(many);
            return self;
        }
        match random.below(24) {
            0 | 1 if self.board.there().len() > 3 => self.end(&mut random),
            2..=6 => self.bear(false),
            7..=10 => self.bear(true),
            11..=14 => {
                let failed = replace_image(Kind::Exec, self.slot, self.round, self.board.operations());
                self.board.note(Kind::Exec, &failed);
                self
            }
            15..=18 if !self.headless => self.lose_leader(),
            _ => self,
        }
    }

    /// Has so many descriptors at the end of this round, besides the others.
    fn fill(&mut self, many: u32) {
        let kind = if many > 10_000 {
            Kind::FillBeyondCount
        } else {
            Kind::FillThousand
        };
        let filled = (0..many).try_for_each(|_| raw::duplicate_from(BOARD, FILLING).map(drop));
        self.board.note(kind, &filled);
        self.filled = true;
    }

    /// Ends, perhaps while threads are at work.
    fn end(self, random: &mut Random) -> ! {
        for thread in 0..random.below(3) {
            let mut worker = self.worker(thread, true, worker::ALL);
            worker.may_have_children = false;
            std::thread::spawn(move || worker.work(u32::MAX, BOUNDS.end as usize));
        }
        self.board.note(Kind::Exit, &Ok(()));
        self.board.leave(self.slot);
        raw::exit_process(0)
    }

    /// Makes another process that stays, with a copy of this one's table or the very same.
    fn bear(mut self, same_table: bool) -> Self {
        let Some(slot) = self.board.take_slot() else {
            return self;
        };
        let connected = self.table.has(Sort::Stream) || self.table.has(Sort::Datagram);
        let kind = match (same_table, connected) {
            (true, _) => Kind::CloneTable,
            (false, true) => Kind::ForkWithConnection,
            (false, false) => Kind::ForkThatStays,
        };
        let was_shared = self.table.shared;
        let born = raw::clone_sibling(same_table);
        match born {
            // What is known of a table that another process changes is not certain: the child looks for itself.
            Ok(None) => {
                self.slot = slot;
                self.headless = false;
                if same_table || was_shared {
                    self.look_again(same_table);
                }
                self.settle();
                return self;
            }
            Ok(Some(_)) if same_table => self.look_again(true),
            Ok(Some(_)) => {}
            Err(_) => self.board.give_back(slot),
        }
        self.board.note(kind, &born);
        self
    }

    fn look_again(&mut self, shared: bool) {
        let table = Table::of_this_thread(shared);
        assert!(table.is_ok(), "a process cannot read its own table");
        if let Ok(table) = table {
            self.table = Arc::new(table);
        }
    }

    /// Goes on in another thread, and ends this one, by which the process is known.
    fn lose_leader(mut self) -> Self {
        self.headless = true;
        let board = self.board;
        std::thread::spawn(move || self.live(board.operations()));
        board.note(Kind::LeaderExit, &Ok(()));
        raw::exit_thread()
    }
}

/// Begins this program anew in the same process; returns only where that failed.
fn replace_image(kind: Kind, slot: Slot, round: u32, operations: u32) -> Result<()> {
    let numbers = [slot.0, round, operations].map(u64::from);
    let arguments = arguments(["churn", "resume", kind.name()], numbers)?;
    Err::<(), Errno>(raw::exec(PROGRAM, &arguments))
}

//! A thread at work: which operation comes next, and what came of it. How each is done stands elsewhere.

use std::sync::Arc;

use resmgr_tests::{Kind, Random, raw::Descriptor};
use rustix::io::{Errno, Result};

use crate::{board::Board, children, connect, end, held::Table, open, pass};

/// How often each operation is chosen, out of all.
pub(crate) type Weights = &'static [(Kind, u32)];

/// A thread that works on a table.
pub(crate) struct Worker {
    pub(crate) board: Board,
    pub(crate) random: Random,
    pub(crate) table: Arc<Table>,
    /// It runs beside other threads of its process, and may take a table of its own.
    pub(crate) may_unshare: bool,
    /// It may have children, and replace its process's image.
    pub(crate) may_have_children: bool,
    /// How often it chooses each operation while there is room.
    pub(crate) weights: Weights,
}

/// Every operation: those that cost the kernel much are rare.
pub(crate) const ALL: Weights = &[
    (Kind::Open, 300),
    (Kind::Openat, 300),
    (Kind::Openat2, 200),
    (Kind::Creat, 100),
    (Kind::Dup, 400),
    (Kind::Dup2Over, 200),
    (Kind::Dup2Free, 200),
    (Kind::Dup3Over, 200),
    (Kind::Dup3Free, 200),
    (Kind::FcntlDupfd, 200),
    (Kind::FcntlDupfdCloexec, 200),
    (Kind::SocketTcp4, 100),
    (Kind::SocketTcp6, 100),
    (Kind::SocketUdp4, 100),
    (Kind::SocketUdp6, 100),
    (Kind::SocketUnix, 100),
    (Kind::Socketpair, 100),
    (Kind::Pipe, 150),
    (Kind::Pipe2, 150),
    (Kind::Eventfd, 200),
    (Kind::EpollCreate1, 200),
    (Kind::TimerfdCreate, 200),
    (Kind::Signalfd, 200),
    (Kind::MemfdCreate, 150),
    (Kind::InotifyInit1, 20),
    (Kind::FanotifyInit, 20),
    (Kind::Userfaultfd, 30),
    (Kind::PidfdOpen, 200),
    (Kind::PidfdGetfd, 200),
    (Kind::PerfEventOpen, 20),
    (Kind::BpfMapCreate, 20),
    (Kind::IoUringSetup, 10),
    (Kind::IoUringOpenat, 15),
    (Kind::IoUringOpenatDirect, 10),
    (Kind::ScmRightsWithin, 60),
    (Kind::ScmRightsSend, 60),
    (Kind::ScmRightsReceive, 60),
    (Kind::ScmRightsConnection, 60),
    (Kind::OpenByHandleAt, 100),
    (Kind::Fsopen, 30),
    (Kind::Close, 3000),
    (Kind::CloseRange, 200),
    (Kind::CloseRangeCloexec, 100),
    (Kind::CloseRangeUnshare, 20),
    (Kind::UnshareTable, 20),
    (Kind::Listen, 60),
    (Kind::ConnectTcp4, 150),
    (Kind::ConnectTcp6, 150),
    (Kind::ConnectRefused, 60),
    (Kind::ConnectPending, 30),
    (Kind::Accept, 60),
    (Kind::Accept4, 60),
    (Kind::HalfClose, 100),
    (Kind::ConnectUdp4, 150),
    (Kind::ConnectUdp6, 150),
    (Kind::DisconnectUdp, 150),
    (Kind::Fork, 20),
    (Kind::Spawn, 4),
];

/// Connections above all: more of them than a sweep lists.
pub(crate) const CONNECTING: Weights = &[
    (Kind::ConnectTcp4, 10),
    (Kind::ConnectTcp6, 10),
    (Kind::ConnectRefused, 3),
    (Kind::ConnectPending, 1),
    (Kind::Accept, 5),
    (Kind::Accept4, 5),
    (Kind::HalfClose, 4),
    (Kind::ConnectUdp4, 10),
    (Kind::ConnectUdp6, 10),
    (Kind::DisconnectUdp, 5),
    (Kind::ScmRightsConnection, 5),
    (Kind::Dup, 10),
    (Kind::Close, 15),
];

/// What a table without room is for.
const FULL: Weights = &[
    (Kind::Close, 80),
    (Kind::CloseRange, 12),
    (Kind::CloseRangeCloexec, 3),
    (Kind::Dup2Over, 10),
    (Kind::Dup3Over, 10),
    (Kind::HalfClose, 5),
    (Kind::DisconnectUdp, 5),
];

impl Worker {
    /// Does so many operations; before each, holds as many descriptors as `bound` at most.
    pub(crate) fn work(&mut self, operations: u32, bound: usize) {
        for _ in 0..operations {
            self.step(bound);
        }
    }

    /// Does one operation.
    pub(crate) fn step(&mut self, bound: usize) {
        let weights = if self.table.len() >= bound { FULL } else { self.weights };
        let chosen = pick(weights, &mut self.random);
        let kind = if self.may(chosen) { chosen } else { Kind::Close };
        let result = self.perform(kind);
        // Without a call there was no operation.
        if result != Err(NOTHING_HELD) {
            self.board.note(kind, &result);
        }
    }

    /// Whether it may do something here and now.
    fn may(&self, kind: Kind) -> bool {
        match kind {
            Kind::Fork | Kind::Spawn => self.may_have_children,
            Kind::UnshareTable | Kind::CloseRangeUnshare => self.may_unshare,
            // Another process may close a ring before its memory is mapped, and another file would be mapped then.
            Kind::IoUringOpenat | Kind::IoUringOpenatDirect => !self.table.shared,
            _ => true,
        }
    }

    /// Closes a descriptor.
    pub(crate) fn close(&self, descriptor: Descriptor) -> Result<()> {
        let _closes = self.table.closing.read();
        descriptor.close()
    }

    /// Does something of a kind.
    pub(crate) fn perform(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Close | Kind::CloseRange | Kind::CloseRangeCloexec | Kind::CloseRangeUnshare | Kind::UnshareTable => {
                end::perform(self, kind)
            }
            Kind::ScmRightsWithin | Kind::ScmRightsSend | Kind::ScmRightsReceive | Kind::ScmRightsConnection => {
                pass::perform(self, kind)
            }
            Kind::Listen
            | Kind::ConnectTcp4
            | Kind::ConnectTcp6
            | Kind::ConnectRefused
            | Kind::ConnectPending
            | Kind::Accept
            | Kind::Accept4
            | Kind::HalfClose
            | Kind::ConnectUdp4
            | Kind::ConnectUdp6
            | Kind::DisconnectUdp => connect::perform(self, kind),
            Kind::Fork | Kind::Spawn => children::perform(self, kind),
            // The others make a descriptor, or are done between rounds.
            _ => open::perform(self, kind),
        }
    }
}

fn pick(weights: Weights, random: &mut Random) -> Kind {
    let all: u32 = weights.iter().map(|(_, weight)| weight).sum();
    let mut at = random.below(all);
    for &(kind, weight) in weights {
        if at < weight {
            return kind;
        }
        at -= weight;
    }
    Kind::Close
}

/// What a worker answers where it holds nothing to do an operation on, and so did not.
pub(crate) const NOTHING_HELD: Errno = Errno::NODATA;

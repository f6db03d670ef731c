//! Ways to make a descriptor that is no connection.

use std::ffi::CStr;

use resmgr_tests::{
    Kind,
    raw::{self, Descriptor, FileHandle, Installed, Ring},
};
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, inotify, memfd_create, openat, openat2},
    io::{Errno, Result, dup, fcntl_dupfd_cloexec},
    mount::{FsOpenFlags, fsopen},
    net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair},
    pipe::{PipeFlags, pipe, pipe_with},
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
    time::{TimerfdClockId, TimerfdFlags, timerfd_create},
};

use crate::{
    held::{BOARD, FREE_NUMBERS, Sort},
    worker::{NOTHING_HELD, Worker},
};

const NULL: &CStr = c"/dev/null";
const PLACES_WITH_HANDLES: [&CStr; 5] = [c"/tmp", c"/dev/shm", c"/dev", c"/run", c"/sys/fs/cgroup"];

/// Does something of a kind.
pub(crate) fn perform(worker: &mut Worker, kind: Kind) -> Result<()> {
    match kind {
        Kind::Socketpair => {
            let made = socketpair_of(worker);
            pair(worker, made)
        }
        Kind::Pipe => pair(worker, pipe()),
        Kind::Pipe2 => pair(worker, pipe_with(PipeFlags::CLOEXEC)),
        Kind::Dup2Over | Kind::Dup3Over => duplicate_over(worker, kind),
        Kind::Dup2Free | Kind::Dup3Free => duplicate_free(worker, kind),
        Kind::PidfdGetfd => from_oneself(worker),
        Kind::IoUringOpenat => by_ring(worker, Installed::InTable),
        Kind::IoUringOpenatDirect => by_ring(worker, Installed::InRing),
        _ => {
            let made = one(worker, kind)?;
            worker.table.hold(made, Sort::Other);
            Ok(())
        }
    }
}

/// What makes one descriptor and needs nothing more.
fn one(worker: &mut Worker, kind: Kind) -> Result<Descriptor> {
    let close_on_exec = worker.random.once_in(2);
    let to_open = if close_on_exec {
        OFlags::CLOEXEC
    } else {
        OFlags::empty()
    };
    let any = |worker: &mut Worker| {
        worker
            .table
            .any(&mut worker.random)
            .map_or(BOARD, |held| held.descriptor)
    };
    let (stream, datagram) = (SocketType::STREAM, SocketType::DGRAM);
    match kind {
        Kind::Open => raw::open(NULL),
        Kind::Openat => openat(CWD, NULL, to_open, Mode::empty()).map(Into::into),
        Kind::Openat2 => openat2(CWD, NULL, to_open, Mode::empty(), ResolveFlags::empty()).map(Into::into),
        Kind::Creat => raw::creat(NULL),
        Kind::Dup => dup(any(worker)).map(Into::into),
        Kind::FcntlDupfd => raw::duplicate_from(any(worker), 0),
        Kind::FcntlDupfdCloexec => fcntl_dupfd_cloexec(any(worker), 0).map(Into::into),
        Kind::SocketTcp4 => socket(AddressFamily::INET, stream, close_on_exec),
        Kind::SocketTcp6 => socket(AddressFamily::INET6, stream, close_on_exec),
        Kind::SocketUdp4 => socket(AddressFamily::INET, datagram, close_on_exec),
        Kind::SocketUdp6 => socket(AddressFamily::INET6, datagram, close_on_exec),
        Kind::SocketUnix => socket(AddressFamily::UNIX, stream, close_on_exec),
        Kind::Eventfd => eventfd(0, EventfdFlags::empty()).map(Into::into),
        Kind::EpollCreate1 => epoll::create(epoll::CreateFlags::empty()).map(Into::into),
        Kind::TimerfdCreate => timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::empty()).map(Into::into),
        Kind::Signalfd => raw::signalfd(),
        Kind::MemfdCreate => memfd_create(c"churn", MemfdFlags::empty()).map(Into::into),
        Kind::InotifyInit1 => few(worker, inotify::init(inotify::CreateFlags::NONBLOCK).map(Into::into)),
        Kind::FanotifyInit => few(worker, raw::fanotify_init()),
        Kind::Userfaultfd => raw::userfaultfd(),
        Kind::PidfdOpen => pidfd_open(getpid(), PidfdFlags::empty()).map(Into::into),
        Kind::PerfEventOpen => raw::perf_event_open(),
        Kind::BpfMapCreate => raw::bpf_map(),
        Kind::IoUringSetup => Ring::setup(),
        Kind::OpenByHandleAt => by_handle(worker),
        Kind::Fsopen => fsopen(c"tmpfs", FsOpenFlags::empty()).map(Into::into),
        other => unreachable!("{} makes no single descriptor", other.name()),
    }
}

/// A user has 128 of these: most are closed at once, so that the host's other users of them get theirs.
fn few(worker: &mut Worker, made: Result<Descriptor>) -> Result<Descriptor> {
    let made = made?;
    if worker.random.once_in(4) {
        return Ok(made);
    }
    worker.close(made)?;
    raw::open(NULL)
}

fn socket(family: AddressFamily, kind: SocketType, close_on_exec: bool) -> Result<Descriptor> {
    let flags = if close_on_exec {
        SocketFlags::CLOEXEC
    } else {
        SocketFlags::empty()
    };
    socket_with(family, kind, flags, None).map(Into::into)
}

fn socketpair_of(worker: &mut Worker) -> Result<(rustix::fd::OwnedFd, rustix::fd::OwnedFd)> {
    let kind = if worker.random.once_in(2) {
        SocketType::STREAM
    } else {
        SocketType::DGRAM
    };
    socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None)
}

fn pair(worker: &Worker, made: Result<(rustix::fd::OwnedFd, rustix::fd::OwnedFd)>) -> Result<()> {
    let (one, other) = made?;
    for made in [one, other] {
        worker.table.hold(made.into(), Sort::Other);
    }
    Ok(())
}

fn duplicate_over(worker: &mut Worker, kind: Kind) -> Result<()> {
    let from = worker
        .table
        .any(&mut worker.random)
        .map_or(BOARD, |held| held.descriptor);
    let onto = worker.table.take(&mut worker.random).ok_or(NOTHING_HELD)?;
    let close_on_exec = worker.random.once_in(2);
    let made = {
        // What was open there is closed by this.
        let _closes = worker.table.closing.read();
        duplicate(kind == Kind::Dup2Over, from, onto.descriptor, close_on_exec)
    };
    worker.table.hold(onto.descriptor, Sort::Other);
    made
}

fn duplicate_free(worker: &mut Worker, kind: Kind) -> Result<()> {
    let number = FREE_NUMBERS.start + worker.random.below(FREE_NUMBERS.end - FREE_NUMBERS.start);
    let onto = Descriptor::numbered(number);
    let from = worker
        .table
        .any(&mut worker.random)
        .map_or(BOARD, |held| held.descriptor);
    let close_on_exec = worker.random.once_in(2);
    let _closes = worker.table.closing.read();
    if raw::has_descriptor(onto) {
        return Err(Errno::EXIST);
    }
    duplicate(kind == Kind::Dup2Free, from, onto, close_on_exec)?;
    worker.table.hold(onto, Sort::Other);
    Ok(())
}

fn duplicate(by_dup2: bool, from: Descriptor, onto: Descriptor, close_on_exec: bool) -> Result<()> {
    if by_dup2 {
        raw::dup2(from, onto).map(drop)
    } else {
        raw::dup3(from, onto, close_on_exec).map(drop)
    }
}

/// `pidfd_getfd` from this very process.
fn from_oneself(worker: &mut Worker) -> Result<()> {
    let from = worker
        .table
        .any(&mut worker.random)
        .map_or(BOARD, |held| held.descriptor);
    let itself: Descriptor = pidfd_open(getpid(), PidfdFlags::empty())?.into();
    worker.table.hold(itself, Sort::Other);
    let number = from.number().cast_signed();
    let made = pidfd_getfd(itself, number, PidfdGetfdFlags::empty())?;
    worker.table.hold(made.into(), Sort::Other);
    Ok(())
}

fn by_ring(worker: &mut Worker, installed: Installed) -> Result<()> {
    let aside = worker.random.once_in(4);
    let alone = worker.table.closing.write();
    let ring = Ring::new()?;
    let opened = ring.open(NULL, installed, aside);
    drop(alone);
    worker.table.hold(ring.descriptor(), Sort::Other);
    if let Some(opened) = opened? {
        worker.table.hold(opened, Sort::Other);
    }
    Ok(())
}

/// Opens a folder by its handle, in the first place whose file system makes handles.
fn by_handle(worker: &Worker) -> Result<Descriptor> {
    let mut outcome = Err(Errno::OPNOTSUPP);
    for place in PLACES_WITH_HANDLES {
        let Ok(through) = rustix::fs::open(place, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
            continue;
        };
        let through = Descriptor::from(through);
        outcome = FileHandle::of(through).and_then(|handle| raw::open_by_handle(through, &handle));
        // Somebody who shares the table may have closed it.
        let _ = worker.close(through);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

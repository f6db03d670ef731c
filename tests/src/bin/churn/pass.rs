//! Descriptors that are sent and received over unix sockets (`SCM_RIGHTS`).

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::AsFd as _,
};

use resmgr_tests::{Kind, raw::Descriptor};
use rustix::{
    io::{Errno, Result},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

use crate::{
    held::{BOARD, MAILBOX_IN, MAILBOX_OUT, Sort},
    worker::{NOTHING_HELD, Worker},
};

/// Descriptors in one message at most.
const MOST: u32 = 4;

/// Does something of a kind.
pub(crate) fn perform(worker: &mut Worker, kind: Kind) -> Result<()> {
    match kind {
        Kind::ScmRightsWithin => {
            let many = 1 + worker.random.below(MOST) as usize;
            let passed = vec![
                worker
                    .table
                    .any(&mut worker.random)
                    .map_or(BOARD, |held| held.descriptor);
                many
            ];
            within(worker, &passed, Sort::Other)
        }
        Kind::ScmRightsConnection => {
            // Of a connection that is not found, any descriptor would say nothing.
            let stream = worker
                .table
                .take_sort(Sort::Stream, &mut worker.random)
                .ok_or(NOTHING_HELD)?;
            worker.table.hold(stream.descriptor, stream.sort);
            let sent = if worker.random.once_in(2) {
                send(MAILBOX_IN, &[stream.descriptor])
            } else {
                Err(Errno::AGAIN)
            };
            // Whoever receives it from the mailbox has it; or else this process has it twice.
            sent.or_else(|_| within(worker, &[stream.descriptor], Sort::Stream))
        }
        Kind::ScmRightsSend => {
            let held = worker.table.any(&mut worker.random).ok_or(NOTHING_HELD)?;
            send(MAILBOX_IN, &[held.descriptor])
        }
        Kind::ScmRightsReceive => receive(worker, MAILBOX_OUT, Sort::Other),
        other => unreachable!("{} passes nothing", other.name()),
    }
}

/// From this process to itself.
fn within(worker: &mut Worker, passed: &[Descriptor], sort: Sort) -> Result<()> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    let (one, other) = (Descriptor::from(one), Descriptor::from(other));
    let received = send(one, passed).and_then(|()| receive(worker, other, sort));
    for end in [one, other] {
        worker.table.hold(end, Sort::Other);
    }
    received
}

fn send(over: Descriptor, passed: &[Descriptor]) -> Result<()> {
    let borrowed: Vec<_> = passed.iter().map(rustix::fd::AsFd::as_fd).collect();
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST as usize))];
    let mut outgoing = SendAncillaryBuffer::new(&mut room);
    if !outgoing.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(Errno::TOOBIG);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(over, &[IoSlice::new(b"x")], &mut outgoing, flags).map(drop)
}

fn receive(worker: &mut Worker, over: Descriptor, sort: Sort) -> Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST as usize))];
    let mut incoming = RecvAncillaryBuffer::new(&mut room);
    let close_on_exec = if worker.random.once_in(2) {
        RecvFlags::CMSG_CLOEXEC
    } else {
        RecvFlags::empty()
    };
    let flags = RecvFlags::DONTWAIT | close_on_exec;
    recvmsg(over.as_fd(), &mut [IoSliceMut::new(&mut [0])], &mut incoming, flags)?;
    let mut received = 0;
    for message in incoming.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                worker.table.hold(descriptor.into(), sort);
                received += 1;
            }
        }
    }
    if received == 0 { Err(Errno::BADMSG) } else { Ok(()) }
}

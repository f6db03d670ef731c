//! Connections: how they are made, refused, left under way, shut down and undone.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use resmgr_tests::{Kind, raw::Descriptor};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, Result},
    net::{
        AddressFamily, Shutdown, SocketFlags, SocketType, accept, accept_with, bind, connect, connect_unspec,
        getsockname, listen, shutdown, socket_with, sockopt,
    },
    time::Timespec,
};

use crate::{
    held::Sort,
    worker::{NOTHING_HELD, Worker},
};

/// Connections that wait at a listener at most.
const BACKLOG: i32 = 16;
/// A port that nothing is sent to: connecting UDP to it sends nothing.
const DISCARD: u16 = 9;
/// What a blocking connect waits for at most, should another process have replaced its socket meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// The version of IP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Four,
    Six,
}

impl Family {
    fn of_sockets(self) -> AddressFamily {
        match self {
            Self::Four => AddressFamily::INET,
            Self::Six => AddressFamily::INET6,
        }
    }

    fn listener(self) -> Sort {
        match self {
            Self::Four => Sort::Listener4,
            Self::Six => Sort::Listener6,
        }
    }

    fn loopback(self, port: u16) -> SocketAddr {
        let address = match self {
            Self::Four => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Six => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        SocketAddr::new(address, port)
    }

    fn any(worker: &mut Worker) -> Self {
        if worker.random.once_in(2) {
            Self::Four
        } else {
            Self::Six
        }
    }
}

/// Does something of a kind.
pub(crate) fn perform(worker: &mut Worker, kind: Kind) -> Result<()> {
    match kind {
        Kind::Listen => {
            let family = Family::any(worker);
            let listener = listener(worker, family, BACKLOG)?;
            worker.table.hold(listener, family.listener());
            Ok(())
        }
        Kind::ConnectTcp4 => connect_tcp(worker, Family::Four),
        Kind::ConnectTcp6 => connect_tcp(worker, Family::Six),
        Kind::ConnectRefused => connect_refused(worker),
        Kind::ConnectPending => connect_pending(worker),
        Kind::Accept | Kind::Accept4 => connect_and_accept(worker, kind),
        Kind::HalfClose => half_close(worker),
        Kind::ConnectUdp4 => connect_udp(worker, Family::Four),
        Kind::ConnectUdp6 => connect_udp(worker, Family::Six),
        Kind::DisconnectUdp => disconnect_udp(worker),
        other => unreachable!("{} is no connection", other.name()),
    }
}

/// A TCP socket, most of which leave nothing behind when they are closed: else the ports of this host would be used up.
fn stream(worker: &mut Worker, family: Family, flags: SocketFlags) -> Result<Descriptor> {
    let socket: Descriptor = socket_with(family.of_sockets(), SocketType::STREAM, flags, None)?.into();
    let prepared = sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(PATIENCE)).and_then(|()| {
        let linger = (!worker.random.once_in(16)).then_some(Duration::ZERO);
        sockopt::set_socket_linger(socket, linger)
    });
    kept_if(worker, socket, prepared)
}

/// The socket where what was done to it succeeded; else it is held as it is.
fn kept_if(worker: &Worker, socket: Descriptor, done: Result<()>) -> Result<Descriptor> {
    if done.is_err() {
        worker.table.hold(socket, Sort::Other);
    }
    done.map(|()| socket)
}

/// A socket that listens at a port of its own. It never makes an accept wait.
fn listener(worker: &mut Worker, family: Family, backlog: i32) -> Result<Descriptor> {
    let socket = stream(worker, family, SocketFlags::NONBLOCK)?;
    let listening = bind(socket, &family.loopback(0)).and_then(|()| listen(socket, backlog));
    kept_if(worker, socket, listening)
}

fn address_of(socket: Descriptor) -> Result<SocketAddr> {
    SocketAddr::try_from(getsockname(socket)?)
}

/// A listener that is held, or a new one; it is out of the table's list meanwhile.
fn some_listener(worker: &mut Worker, family: Family) -> Result<Descriptor> {
    match worker.table.take_sort(family.listener(), &mut worker.random) {
        Some(held) => Ok(held.descriptor),
        None => listener(worker, family, BACKLOG),
    }
}

fn connect_tcp(worker: &mut Worker, family: Family) -> Result<()> {
    let listener = some_listener(worker, family)?;
    let accepted = connected_pair(worker, family, listener, Kind::Accept);
    worker.table.hold(listener, family.listener());
    accepted.map(drop)
}

/// Connects and accepts.
fn connected_pair(worker: &mut Worker, family: Family, listener: Descriptor, how: Kind) -> Result<()> {
    let address = address_of(listener)?;
    let waits = worker.random.once_in(2);
    let flags = if waits {
        SocketFlags::empty()
    } else {
        SocketFlags::NONBLOCK
    };
    let client = stream(worker, family, flags | SocketFlags::CLOEXEC)?;
    let connected = match connect(client, &address) {
        Err(Errno::INPROGRESS) if !waits => wait_for(client),
        other => other,
    };
    worker.table.hold(client, Sort::Stream);
    connected?;
    let accepted = match how {
        Kind::Accept => accept(listener),
        _ => accept_with(listener, SocketFlags::CLOEXEC),
    };
    if let Ok(accepted) = accepted {
        let server = Descriptor::from(accepted);
        worker.table.hold(server, Sort::Stream);
        sockopt::set_socket_linger(server, Some(Duration::ZERO))
    } else if how == Kind::Accept4 {
        accepted.map(drop)
    } else {
        // Another thread was quicker: the connection stands all the same.
        Ok(())
    }
}

/// Waits for the outcome of a connect that did not.
fn wait_for(client: Descriptor) -> Result<()> {
    poll(
        &mut [PollFd::new(&client, PollFlags::OUT)],
        Timespec::try_from(PATIENCE).ok().as_ref(),
    )?;
    sockopt::socket_error(client)?
}

fn connect_and_accept(worker: &mut Worker, kind: Kind) -> Result<()> {
    let family = Family::any(worker);
    let listener = listener(worker, family, BACKLOG)?;
    let accepted = connected_pair(worker, family, listener, kind);
    worker.table.hold(listener, family.listener());
    accepted
}

/// To a port that is taken, and at which nobody listens.
fn connect_refused(worker: &mut Worker) -> Result<()> {
    let family = Family::any(worker);
    let silent = stream(worker, family, SocketFlags::empty())?;
    let address = bind(silent, &family.loopback(0)).and_then(|()| address_of(silent));
    worker.table.hold(silent, Sort::Other);
    let client = stream(worker, family, SocketFlags::empty())?;
    let refused = address.and_then(|address| connect(client, &address));
    worker.table.hold(client, Sort::Other);
    match refused {
        Err(Errno::CONNREFUSED) => Ok(()),
        Err(other) => Err(other),
        Ok(()) => Err(Errno::ISCONN),
    }
}

/// To a listener that has no room for one more: the kernel goes on trying.
fn connect_pending(worker: &mut Worker) -> Result<()> {
    let family = Family::any(worker);
    let listener = listener(worker, family, 0)?;
    let address = address_of(listener);
    worker.table.hold(listener, Sort::Other);
    let address = address?;
    let mut pending = Err(Errno::ISCONN);
    // The one that there is room for even so, and one or two more.
    for _ in 0..3 {
        let client = stream(worker, family, SocketFlags::NONBLOCK)?;
        let begun = connect(client, &address);
        let ready = poll(&mut [PollFd::new(&client, PollFlags::OUT)], Some(&Timespec::default()));
        worker.table.hold(client, Sort::Other);
        if begun == Err(Errno::INPROGRESS) && ready == Ok(0) {
            pending = Ok(());
        }
    }
    pending
}

fn half_close(worker: &mut Worker) -> Result<()> {
    let held = worker
        .table
        .take_sort(Sort::Stream, &mut worker.random)
        .ok_or(NOTHING_HELD)?;
    let ways = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
    let done = shutdown(held.descriptor, ways[worker.random.index(ways.len())]);
    worker.table.hold(held.descriptor, Sort::Stream);
    done
}

fn connect_udp(worker: &mut Worker, family: Family) -> Result<()> {
    let socket: Descriptor = socket_with(family.of_sockets(), SocketType::DGRAM, SocketFlags::empty(), None)?.into();
    let connected = connect(socket, &family.loopback(DISCARD));
    worker.table.hold(socket, Sort::Datagram);
    connected
}

fn disconnect_udp(worker: &mut Worker) -> Result<()> {
    let held = worker
        .table
        .take_sort(Sort::Datagram, &mut worker.random)
        .ok_or(NOTHING_HELD)?;
    let done = connect_unspec(held.descriptor);
    worker.table.hold(held.descriptor, Sort::Other);
    done
}

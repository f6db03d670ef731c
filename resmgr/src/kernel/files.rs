//! What a descriptor's record means: its kind, and for connections state and peer.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use resmgr_common::{Address, FileRecord};

use crate::model::{Connection, FileKind, FileSample, ProcessId, Protocol, SocketId, SocketState, TableId};

/// Magic number of the file system of anonymous inodes (`ANON_INODE_FS_MAGIC`).
const ANON_INODE_FS: u64 = 0x0904_1934;
/// Magic number of the file system of process descriptors, since Linux 6.9 (`PID_FS_MAGIC`).
const PID_FS: u64 = 0x5049_4446;
/// Magic number of the file system of sockets (`SOCKFS_MAGIC`).
const SOCK_FS: u64 = 0x534f_434b;
/// Magic number of tmpfs, where memory files live (`TMPFS_MAGIC`).
const TMP_FS: u64 = 0x0102_1994;

const AF_INET: u16 = 2;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_MPTCP: u16 = 262;

/// Which of a process's tables have been visited: the iterator may come to one again for each thread.
#[derive(Default)]
pub(super) struct Visits {
    seen: HashSet<(u32, u64)>,
    /// Process, table and number of the record before.
    last: (u32, u64, u32),
    is_first: bool,
}

impl Visits {
    /// Whether a record is of a table's first visit. In each the numbers ascend.
    pub(super) fn is_first(&mut self, record: &FileRecord) -> bool {
        let (pid, table, fd) = self.last;
        self.last = (record.tgid, record.files, record.fd);
        if (pid, table) != (record.tgid, record.files) || record.fd <= fd {
            self.is_first = self.seen.insert((record.tgid, record.files));
        }
        self.is_first
    }
}

/// A record's meaning.
pub(super) fn decode(record: &FileRecord) -> FileSample {
    let connection = connection(record).filter(Connection::counts);
    FileSample {
        id: ProcessId {
            pid: record.tgid,
            start_ns: record.start_ns,
        },
        table: TableId(record.files),
        fd: record.fd,
        kind: kind(record),
        connection,
        socket: connection.map(|_| SocketId(record.sock)),
    }
}

fn kind(record: &FileRecord) -> FileKind {
    let end = record.name.iter().position(|&b| b == 0).unwrap_or(record.name.len());
    let name = &record.name[..end];
    match record.file_system {
        ANON_INODE_FS => return anonymous(name),
        PID_FS => return FileKind::Pidfd,
        SOCK_FS => return FileKind::Socket,
        TMP_FS if name.starts_with(b"memfd:") => return FileKind::Memfd,
        _ => {}
    }
    match record.mode & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Directory,
        0o020_000 | 0o060_000 => FileKind::Device,
        0o010_000 => FileKind::Pipe,
        0o140_000 => FileKind::Socket,
        _ => FileKind::Other,
    }
}

/// The kind of a file without a file system, by the name that the kernel gives it: `[eventfd]`, `bpf-map`, …
fn anonymous(name: &[u8]) -> FileKind {
    let name = name.strip_prefix(b"[").unwrap_or(name);
    match name.strip_suffix(b"]").unwrap_or(name) {
        b"eventfd" => FileKind::Eventfd,
        b"eventpoll" => FileKind::Epoll,
        b"timerfd" => FileKind::Timerfd,
        b"signalfd" => FileKind::Signalfd,
        b"fanotify" => FileKind::Fanotify,
        b"userfaultfd" => FileKind::Userfaultfd,
        b"pidfd" => FileKind::Pidfd,
        b"perf_event" => FileKind::PerfEvent,
        b"io_uring" => FileKind::IoUring,
        b"inotify" => FileKind::Inotify,
        name if name.starts_with(b"bpf") => FileKind::Bpf,
        _ => FileKind::Anonymous,
    }
}

fn connection(record: &FileRecord) -> Option<Connection> {
    let protocol = match record.protocol {
        IPPROTO_TCP => Protocol::Tcp,
        IPPROTO_MPTCP => Protocol::Mptcp,
        IPPROTO_UDP => Protocol::Udp,
        _ => return None,
    };
    if record.sock == 0 {
        return None;
    }
    Some(Connection {
        // The kernel numbers sockets with 32 bits.
        inode: u32::try_from(record.inode).unwrap_or(u32::MAX),
        protocol,
        state: SocketState::from_number(record.state)?,
        local: address(record.family, record.local),
        remote: address(record.family, record.remote),
    })
}

fn address(family: u16, address: Address) -> SocketAddr {
    let [a, b, c, d, ..] = address.bytes;
    let ip = if family == AF_INET {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(address.bytes))
    };
    SocketAddr::new(ip, address.port)
}

#[cfg(test)]
mod tests {
    //! Kinds and peers of records made by hand.
    use super::*;

    fn named(file_system: u64, mode: u32, name: &str) -> FileRecord {
        let mut record = FileRecord {
            file_system,
            mode,
            ..FileRecord::default()
        };
        record.name[..name.len()].copy_from_slice(name.as_bytes());
        record
    }

    #[test]
    fn anonymous_files_are_told_apart_by_the_kernels_names() {
        for (name, expected) in [
            ("[eventfd]", FileKind::Eventfd),
            ("[eventpoll]", FileKind::Epoll),
            ("[timerfd]", FileKind::Timerfd),
            ("inotify", FileKind::Inotify),
            ("bpf-map", FileKind::Bpf),
            ("[io_uring]", FileKind::IoUring),
            ("[landlock-ruleset]", FileKind::Anonymous),
        ] {
            assert_eq!(kind(&named(ANON_INODE_FS, 0o100_600, name)), expected, "{name}");
        }
    }

    #[test]
    fn a_table_that_threads_share_is_listed_once_and_one_of_a_threads_own_too() {
        let mut visits = Visits::default();
        let mut is_first = |tgid, files, fd| {
            visits.is_first(&FileRecord {
                tgid,
                files,
                fd,
                ..FileRecord::default()
            })
        };
        let leaders = [(7, 1, 0), (7, 1, 2)].map(|(tgid, files, fd)| is_first(tgid, files, fd));
        assert_eq!(leaders, [true, true]);
        // A thread that shares it, at once; one with a table of its own; and another that shares it.
        let threads = [(7, 1, 0), (7, 1, 2), (7, 2, 0), (7, 2, 1), (7, 1, 0), (7, 1, 3)];
        let threads = threads.map(|(tgid, files, fd)| is_first(tgid, files, fd));
        assert_eq!(threads, [false, false, true, true, false, false]);
        // Another process that shares it tells so: whose it is, is decided by who asks.
        assert!(is_first(8, 1, 0));
    }

    #[test]
    fn a_memory_file_is_no_regular_file_but_a_file_on_tmpfs_is() {
        assert_eq!(kind(&named(TMP_FS, 0o100_777, "memfd:x")), FileKind::Memfd);
        assert_eq!(kind(&named(TMP_FS, 0o100_644, "notes")), FileKind::File);
    }

    #[test]
    fn a_listener_is_no_connection_and_a_peer_is_read_in_network_order() {
        let mut record = FileRecord {
            family: AF_INET,
            protocol: IPPROTO_TCP,
            state: 10,
            sock: 1,
            inode: 77,
            ..FileRecord::default()
        };
        assert_eq!(decode(&record).connection, None);
        record.state = 1;
        record.remote.bytes[..4].copy_from_slice(&[192, 0, 2, 7]);
        record.remote.port = 443;
        let connection = decode(&record).connection.unwrap();
        assert_eq!(connection.remote, "192.0.2.7:443".parse().unwrap());
        assert_eq!((connection.inode, connection.state), (77, SocketState::Established));
    }
}

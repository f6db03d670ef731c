//! The kernel's own account of descriptors and connections, from `/proc` and `kcmp`, as docs/counting.md says to count.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use libc::ESRCH;
use rustix::{fs::FileType, process::Pid};

use crate::raw::shares_table;

/// What a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The numbers of its open descriptors, in order: those of each distinct table of its threads.
    pub descriptors: Vec<u32>,
    /// How many descriptors there are of each kind, by the names of the status report.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Its connections: of each inode number the protocol, the state and both addresses, as the status report has them.
    pub connections: BTreeMap<u64, String>,
    /// Distinct tables.
    pub tables: usize,
}

/// The accounts of processes that hold still.
pub fn accounts(pids: &[u32]) -> BTreeMap<u32, Account> {
    let connections = connections();
    let account = |&pid| (pid, account(&[pid], &connections));
    pids.iter().map(account).collect()
}

/// The account of processes together, each table and each connection once.
pub fn account_together(pids: &[u32]) -> Account {
    account(pids, &connections())
}

/// A thread that has done its last may be on the list a little longer: then everything is looked at again.
fn account(pids: &[u32], connections: &HashMap<u64, String>) -> Account {
    loop {
        match try_account(pids, connections) {
            Ok(account) => return account,
            Err(error) if error.raw_os_error() == Some(ESRCH) => {}
            Err(error) => panic!("kcmp: {error}"),
        }
    }
}

fn try_account(pids: &[u32], connections: &HashMap<u64, String>) -> io::Result<Account> {
    let mut account = Account::default();
    let mut seen: Vec<Pid> = Vec::new();
    let of_process = |&pid: &u32| {
        numbers(&format!("/proc/{pid}/task"))
            .into_iter()
            .map(move |thread| (pid, thread))
    };
    for (pid, thread) in pids.iter().flat_map(of_process) {
        let id = Pid::from_raw(thread.cast_signed()).expect("no thread has the number 0");
        let mut is_known = false;
        for &other in &seen {
            is_known |= shares_table(id, other)?;
        }
        if is_known {
            continue;
        }
        seen.push(id);
        let folder = format!("/proc/{pid}/task/{thread}/fd");
        let descriptors = numbers(&folder);
        for fd in &descriptors {
            account.take(&format!("{folder}/{fd}"), connections);
        }
        // A thread that has ended has no table.
        account.tables += usize::from(!descriptors.is_empty());
        account.descriptors.extend(descriptors);
    }
    account.descriptors.sort_unstable();
    Ok(account)
}

impl Account {
    /// Takes in an open descriptor.
    fn take(&mut self, descriptor: &str, connections: &HashMap<u64, String>) {
        // One that is closed meanwhile makes another account of it, and everything is looked at again.
        let Some(link) = fs::read_link(descriptor).ok() else {
            return;
        };
        let link = link.to_string_lossy();
        *self.kinds.entry(kind(descriptor, &link)).or_default() += 1;
        if let Some(inode) = inode(&link)
            && let Some(connection) = connections.get(&inode)
        {
            self.connections.insert(inode, connection.clone());
        }
    }
}

/// What is behind a descriptor, by the kernel's name of it, and where that is a path by what lies there.
fn kind(descriptor: &str, link: &str) -> &'static str {
    if let Some(name) = link.strip_prefix("anon_inode:") {
        let name = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        return match name {
            "eventfd" => "eventfd",
            "eventpoll" => "epoll",
            "timerfd" => "timerfd",
            "signalfd" => "signalfd",
            "inotify" => "inotify",
            "fanotify" => "fanotify",
            "userfaultfd" => "userfaultfd",
            "pidfd" => "pidfd",
            "perf_event" => "perf_event",
            "io_uring" => "io_uring",
            "bpf-map" => "bpf",
            _ => "anonymous",
        };
    }
    for (begin, kind) in [
        ("socket:[", "socket"),
        ("pipe:[", "pipe"),
        ("pidfd:[", "pidfd"),
        ("/memfd:", "memfd"),
    ] {
        if link.starts_with(begin) {
            return kind;
        }
    }
    match rustix::fs::stat(descriptor).map(|there| FileType::from_raw_mode(there.st_mode)) {
        Ok(FileType::RegularFile) => "file",
        Ok(FileType::Directory) => "directory",
        Ok(FileType::CharacterDevice | FileType::BlockDevice) => "device",
        Ok(FileType::Fifo) => "pipe",
        _ => "other",
    }
}

/// The entries of a folder that are numbers; none where it is gone, or is not for looking into.
fn numbers(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The inode number of the socket behind a descriptor, if it is one.
pub(crate) fn socket_inode(descriptor: impl AsRef<Path>) -> Option<u64> {
    inode(fs::read_link(descriptor).ok()?.to_str()?)
}

fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// States by the numbers of TCP, which UDP borrows.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

/// All sockets that count as connections, of whatever process, by their inode numbers.
fn connections() -> HashMap<u64, String> {
    let tcp = |state: &str| state != "close" && state != "listen";
    let udp = |state: &str| state == "established";
    let mut all = HashMap::new();
    for table in ["tcp", "tcp6"] {
        all.extend(sockets(table, "tcp", tcp));
    }
    for table in ["udp", "udp6"] {
        all.extend(sockets(table, "udp", udp));
    }
    all
}

/// The sockets in one of the kernel's tables, of the states that count.
fn sockets(table: &str, protocol: &str, counts: impl Fn(&str) -> bool) -> Vec<(u64, String)> {
    // A kernel without IPv6 has no such tables, and no such sockets.
    let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    let entry = |line: &str| {
        // Slot, local, remote, state, queues, timer, retransmits, user, timeout, inode.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let state = usize::from_str_radix(fields.get(3)?, 16).ok()?;
        let state = *STATES.get(state.checked_sub(1)?)?;
        let (local, remote) = (address(fields.get(1)?)?, address(fields.get(2)?)?);
        let inode = fields.get(9)?.parse().ok()?;
        // Sockets that no process holds any more have no inode.
        (counts(state) && inode != 0).then(|| (inode, format!("{protocol} {state} {local} {remote}")))
    };
    text.lines().skip(1).filter_map(entry).collect()
}

/// An address of such a table: words as this machine stores them, in hexadecimal digits, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |n: usize| {
        u32::from_str_radix(words.get(8 * n..8 * n + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    let ip = match words.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

//! The kernel's own account of descriptors and connections, from `/proc` and `kcmp`, as docs/counting.md says to count.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    path::Path,
};

use libc::ESRCH;
use rustix::process::Pid;

use crate::raw::shares_table;

/// What a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The numbers of its open descriptors, in order: those of each distinct table of its threads.
    pub descriptors: Vec<u32>,
    /// The inode numbers of its connections.
    pub connections: BTreeSet<u64>,
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
fn account(pids: &[u32], connections: &HashSet<u64>) -> Account {
    loop {
        match try_account(pids, connections) {
            Ok(account) => return account,
            Err(error) if error.raw_os_error() == Some(ESRCH) => {}
            Err(error) => panic!("kcmp: {error}"),
        }
    }
}

fn try_account(pids: &[u32], connections: &HashSet<u64>) -> io::Result<Account> {
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
        let inodes = descriptors
            .iter()
            .filter_map(|fd| socket_inode(format!("{folder}/{fd}")));
        account
            .connections
            .extend(inodes.filter(|inode| connections.contains(inode)));
        // A thread that has ended has no table.
        account.tables += usize::from(!descriptors.is_empty());
        account.descriptors.extend(descriptors);
    }
    account.descriptors.sort_unstable();
    Ok(account)
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
    let link = fs::read_link(descriptor).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode numbers of all sockets that count as connections, of whatever process.
fn connections() -> HashSet<u64> {
    // States by the numbers of TCP, which UDP borrows.
    const ESTABLISHED: u8 = 1;
    const CLOSE: u8 = 7;
    const LISTEN: u8 = 10;
    let tcp = |state| state != CLOSE && state != LISTEN;
    let udp = |state| state == ESTABLISHED;
    let mut inodes = HashSet::new();
    for table in ["tcp", "tcp6"] {
        inodes.extend(sockets(table, tcp));
    }
    for table in ["udp", "udp6"] {
        inodes.extend(sockets(table, udp));
    }
    inodes
}

/// The inode numbers in one of the kernel's socket tables, of the states that count.
fn sockets(table: &str, counts: impl Fn(u8) -> bool) -> Vec<u64> {
    // A kernel without IPv6 has no such tables, and no such sockets.
    let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    let entry = |line: &str| {
        // Slot, local, remote, state, queues, timer, retransmits, user, timeout, inode.
        let mut fields = line.split_whitespace();
        let state = u8::from_str_radix(fields.nth(3)?, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        // Sockets that no process holds any more have no inode.
        (counts(state) && inode != 0).then_some(inode)
    };
    text.lines().skip(1).filter_map(entry).collect()
}

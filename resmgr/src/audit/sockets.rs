//! The kernel's tables of sockets: which inode numbers are connections, in every network namespace that a process is in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// States by the numbers of TCP, which UDP borrows.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// Network namespaces: of each, the folder of a process or thread that is in it.
///
/// A process may hold a socket of a namespace that it has left, so a socket is looked up in all. Its inode number is its
/// own: all sockets are in one file system.
#[derive(Default)]
pub(super) struct Namespaces(BTreeMap<PathBuf, PathBuf>);

impl Namespaces {
    /// Notes the namespace that a process or thread is in.
    pub(super) fn note(&mut self, folder: &Path) -> io::Result<()> {
        let namespace = fs::read_link(folder.join("ns/net"))?;
        self.0.entry(namespace).or_insert_with(|| folder.to_owned());
        Ok(())
    }

    /// The inode numbers of all sockets in them that are connections.
    pub(super) fn connections(&self) -> BTreeSet<u64> {
        let mut inodes = BTreeSet::new();
        for folder in self.0.values() {
            for table in ["tcp", "tcp6"] {
                inodes.extend(sockets(&folder.join("net").join(table), |state| {
                    state != CLOSE && state != LISTEN
                }));
            }
            for table in ["udp", "udp6"] {
                inodes.extend(sockets(&folder.join("net").join(table), |state| state == ESTABLISHED));
            }
        }
        inodes
    }
}

/// The inode number of the socket behind a descriptor, if it is one.
pub(super) fn inode(descriptor: &Path) -> Option<u64> {
    let link = fs::read_link(descriptor).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode numbers in one of the kernel's socket tables, of the states that count. Those of MPTCP stand there with
/// their TCP subflows.
fn sockets(table: &Path, counts: impl Fn(u8) -> bool) -> Vec<u64> {
    // A kernel without IPv6 has no such tables, and no such sockets.
    let text = fs::read_to_string(table).unwrap_or_default();
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

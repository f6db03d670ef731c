//! What `/proc` says of processes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::PathBuf,
};

/// What no file of `/proc` tells.
#[derive(Clone, Copy)]
pub struct Inspect {
    /// CPU time of a process in nanoseconds, by its own clock.
    pub clock_ns: fn(u32) -> io::Result<u64>,
    /// Whether two threads share a descriptor table.
    pub share_descriptors: fn(u32, u32) -> io::Result<bool>,
}

/// What a process holds. What could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Threads that have not exited.
    pub threads: u64,
    /// CPU time in nanoseconds of all threads, the ended ones included.
    pub cpu_ns: Option<u64>,
    /// Virtual memory in bytes.
    pub virtual_bytes: Option<u64>,
    /// Resident anonymous memory in bytes.
    pub anon_bytes: Option<u64>,
    /// Resident memory of all kinds in bytes.
    pub resident_bytes: Option<u64>,
    /// Distinct descriptor tables: of each, a thread that has it and its open descriptors.
    pub tables: Vec<(u32, u64)>,
    /// Inode numbers of its connections.
    pub connections: BTreeSet<u64>,
}

impl Truth {
    /// Open descriptors, each distinct table once.
    pub fn fds(&self) -> u64 {
        self.tables.iter().map(|&(_, fds)| fds).sum()
    }
}

/// Reads `/proc`.
pub struct Reader {
    root: PathBuf,
    inspect: Inspect,
    page_bytes: u64,
    /// Inode numbers of the connections of each network namespace that was met.
    networks: HashMap<PathBuf, BTreeSet<u64>>,
}

/// States by the numbers of TCP, which UDP borrows.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

impl Reader {
    /// A reader of the process file system at `root`.
    pub fn new(root: PathBuf, inspect: Inspect) -> Self {
        Self {
            root,
            inspect,
            page_bytes: rustix::param::page_size() as u64,
            networks: HashMap::new(),
        }
    }

    /// All processes that have memory of their own, and what they hold. Those that went meanwhile are missing.
    pub fn read_all(&mut self) -> BTreeMap<u32, Truth> {
        self.networks.clear();
        let pids = numbers(&self.root);
        pids.into_iter()
            .filter_map(|pid| Some((pid, self.read(pid)?)))
            .collect()
    }

    /// What a process holds; `None` where there is none, or it is a thread of the kernel or a zombie.
    pub fn read(&mut self, pid: u32) -> Option<Truth> {
        let folder = self.root.join(pid.to_string());
        let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let statm = text("statm")?;
        let virtual_pages: u64 = statm.split(' ').next()?.parse().ok()?;
        let rollup = text("smaps_rollup").unwrap_or_default();
        let kib = |kind: &str| {
            let line = rollup
                .lines()
                .find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        let mut truth = Truth {
            cpu_ns: (self.inspect.clock_ns)(pid).ok(),
            virtual_bytes: Some(virtual_pages * self.page_bytes),
            anon_bytes: kib("Anonymous").map(|kib| kib << 10),
            resident_bytes: kib("Rss").map(|kib| kib << 10),
            ..Truth::default()
        };
        for thread in numbers(&folder.join("task")) {
            self.read_thread(&folder.join("task").join(thread.to_string()), thread, &mut truth);
        }
        // Threads of the kernel have no memory; those of a process whose leader has exited are listed under another.
        (truth.threads > 0 && (virtual_pages > 0 || !truth.tables.is_empty())).then_some(truth)
    }

    fn read_thread(&mut self, folder: &std::path::Path, thread: u32, truth: &mut Truth) {
        let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if matches!(state, None | Some('Z' | 'X')) {
            return;
        }
        truth.threads += 1;
        let shares = |&(other, _): &(u32, u64)| (self.inspect.share_descriptors)(thread, other).unwrap_or(false);
        if truth.tables.iter().any(shares) {
            return;
        }
        let descriptors = numbers(&folder.join("fd"));
        let inodes: BTreeSet<u64> = descriptors
            .iter()
            .filter_map(|fd| socket_inode(&folder.join("fd").join(fd.to_string())))
            .collect();
        truth.tables.push((thread, descriptors.len() as u64));
        if !inodes.is_empty() {
            let connections = self.connections(folder);
            truth.connections.extend(inodes.intersection(connections));
        }
    }

    /// The connections of a thread's network namespace.
    fn connections(&mut self, folder: &std::path::Path) -> &BTreeSet<u64> {
        let namespace = fs::read_link(folder.join("ns/net")).unwrap_or_default();
        self.networks.entry(namespace).or_insert_with(|| {
            let mut inodes = BTreeSet::new();
            for table in ["tcp", "tcp6"] {
                inodes.extend(sockets(&folder.join("net").join(table), |state| {
                    state != CLOSE && state != LISTEN
                }));
            }
            for table in ["udp", "udp6"] {
                inodes.extend(sockets(&folder.join("net").join(table), |state| state == ESTABLISHED));
            }
            inodes
        })
    }
}

/// The entries of a folder that are numbers; none where it is gone.
fn numbers(folder: &std::path::Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The inode number of the socket behind a descriptor, if it is one.
fn socket_inode(descriptor: &std::path::Path) -> Option<u64> {
    let link = fs::read_link(descriptor).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode numbers in one of the kernel's socket tables, of the states that count.
fn sockets(table: &std::path::Path, counts: impl Fn(u8) -> bool) -> Vec<u64> {
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

#[cfg(test)]
mod tests {
    //! A folder that looks like `/proc`.
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                       0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1\n   \
                       1: 0100007F:0CEA 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 101 1\n   \
                       2: 0100007F:0CEA 0100007F:9C41 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n";

    #[test]
    fn a_process_is_read_with_its_tables_and_connections() {
        let folder = tempfile::TempDir::new().unwrap();
        let process = folder.path().join("5");
        for thread in ["5", "6"] {
            let task = process.join("task").join(thread);
            fs::create_dir_all(task.join("fd")).unwrap();
            fs::create_dir_all(task.join("net")).unwrap();
            fs::write(task.join("stat"), format!("{thread} (a) b) S 1")).unwrap();
            fs::write(task.join("net/tcp"), TCP).unwrap();
            for (fd, target) in [("0", "/dev/null"), ("3", "socket:[100]"), ("4", "socket:[101]")] {
                std::os::unix::fs::symlink(target, task.join("fd").join(fd)).unwrap();
            }
        }
        fs::write(process.join("statm"), "10 5 3 1 0 2 0\n").unwrap();
        fs::write(process.join("smaps_rollup"), "Rss:   20 kB\nAnonymous:  8 kB\n").unwrap();
        let inspect = Inspect {
            clock_ns: |_| Ok(7),
            share_descriptors: |_, _| Ok(true),
        };
        let truth = Reader::new(folder.path().to_owned(), inspect).read(5).unwrap();
        assert_eq!((truth.threads, truth.fds(), truth.cpu_ns), (2, 3, Some(7)));
        assert_eq!(
            truth.connections,
            BTreeSet::from([101]),
            "one listens, one has no owner"
        );
        assert_eq!(
            (truth.anon_bytes, truth.resident_bytes),
            (Some(8 << 10), Some(20 << 10))
        );

        let apart = Inspect {
            share_descriptors: |_, _| Ok(false),
            ..inspect
        };
        let truth = Reader::new(folder.path().to_owned(), apart).read(5).unwrap();
        assert_eq!(truth.fds(), 6, "each of two tables");
        assert_eq!(Reader::new(folder.path().to_owned(), apart).read(7), None);
    }
}

//! What `/proc` says of processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::sockets::{self, Namespaces};

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
    /// Command name.
    pub comm: String,
    /// When it started, by the kernel's own count: with the pid, its identity.
    pub started: u64,
    /// Whether this kernel lets not even root look into it, as it may a machine's own control process.
    pub is_guarded: bool,
    /// Threads that have not exited.
    pub threads: u64,
    /// CPU time in nanoseconds of all threads, the ended ones included.
    pub cpu_ns: Option<u64>,
    /// Virtual memory in bytes.
    pub virtual_bytes: Option<u64>,
    /// Resident anonymous memory in bytes.
    pub anon_bytes: Option<u64>,
    /// Resident pages of mapped files in bytes.
    pub file_bytes: Option<u64>,
    /// Resident pages of shared memory in bytes.
    pub shmem_bytes: Option<u64>,
    /// Swapped-out memory in bytes.
    pub swap_bytes: Option<u64>,
    /// Resident memory of all kinds in bytes.
    pub resident_bytes: Option<u64>,
    /// Of a tool, what its cgroup is charged with in bytes, less what can be dropped at once.
    pub charged_bytes: Option<u64>,
    /// Distinct descriptor tables: of each, a thread that has it and its open descriptors.
    pub tables: Vec<(u32, u64)>,
    /// Inode numbers of its connections.
    pub connections: BTreeSet<u64>,
}

/// Processes by pid.
pub type Truths = BTreeMap<u32, Truth>;

impl Truth {
    /// Open descriptors, each distinct table once.
    pub fn fds(&self) -> u64 {
        self.tables.iter().map(|&(_, fds)| fds).sum()
    }

    /// Reads what the folder of a process, or of a thread of it, says of its memory.
    fn read_memory(&mut self, folder: &Path, page_bytes: u64) {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let pages: Option<u64> = text("statm").split(' ').next().and_then(|size| size.parse().ok());
        self.virtual_bytes = pages.map(|pages| pages * page_bytes);
        // The kernel walks every page for this file: it is exact.
        let walked = text("smaps_rollup");
        self.anon_bytes = kib(&walked, "Anonymous");
        self.resident_bytes = kib(&walked, "Rss");
        // This one tells the other kinds, by counters that many kernels do not add up whole: it counts where it agrees
        // with the walk to the page.
        let counted = text("status");
        let kinds = ["RssAnon", "RssFile", "RssShmem", "VmSwap"].map(|kind| kib(&counted, kind));
        if let [Some(anon), Some(file), Some(shmem), swap] = kinds
            && (Some(anon), Some(anon + file + shmem)) == (self.anon_bytes, self.resident_bytes)
        {
            (self.file_bytes, self.shmem_bytes, self.swap_bytes) = (Some(file), Some(shmem), swap);
        }
    }
}

/// A size in bytes from a file of sizes.
fn kib(text: &str, kind: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What a file `stat` says.
struct Stat {
    comm: String,
    state: char,
    flags: u32,
    started: u64,
}

/// The flag of a thread of the kernel (`PF_KTHREAD`).
const KERNEL_THREAD: u32 = 0x0020_0000;

impl Stat {
    fn read(folder: &Path) -> Option<Self> {
        // A command's name may hold anything, and need not be UTF-8.
        let bytes = fs::read(folder.join("stat")).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let (before, after) = text.rsplit_once(") ")?;
        // The third field, which is the state, is the first of these.
        let fields: Vec<&str> = after.split_whitespace().collect();
        Some(Self {
            comm: before.split_once('(')?.1.to_owned(),
            state: fields.first()?.chars().next()?,
            flags: fields.get(6)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    fn has_exited(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Reads `/proc`.
pub struct Reader {
    root: PathBuf,
    inspect: Inspect,
    page_bytes: u64,
}

impl Reader {
    /// A reader of the process file system at `root`.
    pub fn new(root: PathBuf, inspect: Inspect) -> Self {
        Self {
            root,
            inspect,
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    /// What processes hold: all that there are, or `wanted`. Threads of the kernel, zombies, and those that went
    /// meanwhile are missing.
    pub fn read(&self, wanted: Option<&BTreeSet<u32>>) -> Truths {
        let mut namespaces = Namespaces::default();
        let mut truths = Truths::new();
        for pid in numbers(&self.root) {
            let folder = self.root.join(pid.to_string());
            let noted = namespaces.note(&folder);
            if wanted.is_none_or(|wanted| wanted.contains(&pid))
                && let Some(mut truth) = self.process(&folder, pid, &mut namespaces)
            {
                truth.is_guarded = noted.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
                truths.insert(pid, truth);
            }
        }
        // Until here they are all its sockets.
        if truths.values().any(|truth| !truth.connections.is_empty()) {
            let connections = namespaces.connections();
            for truth in truths.values_mut() {
                truth.connections.retain(|inode| connections.contains(inode));
            }
        }
        truths
    }

    fn process(&self, folder: &Path, pid: u32, namespaces: &mut Namespaces) -> Option<Truth> {
        let stat = Stat::read(folder)?;
        if stat.flags & KERNEL_THREAD != 0 {
            return None;
        }
        let leader_lives = !stat.has_exited();
        let mut truth = Truth {
            comm: stat.comm,
            started: stat.started,
            cpu_ns: (self.inspect.clock_ns)(pid).ok(),
            ..Truth::default()
        };
        if leader_lives {
            truth.read_memory(folder, self.page_bytes);
        }
        let threads = folder.join("task");
        for thread in numbers(&threads) {
            let folder = threads.join(thread.to_string());
            if Stat::read(&folder).is_none_or(|stat| stat.has_exited()) {
                continue;
            }
            if !leader_lives && truth.threads == 0 {
                // A leader that has exited has no memory any more; its threads do.
                truth.read_memory(&folder, self.page_bytes);
            }
            truth.threads += 1;
            self.read_table(&folder, thread, &mut truth, namespaces);
        }
        (truth.threads > 0).then_some(truth)
    }

    /// Reads a thread's descriptors, where no other thread shares them.
    fn read_table(&self, folder: &Path, thread: u32, truth: &mut Truth, namespaces: &mut Namespaces) {
        // Where the kernel cannot say (it may be built without kcmp), threads share their table, as they do as a rule.
        let shares = |&(other, _): &(u32, u64)| (self.inspect.share_descriptors)(thread, other).unwrap_or(true);
        if truth.tables.iter().any(shares) {
            return;
        }
        let place = folder.join("fd");
        let descriptors = numbers(&place);
        let descriptor = |fd: &u32| sockets::inode(&place.join(fd.to_string()));
        let before = truth.connections.len();
        truth.connections.extend(descriptors.iter().filter_map(descriptor));
        if truth.connections.len() > before {
            // Where it cannot be told, the process's own is noted already.
            let _ = namespaces.note(folder);
        }
        truth.tables.push((thread, descriptors.len() as u64));
    }
}

/// The entries of a folder that are numbers; none where it is gone.
fn numbers(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests;

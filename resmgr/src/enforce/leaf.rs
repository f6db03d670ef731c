//! Leaves: a cgroup for each tool, under a root that is the agent's. No other cgroup is written.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{hold::Controllers, process::is_alive};
use crate::model::{ProcessId, ToolName};

/// Leaves of one name and instance that may have been left behind.
const LEFT_BEHIND: u32 = 100;

/// A write that does not wait.
#[expect(clippy::cast_possible_wrap, reason = "a bit, and not the highest")]
const O_NONBLOCK: i32 = OFlags::NONBLOCK.bits() as i32;

/// A leaf could not be made or entered.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct LeafError {
    /// What was done.
    pub operation: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LeafError {
    let path = path.to_owned();
    move |source| LeafError {
        operation,
        path,
        source,
    }
}

/// The root under which leaves are made.
#[derive(Clone, Debug)]
pub struct Leaves {
    root: PathBuf,
}

/// A tool's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    path: PathBuf,
}

impl Leaves {
    /// Leaves under a root, which is made with the first of them.
    pub fn under(root: PathBuf) -> Self {
        Self { root }
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a leaf for an instance of a tool can be made.
    pub fn place(&self, name: &ToolName, instance: u64) -> PathBuf {
        let mut path = self.root.join(format!("{name}-{instance}"));
        for n in 2..LEFT_BEHIND {
            // An agent that was killed may have left one; it is taken if nothing is in it.
            if !path.exists() || fs::remove_dir(&path).is_ok() {
                break;
            }
            path = self.root.join(format!("{name}-{instance}-{n}"));
        }
        path
    }

    /// Makes a leaf at a place, with what controllers there are.
    pub fn make(&self, path: PathBuf) -> Result<Leaf, LeafError> {
        if !self.root.is_dir() {
            fs::create_dir_all(&self.root).map_err(failed("make the cgroup", &self.root))?;
        }
        self.delegate_controllers();
        fs::create_dir(&path).map_err(failed("make the cgroup", &path))?;
        Ok(Leaf { path })
    }

    /// What leaves can hold: the controllers that the cgroup above gives, or those of the root where it is there.
    pub fn controllers(&self) -> Controllers {
        if self.root.is_dir() {
            return Controllers::of(&self.root);
        }
        let above = self
            .root
            .ancestors()
            .find(|path| path.join("cgroup.subtree_control").is_file());
        let given = above.map(|path| fs::read_to_string(path.join("cgroup.subtree_control")).unwrap_or_default());
        Controllers::named(&given.unwrap_or_default())
    }

    /// Gives leaves the controllers that the root has. One that cannot be given is missing in the leaves, and seen there.
    fn delegate_controllers(&self) {
        let available = fs::read_to_string(self.root.join("cgroup.controllers")).unwrap_or_default();
        for controller in available
            .split_whitespace()
            .filter(|name| matches!(*name, "memory" | "cpu" | "pids"))
        {
            if let Err(error) = fs::write(self.root.join("cgroup.subtree_control"), format!("+{controller}")) {
                tracing::warn!(root = %self.root.display(), %error, "leaves have no {controller} controller");
            }
        }
    }

    /// Removes the root, if it is empty.
    pub fn remove_root(&self) {
        let _ = fs::remove_dir(&self.root);
    }
}

impl Leaf {
    /// The leaf at a path.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves all of its processes out of it, into a cgroup that is not a leaf: the one that they came from. It is the one
    /// file of others' that is ever written.
    pub fn leave_to(&self, cgroup: &Path) -> Result<(), LeafError> {
        let procs = cgroup.join("cgroup.procs");
        let mut file = File::options()
            .write(true)
            .open(&procs)
            .map_err(failed("open", &procs))?;
        for pid in self.processes() {
            match file.write_all(pid.to_string().as_bytes()) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                moved => moved.map_err(failed("write", &procs))?,
            }
        }
        Ok(())
    }

    /// Moves a process into it. The kernel waits for a grace period: some milliseconds.
    pub fn enter(&self, process: ProcessId) -> Result<(), LeafError> {
        // Whoever has its number by now is not meant.
        if !is_alive(process) {
            return Err(failed("enter", &self.path)(io::ErrorKind::NotFound.into()));
        }
        self.write("cgroup.procs", &process.pid.to_string())
    }

    /// What it is charged with, less what can be dropped at once (`memory.current` less `inactive_file`), in bytes; `None`
    /// where the memory controller is not there.
    pub fn working_set_bytes(&self) -> Option<u64> {
        let current = fs::read_to_string(self.path.join("memory.current")).ok()?;
        let stat = fs::read_to_string(self.path.join("memory.stat")).ok()?;
        let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
        let charged: u64 = current.trim().parse().ok()?;
        Some(charged.saturating_sub(inactive.and_then(|n| n.trim().parse().ok()).unwrap_or(0)))
    }

    /// The processes in it and in the cgroups below it, those that have ended and wait for their parents left out.
    pub fn processes(&self) -> BTreeSet<u32> {
        let mut pids = BTreeSet::new();
        for folder in below(&self.path) {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        pids
    }

    /// Keeps its processes from running.
    pub fn freeze(&self) -> Result<(), LeafError> {
        self.write("cgroup.freeze", "1")
    }

    /// Lets its processes run that were kept from it.
    pub fn thaw(&self) -> Result<(), LeafError> {
        self.write("cgroup.freeze", "0")
    }

    /// Kills all processes in it and below it at once, those that are being born too (Linux 5.14 and later).
    pub fn kill(&self) -> Result<(), LeafError> {
        self.write("cgroup.kill", "1")
    }

    pub(super) fn write(&self, file: &str, text: &str) -> Result<(), LeafError> {
        let path = self.path.join(file);
        // Not `fs::write`: what is not there is not to be made. Since Linux 6.16, without waiting for reclaim.
        let mut options = File::options();
        options.write(true).truncate(true).custom_flags(O_NONBLOCK);
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        file.write_all(text.as_bytes()).map_err(failed("write", &path))
    }

    /// Removes it and the empty cgroups below it; one that something is in stays, and is the error.
    pub fn remove(&self) -> Result<(), LeafError> {
        let mut folders = below(&self.path);
        folders.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for folder in folders {
            match fs::remove_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove the cgroup", &folder)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A cgroup and all below it.
pub fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(folders);
        next += 1;
    }
    found
}

/// The identity by which the kernel knows a cgroup: its folder's inode number.
pub fn identity(cgroup: &Path) -> io::Result<u64> {
    Ok(fs::metadata(cgroup)?.ino())
}

/// The identities of a cgroup and of all below it.
pub fn descendants(cgroup: &Path) -> BTreeSet<u64> {
    below(cgroup).iter().filter_map(|path| identity(path).ok()).collect()
}

//! The file systems that hooks and pins need: mounted where missing, and put back where asked.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock, fstatfs},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::KernelError;

/// Where tracefs is mounted by custom.
const TRACEFS: &str = "/sys/kernel/tracing";
/// Where it was before it had a place of its own.
const TRACEFS_IN_DEBUGFS: &str = "/sys/kernel/debug/tracing";
/// Where the BPF file system is mounted by custom.
pub(super) const BPFFS: &str = "/sys/fs/bpf";

/// Looks at a file system that others mount and unmount meanwhile.
const LOOKS: usize = 10;

/// A file system that we need.
struct Needed {
    name: &'static str,
    /// What `statfs` calls it (linux/magic.h).
    magic: u64,
    /// Where it may be mounted; where we mount it, first.
    places: &'static [&'static str],
}

const NEEDED: [Needed; 2] = [
    Needed {
        name: "tracefs",
        magic: 0x7472_6163,
        places: &[TRACEFS, TRACEFS_IN_DEBUGFS],
    },
    Needed {
        name: "bpf",
        magic: 0xcafe_4a11,
        places: &[BPFFS],
    },
];

/// What we mounted; nothing of it is unmounted unless [`Mounts::undo`] is called.
#[derive(Debug, Default)]
pub struct Mounts {
    ours: Vec<&'static str>,
    /// Open, so that no other agent's end unmounts them.
    held: Vec<File>,
}

/// Waits until no other agent is about to mount there.
fn turn(at: &str) -> Option<File> {
    // Where the folder above cannot be opened or locked, nothing can be mounted below it either: that is told then.
    let above = File::open(Path::new(at).parent()?).ok()?;
    flock(&above, FlockOperation::LockExclusive).ok()?;
    Some(above)
}

/// The folder of tracefs, where it is mounted.
pub(super) fn tracefs() -> Option<&'static Path> {
    [TRACEFS, TRACEFS_IN_DEBUGFS]
        .map(Path::new)
        .into_iter()
        .find(|folder| folder.join("events").is_dir())
}

/// The mount points of a type of file system, from `/proc/self/mountinfo`.
pub(super) fn mounted(file_system: &str) -> Vec<PathBuf> {
    parse_mount_points(
        &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        file_system,
    )
}

fn parse_mount_points(mountinfo: &str, file_system: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            (after.split(' ').next()? == file_system)
                .then(|| before.split(' ').nth(4).map(unescape))
                .flatten()
        })
        .collect()
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(path: &str) -> PathBuf {
    let mut plain = path.to_owned();
    for (escape, char) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, char);
    }
    plain.into()
}

impl Needed {
    /// Opens its top folder, where it is mounted there.
    fn open(&self, place: &str) -> Option<File> {
        let folder = File::open(place).ok()?;
        // What is open is looked at: the mount that a path goes through may be another by now.
        let found = fstatfs(&folder).ok()?.f_type;
        (u64::try_from(found) == Ok(self.magic)).then_some(folder)
    }
}

impl Mounts {
    /// Mounts tracefs and the BPF file system where the host has not, and holds them until [`Mounts::release`].
    pub fn ensure(&mut self) -> Result<(), KernelError> {
        NEEDED.iter().try_for_each(|needed| self.ensure_one(needed))
    }

    fn ensure_one(&mut self, needed: &Needed) -> Result<(), KernelError> {
        let at = needed.places[0];
        // Until this is dropped: of two agents that both see nothing there, each would mount one on top of the other's, and
        // the first one's pins would be out of sight.
        let _turn = turn(at);
        for _ in 0..LOOKS {
            if let Some(folder) = needed.places.iter().find_map(|place| needed.open(place)) {
                self.held.push(folder);
                return Ok(());
            }
            self.mount(needed.name, at)?;
        }
        Err(KernelError::Mount {
            file_system: needed.name,
            path: at.into(),
            source: Errno::BUSY.into(),
        })
    }

    /// Lets others unmount what they mounted: once the programs are attached, it is not needed.
    pub fn release(&mut self) {
        self.held.clear();
    }

    fn mount(&mut self, file_system: &'static str, at: &'static str) -> Result<(), KernelError> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        match mount(file_system, at, file_system, flags, None) {
            Ok(()) => {
                tracing::info!(file_system, at, "mounted");
                self.ours.push(at);
                Ok(())
            }
            // Somebody else has mounted it since we looked, and it is theirs.
            Err(Errno::BUSY) if mounted(file_system).iter().any(|path| path == Path::new(at)) => Ok(()),
            Err(errno) => Err(KernelError::Mount {
                file_system,
                path: at.into(),
                source: errno.into(),
            }),
        }
    }

    /// Unmounts what we mounted, last first; one that is in use stays and is reported.
    pub fn undo(&mut self) {
        self.release();
        while let Some(at) = self.ours.pop() {
            if let Err(error) = unmount(at, UnmountFlags::empty()) {
                tracing::warn!(at, %error, "left mounted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Mount points by a mountinfo worked out by hand.
    use super::*;

    #[test]
    fn mount_points_are_found_by_type_and_unescaped() {
        let mountinfo = "\
            25 1 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            36 25 0:31 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
            40 1 0:40 / /mnt/my\\040disk rw - cgroup2 none rw\n\
            garbage\n";
        assert_eq!(
            parse_mount_points(mountinfo, "cgroup2"),
            [PathBuf::from("/sys/fs/cgroup/unified"), PathBuf::from("/mnt/my disk")]
        );
    }
}

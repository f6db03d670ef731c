//! Containers that a tool's command starts elsewhere: found by the file in which the runtime writes their identity.

use std::{
    fs,
    io::Read as _,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use super::{ContainerFile, Followed, Tools};
use crate::enforce;

/// Bytes of a container's identity that are read at most.
const LONGEST_CONTAINER_ID: u64 = 128;
/// Digits that a container's identity has.
const CONTAINER_ID: usize = 64;

impl Tools {
    /// Follows the cgroups of containers whose identities have appeared in their files, and ends what followed cgroups
    /// that are no more.
    pub(super) fn look_for_containers(&mut self) {
        let Some(root) = self.cgroup2.clone() else {
            return;
        };
        for file in std::mem::take(&mut self.container_files) {
            match container_id(&file).and_then(|id| find_cgroup(&root, &id, file.uid)) {
                Some(path) => {
                    tracing::info!(cgroup = %path.display(), "a container joins its tool");
                    self.followed.push(Followed { slot: file.slot, path });
                }
                None => self.container_files.push(file),
            }
        }
    }
}

/// The identity of the container that a file names; `None` where it is not there yet, or is none.
fn container_id(file: &ContainerFile) -> Option<String> {
    // The agent reads as root: what the caller could not have written is not read for them, and what is no file is not
    // even opened.
    let there = open(
        &file.path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let is = fstat(&there).ok()?;
    let is_file = FileType::from_raw_mode(is.st_mode) == FileType::RegularFile;
    if !is_file || (is.st_uid != file.uid && file.uid != 0) {
        return None;
    }
    let mut text = String::new();
    let opened = fs::File::open(format!("/proc/self/fd/{}", there.as_raw_fd())).ok()?;
    opened.take(LONGEST_CONTAINER_ID).read_to_string(&mut text).ok()?;
    let id = text.trim();
    let is_id = id.len() == CONTAINER_ID && id.chars().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// The cgroup whose name is a container's identity, alone or between a runtime's name and `.scope`. An ordinary user's
/// is one that was handed to them: others' containers are not theirs to take.
fn find_cgroup(root: &Path, id: &str, uid: u32) -> Option<PathBuf> {
    let is_theirs = |path: &Path| uid == 0 || fs::metadata(path).is_ok_and(|folder| folder.uid() == uid);
    enforce::below(root).into_iter().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let is_named = name.is_some_and(|name| {
            let inner = name.strip_suffix(".scope").unwrap_or(name);
            inner == id || inner.rsplit_once('-').is_some_and(|(_, last)| last == id)
        });
        is_named && is_theirs(path)
    })
}

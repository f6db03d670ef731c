//! Containers that a tool's command starts elsewhere: found by the file in which the runtime writes their identity.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{ContainerFile, Followed, Tools};
use crate::enforce;

/// Bytes of a container's identity that are read at most.
const LONGEST_CONTAINER_ID: u64 = 128;
/// Digits that a container's identity has at least.
const SHORTEST_CONTAINER_ID: usize = 12;

impl Tools {
    /// Follows the cgroups of containers whose identities have appeared in their files, and ends what followed cgroups
    /// that are no more.
    pub(super) fn look_for_containers(&mut self) {
        let Some(root) = self.cgroup2.clone() else {
            return;
        };
        for file in std::mem::take(&mut self.container_files) {
            match container_id(&file).and_then(|id| find_cgroup(&root, &id)) {
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
    use std::io::Read as _;
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
    let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let open = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nofollow.bits().cast_signed())
        .open(&file.path)
        .ok()?;
    let metadata = open.metadata().ok()?;
    // The agent reads as root: what the caller could not have written is not read for them.
    if !metadata.is_file() || (metadata.uid() != file.uid && file.uid != 0) {
        return None;
    }
    let mut text = String::new();
    open.take(LONGEST_CONTAINER_ID).read_to_string(&mut text).ok()?;
    let id = text.trim();
    let is_id = id.len() >= SHORTEST_CONTAINER_ID && id.chars().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// The cgroup whose name holds a container's identity.
fn find_cgroup(root: &Path, id: &str) -> Option<PathBuf> {
    enforce::below(root).into_iter().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.contains(id))
    })
}

//! One socket, one agent: claims the socket's path, and gives it back.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};

use super::AgentError;

/// The longest path that fits into a socket's address, its terminating NUL aside.
const LONGEST_PATH: usize = 107;

/// A claimed socket. Dropping it removes the socket's file, if it still is ours, and what was made for it.
pub(super) struct Instance {
    path: PathBuf,
    /// The socket's inode, once it is ours.
    inode: Option<u64>,
    /// Folders that we made and that go again if they are empty.
    made: Vec<PathBuf>,
    /// Held locked while the agent lives, so that two that start at once do not both take a stale socket over; `None`
    /// where another holds it.
    lock: Option<File>,
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> AgentError + 'p {
    move |source| AgentError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Makes a folder and those above it; returns those that it made, outermost first.
pub(super) fn make_folder(folder: &Path, mode: u32) -> Result<Vec<PathBuf>, AgentError> {
    let missing: Vec<PathBuf> = folder
        .ancestors()
        .take_while(|path| !path.exists())
        .map(Path::to_owned)
        .collect();
    let mut made = Vec::new();
    for path in missing.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
        fs::create_dir(&path).map_err(io_error("make the folder", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io_error("set the mode of", &path))?;
        made.push(path);
    }
    Ok(made)
}

impl Instance {
    /// Claims a socket's path: replaces the file of an agent that has gone, refuses where one answers. The socket is of the
    /// group, where there is one, so that a look at it tells who sees everything.
    pub(super) async fn claim(path: &Path, group: Option<u32>) -> Result<(Self, UnixListener), AgentError> {
        let length = path.as_os_str().len();
        if length > LONGEST_PATH {
            let path = path.to_owned();
            return Err(AgentError::PathTooLong { path, length });
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut claim = Self {
            path: path.to_owned(),
            inode: None,
            made: make_folder(folder, 0o755)?,
            lock: None,
        };
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).map_err(io_error("make the lock", &lock_path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            claim.lock = Some(lock);
        }
        if let Some(error) = in_the_way(path, claim.lock.is_some()).await? {
            return Err(error);
        }
        let listener = UnixListener::bind(path).map_err(io_error("listen on", path))?;
        claim.inode = Some(fs::metadata(path).map_err(io_error("look at", path))?.ino());
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(io_error("set the group of", path))?;
        }
        // Anyone may ask; who asks is known by the connection, and decides what is answered.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(io_error("set the mode of", path))?;
        Ok((claim, listener))
    }
}

/// Removes folders, the innermost first; one that is not empty is in use by others, and stays.
pub(super) fn remove_empty(folders: &[PathBuf]) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
}

/// What keeps the path from being claimed; removes the socket of an agent that has gone.
async fn in_the_way(path: &Path, locked: bool) -> Result<Option<AgentError>, AgentError> {
    let running = |pid| {
        let socket = path.to_owned();
        Ok(Some(AgentError::AlreadyRunning { socket, pid }))
    };
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound && locked => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return running(None),
        Err(error) => return Err(io_error("look at", path)(error)),
    };
    if !there.file_type().is_socket() {
        return Ok(Some(AgentError::NotASocket { path: path.to_owned() }));
    }
    if let Ok(stream) = UnixStream::connect(path).await {
        return running(stream.peer_cred().ok().and_then(|peer| peer.pid()));
    }
    if !locked {
        return running(None);
    }
    tracing::info!(socket = %path.display(), "replacing the socket of an agent that has gone");
    fs::remove_file(path).map_err(io_error("remove the stale socket", path))?;
    Ok(None)
}

impl Drop for Instance {
    fn drop(&mut self) {
        let ours = |inode| fs::metadata(&self.path).is_ok_and(|there| there.ino() == inode);
        if self.inode.is_some_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
        if self.lock.is_some() {
            let _ = fs::remove_file(self.path.with_extension("lock"));
        }
        remove_empty(&self.made);
    }
}

//! The file that is changed: read whole, and replaced in one step by one with the same mode and owner, beside a copy of what
//! it was.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::anyhow;

use crate::cli::{Failure, failure::Code};

/// Copies of one file that are kept at most.
const COPIES: usize = 1000;

/// A file as it was read.
pub(super) struct Original {
    /// Where it is, behind all links.
    path: PathBuf,
    /// What it holds.
    pub(super) text: String,
    metadata: Metadata,
}

impl Original {
    /// Reads it.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let real = path.canonicalize().map_err(|error| failed("read", path, &error))?;
        let metadata = fs::metadata(&real).map_err(|error| failed("read", path, &error))?;
        if !metadata.is_file() {
            return Err(failure(format!(
                "{} is no file: name a host's configuration",
                path.display()
            )));
        }
        let bytes = fs::read(&real).map_err(|error| failed("read", path, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            failure(format!("{} is no text in UTF-8: byte {at} is not", path.display()))
        })?;
        Ok(Self {
            path: real,
            text,
            metadata,
        })
    }

    /// Whether it may be written.
    pub(super) fn writable(&self) -> Result<(), Failure> {
        let opened = OpenOptions::new().write(true).open(&self.path);
        opened.map(drop).map_err(|error| failed("write", &self.path, &error))
    }

    /// Replaces it; returns where the copy of what it was is. Fails, and changes nothing, where it is not any more what was
    /// read.
    pub(super) fn replace(&self, new: &str) -> Result<PathBuf, Failure> {
        let beside = beside(&self.path, ".", &format!(".resmgr-{}", std::process::id()));
        self.create(&beside, new)
            .map_err(|error| failed("write", &beside, &error))?;
        let copied = self.copy();
        let replaced = copied.and_then(|copy| {
            let moved = self
                .unchanged()
                .and_then(|()| fs::rename(&beside, &self.path).map_err(|error| failed("replace", &self.path, &error)));
            match moved {
                Ok(()) => Ok(copy),
                Err(failure) => {
                    let _ = fs::remove_file(&copy);
                    Err(failure)
                }
            }
        });
        if replaced.is_err() {
            let _ = fs::remove_file(&beside);
        }
        replaced
    }

    fn unchanged(&self) -> Result<(), Failure> {
        let now = fs::read(&self.path).map_err(|error| failed("read", &self.path, &error))?;
        if now == self.text.as_bytes() {
            return Ok(());
        }
        let message = format!(
            "{} has changed since it was read: nothing is changed; run this again to see what it would do now",
            self.path.display()
        );
        Err(failure(message))
    }

    /// A copy under a name that is free.
    fn copy(&self) -> Result<PathBuf, Failure> {
        let numbered = (2..=COPIES).map(|n| format!(".resmgr-backup.{n}"));
        for end in std::iter::once(".resmgr-backup".to_owned()).chain(numbered) {
            let path = beside(&self.path, "", &end);
            match self.create(&path, &self.text) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("write", &path, &error)),
            }
        }
        let message = format!(
            "there are {COPIES} copies of {} already: remove some",
            self.path.display()
        );
        Err(failure(message))
    }

    /// Makes a file that nobody else may read, and then whoever may read this one.
    fn create(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let written = self.fill(&mut file, text);
        if written.is_err() {
            let _ = fs::remove_file(path);
        }
        written
    }

    fn fill(&self, file: &mut File, text: &str) -> io::Result<()> {
        file.write_all(text.as_bytes())?;
        let (uid, gid) = (self.metadata.uid(), self.metadata.gid());
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (uid, gid) {
            let kept = fchown(&*file, Some(uid), Some(gid));
            kept.map_err(|error| io::Error::new(error.kind(), format!("keep its owner and group: {error}")))?;
        }
        file.set_permissions(Permissions::from_mode(self.metadata.mode() & 0o7777))?;
        file.sync_all()
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    failure(format!("{what} {}: {error}", path.display()))
}

/// A path beside another.
fn beside(path: &Path, before: &str, behind: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(behind);
    path.with_file_name(name)
}

pub(super) fn failure(message: String) -> Failure {
    Failure::new(Code::Failed, anyhow!(message))
}

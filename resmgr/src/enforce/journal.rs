//! The journal: what is changed on the host for each tool, and what it was before. Written before the change, and read by
//! whoever puts it back. Changes nothing else itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::model::{ProcessId, SchedulingPolicy};

/// The file in the state folder, and where one that cannot be read is set aside.
const NAME: &str = "journal";
const SET_ASIDE: &str = "journal.damaged";
/// The version of its lines.
const VERSION: u32 = 1;
/// It is written anew when it has this many lines beyond what still holds.
const SPARE_LINES: usize = 256;

/// Something is changed for a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A leaf is made.
    Leaf {
        /// Where.
        path: PathBuf,
    },
    /// Its first process, with which all others begin, is moved into the leaf.
    Moved {
        /// The cgroup that it was in.
        from: PathBuf,
    },
    /// Its processes are the first to be killed when memory is out.
    OomScore {
        /// `oom_score_adj` before.
        from: i32,
    },
    /// The private memory of each process is limited.
    Data {
        /// The soft `RLIMIT_DATA` in bytes before; `None` for none.
        from: Option<u64>,
    },
    /// The descriptors of each process are limited.
    Descriptors {
        /// The soft `RLIMIT_NOFILE` before.
        soft: u64,
        /// The hard one.
        hard: u64,
    },
    /// Its threads run when nobody else wants to.
    Idle {
        /// Those that were not scheduled as usual, by thread, and how they were.
        unusual: BTreeMap<u32, SchedulingPolicy>,
    },
    /// Processes have left the leaf, and are held all the same.
    Escaped {
        /// Which.
        processes: BTreeSet<ProcessId>,
    },
}

/// A line of the file, after the first.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    instance: u64,
    /// What is changed; `None` where nothing of it is left to be put back.
    change: Option<Change>,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    version: u32,
    /// Which run of the kernel it is about: with that, its processes and cgroups have gone.
    boot: String,
}

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another agent keeps its journal there.
    #[error("{} is another agent's: stop that one, or give a --state-dir of its own", .0.display())]
    InUse(PathBuf),
    /// It was written by a newer agent.
    #[error(
        "{} is of version {version}, and this agent reads version {VERSION}: release its tools by the agent that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io {
        operation,
        path,
        source,
    }
}

#[derive(Debug)]
struct State {
    file: File,
    /// Lines in the file.
    lines: usize,
    changes: BTreeMap<u64, Vec<Change>>,
}

/// What was changed and is not yet put back, by instance.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    boot: String,
    /// Holds the folder locked.
    _folder: File,
    state: Mutex<State>,
}

impl Journal {
    /// Opens the journal of a state folder, and makes it where there is none. `boot` names the run of the kernel: what was
    /// changed in another is no more.
    pub fn open(folder: &Path, boot: &str) -> Result<Self, JournalError> {
        let locked = File::open(folder).map_err(failed("open", folder))?;
        flock(&locked, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => JournalError::InUse(folder.to_owned()),
            error => failed("lock", folder)(error.into()),
        })?;
        let path = folder.join(NAME);
        let changes = read(&path, boot)?;
        let file = write_anew(&path, boot, &changes)?;
        let lines = count(&changes);
        Ok(Self {
            path,
            boot: boot.to_owned(),
            _folder: locked,
            state: Mutex::new(State { file, lines, changes }),
        })
    }

    /// Notes a change that is about to be made. What is noted already stays: what was before the first change was before
    /// all of them. Where this fails, the change could not be taken back, and is not to be made.
    pub fn note(&self, instance: u64, change: Change) -> Result<(), JournalError> {
        let mut state = self.state();
        let known = state.changes.get(&instance).is_some_and(|noted| knows(noted, &change));
        if known {
            return Ok(());
        }
        self.append(&mut state, instance, Some(&change))?;
        take(state.changes.entry(instance).or_default(), change);
        Ok(())
    }

    /// What was changed for an instance, in that order.
    pub fn changes(&self, instance: u64) -> Vec<Change> {
        self.state().changes.get(&instance).cloned().unwrap_or_default()
    }

    /// The instances that something was changed for.
    pub fn instances(&self) -> Vec<u64> {
        self.state().changes.keys().copied().collect()
    }

    /// Nothing of an instance is left to be put back.
    pub fn settle(&self, instance: u64) -> Result<(), JournalError> {
        let mut state = self.state();
        if state.changes.remove(&instance).is_none() {
            return Ok(());
        }
        if state.lines > count(&state.changes) + SPARE_LINES {
            state.file = write_anew(&self.path, &self.boot, &state.changes)?;
            state.lines = count(&state.changes);
            return Ok(());
        }
        self.append(&mut state, instance, None)
    }

    /// Removes the file, where nothing is left in it.
    pub fn remove(self) -> Result<(), JournalError> {
        if self.state().changes.is_empty() {
            fs::remove_file(&self.path).map_err(failed("remove", &self.path))?;
        }
        Ok(())
    }

    fn append(&self, state: &mut State, instance: u64, change: Option<&Change>) -> Result<(), JournalError> {
        let change = change.cloned();
        let line = to_line(&Line { instance, change });
        state.lines += 1;
        // One call a line: what is killed in between leaves the line whole, or none. The kernel keeps it from then on, and
        // with the kernel goes what it is about.
        state.file.write_all(&line).map_err(failed("write", &self.path))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it has left each list as it was, or longer.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a change says nothing that is not noted.
fn knows(noted: &[Change], change: &Change) -> bool {
    let kind = std::mem::discriminant(change);
    noted
        .iter()
        .find(|noted| std::mem::discriminant(*noted) == kind)
        .is_some_and(|noted| match (noted, change) {
            (Change::Idle { unusual: known }, Change::Idle { unusual: more }) => {
                more.keys().all(|thread| known.contains_key(thread))
            }
            (Change::Escaped { processes: known }, Change::Escaped { processes: more }) => more.is_subset(known),
            _ => true,
        })
}

/// Takes in a change, as far as it says more.
fn take(noted: &mut Vec<Change>, change: Change) {
    let kind = std::mem::discriminant(&change);
    match noted.iter_mut().find(|noted| std::mem::discriminant(*noted) == kind) {
        None => noted.push(change),
        Some(before) => match (before, change) {
            (Change::Idle { unusual: known }, Change::Idle { unusual: more }) => {
                for (thread, policy) in more {
                    known.entry(thread).or_insert(policy);
                }
            }
            (Change::Escaped { processes: known }, Change::Escaped { processes: more }) => known.extend(more),
            _ => {}
        },
    }
}

fn count(changes: &BTreeMap<u64, Vec<Change>>) -> usize {
    changes.values().map(Vec::len).sum()
}

fn to_line(value: &impl Serialize) -> Vec<u8> {
    // Numbers and paths: none that JSON could not hold, but a path that is no text, which is not made here.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

fn read(path: &Path, boot: &str) -> Result<BTreeMap<u64, Vec<Change>>, JournalError> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut lines = text.lines();
    let heading = lines.next().map(serde_json::from_str::<Heading>);
    let mut changes: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
    let mut damaged = 0;
    match heading {
        Some(Ok(heading)) if heading.version > VERSION => {
            return Err(JournalError::Newer {
                path: path.to_owned(),
                version: heading.version,
            });
        }
        Some(Ok(heading)) if heading.boot != boot => return Ok(changes),
        Some(Ok(_)) | None => {}
        // Without it nobody knows what the lines are about.
        Some(Err(_)) => damaged += 1,
    }
    let is_headed = damaged == 0;
    for line in lines.filter(|_| is_headed) {
        match serde_json::from_str::<Line>(line) {
            Ok(Line { instance, change: None }) => _ = changes.remove(&instance),
            Ok(Line {
                instance,
                change: Some(change),
            }) => take(changes.entry(instance).or_default(), change),
            Err(_) => damaged += 1,
        }
    }
    if damaged > 0 {
        let aside = path.with_file_name(SET_ASIDE);
        fs::copy(path, &aside).map_err(failed("copy to", &aside))?;
        tracing::warn!(
            journal = %path.display(),
            set_aside = %aside.display(),
            damaged,
            "lines of the journal cannot be read: what they changed stays as it is"
        );
    }
    Ok(changes)
}

fn write_anew(path: &Path, boot: &str, changes: &BTreeMap<u64, Vec<Change>>) -> Result<File, JournalError> {
    let new = path.with_extension("new");
    let mut text = to_line(&Heading {
        version: VERSION,
        boot: boot.to_owned(),
    });
    for (&instance, changes) in changes {
        for change in changes {
            let change = Some(change.clone());
            text.extend(to_line(&Line { instance, change }));
        }
    }
    let mut file = File::create(&new).map_err(failed("make", &new))?;
    file.write_all(&text).map_err(failed("write", &new))?;
    fs::rename(&new, path).map_err(failed("replace", path))?;
    Ok(file)
}

#[cfg(test)]
mod tests;

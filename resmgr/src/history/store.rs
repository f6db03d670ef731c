//! The store: samples, minutes, hours, who they are of, and what was learned, in one file that survives whatever ends the
//! agent. Reads no clock; a file that is not what it should be is set aside, never written over.

mod prune;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
    TableError, backends::InMemoryBackend,
};

use super::{
    chunk::{self, DecodeError},
    writing::Writing,
};
use crate::model::{HistoryRow, PastTool, Tier, UsageSample};

/// The version of what is stored; of another one a file is set aside.
const FORMAT: u64 = 1;
/// Bytes of the file that are kept in memory.
const CACHED_BYTES: usize = 4 << 20;
/// The longest that samples of one value lie apart, in milliseconds: they are written together.
const CHUNK_MS: u64 = 120_000;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TOOLS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tools");
const LEARNED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("learned");
/// By instance and time in milliseconds since 1970, as those that follow.
const SAMPLES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("samples");
const MINUTES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("minutes");
const HOURS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("hours");

const fn table(tier: Tier) -> TableDefinition<'static, (u64, u64), &'static [u8]> {
    match tier {
        Tier::Second => SAMPLES,
        Tier::Minute => MINUTES,
        Tier::Hour => HOURS,
    }
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file's system or the disk refuses.
    #[error("{operation} the history: {source}")]
    Store {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: Box<redb::Error>,
    },
    /// A file that has to make way does not.
    #[error("set {} aside: {source}", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why it cannot be.
        source: io::Error,
    },
    /// What is stored is not what was written.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

fn failed<E: Into<redb::Error>>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Store {
        operation,
        source: Box::new(source.into()),
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the store in a file, and makes it where there is none. A file that is damaged, or of another version, is set
    /// aside under the name that is returned with the reason.
    pub fn open(path: &Path, now: DateTime<Utc>) -> Result<(Self, Option<(PathBuf, String)>), StoreError> {
        let (opened, why) = match Self::open_file(path) {
            Ok(store) => return Ok((store, None)),
            Err(Unopened::Other(error)) => return Err(error),
            Err(Unopened::Damaged(why)) => (now.format("%Y%m%dT%H%M%S"), why),
        };
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".set-aside-{opened}"));
        let aside = PathBuf::from(aside);
        let set_aside = |source| StoreError::SetAside {
            path: path.to_owned(),
            source,
        };
        if aside.exists() {
            return Err(set_aside(io::ErrorKind::AlreadyExists.into()));
        }
        fs::rename(path, &aside).map_err(set_aside)?;
        match Self::open_file(path) {
            Ok(store) => Ok((store, Some((aside, why)))),
            Err(Unopened::Other(error)) => Err(error),
            Err(Unopened::Damaged(why)) => Err(set_aside(io::Error::other(why))),
        }
    }

    fn open_file(path: &Path) -> Result<Self, Unopened> {
        let mut builder = Builder::new();
        // Else what is damaged is found when it is read, if then.
        builder.set_cache_size(CACHED_BYTES).set_check_integrity_on_open(true);
        Self::with(builder.create(path).map_err(Unopened::from)?)
    }

    /// A store in memory, which leaves nothing.
    pub fn in_memory() -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHED_BYTES);
        let database = builder.create_with_backend(InMemoryBackend::new());
        Self::with(database.map_err(failed("begin"))?).map_err(|unopened| match unopened {
            Unopened::Other(error) => error,
            Unopened::Damaged(why) => failed("begin")(redb::Error::Corrupted(why)),
        })
    }

    fn with(database: Database) -> Result<Self, Unopened> {
        let begin = || -> Result<u64, redb::Error> {
            let writing = database.begin_write()?;
            let format = {
                let mut meta = writing.open_table(META)?;
                let known = meta.get("format")?.map(|format| format.value());
                if known.is_none() {
                    meta.insert("format", FORMAT)?;
                }
                known.unwrap_or(FORMAT)
            };
            if format == FORMAT {
                writing.open_table(TOOLS)?;
                writing.open_table(LEARNED)?;
                for tier in Tier::ALL {
                    writing.open_table(table(tier))?;
                }
            }
            writing.commit()?;
            Ok(format)
        };
        match begin() {
            Ok(FORMAT) => Ok(Self { database }),
            Ok(other) => Err(Unopened::Damaged(format!(
                "it is of version {other}, and this resmgr writes version {FORMAT}"
            ))),
            Err(error @ (redb::Error::Corrupted(_) | redb::Error::TableTypeMismatch { .. })) => {
                Err(Unopened::Damaged(error.to_string()))
            }
            Err(error) => Err(Unopened::Other(failed("open")(error))),
        }
    }

    /// Writes all of it, or nothing.
    pub fn write(&self, new: &Writing) -> Result<(), StoreError> {
        let operation = "write";
        let writing = self.database.begin_write().map_err(failed(operation))?;
        {
            let mut samples = writing.open_table(SAMPLES).map_err(failed(operation))?;
            for (instance, taken) in &new.batch.samples {
                for piece in pieces(taken) {
                    put(&mut samples, (*instance, piece[0].at_ms), &chunk::encode(piece)?)?;
                }
            }
        }
        for tier in [Tier::Minute, Tier::Hour] {
            let mut rows = writing.open_table(table(tier)).map_err(failed(operation))?;
            for (instance, _, row) in new.batch.rows.iter().filter(|(_, of, _)| *of == tier) {
                put(&mut rows, (*instance, row.at_ms), &encoded(row)?)?;
            }
        }
        {
            let mut tools = writing.open_table(TOOLS).map_err(failed(operation))?;
            for tool in &new.tools {
                let bytes = encoded(tool)?;
                tools
                    .insert(tool.instance, bytes.as_slice())
                    .map_err(failed(operation))?;
            }
        }
        {
            let mut learned = writing.open_table(LEARNED).map_err(failed(operation))?;
            for (of, what) in &new.learned {
                match what {
                    Some(bytes) => learned.insert(of.as_str(), bytes.as_slice()).map(drop),
                    None => learned.remove(of.as_str()).map(drop),
                }
                .map_err(failed(operation))?;
            }
        }
        writing.commit().map_err(failed(operation))
    }

    /// All tools that are remembered, the first one first.
    pub fn tools(&self) -> Result<Vec<PastTool>, StoreError> {
        let operation = "read";
        let reading = self.database.begin_read().map_err(failed(operation))?;
        let tools = reading.open_table(TOOLS).map_err(failed::<TableError>(operation))?;
        let mut found = Vec::new();
        for entry in tools.iter().map_err(failed(operation))? {
            let (_, bytes) = entry.map_err(failed(operation))?;
            found.push(decoded(bytes.value())?);
        }
        Ok(found)
    }

    /// All that was learned, by whose it is.
    pub fn learned(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let operation = "read";
        let reading = self.database.begin_read().map_err(failed(operation))?;
        let learned = reading.open_table(LEARNED).map_err(failed::<TableError>(operation))?;
        let mut found = Vec::new();
        for entry in learned.iter().map_err(failed(operation))? {
            let (of, bytes) = entry.map_err(failed(operation))?;
            found.push((of.value().to_owned(), bytes.value().to_vec()));
        }
        Ok(found)
    }

    /// What an instance used in a time, in milliseconds since 1970, in the order of time.
    pub fn rows(&self, instance: u64, tier: Tier, within: Range<u64>) -> Result<Vec<HistoryRow>, StoreError> {
        let operation = "read";
        let reading = self.database.begin_read().map_err(failed(operation))?;
        let rows = reading
            .open_table(table(tier))
            .map_err(failed::<TableError>(operation))?;
        // Samples lie under the time of the first that they were written with.
        let begins = match tier {
            Tier::Second => within.start.saturating_sub(CHUNK_MS),
            Tier::Minute | Tier::Hour => within.start,
        };
        let mut found: Vec<HistoryRow> = Vec::new();
        let range = (instance, begins)..(instance, within.end);
        for entry in rows.range(range).map_err(failed(operation))? {
            let (_, bytes) = entry.map_err(failed(operation))?;
            match tier {
                Tier::Second => {
                    let samples: Vec<UsageSample> = chunk::decode(bytes.value())?;
                    found.extend(samples.into_iter().map(HistoryRow::from));
                }
                Tier::Minute | Tier::Hour => found.push(decoded(bytes.value())?),
            }
        }
        found.retain(|row| within.contains(&row.at_ms));
        found.sort_by_key(|row| row.at_ms);
        Ok(found)
    }
}

/// Why a file was not opened.
enum Unopened {
    /// It is not what it should be, and why.
    Damaged(String),
    /// It may well be: something else is in the way.
    Other(StoreError),
}

impl From<DatabaseError> for Unopened {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::UpgradeRequired(_) => {
                Self::Damaged(error.to_string())
            }
            DatabaseError::Storage(StorageError::Io(ref source)) if is_no_store(source) => {
                Self::Damaged(error.to_string())
            }
            error => Self::Other(failed("open")(error)),
        }
    }
}

fn is_no_store(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Samples in pieces that are stored as one value each: none lies farther from its first than that is looked for.
fn pieces(mut samples: &[UsageSample]) -> impl Iterator<Item = &[UsageSample]> {
    std::iter::from_fn(move || {
        let first = samples.first()?.at_ms;
        let is_near = |sample: &UsageSample| sample.at_ms.checked_sub(first).is_some_and(|off| off < CHUNK_MS);
        let near = samples.iter().take_while(|sample| is_near(sample)).count();
        let (piece, rest) = samples.split_at(near);
        samples = rest;
        Some(piece)
    })
}

/// Puts a value under a key, or under the next one that is free: after the clock was set back there may be one already.
fn put(
    table: &mut redb::Table<'_, (u64, u64), &'static [u8]>,
    (instance, mut at_ms): (u64, u64),
    bytes: &[u8],
) -> Result<(), StoreError> {
    let operation = "write";
    while table.get((instance, at_ms)).map_err(failed(operation))?.is_some() {
        at_ms += 1;
    }
    table.insert((instance, at_ms), bytes).map_err(failed(operation))?;
    Ok(())
}

fn encoded(value: &impl serde::Serialize) -> Result<Vec<u8>, DecodeError> {
    postcard::to_allocvec(value).map_err(DecodeError)
}

fn decoded<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    postcard::from_bytes(bytes).map_err(DecodeError)
}

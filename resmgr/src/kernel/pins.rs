//! Pins: maps and links that outlive the agent, in a folder of a BPF file system.
//!
//! ```text
//! PIN-DIR/active                         the map that names the generation of programs that counts
//! PIN-DIR/abi-N/MAP                      the maps whose layout version N of what crosses the kernel boundary gave them
//! PIN-DIR/abi-N/gen-G-FINGERPRINT/LINK   the links of a generation of version N; the fingerprint tells of which programs
//! ```
//!
//! A version goes on with the maps of older ones, takes over from their programs, and leaves newer ones alone.
//! What is not of this shape, or is no map or link of ours, is somebody else's: it is named in an error, and stays.

mod checks;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData};
use resmgr_common::{Active, names};
use rustix::fs::{FlockOperation, flock};

pub(super) use self::checks::program_of;
use self::checks::{check_link, check_map, named_map};
use super::{Hook, KernelError, wire::Wire};

/// What `statfs` says of a BPF file system.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// No generation counts.
pub(super) const NOBODY: Active = Active { now: u32::MAX, from: 0 };

/// A folder for pins, locked while its agent lives.
pub(super) struct Pins {
    root: PathBuf,
    /// The version that the programs are of.
    abi: u32,
    /// Held for the lock on it.
    _lock: File,
}

/// The links of one loading of the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// Its number; the map `active` names the one that counts.
    pub(super) number: u32,
    /// Which programs, with which constants.
    pub(super) fingerprint: u64,
    /// Its folder.
    pub(super) folder: PathBuf,
}

impl Generation {
    /// Where a hook's link is pinned.
    pub(super) fn link(&self, hook: &Hook) -> PathBuf {
        self.folder.join(format!("{}-{}", hook.program, hook.name))
    }

    /// A generation by the name of its folder; `None` where that is not the name of one.
    fn from_folder(folder: PathBuf) -> Option<Self> {
        let name = folder.file_name()?.to_str()?;
        let (number, fingerprint) = name.strip_prefix("gen-")?.split_once('-')?;
        Some(Self {
            number: number.parse().ok()?,
            fingerprint: u64::from_str_radix(fingerprint, 16).ok()?,
            folder,
        })
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> KernelError + use<> {
    let path = path.to_owned();
    move |source| KernelError::Pin {
        operation,
        path: path.clone(),
        message: source.to_string(),
    }
}

fn foreign(path: &Path, what: impl Into<String>) -> KernelError {
    KernelError::ForeignPin {
        path: path.to_owned(),
        what: what.into(),
    }
}

/// The entries of a folder; none where there is no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, KernelError> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            entries.sort();
            Ok(entries)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("list", folder)(error)),
    }
}

/// Makes a folder, and those above it.
fn make(folder: &Path) -> Result<(), KernelError> {
    fs::create_dir_all(folder).map_err(failed("make the folder", folder))
}

impl Pins {
    /// Opens a folder for pins, and makes it where it is missing; refuses one that holds what is not ours.
    pub(super) fn open(root: &Path, abi: u32) -> Result<Self, KernelError> {
        make(root)?;
        let on = rustix::fs::statfs(root).map_err(|errno| failed("look at", root)(errno.into()))?;
        if on.f_type != BPF_FS_MAGIC {
            return Err(foreign(
                root,
                "is not on a BPF file system: give a --pin-dir under /sys/fs/bpf, or --ephemeral, which pins nothing",
            ));
        }
        let lock = File::open(root).map_err(failed("open", root))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(foreign(
                root,
                "is another agent's: stop that one, or give a --pin-dir of its own",
            ));
        }
        let pins = Self {
            root: root.to_owned(),
            abi,
            _lock: lock,
        };
        pins.check()?;
        Ok(pins)
    }

    /// The folder of a version.
    fn folder(&self, abi: u32) -> PathBuf {
        self.root.join(format!("abi-{abi}"))
    }

    /// The folders of this version and of older ones, as far as they are there.
    fn folders(&self) -> impl Iterator<Item = (u32, PathBuf)> + '_ {
        let folders = (0..=self.abi).map(|abi| (abi, self.folder(abi)));
        folders.filter(|(_, folder)| folder.exists())
    }

    /// Where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        if name == names::ACTIVE {
            return self.root.join("active");
        }
        let kept = names::KEPT_MAPS.into_iter().find(|&(kept, _)| kept == name);
        self.folder(kept.map_or(self.abi, |(_, since)| since)).join(name)
    }

    /// Makes the folders of all maps.
    pub(super) fn make_folders(&self) -> Result<(), KernelError> {
        names::KEPT_MAPS
            .into_iter()
            .try_for_each(|(_, since)| make(&self.folder(since)))
    }

    /// Refuses what is not ours.
    fn check(&self) -> Result<(), KernelError> {
        let active = self.map(names::ACTIVE);
        for path in entries(&self.root)? {
            if path != active && !self.folders().any(|(_, folder)| folder == path) {
                return Err(self.stranger(&path));
            }
        }
        for (name, _) in names::KEPT_MAPS {
            let path = self.map(name);
            if path.exists() {
                check_map(&path, name)?;
            }
        }
        for (abi, folder) in self.folders() {
            for path in entries(&folder)? {
                let kept = names::KEPT_MAPS
                    .into_iter()
                    .find(|&(name, since)| since >= abi && folder.join(name) == path);
                match kept {
                    Some((name, since)) if since > abi => {
                        // Its layout is an older one's, that a later version has replaced.
                        named_map(&path, name)?;
                    }
                    Some(_) => {}
                    None if Generation::from_folder(path.clone()).is_some() => {}
                    None => return Err(self.stranger(&path)),
                }
            }
        }
        for generation in self.generations()? {
            for path in entries(&generation.folder)? {
                check_link(&path)?;
            }
        }
        Ok(())
    }

    /// The generations whose links are there, of this version and older ones, in ascending order.
    pub(super) fn generations(&self) -> Result<Vec<Generation>, KernelError> {
        let mut generations = Vec::new();
        for (_, folder) in self.folders() {
            generations.extend(entries(&folder)?.into_iter().filter_map(Generation::from_folder));
        }
        generations.sort_by_key(|generation| generation.number);
        Ok(generations)
    }

    /// The generation that counts; 0 where there is none.
    pub(super) fn active(&self) -> Result<u32, KernelError> {
        let path = self.map(names::ACTIVE);
        if !path.exists() {
            return Ok(0);
        }
        let read = || -> Result<u32, aya::maps::MapError> {
            let map = Map::Array(MapData::from_pin(&path)?);
            let Wire(active) = Array::<_, Wire<Active>>::try_from(map)?.get(&0, 0)?;
            Ok(active.now)
        };
        read().map_err(|error| foreign(&path, error.to_string()))
    }

    /// Makes no generation count: while hooks are detached one after the other, nothing is refused by half a count.
    fn activate_none(&self) -> Result<(), KernelError> {
        let path = self.map(names::ACTIVE);
        if !path.exists() {
            return Ok(());
        }
        let write = || -> Result<(), aya::maps::MapError> {
            let map = Map::Array(MapData::from_pin(&path)?);
            Array::<_, Wire<Active>>::try_from(map)?.set(0, Wire(NOBODY), 0)
        };
        write().map_err(|error| foreign(&path, error.to_string()))
    }

    /// Makes the folder of a new generation.
    pub(super) fn begin(&self, number: u32, fingerprint: u64) -> Result<Generation, KernelError> {
        let folder = self.folder(self.abi).join(format!("gen-{number}-{fingerprint:016x}"));
        make(&folder)?;
        Ok(Generation {
            number,
            fingerprint,
            folder,
        })
    }

    /// The programs of a generation. What is no link to be read is none of its.
    pub(super) fn programs(generation: &Generation) -> Result<Vec<u32>, KernelError> {
        let links = entries(&generation.folder)?;
        Ok(links.iter().filter_map(|path| program_of(path).ok()).collect())
    }

    /// Detaches a generation: removes its links.
    pub(super) fn end(generation: &Generation) -> Result<(), KernelError> {
        for path in entries(&generation.folder)? {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        fs::remove_dir(&generation.folder).map_err(failed("remove", &generation.folder))
    }

    /// Removes what no version from this one on uses: maps whose layout was replaced, folders that are empty.
    pub(super) fn retire(&self) -> Result<(), KernelError> {
        for (_, folder) in self.folders() {
            for path in entries(&folder)? {
                let is_used = names::KEPT_MAPS.iter().any(|(name, _)| self.map(name) == path);
                if !is_used && Generation::from_folder(path.clone()).is_none() {
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
            }
            // It stays where something is in it.
            let _ = fs::remove_dir(&folder);
        }
        Ok(())
    }

    /// Removes everything: detaches all programs, forgets all counts.
    pub(super) fn release(self) -> Result<(), KernelError> {
        self.activate_none()?;
        for generation in self.generations()? {
            Self::end(&generation)?;
        }
        for (name, _) in names::KEPT_MAPS {
            let path = self.map(name);
            if path.exists() {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        self.retire()?;
        fs::remove_dir(&self.root).map_err(failed("remove", &self.root))
    }

    /// What is not ours, or not for us.
    fn stranger(&self, path: &Path) -> KernelError {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let version = name
            .strip_prefix("abi-")
            .and_then(|version| version.parse::<u32>().ok());
        match version {
            Some(version) if version > self.abi => foreign(
                path,
                format!(
                    "is of a newer resmgr (version {version} of the maps, this is {}): start that one, or let it clean up \
                     by `resmgr agent --release`",
                    self.abi
                ),
            ),
            _ => foreign(path, "is not resmgr's: move it away, or give another --pin-dir"),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Names of folders.
    use super::*;

    #[test]
    fn a_generation_is_known_by_its_folders_name() {
        let folder = PathBuf::from("/pins/abi-2/gen-7-00000000000000ff");
        let generation = Generation::from_folder(folder.clone()).unwrap();
        assert_eq!((generation.number, generation.fingerprint), (7, 255));
        for name in ["gen-7", "gen-x-ff", "gen-7-xyz", "COUNTERS", ""] {
            assert_eq!(
                Generation::from_folder(PathBuf::from("/pins").join(name)),
                None,
                "{name}"
            );
        }
    }
}

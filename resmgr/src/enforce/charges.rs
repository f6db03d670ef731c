//! What the kernel tells of leaves' memory as it happens: that one came to a line of its own. Files in memory that no process
//! maps are charged to a leaf, and no other event tells of them.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use super::Leaf;

/// Bytes that are read at once.
const READ: usize = 4096;

/// Leaves that are watched.
#[derive(Debug)]
pub struct Charges {
    fd: OwnedFd,
    /// Which instance's leaf each watch is of, and which watch each instance has; `None` where its leaf counts no memory.
    instances: HashMap<i32, u64>,
    watches: HashMap<u64, Option<i32>>,
}

impl Charges {
    /// Watches none yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            instances: HashMap::new(),
            watches: HashMap::new(),
        })
    }

    /// What becomes readable when there is something to be told.
    pub fn fd(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Watches an instance's leaf, where it is not watched; one that counts no memory has nothing to be watched.
    pub fn watch(&mut self, instance: u64, leaf: &Leaf) {
        let Entry::Vacant(entry) = self.watches.entry(instance) else {
            return;
        };
        let events = leaf.path().join("memory.events");
        let watch = inotify::add_watch(&self.fd, events, WatchFlags::MODIFY).ok();
        entry.insert(watch);
        self.instances.extend(watch.map(|watch| (watch, instance)));
    }

    /// An instance has ended.
    pub fn forget(&mut self, instance: u64) {
        if let Some(watch) = self.watches.remove(&instance).flatten() {
            self.instances.remove(&watch);
            // It may have gone with its leaf.
            let _ = inotify::remove_watch(&self.fd, watch);
        }
    }

    /// The instances whose memory came to a line since it was last asked.
    pub fn told(&self) -> Vec<u64> {
        let mut buffer = [MaybeUninit::uninit(); READ];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut told = Vec::new();
        while let Ok(event) = reader.next() {
            if let Some(instance) = self
                .instances
                .get(&event.wd())
                .filter(|instance| !told.contains(*instance))
            {
                told.push(*instance);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    //! A folder in place of a leaf.
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn who_came_to_a_line_is_told_once_and_who_has_ended_is_not() {
        let folder = TempDir::new().unwrap();
        let leaf = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            Leaf::at(path)
        };
        let (one, other, none) = (leaf("one"), leaf("other"), leaf("none"));
        let events = |leaf: &Leaf| fs::write(leaf.path().join("memory.events"), "high 1\n").unwrap();
        events(&one);
        events(&other);
        let mut charges = Charges::new().unwrap();
        charges.watch(1, &one);
        charges.watch(1, &one);
        charges.watch(2, &other);
        charges.watch(3, &none);
        assert!(charges.told().is_empty());
        events(&other);
        events(&other);
        events(&one);
        assert_eq!(charges.told(), [2, 1]);
        assert!(charges.told().is_empty());
        charges.forget(2);
        events(&other);
        assert!(charges.told().is_empty());
    }
}

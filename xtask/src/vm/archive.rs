//! Writes a cpio archive of the kind that the kernel unpacks as its first file system ("newc"). Reads no file.

use std::collections::BTreeSet;

/// The format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
const MAGIC: &str = "070701";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LAST: &str = "TRAILER!!!";

/// An archive as it grows; all that is in it belongs to root.
pub(super) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            directories: BTreeSet::new(),
            entries: 0,
        }
    }

    /// Adds a folder, given by its absolute path; those above it too, with the usual mode.
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return;
        }
        self.above(path);
        self.entry(path, DIRECTORY | mode, &[]);
    }

    /// Adds a file, given by its absolute path, and the folders above it.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        let path = path.trim_matches('/');
        self.above(path);
        self.entry(path, REGULAR | mode, content);
    }

    /// The archive's bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(LAST, 0, &[]);
        self.bytes
    }

    fn above(&mut self, path: &str) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.directory(folder, 0o755);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == 0 { 1 } else { 2 };
        let size = content.len();
        let fields = [
            self.entries as usize,
            mode as usize,
            0, // owner
            0, // group
            links,
            0, // time
            size,
            0, // device, major and minor
            0,
            0, // the device that a node stands for
            0,
            name.len() + 1,
            0, // no check sum in this kind
        ];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents, read back by the format's own words.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |n: usize| {
                let digits = &bytes[at + 6 + n * 8..at + 14 + n * 8];
                u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (mode, size, name) = (field(1), field(6) as usize, field(11) as usize);
            let begins = at + 110;
            let text = std::str::from_utf8(&bytes[begins..begins + name - 1])
                .unwrap()
                .to_owned();
            let content = (begins + name).next_multiple_of(4);
            entries.push((text, mode, bytes[content..content + size].to_vec()));
            at = (content + size).next_multiple_of(4);
        }
        entries
    }

    #[test]
    fn what_is_put_in_is_found_again_with_the_folders_above_it() {
        let mut archive = Archive::new();
        archive.directory("/tmp", 0o1777);
        archive.file("/t/debug/deps/numbers", 0o755, b"12345");
        archive.file("/t/debug/resmgr", 0o755, b"");
        let entries = read(&archive.finish());
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "tmp",
                "t",
                "t/debug",
                "t/debug/deps",
                "t/debug/deps/numbers",
                "t/debug/resmgr",
                "TRAILER!!!"
            ]
        );
        assert_eq!(entries[0].1, 0o041_777);
        assert_eq!(
            entries[4],
            ("t/debug/deps/numbers".to_owned(), 0o100_755, b"12345".to_vec())
        );
    }
}

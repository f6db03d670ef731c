//! The BPF object's sources, their hash, and the manifest that ties both to the object. Builds and decides nothing.
//!
//! Shared by this crate's build script, which compares, and by `cargo xtask ebpf`, which writes: so neither can hash
//! in a way of its own.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// Where the object lies, from the workspace's root.
pub(crate) const OBJECT: &str = "resmgr/bpf/resmgr.bpf.o";

/// Where its manifest lies, from the workspace's root.
pub(crate) const MANIFEST: &str = "resmgr/bpf/manifest.toml";

/// What the object is built from, relative to the workspace's root; of folders everything below them.
pub(crate) const SOURCES: [&str; 4] = [
    "resmgr-common/Cargo.toml",
    "resmgr-common/src",
    "resmgr-ebpf/Cargo.toml",
    "resmgr-ebpf/src",
];

/// What the committed object was built from, and with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// SHA-256 of the sources, as [`hash_sources`] counts it.
    pub(crate) sources_sha256: String,
    /// SHA-256 of the object's bytes.
    pub(crate) object_sha256: String,
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// `bpf-linker --version`.
    pub(crate) bpf_linker: String,
    /// The version of the LLVM tools.
    pub(crate) llvm: String,
}

impl Manifest {
    /// Reads `key = "value"` lines; an unknown, repeated or missing key is an error.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut manifest = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| format!("line {number} is not `key = \"value\"`"))?;
            let value = value
                .trim()
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .filter(|value| !value.is_empty() && !value.contains(['"', '\\']))
                .ok_or_else(|| format!("line {number} has no plain quoted value"))?;
            let (_, field) = manifest
                .fields()
                .into_iter()
                .find(|(name, _)| *name == key.trim())
                .ok_or_else(|| format!("line {number} has the unknown key `{}`", key.trim()))?;
            if !field.is_empty() {
                return Err(format!("line {number} repeats the key `{}`", key.trim()));
            }
            value.clone_into(field);
        }
        let missing = manifest
            .fields()
            .into_iter()
            .find(|(_, value)| value.is_empty())
            .map(|(name, _)| name);
        match missing {
            Some(name) => Err(format!("the key `{name}` is missing")),
            None => Ok(manifest),
        }
    }

    /// The file's text, which [`Manifest::parse`] reads back.
    #[allow(dead_code, reason = "xtask writes manifests, the build script only reads them")]
    pub(crate) fn to_text(&self) -> String {
        let mut text = "# Written by `cargo xtask ebpf`: what resmgr.bpf.o was built from, and with.\n".to_owned();
        for (name, value) in self.clone().fields() {
            // A tool's version line is not ours to trust with quoting.
            let value = value.replace(['"', '\\', '\n', '\r'], " ");
            _ = writeln!(text, "{name} = \"{value}\"");
        }
        text
    }

    fn fields(&mut self) -> [(&'static str, &mut String); 5] {
        [
            ("sources_sha256", &mut self.sources_sha256),
            ("object_sha256", &mut self.object_sha256),
            ("rustc", &mut self.rustc),
            ("bpf_linker", &mut self.bpf_linker),
            ("llvm", &mut self.llvm),
        ]
    }
}

/// Lists the source files below `root`, relative to it, in an order that no file system changes.
pub(crate) fn list_sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(root, Path::new(source), &mut files)?;
    }
    files.sort_by_key(|path| portable(path));
    Ok(files)
}

/// Hashes path, length and content of each source file. Line ends count as `\n`, whatever git checked out.
pub(crate) fn hash_sources(root: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    for file in list_sources(root)? {
        let path = root.join(&file);
        let content = fs::read(&path).map_err(|error| name_path(&path, &error))?;
        let content = without_carriage_returns(&content);
        let name = portable(&file);
        // Both lengths are hashed, so that no byte can move from one file or field to the next unnoticed.
        for part in [name.as_bytes(), &content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(to_hex(&hasher.finalize()))
}

/// SHA-256 of some bytes, as hexadecimal digits.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn collect(root: &Path, relative: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let path = root.join(relative);
    if fs::metadata(&path).map_err(|error| name_path(&path, &error))?.is_dir() {
        for entry in fs::read_dir(&path).map_err(|error| name_path(&path, &error))? {
            let name = entry?.file_name();
            // Editors leave hidden files behind; git tracks none of them here.
            if !name.to_string_lossy().starts_with('.') {
                collect(root, &relative.join(name), files)?;
            }
        }
    } else {
        files.push(relative.to_owned());
    }
    Ok(())
}

fn portable(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

fn without_carriage_returns(content: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(content.len());
    for (index, byte) in content.iter().enumerate() {
        if !(*byte == b'\r' && content.get(index + 1) == Some(&b'\n')) {
            kept.push(*byte);
        }
    }
    kept
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn name_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("read {}: {error}", path.display()))
}

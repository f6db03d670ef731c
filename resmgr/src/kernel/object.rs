//! The BPF object: the one built into this binary, or one from a file.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
};

use super::KernelError;

/// A BPF object's bytes, and where they came from.
#[derive(Clone, Debug)]
pub struct BpfObject {
    bytes: Cow<'static, [u8]>,
    origin: Option<PathBuf>,
}

impl BpfObject {
    /// The object that was built from the sources beside this crate's.
    pub fn embedded() -> Self {
        Self {
            bytes: Cow::Borrowed(aya::include_bytes_aligned!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/bpf/resmgr.bpf.o"
            ))),
            origin: None,
        }
    }

    /// An object from a file.
    pub fn from_file(path: &Path) -> Result<Self, KernelError> {
        let bytes = fs::read(path).map_err(|source| KernelError::ReadObject {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            bytes: Cow::Owned(bytes),
            origin: Some(path.to_owned()),
        })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where they came from, for a person.
    pub fn origin(&self) -> String {
        match &self.origin {
            Some(path) => path.display().to_string(),
            None => "built into this binary".to_owned(),
        }
    }
}

//! Knows where things lie. Reads and writes none of them.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The checkout, and the folder that cargo builds into.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this command was started for.
    pub(crate) fn find() -> Result<Self> {
        // Taken at run time: a checkout that was moved, with its target folder, is not where it was compiled.
        let package = env::var_os("CARGO_MANIFEST_DIR").context("this is no cargo run: start it as `cargo xtask`")?;
        let root = Path::new(&package)
            .parent()
            .context("CARGO_MANIFEST_DIR names no folder in a workspace: start it as `cargo xtask`")?
            .canonicalize()
            .context("find the workspace's folder")?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => env::current_dir().context("find the current folder")?.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The workspace's own folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where BPF is built: apart, so that neither build waits for the other's lock.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// Where virtual machines have their kernels, their tests and their logs.
    pub(crate) fn vm_target(&self) -> PathBuf {
        self.target.join("vm")
    }

    /// Where tools that cargo installs for this workspace alone lie.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("toolchain")
    }

    /// A path for a person: from the root where it is below it.
    pub(crate) fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

//! Fetches the official clients of MCP below the target folder, pinned by the lock files in tests/data/mcp. Installs of the
//! distribution what runs them, where it is missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{distribution, shell, workspace::Workspace};

const WHY: &str = "resmgr is asked by the official clients of MCP";
const BY_HAND: &str = "install Python 3.10 with venv and Node.js 18 with npm, or later ones, or leave out --full";

/// The folder that has them: `python` is an environment of Python's, `node` has node's modules.
pub(crate) fn fetched(workspace: &Workspace) -> Result<PathBuf> {
    let locks = workspace.root().join("tests/data/mcp");
    let clients = workspace.target().join("clients");
    let python = clients.join("python");
    once(&locks.join("requirements.txt"), &python, |lock| {
        let has_venv = shell::probe(Command::new("python3").args(["-c", "import ensurepip"])).is_some();
        if !has_venv {
            distribution::install(&["python3", "python3-venv"], WHY, BY_HAND)?;
        }
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
        let mut install = Command::new(python.join("bin/pip"));
        install.args([
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--require-hashes",
            "--requirement",
        ]);
        shell::run(install.arg(lock))
    })?;
    let node = clients.join("node");
    once(&locks.join("package-lock.json"), &node, |lock| {
        if shell::find_on_path("npm").is_none() {
            distribution::install(&["nodejs", "npm"], WHY, BY_HAND)?;
        }
        for file in [&locks.join("package.json"), lock] {
            let copy = node.join(file.file_name().unwrap_or_default());
            fs::copy(file, &copy).with_context(|| format!("write {}", copy.display()))?;
        }
        let mut install = Command::new("npm");
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        shell::run(install.current_dir(&node))
    })?;
    Ok(clients)
}

/// Fills a folder by a lock file, unless it was filled by the same one.
fn once(lock: &Path, folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let pinned = fs::read(lock).with_context(|| format!("read {}", lock.display()))?;
    let mark = folder.join("filled-by");
    if fs::read(&mark).is_ok_and(|filled| filled == pinned) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    println!(
        "installing what {} names below the target folder: {WHY}",
        lock.file_name().unwrap_or_default().display()
    );
    fill(lock)?;
    fs::write(&mark, pinned).with_context(|| format!("write {}", mark.display()))
}

//! Installs packages of the distribution where a command misses them, and says so. Builds nothing.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Brings apt's lists up to date.
pub(crate) fn update() -> Result<()> {
    shell::run(shell::as_root(Path::new("apt-get"), false)?.arg("update"))
}

/// Installs packages; `why` says what for, `by_hand` what to do where that does not work.
pub(crate) fn install(packages: &[&str], why: &str, by_hand: &str) -> Result<()> {
    let list = packages.join(" ");
    if shell::find_on_path("apt-get").is_none() {
        bail!("{list} is missing ({why}), and there is no apt-get to install it: {by_hand}");
    }
    println!("installing {list} with apt-get: {why}");
    let failed = || format!("apt-get could not install {list}; by hand: {by_hand}");
    update().with_context(failed)?;
    let mut install = shell::as_root(Path::new("apt-get"), false)?;
    install
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    shell::run(&mut install).with_context(failed)
}

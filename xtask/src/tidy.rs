//! `cargo xtask tidy`: the rules that no compiler checks, one line for each finding. Changes no file.

mod files;
mod house;
mod packages;
mod paths;
mod source;
mod unsafety;

use std::{
    fmt, fs,
    io::ErrorKind,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{arguments::Arguments, shell, workspace::Workspace};
use source::Source;

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Runs the command.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    Arguments::new("tidy", rest).none()?;
    check(workspace)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints every finding, and fails where there is one.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut findings = Vec::new();
    let mut sources = Vec::new();
    let listed = list(workspace.root())?;
    let checkout = workspace.root().to_string_lossy();
    for path in &listed {
        let content = match fs::read(workspace.root().join(path)) {
            Ok(content) => content,
            // Deleted, and git has not been told; or a link to a folder.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => continue,
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        };
        let Some(text) = as_text(content) else { continue };
        findings.extend(files::machine_paths(path, &text, &checkout));
        if has_extension(path, "rs") {
            sources.push(Source::new(path, text));
        }
    }
    for source in &sources {
        findings.extend(files::header(source));
        findings.extend(files::length(source));
        findings.extend(files::unfinished(source));
        findings.extend(unsafety::check(source));
        findings.extend(house::check(source));
        findings.extend(packages::only_kernel_names_aya(source));
    }
    let manifest = "resmgr/Cargo.toml";
    let text = fs::read_to_string(workspace.root().join(manifest)).with_context(|| format!("read {manifest}"))?;
    findings.extend(packages::fixed_are_used(manifest, &text, &sources));

    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!(
            "tidy: {} files, {} of them Rust: nothing found",
            listed.len(),
            sources.len()
        ),
        1 => bail!("tidy found one place: what to do stands with it"),
        count => bail!("tidy found {count} places: what to do stands with each"),
    }
    Ok(())
}

/// What git tracks or would: a file is held to the rules before its first commit.
fn list(root: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("git");
    command
        .current_dir(root)
        .args(["ls-files", "-z", "-co", "--exclude-standard"]);
    let names = shell::output(&mut command).context("list the files (tidy wants a git checkout)")?;
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

fn as_text(content: Vec<u8>) -> Option<String> {
    if content.contains(&0) {
        return None;
    }
    String::from_utf8(content).ok()
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

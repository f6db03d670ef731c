//! `resmgr completions` and `resmgr man`: what a shell completes, and manual pages, both made from the flags themselves.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Failure, failure::Code};

/// Arguments of `resmgr completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Arguments of `resmgr man`.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// The folder that the pages are written to; made where it is missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// What a person may type: without the commands that resmgr starts itself by.
fn command() -> clap::Command {
    let all = super::Arguments::command();
    let shown: Vec<clap::Command> = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .cloned()
        .collect();
    clap::Command::new("resmgr")
        .version(env!("CARGO_PKG_VERSION"))
        .about(all.get_about().cloned().unwrap_or_default())
        .args(all.get_arguments().cloned().collect::<Vec<_>>())
        .subcommands(shown)
}

/// Prints a shell's completions.
pub(super) fn completions(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "resmgr", &mut script);
    let mut stdout = io::stdout().lock();
    stdout.write_all(&script)?;
    Ok(stdout.flush()?)
}

/// Writes a manual page a command.
pub(super) fn man(arguments: &ManArguments) -> Result<(), Failure> {
    let failed = |what: &str, path: &Path, error: io::Error| {
        Failure::new(Code::Failed, anyhow::anyhow!("{what} {}: {error}", path.display()))
    };
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).map_err(|error| failed("make", folder, error))?;
    clap_mangen::generate_to(command(), folder).map_err(|error| failed("write pages to", folder, error))
}

#[cfg(test)]
mod tests {
    //! What is written is of all commands that are shown, and of no other.
    use super::*;

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ManArguments {
            folder: folder.path().join("made/here"),
        };
        man(&arguments).unwrap();
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut command(), "resmgr", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in super::super::Arguments::command().get_subcommands() {
            let name = command.get_name();
            let page = arguments.folder.join(format!("resmgr-{name}.1"));
            assert_eq!(page.exists(), !command.is_hide_set(), "{name}");
            assert_eq!(
                script.contains(&format!("resmgr,{name})")),
                !command.is_hide_set(),
                "{name}"
            );
        }
        for page in ["resmgr.1", "resmgr-limits-set.1", "resmgr-mcp-wrap.1"] {
            let text = std::fs::read_to_string(arguments.folder.join(page)).unwrap();
            assert!(text.contains(".SH OPTIONS") && text.contains(".TH"), "{page}");
        }
    }
}

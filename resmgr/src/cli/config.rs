//! `resmgr config` and `resmgr reload`: files looked at, shown, and taken in by the agent.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Failure, failure::Code, output};
use crate::{
    config::{Config, ConfigError, DEFAULT_FILE, Written, default_text, settings_text, text_of},
    protocol::{Client, ClientError, ConfigurationReport, RefusalCode, Reloaded},
};

/// A configuration file.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The file.
    #[arg(value_name = "FILE", env = "RESMGR_CONFIG", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

/// Commands of `resmgr config`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say everything that is wrong with a file, each with its line and what to write instead.
    Check(Which),
    /// Show every key of a file, or of the agent that runs, with its value and where that comes from.
    Show {
        #[command(flatten)]
        which: Which,
        /// What the agent that runs goes by, flags and all, and whether it refused a newer file (needs root).
        #[arg(long)]
        effective: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a file with every key, its default and what it means, all as comments.
    Default,
}

/// Checks, or shows.
pub(super) fn run(command: &Command, socket: &Path) -> Result<(), Failure> {
    match command {
        Command::Check(which) => {
            let (config, written) = read(&which.file)?;
            let (keys, rules) = (written.count(), config.rules.len());
            let line = format!("{}: can be used ({keys} keys, {rules} rules)", which.file.display());
            Ok(output::print(&[line])?)
        }
        Command::Show {
            effective: true, json, ..
        } => show_effective(socket, *json),
        Command::Show { which, json, .. } => {
            let settings = read(&which.file)?.1.settings();
            let text = if *json {
                let value = serde_json::json!({ "file": which.file, "settings": settings });
                value.to_string()
            } else {
                settings_text(&settings)
            };
            Ok(output::print(&[text.trim_end().to_owned()])?)
        }
        Command::Default => Ok(output::print(&[default_text().trim_end().to_owned()])?),
    }
}

/// Reads a file; where there is none, the error says how to begin one.
fn read(file: &Path) -> Result<(Config, Written), Failure> {
    let usage = |error: ConfigError| match error {
        ConfigError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let message = format!(
                "there is no {}: what is built in holds; to begin one: resmgr config default > {}",
                file.display(),
                file.display()
            );
            Failure::new(Code::Usage, anyhow::Error::msg(message))
        }
        error => Failure::new(Code::Usage, error),
    };
    let text = text_of(file).map_err(usage)?;
    Config::from_text(&text).map_err(|faults| {
        let path = file.to_owned();
        usage(ConfigError::Faults { path, faults })
    })
}

fn show_effective(socket: &Path, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async { Client::connect(socket).await?.configuration().await });
    let report = report.map_err(failure)?;
    let text = if json {
        serde_json::to_string(&report).map_err(|error| Failure::new(Code::Failed, error))?
    } else {
        in_words(&report)
    };
    Ok(output::print(&[text.trim_end().to_owned()])?)
}

/// What the agent goes by, as a file that can be used.
fn in_words(report: &ConfigurationReport) -> String {
    let status = &report.status;
    let file = status.file.as_deref().map_or("no file".into(), Path::to_string_lossy);
    let mut lines = vec![format!(
        "# read from {file}, {}",
        status.read_at.format("%Y-%m-%d %H:%M:%S UTC")
    )];
    if let Some(refused) = &status.refused {
        lines.extend(refused.message.lines().map(|line| format!("# refused since: {line}")));
    }
    let waiting = status.after_restart.iter();
    lines.extend(waiting.map(|key| format!("# {key} holds once the agent is started again")));
    lines.push(String::new());
    lines.push(settings_text(&report.settings));
    lines.join("\n")
}

/// Flags of `resmgr reload`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Has the agent read its configuration again.
pub(super) fn reload(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reloaded = runtime.block_on(async { Client::connect(socket).await?.reload().await });
    let reloaded = reloaded.map_err(failure)?;
    let lines = if arguments.json {
        vec![serde_json::to_string(&reloaded).map_err(|error| Failure::new(Code::Failed, error))?]
    } else {
        told(&reloaded)
    };
    Ok(output::print(&lines)?)
}

/// A refusal says what kind of failure it was.
fn failure(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused(refusal) if refusal.code == RefusalCode::BadConfiguration => {
            Failure::new(Code::Usage, error)
        }
        ClientError::Refused(refusal) if refusal.code == RefusalCode::NotPermitted => {
            Failure::new(Code::NotPermitted, error)
        }
        _ => error.into(),
    }
}

fn told(reloaded: &Reloaded) -> Vec<String> {
    let file = reloaded
        .file
        .as_deref()
        .map_or("no file: what is built in".into(), Path::to_string_lossy);
    let mut lines = vec![format!("the agent goes by {file}")];
    if reloaded.changed.is_empty() {
        lines.push("nothing has changed".to_owned());
    } else {
        lines.push(format!("changed: {}", reloaded.changed.join(", ")));
    }
    if reloaded.tools > 0 {
        lines.push(format!("tools with other limits: {}", reloaded.tools));
    }
    if !reloaded.after_restart.is_empty() {
        let keys = reloaded.after_restart.join(", ");
        lines.push(format!("once the agent is started again: {keys}"));
    }
    lines
}

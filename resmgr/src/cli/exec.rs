//! `resmgr exec`: registers this process with the agent, then becomes the command: same process id, same standard streams,
//! and the command's own end. Writes nothing to standard output. Before an MCP server it stays, and passes on what is said.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::limits::LimitFlags;
use crate::{
    model::{Enforcement, OperationKind, Orphans, ToolName},
    protocol::{Client, ClientError, RefusalCode, RegisterParams, Registered},
    tool::mcp::{Announced, Proxy},
};

/// The command was not to be run without an agent, or without limits that hold.
const NOT_MANAGED: u8 = 125;
/// The command is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

/// Flags of `resmgr exec`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tool's name [default: the command's].
    #[arg(long, value_name = "NAME")]
    tool: Option<ToolName>,
    /// Do not run the command where it cannot be tracked.
    #[arg(long)]
    require: bool,
    /// A file in which the command (docker run, podman run) writes the identity of the container that it starts: the
    /// container's processes are the tool's too.
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// What its CPU limit counts over: `busy`, from idleness to idleness; `run`, its life; `mcp`, each request to an MCP
    /// server on standard streams, between which and its client resmgr stands; `api`, as the program tells by the library.
    #[arg(long, value_name = "KIND", default_value_t)]
    operations: OperationKind,
    /// Says as what it is tracked in a first line of output: to the proxy that has started it.
    #[arg(long, hide = true)]
    announce: bool,
    #[command(flatten)]
    limits: LimitFlags,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Arguments {
    /// The name that was given, or the command's as far as a tool can have it.
    fn name(&self) -> Option<ToolName> {
        let of_command = || {
            let program = Path::new(self.command.first()?)
                .file_name()?
                .to_string_lossy()
                .into_owned();
            let fits = |c: char| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '_'
                }
            };
            let name: String = program.chars().map(fits).take(63).collect();
            name.trim_start_matches(['.', '_', '-']).parse().ok()
        };
        self.tool.clone().or_else(of_command)
    }

    /// The container's file as the agent has to look for it: it has another current folder.
    fn cidfile(&self) -> Option<PathBuf> {
        let path = self.cidfile.as_ref()?;
        Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
    }
}

/// Registers, and becomes the command, or has an MCP server do so and stands before it; returns only where that is not
/// possible, or where the server has ended.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> ExitCode {
    if arguments.operations == OperationKind::Mcp && !arguments.announce {
        return stand_before(arguments, socket);
    }
    let registered = register(arguments, socket);
    if arguments.announce {
        announce(registered.as_ref().ok());
    }
    match registered {
        Ok(registered) => {
            for warning in registered.warnings {
                eprintln!("resmgr: {warning}");
            }
        }
        // What was asked for, or what the operator allows, is not to be had by not asking.
        Err(Untracked::Client(ClientError::Refused(refusal)))
            if matches!(
                refusal.code,
                RefusalCode::AboveCeiling | RefusalCode::CannotHold | RefusalCode::OverBudget
            ) =>
        {
            eprintln!("resmgr: {refusal}; the command was not run");
            return ExitCode::from(NOT_MANAGED);
        }
        Err(error) if arguments.require => {
            eprintln!("resmgr: {error}; the command was not run (--require)");
            return ExitCode::from(NOT_MANAGED);
        }
        Err(error) => eprintln!("resmgr: {error}; running the command all the same, untracked"),
    }
    let mut words = arguments.command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let error = Command::new(&program).args(words).exec();
    eprintln!("resmgr: run {}: {error}", program.display());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    })
}

/// Runs an MCP server behind the proxy: by this very command, which then becomes the server.
fn stand_before(arguments: &Arguments, socket: &Path) -> ExitCode {
    let mut words: Vec<OsString> = env::args_os().skip(1).collect();
    let mut at = words.len().saturating_sub(arguments.command.len());
    if at
        .checked_sub(1)
        .and_then(|last| words.get(last))
        .is_some_and(|word| word == "--")
    {
        at -= 1;
    }
    words.insert(at, "--announce".into());
    let Some(tool) = arguments.name() else {
        let command = arguments.command.first().cloned().unwrap_or_default();
        eprintln!("resmgr: {}; the command was not run", Untracked::NoName(command));
        return ExitCode::from(NOT_MANAGED);
    };
    let proxy = Proxy {
        tool,
        server: ("/proc/self/exe".into(), words),
        grace: Duration::from_millis(
            arguments
                .limits
                .asked()
                .grace_ms
                .unwrap_or(Enforcement::default().grace_ms),
        ),
    };
    proxy.run(socket).unwrap_or_else(|error| {
        eprintln!(
            "resmgr: stand before {}: {error}",
            arguments.command.join(OsStr::new(" ")).display()
        );
        ExitCode::from(NOT_MANAGED)
    })
}

/// Tells the proxy as what this process is tracked, and ends with it.
fn announce(registered: Option<&Registered>) {
    let announced = Announced {
        registered: registered.cloned(),
    };
    // A proxy that has gone needs to be told nothing; what follows ends this process then.
    let line = serde_json::to_string(&announced).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{line}");
    let _ = io::stdout().flush();
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

/// Why a command runs untracked.
#[derive(Debug, thiserror::Error)]
enum Untracked {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0:?} is no name for a tool: give one with --tool")]
    NoName(OsString),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn register(arguments: &Arguments, socket: &Path) -> Result<Registered, Untracked> {
    let tool = arguments
        .name()
        .ok_or_else(|| Untracked::NoName(arguments.command.first().cloned().unwrap_or_default()))?;
    let cidfile = arguments.cidfile();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        let mut limits = arguments.limits.asked();
        if arguments.announce {
            // Whoever talks to it talks through the proxy: without that it is of no use.
            limits.orphans = limits.orphans.or(Some(Orphans::Reap));
        }
        Ok(client
            .register(RegisterParams {
                tool,
                instance: None,
                cidfile,
                operation: arguments.operations,
                limits,
                best_effort: arguments.limits.best_effort(),
            })
            .await?)
    })
}

#[cfg(test)]
mod tests {
    //! Names of tools by their commands.
    use super::*;

    fn named(command: &str) -> Option<String> {
        let arguments = Arguments {
            tool: None,
            require: false,
            cidfile: None,
            operations: OperationKind::Busy,
            announce: false,
            limits: LimitFlags::default(),
            command: vec![command.into()],
        };
        arguments.name().map(String::from)
    }

    #[test]
    fn a_tool_is_named_like_its_command_unless_told_otherwise() {
        assert_eq!(named("/usr/bin/python3.11").as_deref(), Some("python3.11"));
        assert_eq!(named("./my tool!").as_deref(), Some("my_tool_"));
        assert_eq!(named("/opt/.hidden").as_deref(), Some("hidden"));
        assert_eq!(named("/"), None);
    }
}

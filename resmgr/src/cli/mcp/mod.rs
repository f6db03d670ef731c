//! `resmgr mcp`: resmgr as an MCP server on standard input and output, and `resmgr mcp wrap`. Knows the agent by its socket
//! alone.

mod answer;
mod question;
mod serve;
mod wrap;

use std::path::Path;

use clap::{Args, Subcommand};

use super::Failure;

/// Flags of `resmgr mcp`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    /// Offer the tool `set_limits`, too. What a client may change stays what the user who starts this may.
    #[arg(long)]
    allow_changes: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put resmgr before the commands of an MCP host's configuration: each server becomes a tool.
    Wrap(wrap::Arguments),
}

/// Serves until its client leaves or a signal comes, or changes a host's configuration.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    match &arguments.command {
        None => serve::run(socket, arguments.allow_changes),
        Some(Command::Wrap(arguments)) => wrap::run(arguments, socket),
    }
}

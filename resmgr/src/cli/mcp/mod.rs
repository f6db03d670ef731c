//! `resmgr mcp`: resmgr as an MCP server on standard input and output, and `resmgr mcp wrap`. Knows the agent by its socket
//! alone.

mod answer;
mod question;
mod serve;

use std::path::Path;

use clap::Args;

use super::Failure;

/// Flags of `resmgr mcp`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Offer the tool `set_limits`, too. What a client may change stays what the user who starts this may.
    #[arg(long)]
    allow_changes: bool,
}

/// Serves, until its client leaves or a signal comes.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    serve::run(socket, arguments.allow_changes)
}

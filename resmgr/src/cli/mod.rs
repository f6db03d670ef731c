//! The command line: a file per subcommand. Results go to standard output, everything else to standard error.

mod agent;
mod alerts;
mod attach;
mod audit;
mod backtest;
mod cleanup;
mod config;
mod discover;
mod doctor;
mod exec;
mod explain;
mod failure;
mod history;
mod limits;
mod manual;
mod mcp;
mod output;
mod progress;
mod report;
#[cfg(test)]
mod schemas;
mod status;
mod top;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use failure::Failure;

/// Where the agent listens unless told otherwise.
const SOCKET: &str = "/run/resmgr/resmgr.sock";

/// Knows what every process on a Linux host uses, from the kernel itself, by eBPF.
#[derive(Debug, Parser)]
#[command(name = "resmgr", version, max_term_width = 100)]
struct Arguments {
    /// The agent's control socket.
    #[arg(long, global = true, value_name = "PATH", env = "RESMGR_SOCKET", default_value = SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent (needs root).
    Agent(agent::Arguments),
    /// Show what is used now.
    Status(status::Arguments),
    /// Watch tools on the whole screen, and look into them.
    Top(top::Arguments),
    /// Run a command as a tool: its processes are tracked together, from its first instruction on.
    Exec(exec::Arguments),
    /// Make processes that run already a tool.
    Attach(attach::Arguments),
    /// Find MCP servers and commands of AI agents that run already, and say how each would become a tool. Changes nothing.
    Discover(discover::Arguments),
    /// Show and set the limits of tools.
    Limits(limits::Arguments),
    /// Show what tools used over time.
    History(history::Arguments),
    /// Write a page with plots of what a tool used, and what was done.
    Report(report::Arguments),
    /// Say why a tool's limits are what they are, and what was done.
    Explain(explain::Arguments),
    /// Show what somebody should know of tools, and follow it.
    Alerts(alerts::Arguments),
    /// Answer AI agents over MCP on standard input and output; or put resmgr before the commands of an MCP host.
    Mcp(mcp::Arguments),
    /// End all processes of a tool.
    Cleanup(cleanup::Arguments),
    /// Check and show configurations.
    #[command(subcommand)]
    Config(config::Command),
    /// Have the agent read its configuration again (needs root).
    Reload(config::Arguments),
    /// Compare the agent's numbers with the kernel's own files (needs root).
    Audit(audit::Arguments),
    /// Say what the estimator of limits and the forecasts would have said over recorded use.
    #[command(subcommand)]
    Backtest(backtest::Command),
    /// Show what this host offers, and what follows from what it lacks.
    Doctor(doctor::Arguments),
    /// Print what a shell needs to complete commands and flags.
    Completions(manual::CompletionsArguments),
    /// Write manual pages, one a command.
    Man(manual::ManArguments),
    /// Freezes and thaws cgroups by the orders on standard input: the agent starts it where a host has no quota of CPU time.
    #[command(name = crate::enforce::FREEZE_COMMAND, hide = true)]
    FreezeByTurns,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let Arguments { socket, command } = Arguments::parse();
    let done = match command {
        // Ends as the command ends.
        Command::Exec(arguments) => return exec::run(&arguments, &socket),
        Command::Attach(arguments) => attach::run(&arguments, &socket),
        Command::Discover(arguments) => discover::run(&arguments, &socket),
        Command::Limits(arguments) => limits::run(&arguments, &socket),
        Command::History(arguments) => history::run(&arguments, &socket),
        Command::Report(arguments) => report::run(&arguments, &socket),
        Command::Explain(arguments) => explain::run(&arguments, &socket),
        Command::Alerts(arguments) => alerts::run(&arguments, &socket),
        Command::Mcp(arguments) => mcp::run(&arguments, &socket),
        Command::Cleanup(arguments) => cleanup::run(&arguments, &socket),
        Command::Config(command) => config::run(&command, &socket),
        Command::Reload(arguments) => config::reload(&arguments, &socket),
        Command::Audit(arguments) => audit::run(&arguments, &socket),
        Command::Agent(arguments) => agent::run(&arguments, &socket),
        Command::Top(arguments) => top::run(&arguments, &socket),
        Command::Status(arguments) => status::run(&arguments, &socket),
        Command::Backtest(command) => backtest::run(&command, &socket),
        Command::Doctor(arguments) => doctor::run(&arguments, &socket),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Man(arguments) => manual::man(&arguments),
        Command::FreezeByTurns => {
            crate::enforce::freeze_by_turns(std::io::BufReader::new(std::io::stdin()));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

//! `resmgr alerts`: what somebody should know, as it was told and as it comes.

use std::path::Path;

use chrono::Local;
use clap::Args;

use super::{Failure, output};
use crate::{
    model::{Alert, AlertState, ToolName},
    protocol::{AlertsParams, Client},
};

/// How long the agent is asked to wait for the next one, in milliseconds.
const WAIT_MS: u64 = 20_000;

/// Flags of `resmgr alerts`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Alerts of the tools of this name alone.
    #[arg(value_name = "TOOL")]
    tool: Option<ToolName>,
    /// Go on, and show new ones as they come.
    #[arg(long)]
    follow: bool,
    /// Those that nobody has acknowledged alone.
    #[arg(long)]
    new: bool,
    /// Acknowledge the alerts up to this one, and print nothing but how many that were.
    #[arg(long, value_name = "ID", conflicts_with_all = ["follow", "new", "tool"])]
    acknowledge: Option<u64>,
    /// Print JSON, a line an alert.
    #[arg(long)]
    json: bool,
}

/// Shows, follows or acknowledges.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        let mut params = AlertsParams {
            acknowledge: arguments.acknowledge,
            ..AlertsParams::default()
        };
        loop {
            let report = client.alerts(params).await?;
            if params.acknowledge.is_some() {
                if arguments.json {
                    return output::print_json(&serde_json::json!({ "acknowledged": report.acknowledged }));
                }
                return Ok(output::print(&[format!("{} acknowledged", report.acknowledged)])?);
            }
            let is_meant = |alert: &&Alert| {
                arguments.tool.as_ref().is_none_or(|tool| *tool == alert.tool) && !(arguments.new && alert.acknowledged)
            };
            let alerts: Vec<&Alert> = report.alerts.iter().filter(is_meant).collect();
            if arguments.json {
                alerts.iter().try_for_each(output::print_json)?;
            } else {
                let lines: Vec<String> = alerts.iter().map(|alert| line(alert)).collect();
                output::print(&output::fitted(&lines, output::width()))?;
            }
            if !arguments.follow {
                if alerts.is_empty() {
                    eprintln!("no alerts");
                }
                return Ok(());
            }
            params.after = report.alerts.last().map_or(params.after, |alert| alert.id);
            params.wait_ms = WAIT_MS;
        }
    })
}

/// An alert in words.
pub(super) fn line(alert: &Alert) -> String {
    let state = match alert.state {
        AlertState::Raised => String::new(),
        AlertState::Repeated => " still".to_owned(),
        AlertState::Cleared => " over".to_owned(),
    };
    let seen = if alert.acknowledged { " (seen)" } else { "" };
    format!(
        "{:>4}  {}  {:<9}  {} ({}){state}: {}{seen}",
        alert.id,
        alert.at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S"),
        format!("{:?}", alert.level).to_lowercase(),
        alert.tool,
        alert.instance,
        alert.message,
    )
}

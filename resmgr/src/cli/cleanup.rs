//! `resmgr cleanup`: ends all processes of a tool, and says what became of them.

use std::path::Path;

use clap::Args;

use super::{Failure, failure::Code, output, progress::Progress};
use crate::{
    config::Grace,
    export::count,
    model::ToolName,
    protocol::{CleanUpParams, CleanUpReport, CleanUpStatus, Client},
};

/// Flags of `resmgr cleanup`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tools' name.
    #[arg(value_name = "TOOL")]
    tool: ToolName,
    /// One instance alone.
    #[arg(long, value_name = "N")]
    instance: Option<u64>,
    /// How long processes may take after SIGTERM before they are killed [default: the tool's own grace].
    #[arg(long, value_name = "TIME")]
    grace: Option<Grace>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Has the tool ended; fails where something is left.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = Progress::begin("ending it", None);
    let report = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        client
            .clean_up(CleanUpParams {
                tool: arguments.tool.clone(),
                instance: arguments.instance,
                grace_ms: arguments.grace.map(|grace| grace.0),
            })
            .await
    })?;
    drop(progress);
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&render(&report))?;
    }
    if report.tools.iter().all(CleanUpStatus::is_clean) {
        return Ok(());
    }
    let message = "something is left: see what is listed";
    Err(Failure::new(Code::Failed, anyhow::anyhow!(message)))
}

fn render(report: &CleanUpReport) -> Vec<String> {
    let mut lines = Vec::new();
    for tool in &report.tools {
        lines.push(format!(
            "{} (instance {}): {} ended when asked, {} killed, {} left, in {:.0} ms",
            tool.tool,
            tool.instance,
            count(tool.ended),
            count(tool.killed),
            count(tool.left.len() as u64),
            tool.took_ms,
        ));
        for left in &tool.left {
            let comm = left.comm.as_deref().unwrap_or("?");
            lines.push(format!("  left: process {} ({comm}): {}", left.pid, left.why));
        }
        for zombie in &tool.zombies {
            let parent = zombie.parent_comm.as_deref().unwrap_or("?");
            lines.push(format!(
                "  ended, not reaped: process {}; only its parent can, process {} ({parent})",
                zombie.pid, zombie.parent,
            ));
        }
        if let Some(cgroup) = &tool.cgroup_left {
            lines.push(format!("  left: the cgroup: {}", cgroup.why));
        }
    }
    lines
}

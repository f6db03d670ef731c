//! What the tools of `resmgr mcp` answer: what the agent tells, as a structure and in words. Changes nothing but by `set_limits`.

use std::{collections::BTreeMap, path::Path};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::question;
use crate::{
    cli::{Failure, alerts, explain, history, limits, status},
    export::redacted,
    model::{Alert, HostTotals, ToolName},
    protocol::{
        AlertsParams, AlertsReport, Client, ClientError, HistoryReport, LimitsSet, ProcessSelection, ProcessStatus,
        SetLimitsParams, StatusParams, ToolStatus, ToolSums,
    },
};

/// Alerts that are told where nobody says how many.
const ALERTS: usize = 50;
/// Processes that are listed where nobody says how many, and at most.
const PROCESSES: usize = 20;
const MOST_PROCESSES: usize = 200;

/// Why there is no answer, in words that say what to do.
pub(super) struct NoAnswer(pub(super) String);

impl<E: Into<Failure>> From<E> for NoAnswer {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}

/// An answer, and the same in words.
pub(super) type Answer<T> = Result<(T, Vec<String>), NoAnswer>;

/// What is used now: of a status report what is about the caller's.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Status {
    /// When the numbers were taken.
    taken_at: DateTime<Utc>,
    /// Sums over the processes that the caller may see.
    host: HostTotals,
    /// One entry an instance.
    tools: Vec<ToolStatus>,
    /// Sums over the instances of a name.
    tools_by_name: BTreeMap<ToolName, ToolSums>,
}

/// The instances of a name, with what came near their limits and what was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Explained {
    /// One entry an instance.
    tools: Vec<ToolStatus>,
}

/// The processes that use most.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Top {
    /// When the numbers were taken.
    taken_at: DateTime<Utc>,
    /// Sums over the processes that the caller may see.
    host: HostTotals,
    /// The processes, in the order asked for.
    processes: Vec<ProcessStatus>,
}

/// What is used now.
pub(super) async fn status(socket: &Path, asked: question::Status) -> Answer<Status> {
    let mut client = Client::connect(socket).await?;
    let params = StatusParams {
        fresh: asked.fresh,
        tool: asked.tool.clone(),
        ..StatusParams::default()
    };
    let mut report = client.status(params).await?;
    if let Some(name) = asked.tool.as_ref().filter(|_| report.tools.is_empty()) {
        return Err(missing(&mut client, name).await);
    }
    let mut lines = status::told(&report, asked.tool.as_ref(), false, None);
    if report.tools.is_empty() {
        lines.push(format!("No tool of yours runs. {HOW}"));
    }
    report.tools.iter_mut().for_each(without_others_peers);
    let status = Status {
        taken_at: report.taken_at,
        host: report.host,
        tools: report.tools,
        tools_by_name: report.tools_by_name,
    };
    Ok((status, lines))
}

/// Leaves out whom another user's tool is connected with: root sees that, and it is not for a model to read.
pub(super) fn without_others_peers(tool: &mut ToolStatus) {
    if tool.uid != rustix::process::geteuid().as_raw() {
        tool.usage.connections.clear();
    }
}

/// Why a tool's limits are what they are.
pub(super) async fn explain(socket: &Path, asked: question::Explain) -> Answer<Explained> {
    let mut client = Client::connect(socket).await?;
    match explain::ask(&mut client, &asked.tool, asked.instance).await {
        Ok((mut tools, history)) => {
            tools.iter_mut().for_each(without_others_peers);
            let lines = explain::told(&asked.tool, &tools, history.as_ref(), None);
            Ok((Explained { tools }, lines))
        }
        Err(_) if asked.instance.is_none() => Err(missing(&mut client, &asked.tool).await),
        Err(failure) => Err(failure.into()),
    }
}

/// What a tool used over time.
pub(super) async fn history(socket: &Path, asked: question::History) -> Answer<HistoryReport> {
    let part = asked.part().map_err(NoAnswer)?;
    let mut client = Client::connect(socket).await?;
    let mut report = part.ask(&mut client, &asked.tool).await?;
    let before = report.rows.len().saturating_sub(asked.rows.unwrap_or(history::SHOWN));
    report.rows.drain(..before);
    let mut lines = history::told(&report, asked.of);
    if before > 0 {
        lines.push(format!(
            "{before} rows before these: ask for more `rows`, or a coarser `resolution`"
        ));
    }
    Ok((report, lines))
}

/// What somebody should know.
pub(super) async fn alerts(socket: &Path, asked: question::Alerts) -> Answer<AlertsReport> {
    let params = AlertsParams {
        after: asked.after,
        ..AlertsParams::default()
    };
    let mut report = Client::connect(socket).await?.alerts(params).await?;
    let is_meant = |alert: &Alert| {
        asked.tool.as_ref().is_none_or(|tool| *tool == alert.tool) && !(asked.new && alert.acknowledged)
    };
    report.alerts.retain(is_meant);
    let before = report.alerts.len().saturating_sub(asked.limit.unwrap_or(ALERTS));
    report.alerts.drain(..before);
    let mut lines: Vec<String> = report.alerts.iter().map(alerts::line).collect();
    if lines.is_empty() {
        lines.push("no alerts".to_owned());
    }
    Ok((report, lines))
}

/// Which processes use most.
pub(super) async fn top(socket: &Path, asked: question::Top) -> Answer<Top> {
    let params = StatusParams {
        processes: ProcessSelection::Top,
        sort: asked.sort,
        limit: asked.limit.unwrap_or(PROCESSES).clamp(1, MOST_PROCESSES),
        tool: asked.tool.clone(),
        ..StatusParams::default()
    };
    let mut client = Client::connect(socket).await?;
    let mut report = client.status(params).await?;
    if let Some(name) = asked.tool.as_ref().filter(|_| report.tools.is_empty()) {
        return Err(missing(&mut client, name).await);
    }
    // Root sees all command lines, and what they hold is not for a model to read; nor are secrets in the user's own.
    let own = rustix::process::geteuid().as_raw();
    for process in report.processes.iter_mut().flatten() {
        let command = process.command.take().filter(|_| process.uid == own);
        process.command = command.as_deref().map(redacted);
    }
    let lines = status::told(&report, asked.tool.as_ref(), false, None);
    let top = Top {
        taken_at: report.taken_at,
        host: report.host,
        processes: report.processes.unwrap_or_default(),
    };
    Ok((top, lines))
}

/// Sets limits of tools that run.
pub(super) async fn set_limits(socket: &Path, asked: question::SetLimits) -> Answer<LimitsSet> {
    let params = SetLimitsParams {
        limits: asked.asked().map_err(NoAnswer)?,
        tool: asked.tool,
        instance: asked.instance,
        best_effort: asked.best_effort,
    };
    let set = Client::connect(socket).await?.set_limits(params).await?;
    let lines = limits::told(&set);
    Ok((set, lines))
}

/// How there come to be tools.
const HOW: &str = "A program becomes one by `resmgr exec --tool NAME -- COMMAND`, the servers of an MCP host by `resmgr mcp wrap FILE`.";

/// That there is no tool of a name, and which there are.
pub(super) async fn missing(client: &mut Client, name: &ToolName) -> NoAnswer {
    let running = names(client).await.unwrap_or_default();
    let there = match running.as_slice() {
        [] => HOW.to_owned(),
        names => {
            let names: Vec<&str> = names.iter().map(ToolName::as_str).collect();
            format!("Those that do: {}.", names.join(", "))
        }
    };
    NoAnswer(format!("No tool {name} of yours runs, or has ended lately. {there}"))
}

/// The names of tools that run, each once.
pub(super) async fn names(client: &mut Client) -> Result<Vec<ToolName>, ClientError> {
    let report = client.status(StatusParams::default()).await?;
    let running = report.tools.into_iter().filter(|tool| tool.ended_s.is_none());
    let mut names: Vec<ToolName> = running.map(|tool| tool.name).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

//! `resmgr explain`: a tool's limits and where they come from, how they are held, what was learned of its use, what came near
//! them, what was done and why.

mod learned;

pub(super) use learned::told as learned;

use std::{path::Path, time::Duration};

use chrono::{DateTime, Local, Utc};
use clap::Args;

use super::{
    Failure,
    failure::Code,
    history::Part,
    limits::{source, suggestions},
    output,
};
use crate::{
    export::{Align, Column, Table, amount, duration, many},
    model::{Action, EndCause, Evidence, Reason, Resource, Step, ToolName},
    protocol::{Client, CrossingStatus, ExitReport, HistoryReport, StatusParams, ToolStatus},
};

/// Flags of `resmgr explain`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tools' name.
    #[arg(value_name = "TOOL")]
    tool: ToolName,
    /// One instance alone.
    #[arg(long, value_name = "N")]
    instance: Option<u64>,
    /// Print JSON: the tools of the status report.
    #[arg(long)]
    json: bool,
}

/// Explains, also what has ended lately.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tools, history) = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        ask(&mut client, &arguments.tool, arguments.instance).await
    })?;
    if arguments.json {
        return output::print_json(&tools);
    }
    let lines = told(&arguments.tool, &tools, history.as_ref(), output::width());
    Ok(output::print(&output::fitted(&lines, output::width()))?)
}

/// Asks for the instances of a name, or one, and for what they used, as far as that is remembered.
pub(super) async fn ask(
    client: &mut Client,
    name: &ToolName,
    instance: Option<u64>,
) -> Result<(Vec<ToolStatus>, Option<HistoryReport>), Failure> {
    let params = StatusParams {
        tool: Some(name.clone()),
        ..StatusParams::default()
    };
    let report = client.status(params).await?;
    // Without a history there is nothing to suggest by, and still much to say.
    let history = Part::default().ask(client, name).await.ok();
    let is_meant = |tool: &ToolStatus| instance.is_none_or(|instance| instance == tool.instance);
    let tools: Vec<ToolStatus> = report.tools.into_iter().filter(is_meant).collect();
    if tools.is_empty() {
        let message = format!("no tool {name} of yours runs, or has ended lately; what it used: resmgr history {name}");
        return Err(Failure::new(Code::Failed, anyhow::anyhow!(message)));
    }
    Ok((tools, history))
}

/// All of it in words.
pub(super) fn told(
    name: &ToolName,
    tools: &[ToolStatus],
    history: Option<&HistoryReport>,
    width: Option<usize>,
) -> Vec<String> {
    let mut lines: Vec<String> = tools.iter().flat_map(|tool| explained(tool, width)).collect();
    lines.extend(history.iter().flat_map(|history| suggestions(name, history)));
    lines
}

pub(super) fn explained(tool: &ToolStatus, width: Option<usize>) -> Vec<String> {
    let held = &tool.enforcement;
    let mut how = vec![format!("mode {}", held.mode)];
    if held.strict {
        how.push("strict: refused at the limit in force".to_owned());
    }
    if held.exempt_loopback {
        how.push("connections to this host exempt".to_owned());
    }
    how.push(format!("orphans: {}", held.orphans));
    how.push(format!("grace {}", duration(Duration::from_millis(held.grace_ms))));
    let state = match tool.ended_s {
        Some(seconds) => format!("ended {} ago", duration(Duration::from_secs(seconds))),
        None => many(tool.process_count, "process runs", "processes run"),
    };
    let mut lines = vec![
        format!(
            "{} (instance {}): {state}; {}",
            tool.name,
            tool.instance,
            how.join("; ")
        ),
        String::new(),
    ];
    lines.extend(limits(tool).lines(width));
    lines.extend(refused(tool));
    if let Some(exit) = &tool.root_exit {
        lines.push(String::new());
        lines.push(ended(exit, tool.oom_kills));
    }
    let learned = learned::lines(tool);
    if !learned.is_empty() {
        lines.push(String::new());
        lines.extend(learned);
    }
    lines.push(String::new());
    lines.extend(history(tool));
    lines
}

/// What the kernel refused, where it did.
fn refused(tool: &ToolStatus) -> Option<String> {
    let (fds, connections) = (tool.events.fds_refused, tool.events.connections_refused);
    let refused = fds + connections > 0;
    refused.then(|| format!("Refused: {fds} descriptors (EMFILE), {connections} connections (EPERM)."))
}

fn ended(exit: &ExitReport, oom_kills: u64) -> String {
    let how = match (exit.code, exit.signal) {
        (_, Some(signal)) => format!("by signal {signal}"),
        (Some(code), None) => format!("with exit code {code}"),
        (None, None) => "in an unknown way".to_owned(),
    };
    let cause = match exit.cause {
        EndCause::Exit => String::new(),
        EndCause::Crash => ": it crashed".to_owned(),
        EndCause::OutOfMemory => format!(": the kernel killed for want of memory, {oom_kills} processes in its cgroup"),
        EndCause::Resmgr => ": resmgr ended it".to_owned(),
        EndCause::Signal => ": somebody's signal, not resmgr's".to_owned(),
    };
    format!("Its first process ended {how}{cause}.")
}

fn limits(tool: &ToolStatus) -> Table {
    let left = |heading| Column {
        heading,
        align: Align::Left,
    };
    let right = |heading| Column {
        heading,
        align: Align::Right,
    };
    let mut table = Table::new(&[
        left("RESOURCE"),
        right("USE"),
        left("LEVEL"),
        right("BASE"),
        right("CURRENT"),
        right("MAX"),
        left("BASE FROM"),
        left("MAX FROM"),
    ]);
    for resource in Resource::ALL {
        let range = tool.limits.range(resource);
        let used = match resource {
            Resource::Memory => tool.usage.memory_bytes as u64,
            Resource::Cpu => tool.operation_cpu_ms,
            Resource::Fds => tool.usage.file_handles.len() as u64,
            Resource::Connections => tool.usage.network_connections.len() as u64,
        };
        let level = tool.levels.get(&resource).copied().unwrap_or_default();
        table.row(vec![
            resource.to_string(),
            amount(resource, used),
            format!("{level:?}").to_lowercase(),
            amount(resource, range.base),
            amount(resource, range.current),
            amount(resource, range.max),
            source(range.base_from).to_owned(),
            source(range.max_from).to_owned(),
        ]);
    }
    table
}

/// What came near its limits and what was done, in the order of time.
fn history(tool: &ToolStatus) -> Vec<String> {
    let crossings = tool.crossings.iter().map(|crossing| (crossing.at, crossed(crossing)));
    let actions = tool.actions.iter().map(|action| (action.at, done(action)));
    let mut all: Vec<(DateTime<Utc>, String)> = crossings.chain(actions).collect();
    if all.is_empty() {
        return vec!["Nothing came near a limit, and nothing was done, since the agent started.".to_owned()];
    }
    // What was done comes after what it was done for, where both are told of the same moment.
    all.sort_by_key(|(at, _)| *at);
    let line = |(at, what): (DateTime<Utc>, String)| {
        format!("{}  {what}", at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S%.3f"))
    };
    all.into_iter().map(line).collect()
}

fn crossed(crossing: &CrossingStatus) -> String {
    let way = if crossing.risen { "reached" } else { "left" };
    format!(
        "{}: {way} {:?} at {} (process {})",
        crossing.resource,
        crossing.level,
        amount(crossing.resource, crossing.value),
        crossing.pid,
    )
}

/// What was done, and why.
pub(super) fn done(action: &Action) -> String {
    let why = why(action.reason, &action.evidence, action.resource);
    let Some(resource) = action.resource else {
        return format!("{}: {why}", action.step);
    };
    if action.step == Step::CleanUp {
        return format!("{resource}: {}: {why}", action.step);
    }
    let number = |value: Option<u64>| match (value, action.step) {
        (None, Step::Idle | Step::Turns) => "all the time".to_owned(),
        (None, _) => "none".to_owned(),
        (Some(_), Step::Idle) => "while nobody else wants a CPU".to_owned(),
        (Some(percent), Step::Quota) => format!("{percent} % of a core"),
        (Some(percent), Step::Turns) => format!("{percent} % of the time"),
        (Some(value), _) => amount(resource, value),
    };
    format!(
        "{resource}: {} {} -> {}: {why}",
        action.step,
        number(action.from),
        number(action.to),
    )
}

fn why(reason: Reason, evidence: &Evidence, resource: Option<Resource>) -> String {
    let number = |value: Option<u64>| match (value, resource) {
        (Some(value), Some(resource)) => amount(resource, value),
        (Some(value), None) => value.to_string(),
        (None, _) => "?".to_owned(),
    };
    let (value, limit) = (number(evidence.value), number(evidence.limit));
    let over = duration(Duration::from_secs(evidence.over_s.unwrap_or(0)));
    match reason {
        Reason::Near => format!("the use was {value}, of a limit of {limit}"),
        Reason::Grows => format!("the use of {value} grows steadily, and is to reach the limit of {limit} in {over}"),
        Reason::Expected => format!("it is expected to need {value}, of a limit of {limit}"),
        Reason::Learned => format!("earlier instances of its name needed {value}, of a limit of {limit}"),
        Reason::LearnedOfOperation => {
            format!("operations like the one that began needed {value}, of a limit of {limit}")
        }
        Reason::Cooled => format!("it was raised for a burst, which has been over for {over}: the use is {value}"),
        Reason::Held => format!("the use was {value}, of a maximum of {limit}, for {over}"),
        Reason::Rest if evidence.over_s.is_none() => format!("the use is {value}"),
        Reason::Rest => format!("no more than {value} was used for {over}"),
        Reason::Asked if evidence.limit.is_some() => format!("by its limits, with a maximum of {limit}"),
        Reason::Asked => "somebody asked for it".to_owned(),
        Reason::Budget => {
            format!("all instances of its name used {value}, of a budget of {limit}, for {over}, and it used most")
        }
        Reason::Stalled => format!("it waited for memory at the line, with {value} in use; the limit is {limit}"),
        Reason::Left => "its first process has ended, or whoever started it".to_owned(),
    }
}

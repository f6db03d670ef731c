//! `resmgr status`: asks the agent, and shows its report as a table or as JSON.

mod tools;

use std::{path::Path, time::Duration};

use clap::{Args, ValueEnum};

use super::{Failure, output};
use crate::{
    config::parse_duration,
    export::{Align, Column, Table, bytes, cores, count, cut, duration},
    model::{Connection, FileKind, ToolName},
    protocol::{Client, ProcessSelection, ProcessStatus, SortKey, StatusParams, StatusReport},
};

/// Flags of `resmgr status`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tools of this name alone, with their processes.
    #[arg(value_name = "TOOL", conflicts_with = "pid")]
    tool: Option<ToolName>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// List all processes, threads of the kernel included.
    #[arg(long, conflicts_with = "pid")]
    processes: bool,
    /// Show one process, with its descriptors and connections.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// What to order by, the largest first [default: memory].
    #[arg(long, value_enum, value_name = "KEY")]
    sort: Option<Sort>,
    /// How many processes to list [default: 20].
    #[arg(long, short = 'n', value_name = "N")]
    top: Option<usize>,
    /// Bring the numbers up to date before answering.
    #[arg(long)]
    fresh: bool,
    /// Show it again and again, every second unless a time is given.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s", value_parser = interval)]
    watch: Option<Watch>,
}

/// Processes that are listed unless told otherwise.
const DEFAULT_TOP: usize = 20;

/// Time between two looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch(pub(super) Duration);

pub(super) fn interval(text: &str) -> Result<Watch, String> {
    match parse_duration(text) {
        Ok(interval) if interval >= Duration::from_millis(100) => Ok(Watch(interval)),
        Ok(_) => Err("the shortest is 100ms".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sort {
    Memory,
    Cpu,
    Fds,
    Connections,
    Pid,
}

impl Arguments {
    /// The processes that use most, as `resmgr agent --status` shows them.
    pub(super) fn overview(watch: Option<Watch>) -> Self {
        Self {
            tool: None,
            json: false,
            processes: false,
            pid: None,
            sort: None,
            top: None,
            fresh: true,
            watch,
        }
    }

    fn params(&self) -> StatusParams {
        let processes = match self.pid {
            Some(pid) => ProcessSelection::Pid(pid),
            None if self.processes => ProcessSelection::All,
            // JSON is for programs: processes are in it where they are asked for.
            None if self.json && self.sort.is_none() && self.top.is_none() => ProcessSelection::None,
            None => ProcessSelection::Top,
        };
        let sort = match self.sort {
            None | Some(Sort::Memory) => SortKey::Memory,
            Some(Sort::Cpu) => SortKey::Cpu,
            Some(Sort::Fds) => SortKey::Fds,
            Some(Sort::Connections) => SortKey::Connections,
            Some(Sort::Pid) => SortKey::Pid,
        };
        StatusParams {
            forecast: false,
            processes,
            sort,
            limit: self.top.unwrap_or(DEFAULT_TOP),
            fresh: self.fresh,
            tool: self.tool.clone(),
        }
    }
}

/// Asks and shows.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(show(socket, arguments))
}

/// Asks and shows, once or again and again.
pub(super) async fn show(socket: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let mut client = Client::connect(socket).await?;
    loop {
        let width = output::width();
        if arguments.json {
            output::print_json(&client.status_json(arguments.params()).await?)?;
        } else {
            let report = client.status(arguments.params()).await?;
            let lines = told(&report, arguments.tool.as_ref(), arguments.pid.is_some(), width);
            if width.is_some() && arguments.watch.is_some() {
                output::redraw(&lines)?;
            } else {
                output::print(&lines)?;
            }
        }
        let Some(Watch(interval)) = arguments.watch else {
            return Ok(());
        };
        tokio::time::sleep(interval).await;
    }
}

/// A report in words: of all tools, or those of a name; or of one process in detail.
pub(super) fn told(
    report: &StatusReport,
    tool: Option<&ToolName>,
    detailed: bool,
    width: Option<usize>,
) -> Vec<String> {
    let fits = |line: String| width.map_or_else(|| line.clone(), |width| cut(&line, width));
    let mut lines = vec![fits(summary(report)), fits(cost(report))];
    lines.extend(configuration(report));
    lines.push(String::new());
    if !detailed {
        lines.extend(tools::render(&report.tools, tool, width));
    }
    if let Some(processes) = &report.processes {
        lines.extend(output::table(&process_table(processes), width));
        if let (true, Some(process)) = (detailed, processes.first()) {
            lines.extend(details(process, width));
        }
    }
    lines
}

pub(super) fn summary(report: &StatusReport) -> String {
    let host = &report.host;
    format!(
        "{} processes, {} threads  memory {}  CPU {}%  {} fds  {} connections",
        count(host.processes),
        count(host.threads),
        host.memory
            .map_or("-".to_owned(), |memory| bytes(memory.counted_bytes())),
        host.cpu_share.map_or("-".to_owned(), cores),
        count(host.open_fds),
        count(host.connections),
    )
}

pub(super) fn cost(report: &StatusReport) -> String {
    let agent = &report.agent;
    format!(
        "agent {} up {}  {} resident  sweep {}  {} lost  {} ended",
        agent.pid,
        whole_seconds(agent.uptime_s),
        agent.resident_bytes.map_or("-".to_owned(), bytes),
        if agent.sweeping {
            duration(Duration::from_nanos(agent.sweep_ns))
        } else {
            "off".to_owned()
        },
        count(agent.events_lost),
        count(agent.ended.processes),
    )
}

/// What somebody has to do about the configuration, where that is something.
fn configuration(report: &StatusReport) -> Vec<String> {
    let Some(status) = &report.agent.configuration else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if let Some(refused) = &status.refused {
        let at = refused.at.format("%H:%M:%S UTC");
        lines.push(format!(
            "the configuration read at {at} was refused, and the one before holds:"
        ));
        lines.extend(refused.message.lines().map(|line| format!("  {line}")));
    }
    if !status.after_restart.is_empty() {
        let keys = status.after_restart.join(", ");
        lines.push(format!("holds once the agent is started again: {keys}"));
    }
    lines
}

fn whole_seconds(seconds: u64) -> String {
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        duration(Duration::from_secs(seconds))
    }
}

fn process_table(processes: &[ProcessStatus]) -> Table {
    let right = |heading| Column {
        heading,
        align: Align::Right,
    };
    let left = |heading| Column {
        heading,
        align: Align::Left,
    };
    let mut table = Table::new(&[
        right("PID"),
        right("UID"),
        right("MEMORY"),
        right("CPU%"),
        right("CPU TIME"),
        right("FDS"),
        right("CONNS"),
        left("COMMAND"),
    ]);
    for process in processes {
        let command = match &process.command {
            Some(command) => command.clone(),
            None => format!("[{}]{}", process.comm, if process.zombie { " zombie" } else { "" }),
        };
        table.row(vec![
            process.pid.to_string(),
            process.uid.to_string(),
            process.memory_bytes.map_or("-".to_owned(), bytes),
            process.cpu_share.map_or("-".to_owned(), cores),
            duration(Duration::from_nanos(process.cpu_time_ns)),
            process.open_fds.to_string(),
            process.connections.to_string(),
            command,
        ]);
    }
    table
}

fn details(process: &ProcessStatus, width: Option<usize>) -> Vec<String> {
    let Some(usage) = &process.usage else {
        return Vec::new();
    };
    let kinds: Vec<String> = usage
        .file_handles_by_kind
        .iter()
        .map(|(kind, n)| format!("{n} {}", kind_name(*kind)))
        .collect();
    let resident = usage.memory.map(|memory| {
        format!(
            "anonymous {}, shared {}, swapped {}, mapped files {}; peak {}; ",
            bytes(memory.anon_bytes),
            bytes(memory.shmem_bytes),
            bytes(memory.swap_bytes),
            bytes(memory.file_bytes),
            process.peak_rss_bytes.map_or("-".to_owned(), bytes),
        )
    });
    let mut lines = vec![
        String::new(),
        format!(
            "memory       {}virtual {}",
            resident.unwrap_or_default(),
            bytes(process.virtual_bytes)
        ),
        format!("threads      {}", process.threads),
        format!("descriptors  {}", kinds.join(", ")),
    ];
    if let Some(events) = &process.events {
        lines.push(format!(
            "events       {} descriptors opened, {} closed; {} connections made, {} accepted, {} failed",
            count(events.fds_opened),
            count(events.fds_closed),
            count(events.connections_made),
            count(events.connections_accepted),
            count(events.connections_failed),
        ));
    }
    lines = output::fitted(&lines, width);
    if !usage.connections.is_empty() {
        lines.push(String::new());
        lines.extend(output::table(&connection_table(&usage.connections), width));
    }
    lines
}

/// A kind's name, as JSON has it.
pub(super) fn kind_name(kind: FileKind) -> String {
    let name = serde_json::to_value(kind).ok();
    name.as_ref()
        .and_then(serde_json::Value::as_str)
        .unwrap_or("other")
        .replace('_', " ")
}

fn connection_table(connections: &[Connection]) -> Table {
    let left = |heading| Column {
        heading,
        align: Align::Left,
    };
    let mut table = Table::new(&[left("PROTOCOL"), left("STATE"), left("LOCAL"), left("REMOTE")]);
    for connection in connections {
        table.row(vec![
            format!("{:?}", connection.protocol).to_lowercase(),
            format!("{:?}", connection.state).to_lowercase(),
            connection.local.to_string(),
            connection.remote.to_string(),
        ]);
    }
    table
}

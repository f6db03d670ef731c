//! What is told of what was found: the use of each, and the commands that would manage it. Documented in docs/discover.md, and
//! stable. Command lines go through [`redacted`].

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::find::Found;
use crate::{
    export::{bytes, cores, many, redacted},
    model::ToolName,
    protocol::ProcessStatus,
};

/// The version of the report's shape.
const VERSION: u32 = 1;
/// Processes of one tool that a person is shown.
const SHOWN: usize = 8;

/// What runs and could be tools, or are.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Discovery {
    /// Version of this report's shape.
    version: u32,
    /// When the numbers were taken.
    taken_at: DateTime<Utc>,
    /// What was found, the oldest first.
    found: Vec<Suggestion>,
}

/// Processes that could be a tool, or are one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Suggestion {
    /// The name that is suggested; of what is managed the tool's.
    name: ToolName,
    /// What it is.
    kind: Kind,
    /// The host that it runs under; null where none is known, or it has gone.
    host: Option<HostFound>,
    /// Process id of its first process.
    pid: u32,
    /// User id of that.
    uid: u32,
    /// The tool that it is already; null where it is none.
    managed: Option<Managed>,
    /// What its processes use together.
    usage: Used,
    /// Its processes, each with its descendants behind it.
    processes: Vec<ProcessFound>,
    /// What makes it a tool now; null where it is one.
    attach: Option<String>,
    /// What makes it one when it starts the next time; null where it is one.
    next_time: Option<NextTime>,
    /// What else there is to know.
    note: Option<String>,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// An MCP server.
    McpServer,
    /// Something else that an AI agent runs.
    Command,
}

/// A host.
#[derive(Debug, Serialize, JsonSchema)]
struct HostFound {
    /// Its name.
    name: &'static str,
    /// Its process id.
    pid: u32,
}

/// A tool.
#[derive(Debug, Serialize, JsonSchema)]
struct Managed {
    /// Its name.
    tool: ToolName,
    /// Which instance.
    instance: Option<u64>,
}

/// What processes use together; what two of them share counts twice.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Used {
    /// Memory in bytes; null before the first sweep.
    memory_bytes: Option<u64>,
    /// CPU use over the last interval, in cores; null until they have been seen twice.
    cpu_share: Option<f64>,
    /// CPU time in nanoseconds of those that run.
    cpu_time_ns: u64,
    /// Open descriptors.
    open_fds: u64,
    /// Connections.
    connections: u64,
}

/// A process.
#[derive(Debug, Serialize, JsonSchema)]
struct ProcessFound {
    /// Process id.
    pid: u32,
    /// How far below the first process it is.
    depth: usize,
    /// Command name.
    comm: String,
    /// Command line, without what looks like a secret; null where it could not be read.
    command: Option<String>,
}

/// What makes it a tool the next time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct NextTime {
    /// How: `wrap` and `exec` are typed, `rule` goes into the agent's configuration.
    how: How,
    /// The text.
    text: String,
}

/// How something becomes a tool the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    Wrap,
    Exec,
    Rule,
}

/// Who asks.
pub(super) struct Asking<'a> {
    /// User id.
    pub(super) uid: u32,
    /// The path that is to be typed for a file below the home folder; `None` where it is not there.
    pub(super) file: &'a dyn Fn(&str) -> Option<String>,
    /// Flags that `resmgr` needs to find the agent.
    pub(super) flags: &'a str,
}

impl Discovery {
    /// Tells of what was found.
    pub(super) fn new(taken_at: DateTime<Utc>, found: &[Found<'_>], asking: &Asking<'_>) -> Self {
        Self {
            version: VERSION,
            taken_at,
            found: found.iter().filter_map(|found| suggestion(found, asking)).collect(),
        }
    }

    /// The same for a person.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let managed = self.found.iter().filter(|found| found.managed.is_some()).count() as u64;
        let unmanaged = self.found.len() as u64 - managed;
        if self.found.is_empty() {
            return vec!["no MCP server and no command of an AI agent is seen to run".to_owned()];
        }
        let mut lines = vec![format!(
            "{} {} unmanaged, {} already managed; nothing is changed until you say so",
            many(unmanaged, "tool", "tools"),
            if unmanaged == 1 { "runs" } else { "run" },
            managed,
        )];
        for found in &self.found {
            lines.push(String::new());
            lines.extend(found.lines(width));
        }
        lines
    }
}

impl Suggestion {
    fn lines(&self, width: Option<usize>) -> Vec<String> {
        let what = match self.kind {
            Kind::McpServer => "MCP server",
            Kind::Command => "command",
        };
        let host = match &self.host {
            Some(host) => format!("of {} ({})", host.name, host.pid),
            None => "without a host above it".to_owned(),
        };
        let managed = match &self.managed {
            Some(Managed {
                tool,
                instance: Some(n),
            }) => format!(", managed as {tool} (instance {n})"),
            Some(Managed { tool, instance: None }) => format!(", managed as {tool}"),
            None => String::new(),
        };
        let used = &self.usage;
        let mut lines = vec![
            format!("{}  {what} {host}, user {}{managed}", self.name, self.uid),
            format!(
                "  memory {}  CPU {}%  {}  {}  {}",
                used.memory_bytes.map_or("-".to_owned(), bytes),
                used.cpu_share.map_or("-".to_owned(), cores),
                many(used.open_fds, "fd", "fds"),
                many(used.connections, "connection", "connections"),
                many(self.processes.len() as u64, "process", "processes"),
            ),
        ];
        for process in self.processes.iter().take(SHOWN) {
            let command = process.command.clone().unwrap_or_else(|| format!("[{}]", process.comm));
            let line = format!(
                "  {:>7}  {:indent$}{command}",
                process.pid,
                "",
                indent = 2 * process.depth.min(8)
            );
            lines.push(cut(&line, width));
        }
        if let Some(more) = self.processes.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            lines.push(format!("           and {more} more"));
        }
        // What is to be typed is never cut.
        if let Some(attach) = &self.attach {
            lines.push(format!("  now        {attach}"));
        }
        if let Some(next) = &self.next_time {
            let mut text = next.text.lines();
            lines.extend(text.next().map(|first| format!("  next time  {first}")));
            lines.extend(text.map(|line| format!("             {line}")));
        }
        lines.extend(self.note.as_ref().map(|note| format!("  note       {note}")));
        lines
    }
}

fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            let kept: String = line.chars().take(width.saturating_sub(1)).collect();
            kept + "…"
        }
        _ => line.to_owned(),
    }
}

fn suggestion(found: &Found<'_>, asking: &Asking<'_>) -> Option<Suggestion> {
    let root = found.root();
    let name = match &root.tool {
        Some(tool) => tool.clone(),
        None => suggested_name(found).parse().ok()?,
    };
    let managed = root.tool.clone().map(|tool| Managed {
        tool,
        instance: root.tool_instance,
    });
    let is_free = managed.is_none();
    let processes = || found.processes.iter().map(|(process, _)| *process);
    Some(Suggestion {
        kind: if found.is_server { Kind::McpServer } else { Kind::Command },
        host: found.host.map(|(host, pid)| HostFound { name: host.name, pid }),
        pid: root.pid,
        uid: root.uid,
        usage: used(processes()),
        processes: found
            .processes
            .iter()
            .map(|(process, depth)| ProcessFound {
                pid: process.pid,
                depth: *depth,
                comm: process.comm.clone(),
                command: process.command.as_deref().map(redacted),
            })
            .collect(),
        attach: is_free.then(|| format!("resmgr{} attach --tool {name} --pid {}", asking.flags, root.pid)),
        next_time: is_free.then(|| next_time(found, &name, asking)),
        note: (is_free && found.launched.container).then(|| {
            "its container's processes are elsewhere: `resmgr attach --cgroup` takes the container's cgroup, `resmgr exec \
             --cidfile` finds it"
                .to_owned()
        }),
        managed,
        name,
    })
}

/// A name for what is found: a server's own, a command's with its host's before it.
fn suggested_name(found: &Found<'_>) -> String {
    let label = found.launched.label.as_deref().unwrap_or_default();
    let name = if redacted(label) == label {
        found.launched.name()
    } else {
        "server".to_owned()
    };
    match found.host {
        Some((host, _)) if !found.is_server => format!("{}-{}", host.short, name.chars().take(40).collect::<String>()),
        _ => name,
    }
}

fn used<'a>(processes: impl Iterator<Item = &'a ProcessStatus>) -> Used {
    let mut used = Used::default();
    for process in processes {
        if let Some(memory) = process.memory_bytes {
            *used.memory_bytes.get_or_insert(0) += memory;
        }
        if let Some(share) = process.cpu_share {
            *used.cpu_share.get_or_insert(0.0) += share;
        }
        used.cpu_time_ns += process.cpu_time_ns;
        used.open_fds += process.open_fds;
        used.connections += process.connections;
    }
    used
}

/// What would make it a tool when it starts anew: its host's configuration where the caller has that, a rule where the caller
/// is root, and else `resmgr exec` before its command.
fn next_time(found: &Found<'_>, name: &ToolName, asking: &Asking<'_>) -> NextTime {
    let flags = asking.flags;
    let is_own = found.root().uid == asking.uid;
    let file = found
        .host
        .filter(|_| is_own && found.is_server)
        .and_then(|(host, _)| host.files.iter().find_map(|file| (asking.file)(file)));
    if let Some(file) = file {
        return NextTime {
            how: How::Wrap,
            text: format!("resmgr{flags} mcp wrap {file}"),
        };
    }
    if asking.uid == 0
        && found.is_server
        && let Some(text) = rule(found, name)
    {
        return NextTime { how: How::Rule, text };
    }
    let operations = if found.is_server { " --operations mcp" } else { "" };
    NextTime {
        how: How::Exec,
        text: format!("resmgr{flags} exec{operations} --tool {name} -- COMMAND"),
    }
}

/// A rule for the agent's configuration that matches what was found.
fn rule(found: &Found<'_>, name: &ToolName) -> Option<String> {
    let label = found.launched.label.as_deref()?;
    let command = found.root().command.as_deref()?;
    let known = if command.contains(label) {
        label
    } else {
        label.rsplit('/').next()?
    };
    let is_fit = command.contains(known) && redacted(known) == known && !known.contains(['"', '\\', '*', '?']);
    let executable = match found.launched.program.as_str() {
        "npx" | "npm" | "pnpm" | "pnpx" | "yarn" => "node",
        "uv" | "uvx" => "uv*",
        "bunx" => "bun",
        program if program.starts_with("python") => "python*",
        program => program,
    };
    is_fit.then(|| format!("[[rule]]\ntool = \"{name}\"\nexecutable = \"{executable}\"\ncommand = \"*{known}*\""))
}

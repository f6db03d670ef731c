//! What is shown: the last report, what came before it, and what somebody has chosen to see of it. Draws nothing.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use chrono::{DateTime, Utc};
use clap::ValueEnum;

use super::{keys::Todo, pane::Pane, watch::Seen};
use crate::{
    model::{Resource, ToolName},
    protocol::{ClientError, ProcessStatus, StatusReport, ToolStatus},
};

/// What tools are ordered by: the largest first, but for the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum SortBy {
    #[default]
    Memory,
    Cpu,
    Fds,
    Connections,
    Status,
    Name,
}

impl SortBy {
    /// What the next key makes of it.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Memory => Self::Cpu,
            Self::Cpu => Self::Fds,
            Self::Fds => Self::Connections,
            Self::Connections => Self::Status,
            Self::Status => Self::Name,
            Self::Name => Self::Memory,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Fds => "fds",
            Self::Connections => "connections",
            Self::Status => "status",
            Self::Name => "name",
        }
    }

    fn of_tools(self, a: &ToolStatus, b: &ToolStatus) -> Ordering {
        let used = |tool: &ToolStatus, resource| used(tool, resource);
        let share = |tool: &ToolStatus| tool.cpu_share.unwrap_or(0.0);
        let by_key = match self {
            Self::Memory => used(b, Resource::Memory).cmp(&used(a, Resource::Memory)),
            Self::Cpu => share(b).total_cmp(&share(a)),
            Self::Fds => used(b, Resource::Fds).cmp(&used(a, Resource::Fds)),
            Self::Connections => used(b, Resource::Connections).cmp(&used(a, Resource::Connections)),
            Self::Status => b
                .status
                .cmp(&a.status)
                .then_with(|| self::used(b, Resource::Memory).cmp(&self::used(a, Resource::Memory))),
            Self::Name => Ordering::Equal,
        };
        // Those that go on come first, and equal ones stay where they are.
        let by_end = a.ended_s.is_some().cmp(&b.ended_s.is_some());
        by_end
            .then(by_key)
            .then_with(|| (&a.name, a.instance).cmp(&(&b.name, b.instance)))
    }

    fn of_processes(self, a: &ProcessStatus, b: &ProcessStatus) -> Ordering {
        let by_key = match self {
            Self::Memory => b.memory_bytes.cmp(&a.memory_bytes),
            Self::Cpu => b.cpu_share.unwrap_or(0.0).total_cmp(&a.cpu_share.unwrap_or(0.0)),
            Self::Fds => b.open_fds.cmp(&a.open_fds),
            Self::Connections => b.connections.cmp(&a.connections),
            Self::Status | Self::Name => Ordering::Equal,
        };
        by_key.then(a.pid.cmp(&b.pid))
    }
}

/// What a tool uses of a resource now, in its unit.
pub(super) fn used(tool: &ToolStatus, resource: Resource) -> u64 {
    match resource {
        Resource::Memory => tool.usage.memory_bytes as u64,
        Resource::Cpu => tool.operation_cpu_ms,
        Resource::Fds => tool.usage.file_handles.len() as u64,
        Resource::Connections => tool.usage.network_connections.len() as u64,
    }
}

/// How many looks are remembered.
const REMEMBERED: usize = 120;

/// What a tool used at one look; a use of CPU is in cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) memory: f64,
    pub(super) cpu_share: f64,
    pub(super) fds: f64,
    pub(super) connections: f64,
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "a bar shows an eighth")]
    fn of(tool: &ToolStatus) -> Self {
        let used = |resource| used(tool, resource) as f64;
        Self {
            memory: used(Resource::Memory),
            cpu_share: tool.cpu_share.unwrap_or(0.0),
            fds: used(Resource::Fds),
            connections: used(Resource::Connections),
        }
    }
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowId {
    /// An instance of a tool.
    Tool(u64),
    /// A process of one.
    Process(u64, u32),
}

impl RowId {
    /// The instance that it is of.
    pub(super) const fn instance(self) -> u64 {
        match self {
            Self::Tool(instance) | Self::Process(instance, _) => instance,
        }
    }
}

/// A row of the list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry<'a> {
    Tool(&'a ToolStatus),
    Process(&'a ToolStatus, &'a ProcessStatus),
}

impl Entry<'_> {
    pub(super) const fn id(&self) -> RowId {
        match self {
            Self::Tool(tool) => RowId::Tool(tool.instance),
            Self::Process(tool, process) => RowId::Process(tool.instance, process.pid),
        }
    }
}

/// All that a screen is made from.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) report: Option<StatusReport>,
    processes: BTreeMap<u64, Vec<ProcessStatus>>,
    samples: BTreeMap<u64, VecDeque<Sample>>,
    sampled_at: Option<DateTime<Utc>>,
    /// Why the numbers are old.
    pub(super) trouble: Option<String>,
    pub(super) sort: SortBy,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// Keys go to the filter.
    pub(super) is_typing: bool,
    pub(super) shows_ended: bool,
    pub(super) expanded: BTreeSet<u64>,
    pub(super) selected: Option<RowId>,
    /// Where that stood in the list: where it is gone, its neighbour is selected.
    position: usize,
    pub(super) pane: Option<Pane>,
    /// Lines of the pane that are scrolled past.
    pub(super) scrolled: usize,
}

impl Top {
    /// Nothing yet.
    pub(super) fn new(sort: SortBy) -> Self {
        Self {
            report: None,
            processes: BTreeMap::new(),
            samples: BTreeMap::new(),
            sampled_at: None,
            trouble: None,
            sort,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            shows_ended: false,
            expanded: BTreeSet::new(),
            selected: None,
            position: 0,
            pane: None,
            scrolled: 0,
        }
    }

    /// Takes what the agent said, or why it said nothing.
    pub(super) fn take(&mut self, seen: Result<Seen, ClientError>) -> Todo {
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                self.trouble = Some(error.to_string());
                return Todo::Draw;
            }
        };
        self.trouble = None;
        // Between two sweeps the same numbers are seen again.
        if self.sampled_at.replace(seen.report.taken_at) != Some(seen.report.taken_at) {
            let is_there: BTreeSet<u64> = seen.report.tools.iter().map(|tool| tool.instance).collect();
            self.samples.retain(|instance, _| is_there.contains(instance));
            self.expanded.retain(|instance| is_there.contains(instance));
            for tool in seen.report.tools.iter().filter(|tool| tool.ended_s.is_none()) {
                let samples = self.samples.entry(tool.instance).or_default();
                if samples.len() == REMEMBERED {
                    samples.pop_front();
                }
                samples.push_back(Sample::of(tool));
            }
        }
        self.processes.clear();
        for process in seen.processes {
            let of_tool = process
                .tool_instance
                .map(|instance| self.processes.entry(instance).or_default());
            if let Some(of_tool) = of_tool {
                of_tool.push(process);
            }
        }
        self.report = Some(seen.report);
        self.settle();
        Todo::Draw
    }

    /// The rows of the list, in their order.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        let filter = self.filter.to_lowercase();
        let is_shown = |tool: &&ToolStatus| {
            (self.shows_ended || tool.ended_s.is_none()) && tool.name.to_string().to_lowercase().contains(&filter)
        };
        let mut tools: Vec<&ToolStatus> = self
            .report
            .iter()
            .flat_map(|report| &report.tools)
            .filter(is_shown)
            .collect();
        tools.sort_by(|a, b| self.sort.of_tools(a, b));
        if self.is_reversed {
            tools.reverse();
        }
        let mut entries = Vec::with_capacity(tools.len());
        for tool in tools {
            entries.push(Entry::Tool(tool));
            if self.expanded.contains(&tool.instance) {
                let mut processes: Vec<&ProcessStatus> =
                    self.processes.get(&tool.instance).into_iter().flatten().collect();
                processes.sort_by(|a, b| self.sort.of_processes(a, b));
                entries.extend(processes.into_iter().map(|process| Entry::Process(tool, process)));
            }
        }
        entries
    }

    /// Where the selected row stands among the rows.
    pub(super) fn place(&self, entries: &[Entry<'_>]) -> usize {
        let selected = |entry: &Entry<'_>| Some(entry.id()) == self.selected;
        let found = entries.iter().position(selected);
        found.unwrap_or(self.position.min(entries.len().saturating_sub(1)))
    }

    /// Selects the row that is so many farther down, or the nearest to it.
    pub(super) fn select(&mut self, by: isize) {
        let entries = self.entries();
        let place = self
            .place(&entries)
            .saturating_add_signed(by)
            .min(entries.len().saturating_sub(1));
        let selected = entries.get(place).map(Entry::id);
        if selected != self.selected {
            self.scrolled = 0;
        }
        self.position = place;
        self.selected = selected;
    }

    /// Something is selected, whatever has changed.
    pub(super) fn settle(&mut self) {
        self.select(0);
    }

    /// The tool that the selected row is of.
    pub(super) fn selected_tool(&self) -> Option<&ToolStatus> {
        let instance = self.selected?.instance();
        self.report
            .as_ref()?
            .tools
            .iter()
            .find(|tool| tool.instance == instance)
    }

    /// What a tool used at the last looks, the oldest first.
    pub(super) fn samples(&self, tool: &ToolStatus) -> impl DoubleEndedIterator<Item = Sample> {
        self.samples.get(&tool.instance).into_iter().flatten().copied()
    }

    /// The names of the tools whose processes are shown.
    pub(super) fn expanded_names(&self) -> BTreeSet<ToolName> {
        let tools = self.report.iter().flat_map(|report| &report.tools);
        let expanded = tools.filter(|tool| self.expanded.contains(&tool.instance));
        expanded.map(|tool| tool.name.clone()).collect()
    }
}

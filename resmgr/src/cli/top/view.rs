//! From what is to be shown to a screen. Pure: the same rows for the same state and size.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    columns::{Column, columns},
    pane::{Pane, named_keys},
    screen::{Frame, Row},
    state::{Entry, Sample, Top, used},
};
use crate::{
    cli::status::{cost, summary},
    export::{Align, Span, Tone, amount, bytes, cores, count, cut, duration, harmless, many, padded, sparkline, width},
    model::{Resource, ResourceStatus, ToolName},
    protocol::{ProcessStatus, ToolStatus},
};

/// A screen that is lower shows the list alone.
const LOW: usize = 10;
/// The screen of so many columns and rows; and how far its pane can be scrolled, of what it is scrolled.
pub(super) fn draw(top: &Top, columns: usize, rows: usize) -> (Frame, usize) {
    let is_low = rows < LOW;
    let mut shown = Vec::with_capacity(rows);
    if !is_low {
        shown.extend(head(top));
    }
    if !is_low || top.trouble.is_some() || top.is_typing {
        shown.push(chosen(top));
    }
    let below = usize::from(!is_low);
    let body = rows.saturating_sub(shown.len() + below);
    let mut scrolled = 0;
    match top.pane {
        Some(pane) if body > 0 => {
            let lines = pane.lines(top.selected_tool(), columns);
            // As much as it needs, but for some rows of the list where there is room for both.
            let for_list = match pane {
                _ if is_low => 0,
                Pane::Keys => 3,
                _ => (body * 2 / 5).max(2),
            };
            let for_pane = (lines.len() + 1).min(body - for_list.min(body));
            shown.extend(list(top, columns, body - for_pane));
            scrolled = top.scrolled.min((lines.len() + 1).saturating_sub(for_pane));
            let title = pane.title(top.selected_tool());
            shown.extend(opened(&title, &lines, scrolled, columns, for_pane));
        }
        _ => shown.extend(list(top, columns, body)),
    }
    if !is_low {
        shown.resize(rows - 1, Row::default());
        shown.push(Row::of(named_keys(columns)));
    }
    (Frame::new(columns, rows, shown), scrolled)
}

/// The host and the agent.
fn head(top: &Top) -> [Row; 2] {
    let Some(report) = &top.report else {
        return [Row::new("resmgr top", Tone::Heading), Row::default()];
    };
    [
        Row::new(summary(report), Tone::Plain),
        Row::new(cost(report), Tone::Faint),
    ]
}

/// What of it is shown, or why nothing new is.
fn chosen(top: &Top) -> Row {
    if top.is_typing {
        return Row::of(vec![
            Span::new("filter: ", Tone::Heading),
            Span::new(harmless(&top.filter), Tone::Plain),
            Span::new("_", Tone::Heading),
        ]);
    }
    if let Some(trouble) = &top.trouble {
        return Row::new(format!("these numbers are old: {trouble}"), Tone::Emergency);
    }
    let tools = top.report.as_ref().map_or(&[][..], |report| &report.tools);
    let ended = tools.iter().filter(|tool| tool.ended_s.is_some()).count();
    let near = tools
        .iter()
        .filter(|tool| tool.ended_s.is_none() && tool.status != ResourceStatus::Normal)
        .count();
    let worst = tools
        .iter()
        .filter(|tool| tool.ended_s.is_none())
        .map(|tool| tool.status)
        .max()
        .unwrap_or_default();
    let mut spans = vec![Span::new(
        many((tools.len() - ended) as u64, "tool", "tools"),
        Tone::Plain,
    )];
    if near > 0 {
        spans.push(Span::new(format!("  {} near their limits", count(near as u64)), worst));
    }
    if ended > 0 {
        spans.push(Span::new(format!("  {} ended", count(ended as u64)), Tone::Faint));
    }
    let way = if top.is_reversed { ", reversed" } else { "" };
    spans.push(Span::new(format!("  by {}{way}", top.sort.name()), Tone::Faint));
    if !top.filter.is_empty() {
        spans.push(Span::new(format!("  filter: {}", harmless(&top.filter)), Tone::Heading));
    }
    Row::of(spans)
}

/// The list, with its heading where there are rows enough.
fn list(top: &Top, room: usize, rows: usize) -> Vec<Row> {
    if rows == 0 {
        return Vec::new();
    }
    let entries = top.entries();
    let tools = entries.iter().filter_map(|entry| match entry {
        Entry::Tool(tool) => Some(&tool.name),
        Entry::Process(..) => None,
    });
    let mut instances: BTreeMap<&ToolName, u64> = BTreeMap::new();
    for name in tools {
        *instances.entry(name).or_default() += 1;
    }
    // Which instance it is matters where there are several.
    let label = |tool: &ToolStatus| match instances.get(&tool.name) {
        Some(2..) => format!("{} {}", tool.name, tool.instance),
        _ => tool.name.to_string(),
    };
    let name = |entry: &Entry<'_>| match entry {
        Entry::Tool(tool) => width(&label(tool)),
        Entry::Process(..) => 0,
    };
    let columns = columns(room, entries.iter().map(name).max().unwrap_or(0));
    let mut shown = Vec::with_capacity(rows);
    if rows > 3 {
        let heading = |(column, wide, heading): &(Column, usize, &str)| padded(heading, *wide, column.align());
        let headings: Vec<String> = columns.iter().map(heading).collect();
        shown.push(Row::new(headings.join(" "), Tone::Heading));
    }
    if entries.is_empty() {
        let why = if top.report.is_none() {
            "asking the agent"
        } else if top.filter.is_empty() {
            "no tools run: start one with `resmgr exec --tool NAME -- COMMAND`"
        } else {
            "no tool has that in its name"
        };
        shown.push(Row::new(format!("  {why}"), Tone::Faint));
        return shown;
    }
    let left = rows - shown.len();
    let place = top.place(&entries);
    // The selected row in the middle, but for the ends.
    let first = place.saturating_sub(left / 2).min(entries.len().saturating_sub(left));
    for entry in entries.iter().skip(first).take(left) {
        let row = match entry {
            Entry::Tool(tool) => of_tool(top, tool, &label(tool), &columns),
            Entry::Process(tool, process) => of_process(tool, process, &columns),
        };
        shown.push(row.selected(Some(entry.id()) == top.selected));
    }
    shown.resize(rows, Row::default());
    shown
}

/// A name that is cut where it is too long, but not the number of its instance.
fn fitting(label: &str, room: usize) -> String {
    match label.split_once(' ') {
        Some((name, instance)) if width(label) > room => {
            format!("{} {instance}", cut(name, room.saturating_sub(instance.len() + 1)))
        }
        _ => label.to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bar shows an eighth")]
fn of_tool(top: &Top, tool: &ToolStatus, label: &str, columns: &[(Column, usize, &str)]) -> Row {
    let has_ended = tool.ended_s.is_some();
    let marker = match (has_ended, top.expanded.contains(&tool.instance)) {
        (true, _) => ' ',
        (false, true) => '▾',
        (false, false) => '▸',
    };
    let tone = |resource: Resource| match tool.levels.get(&resource) {
        Some(level) if !has_ended => Tone::from(*level),
        _ => Tone::Plain,
    };
    let of_limit = |resource: Resource| {
        let limit = tool.limits.range(resource).current;
        let text = match resource {
            Resource::Fds | Resource::Connections => format!("{}/{limit}", used(tool, resource)),
            Resource::Memory | Resource::Cpu => {
                format!("{}/{}", amount(resource, used(tool, resource)), amount(resource, limit))
            }
        };
        (text, tone(resource))
    };
    let bars = |of: fn(Sample) -> f64, full: f64, wide: usize| sparkline(top.samples(tool).map(of), full, wide);
    let limit = |resource: Resource| tool.limits.range(resource).current as f64;
    let cell = |column: Column, wide: usize| match column {
        Column::Name => (
            format!("{marker} {}", fitting(label, wide.saturating_sub(2))),
            Tone::Plain,
        ),
        Column::Status => match tool.ended_s {
            Some(seconds) => (format!("ended {}", short(seconds)), Tone::Faint),
            None => (format!("{:?}", tool.status).to_lowercase(), Tone::from(tool.status)),
        },
        Column::Processes => (count(tool.process_count), Tone::Plain),
        Column::Memory => of_limit(Resource::Memory),
        Column::Cpu => (tool.cpu_share.map_or("-".to_owned(), cores), Tone::Plain),
        Column::Operation => of_limit(Resource::Cpu),
        Column::Fds => of_limit(Resource::Fds),
        Column::Connections => of_limit(Resource::Connections),
        Column::MemoryBars => (
            bars(|sample| sample.memory, limit(Resource::Memory), wide),
            tone(Resource::Memory),
        ),
        Column::CpuBars => {
            // One core is a full bar, unless more have been used.
            let most = top.samples(tool).map(|sample| sample.cpu_share).fold(1.0, f64::max);
            (bars(|sample| sample.cpu_share, most, wide), Tone::Plain)
        }
        Column::FdsBars => (
            bars(|sample| sample.fds, limit(Resource::Fds), wide),
            tone(Resource::Fds),
        ),
        Column::ConnectionsBars => (
            bars(|sample| sample.connections, limit(Resource::Connections), wide),
            tone(Resource::Connections),
        ),
    };
    let mut spans = Vec::with_capacity(2 * columns.len());
    for (column, wide, _) in columns {
        if !spans.is_empty() {
            spans.push(Span::new(" ", Tone::Plain));
        }
        let (text, tone) = cell(*column, *wide);
        let tone = if has_ended { Tone::Faint } else { tone };
        spans.push(Span::new(padded(&text, *wide, column.align()), tone));
    }
    Row::of(spans)
}

/// How long ago, in one unit.
fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}

/// A process below its tool: what it runs stands where the tool has its name and status, numbers below numbers.
fn of_process(tool: &ToolStatus, process: &ProcessStatus, columns: &[(Column, usize, &str)]) -> Row {
    let is_text = |column: Column| matches!(column, Column::Name | Column::Status | Column::Processes);
    let texts = columns.iter().filter(|(column, ..)| is_text(*column));
    let room = texts.map(|(_, wide, _)| wide + 1).sum::<usize>().saturating_sub(1);
    let (state, tone) = if process.zombie {
        ("(zombie) ", Tone::Warning)
    } else if tool.escaped.contains(&process.pid) {
        ("(escaped) ", Tone::Warning)
    } else if tool.orphans.contains(&process.pid) {
        ("(orphan) ", Tone::Warning)
    } else {
        ("", Tone::Plain)
    };
    let what = format!("  {:>7} {state}{}", process.pid, command(process));
    let mut spans = vec![Span::new(padded(&harmless(&what), room, Align::Left), tone)];
    for (column, wide, _) in columns.iter().filter(|(column, ..)| !is_text(*column)) {
        let text = match column {
            Column::Memory => process.memory_bytes.map_or("-".to_owned(), bytes),
            Column::Cpu => process.cpu_share.map_or("-".to_owned(), cores),
            Column::Operation => duration(Duration::from_nanos(process.cpu_time_ns)),
            Column::Fds => process.open_fds.to_string(),
            Column::Connections => process.connections.to_string(),
            _ => String::new(),
        };
        spans.push(Span::new(" ", Tone::Plain));
        spans.push(Span::new(padded(&text, *wide, column.align()), Tone::Plain));
    }
    Row::of(spans)
}

/// What a process runs, without the folders of the program: the room is small.
fn command(process: &ProcessStatus) -> String {
    let Some(command) = &process.command else {
        return format!("[{}]", process.comm);
    };
    let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
    let program = program.rsplit('/').next().unwrap_or(program);
    format!("{program} {arguments}").trim_end().to_owned()
}

/// A pane with its title, from the line on that it is scrolled to.
fn opened(title: &str, lines: &[String], first: usize, columns: usize, rows: usize) -> Vec<Row> {
    let Some(room) = rows.checked_sub(1) else {
        return Vec::new();
    };
    let mut title = format!("── {title} ");
    if lines.len() > room {
        let last = (first + room).min(lines.len());
        let _ = write!(title, "── {} to {last} of {} ", first + 1, lines.len());
    }
    title.push_str(&"─".repeat(columns.saturating_sub(width(&title))));
    let mut shown = vec![Row::new(title, Tone::Heading)];
    let line = |line: &String| Row::new(line.clone(), Tone::Plain);
    shown.extend(lines.iter().skip(first).take(room).map(line));
    shown.resize(rows, Row::default());
    shown
}

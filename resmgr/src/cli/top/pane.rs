//! What there is to say of one tool, as lines: explained, its descriptors by kind, its connections by peer. And the keys.

use std::collections::BTreeMap;

use super::keys;
use crate::{
    cli::{explain, status::kind_name},
    export::{Align, Column, Span, Table, Tone, count, harmless, wrapped},
    protocol::ToolStatus,
};

/// What is shown below the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Explain,
    Descriptors,
    Connections,
    Keys,
}

impl Pane {
    /// What it is called.
    pub(super) fn title(self, tool: Option<&ToolStatus>) -> String {
        let of = |what: &str| match tool {
            Some(tool) => format!("{what} of {} (instance {})", tool.name, tool.instance),
            None => what.to_owned(),
        };
        match self {
            Self::Explain => of("limits and history"),
            Self::Descriptors => of("descriptors"),
            Self::Connections => of("connections"),
            Self::Keys => "keys".to_owned(),
        }
    }

    /// Its lines, none wider than the room.
    pub(super) fn lines(self, tool: Option<&ToolStatus>, columns: usize) -> Vec<String> {
        let lines = match (self, tool) {
            (Self::Keys, _) => keys_told(),
            (_, None) => vec!["nothing is selected".to_owned()],
            (Self::Explain, Some(tool)) => explain::explained(tool, Some(columns)),
            (Self::Descriptors, Some(tool)) => descriptors(tool).lines(Some(columns)),
            (Self::Connections, Some(tool)) => connections(tool).lines(Some(columns)),
        };
        lines
            .iter()
            .flat_map(|line| wrapped(&harmless(line), columns))
            .collect()
    }
}

fn keys_told() -> Vec<String> {
    let widest = keys::ALL.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let line = |(key, what): &(&str, &str)| format!("{key:<widest$}  {what}");
    keys::ALL.iter().map(line).collect()
}

fn descriptors(tool: &ToolStatus) -> Table {
    let mut kinds: Vec<(String, u64)> = tool
        .usage
        .file_handles_by_kind
        .iter()
        .map(|(kind, number)| (kind_name(*kind), *number))
        .collect();
    kinds.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut table = Table::of_numbers(&["KIND", "OPEN"]);
    for (kind, number) in kinds {
        table.row(vec![kind, count(number)]);
    }
    let range = tool.limits.fds;
    let total = tool.usage.file_handles.len();
    table.row(vec![
        "all".to_owned(),
        format!("{total} of {} (at most {})", range.current, range.max),
    ]);
    table
}

/// The connections by protocol and peer, the peer with most of them first.
fn connections(tool: &ToolStatus) -> Table {
    let mut peers: BTreeMap<(String, String), BTreeMap<String, u64>> = BTreeMap::new();
    for connection in &tool.usage.connections {
        let protocol = format!("{:?}", connection.protocol).to_lowercase();
        let state = format!("{:?}", connection.state).to_lowercase();
        let states = peers.entry((connection.remote.to_string(), protocol)).or_default();
        *states.entry(state).or_default() += 1;
    }
    let mut peers: Vec<_> = peers
        .into_iter()
        .map(|(peer, states)| (states.values().sum::<u64>(), peer, states))
        .collect();
    peers.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let column = |heading, align| Column { heading, align };
    let mut table = Table::new(&[
        column("PEER", Align::Left),
        column("PROTOCOL", Align::Left),
        column("OPEN", Align::Right),
        column("STATES", Align::Left),
    ]);
    for (number, (peer, protocol), states) in peers {
        let states: Vec<String> = states
            .iter()
            .map(|(state, number)| format!("{number} {state}"))
            .collect();
        table.row(vec![peer, protocol, count(number), states.join(", ")]);
    }
    let range = tool.limits.connections;
    let total = tool.usage.network_connections.len();
    let all = format!("of {} (at most {})", range.current, range.max);
    table.row(vec!["all".to_owned(), String::new(), total.to_string(), all]);
    table
}

/// A line with the keys that fit, the most needed first.
pub(super) fn named_keys(columns: usize) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut left = columns;
    for (key, what) in keys::NAMED {
        let gap = if spans.is_empty() { 1 } else { 2 };
        let needed = gap + key.len() + 1 + what.len();
        let Some(rest) = left.checked_sub(needed) else {
            break;
        };
        left = rest;
        spans.push(Span::new(format!("{:gap$}{key}", ""), Tone::Heading));
        spans.push(Span::new(format!(" {what}"), Tone::Plain));
    }
    spans
}

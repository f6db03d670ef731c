//! The servers that a host's configuration names: where they stand, and whether resmgr is before their commands. Changes
//! nothing.

use std::{collections::BTreeSet, ops::Range, path::Path};

use super::tree::{Entry, Format, Kind, Node};
use crate::model::ToolName;

/// Where each format has servers; `*` is any key.
const JSON_PLACES: [&[&str]; 4] = [
    &["mcpServers"],
    &["servers"],
    &["mcp", "servers"],
    &["projects", "*", "mcpServers"],
];
const TOML_PLACES: [&[&str]; 1] = [&["mcp_servers"]];

/// Keys by which a server that runs elsewhere is named.
const REMOTE: [&str; 3] = ["url", "serverUrl", "httpUrl"];

/// The longest name of a tool.
const LONGEST_NAME: usize = 63;

/// A server of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Its key.
    pub(super) key: String,
    /// What can be done about it.
    pub(super) is: Is,
}

/// What a server is.
#[derive(Clone, Debug)]
pub(super) enum Is {
    /// A command without resmgr before it.
    Plain(Started),
    /// A command with resmgr before it, and where in its arguments the command's own part begins.
    Wrapped(Started, usize),
    /// Nothing that resmgr can be put before, and why.
    Else(&'static str),
}

/// How a server is started.
#[derive(Clone, Debug)]
pub(super) struct Started {
    /// The command's key, and the command.
    pub(super) key_at: Range<usize>,
    pub(super) command_at: Range<usize>,
    /// Its arguments.
    pub(super) arguments: Option<Arguments>,
}

/// The arguments of a command.
#[derive(Clone, Debug)]
pub(super) struct Arguments {
    pub(super) at: Range<usize>,
    pub(super) items: Vec<Node>,
}

/// The servers of a configuration, in its order; `None` where it has no place for any. `known` says whether a command is
/// resmgr.
pub(super) fn all(root: &Node, format: Format, known: &dyn Fn(&str) -> bool) -> Option<Vec<Server>> {
    let places: &[&[&str]] = match format {
        Format::Json => &JSON_PLACES,
        Format::Toml => &TOML_PLACES,
    };
    let tables: Vec<&Node> = places.iter().flat_map(|place| under(root, place)).collect();
    if tables.is_empty() {
        return None;
    }
    let mut entries: Vec<&Entry> = tables.iter().flat_map(|table| table.entries()).collect();
    entries.sort_by_key(|entry| entry.key_at.start);
    let servers = entries.into_iter().map(|entry| Server {
        key: entry.key.clone(),
        is: is(&entry.value, known),
    });
    Some(servers.collect())
}

/// The places that were looked for, as a person writes them.
pub(super) fn places(format: Format) -> &'static str {
    match format {
        Format::Json => "`mcpServers`, `servers`, `mcp.servers` and `projects.PATH.mcpServers`",
        Format::Toml => "`[mcp_servers.NAME]`",
    }
}

/// The tables at a place.
fn under<'a>(node: &'a Node, place: &[&str]) -> Vec<&'a Node> {
    match place {
        [] if matches!(node.kind, Kind::Table(_)) => vec![node],
        [] => Vec::new(),
        ["*", rest @ ..] => node
            .entries()
            .iter()
            .flat_map(|entry| under(&entry.value, rest))
            .collect(),
        [key, rest @ ..] => node.entry(key).map_or_else(Vec::new, |entry| under(&entry.value, rest)),
    }
}

fn is(server: &Node, known: &dyn Fn(&str) -> bool) -> Is {
    let Some(command) = server.entry("command") else {
        let remote = REMOTE.iter().any(|key| server.entry(key).is_some());
        return Is::Else(if remote {
            "it runs elsewhere, and has a URL for a command"
        } else {
            "it has no `command`"
        });
    };
    let Some(text) = command.value.text() else {
        return Is::Else("its `command` is no string");
    };
    let arguments = match server.entry("args") {
        None => None,
        Some(entry) => match &entry.value.kind {
            Kind::List(items) => Some(Arguments {
                at: entry.value.at.clone(),
                items: items.clone(),
            }),
            _ => return Is::Else("its `args` are no list"),
        },
    };
    let started = Started {
        key_at: command.key_at.clone(),
        command_at: command.value.at.clone(),
        arguments,
    };
    if known(text) {
        return match started.own_part() {
            Some(own) => Is::Wrapped(started, own),
            None => Is::Else("it is resmgr itself"),
        };
    }
    // One string with arguments in it: only a shell starts that, and resmgr is none.
    if text.contains(char::is_whitespace) && !Path::new(text).exists() {
        return Is::Else("its `command` is a whole command line: put the arguments into `args`, one string each");
    }
    Is::Plain(started)
}

impl Started {
    fn items(&self) -> &[Node] {
        self.arguments.as_ref().map_or(&[], |arguments| &arguments.items)
    }

    /// Where, behind `exec … --`, the command's own part begins.
    fn own_part(&self) -> Option<usize> {
        let items = self.items();
        let dashes = items.iter().position(|item| item.text() == Some("--"))?;
        let exec = items[..dashes].iter().any(|item| item.text() == Some("exec"));
        let has_command = items.get(dashes + 1).is_some_and(|item| item.text().is_some());
        (exec && has_command).then_some(dashes + 1)
    }

    /// The name of the tool that it is started as.
    pub(super) fn tool(&self) -> Option<&str> {
        let items = self.items();
        let flag = items.iter().position(|item| item.text() == Some("--tool"))?;
        items.get(flag + 1)?.text()
    }
}

/// A tool's name for a server: its key, as far as that is one, and no other's.
pub(super) fn name(key: &str, taken: &mut BTreeSet<String>) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain: String = key.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let plain = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let plain = if plain.is_empty() { "server" } else { plain };
    let numbered = (2_u32..).map(|n| format!("-{n}"));
    let names = std::iter::once(String::new()).chain(numbered).map(|end| {
        let kept = plain.len().min(LONGEST_NAME - end.len());
        format!("{}{end}", &plain[..kept])
    });
    let mut free = names.filter(|name| !taken.contains(name));
    let name = free.next().unwrap_or_default();
    debug_assert!(name.parse::<ToolName>().is_ok(), "{name}");
    taken.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    //! Keys as people write them.
    use super::*;

    #[test]
    fn a_key_becomes_a_name_that_a_tool_can_have_and_no_other_has() {
        let mut taken = BTreeSet::from(["fetch".to_owned()]);
        let mut of = |key: &str| name(key, &mut taken);
        assert_eq!(of("playwright"), "playwright");
        assert_eq!(
            of("@modelcontextprotocol/server-everything"),
            "modelcontextprotocol-server-everything"
        );
        assert_eq!(of("my server"), "my-server");
        assert_eq!(of("my-server"), "my-server-2");
        assert_eq!(of("my/server"), "my-server-3");
        assert_eq!(of("fetch"), "fetch-2");
        assert_eq!(of("…"), "server");
        assert_eq!(of(""), "server-2");
        let long = "x".repeat(80);
        assert_eq!(of(&long), "x".repeat(63));
        assert_eq!(of(&long), format!("{}-2", "x".repeat(61)));
    }
}

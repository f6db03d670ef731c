//! What is changed in a configuration's text: resmgr is put before a command, and taken off again. Touches no byte that it
//! need not, so that taking off undoes putting on. Pure.

use std::ops::Range;

use super::{
    server::{Arguments, Started},
    tree::Format,
};

/// A part of the text, and what stands there from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) at: Range<usize>,
    pub(super) new: String,
}

/// The text with its edits, which overlap nowhere.
pub(super) fn edited(text: &str, edits: &[Edit]) -> String {
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        new.push_str(&text[done..edit.at.start]);
        new.push_str(&edit.new);
        done = edit.at.end;
    }
    new.push_str(&text[done..]);
    new
}

/// A string as both formats write it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The edits that put a command with its arguments before another. That one is kept as it was written.
pub(super) fn put_before(text: &str, format: Format, server: &Started, command: &str, before: &[&str]) -> Vec<Edit> {
    let mut list: Vec<String> = before.iter().map(|argument| quoted(argument)).collect();
    list.push(text[server.command_at.clone()].to_owned());
    let list = list.join(", ");
    let replaced = Edit {
        at: server.command_at.clone(),
        new: quoted(command),
    };
    let (at, new) = match &server.arguments {
        None => {
            let at = server.command_at.end;
            (at, format!("{}[{list}]", between(text, format, server)))
        }
        Some(arguments) => match arguments.items.first() {
            // The space tells it from a list that was not there before.
            None => (arguments.at.start + 1, format!(" {list}")),
            Some(first) => {
                let gap = gap(&text[arguments.at.start + 1..first.at.start]);
                (first.at.start, format!("{list},{gap}"))
            }
        },
    };
    ordered(replaced, Edit { at: at..at, new })
}

/// The edits that take off what is before a command. `own` says where in the arguments the command's own part begins.
pub(super) fn take_off(text: &str, format: Format, server: &Started, own: usize) -> Vec<Edit> {
    let Some(arguments) = &server.arguments else {
        return Vec::new();
    };
    let (Some(first), Some(command)) = (arguments.items.first(), arguments.items.get(own)) else {
        return Vec::new();
    };
    let replaced = Edit {
        at: server.command_at.clone(),
        new: text[command.at.clone()].to_owned(),
    };
    let at = match arguments.items.get(own + 1) {
        Some(next) => first.at.start..next.at.start,
        None => whole(text, format, server, arguments).unwrap_or_else(|| emptied(text, arguments, first.at.start)),
    };
    ordered(replaced, Edit { at, new: String::new() })
}

fn ordered(one: Edit, other: Edit) -> Vec<Edit> {
    let mut both = vec![one, other];
    both.sort_by_key(|edit| edit.at.start);
    both
}

/// What keeps an item apart from what is put before it: where it begins a line, so does it from then on.
fn gap(before: &str) -> String {
    let Some(newline) = before.find('\n') else {
        return " ".to_owned();
    };
    let line = if before[..newline].ends_with('\r') {
        "\r\n"
    } else {
        "\n"
    };
    let last = before.rfind('\n').map_or("", |newline| &before[newline + 1..]);
    let indent: String = last.chars().take_while(|c| c.is_whitespace()).collect();
    format!("{line}{indent}")
}

/// What stands between a command and the arguments that are made for it: as the command stands, so do they.
fn between(text: &str, format: Format, server: &Started) -> String {
    let line = text[..server.key_at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let start = &text[line..server.key_at.start];
    let newline = if text[..line].ends_with("\r\n") { "\r\n" } else { "\n" };
    let equals = &text[server.key_at.end..server.command_at.start];
    let alone = start.chars().all(char::is_whitespace);
    match format {
        Format::Json => {
            let space = if alone && line > 0 {
                format!("{newline}{start}")
            } else {
                " ".to_owned()
            };
            format!(",{space}\"args\"{equals}")
        }
        Format::Toml => {
            let rest = text[server.command_at.end..].trim_start_matches([' ', '\t']);
            if rest.starts_with([',', '}']) {
                format!(", args{equals}")
            } else {
                // What stands before the key on its line is its table, where that is not named above.
                format!("{newline}{start}args{equals}")
            }
        }
    }
}

/// The whole list with its key, where it has been made for what is taken off.
fn whole(text: &str, format: Format, server: &Started, arguments: &Arguments) -> Option<Range<usize>> {
    let (first, last) = (arguments.items.first()?, arguments.items.last()?);
    let made = server.command_at.end < arguments.at.start
        && text[server.command_at.end..arguments.at.start] == between(text, format, server)
        && first.at.start == arguments.at.start + 1
        && last.at.end + 1 == arguments.at.end;
    made.then_some(server.command_at.end..arguments.at.end)
}

/// All items of a list, with the comma behind the last.
fn emptied(text: &str, arguments: &Arguments, first: usize) -> Range<usize> {
    let inside = arguments.at.start + 1..arguments.at.end - 1;
    let begin = if &text[inside.start..first] == " " {
        inside.start
    } else {
        first
    };
    let last = arguments.items.last().map_or(first, |item| item.at.end);
    let behind = &text[last..inside.end];
    let comma = behind.trim_start().starts_with(',').then(|| behind.find(',')).flatten();
    begin..comma.map_or(last, |comma| last + comma + 1)
}

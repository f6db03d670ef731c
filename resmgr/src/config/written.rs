//! The file as a text: which keys it has, on which lines, and which of them are none. Knows no value's meaning.

use std::ops::Range;

use strsim::osa_distance;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::keys::{Key, Kind, SECTIONS, Section};
use crate::model::Setting;

/// Something that is wrong with a file: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1; `None` where it is not known.
    pub line: Option<usize>,
    /// The key; empty where it is about the file.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Fault {
    /// What is wrong with a key's value.
    pub(super) fn of(key: impl Into<String>, message: &(impl ToString + ?Sized)) -> Self {
        Self {
            line: None,
            key: key.into(),
            message: message.to_string(),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A key or a table, as it stands in the file.
#[derive(Clone, Debug)]
struct Entry {
    key: String,
    line: usize,
    /// Where it and its value are.
    span: Range<usize>,
    /// Of a key: its section, the section's header as it is written, and its value.
    value: Option<(&'static Section, &'static Key, String, String)>,
}

/// A file's keys.
#[derive(Clone, Debug, Default)]
pub struct Written {
    entries: Vec<Entry>,
    faults: Vec<Fault>,
}

impl Written {
    /// The keys of a text; all that is wrong with them.
    pub fn read(text: &str) -> Result<Self, Vec<Fault>> {
        let document = DeTable::parse(text).map_err(|error| {
            vec![Fault {
                line: error.span().map(|span| line_at(text, span.start)),
                key: String::new(),
                message: format!("this is no TOML: {}", error.message().replace('\n', ", ")),
            }]
        })?;
        let mut written = Self::default();
        written.walk(text, document.get_ref(), &Place::default());
        if written.faults.is_empty() {
            return Ok(written);
        }
        written.faults.sort_by_key(|fault| fault.line);
        Err(written.faults)
    }

    fn walk(&mut self, text: &str, table: &DeTable<'_>, place: &Place) {
        for (name, value) in table {
            let at = name.span().start;
            let line = line_at(text, at);
            let span = at..value.span().end.max(at);
            let here = place.of(name.get_ref());
            let mut entry = Entry {
                key: here.shown.clone(),
                line,
                span,
                value: None,
            };
            let section = SECTIONS.iter().find(|section| section.path == place.pattern);
            if let Some((section, key)) = section.and_then(|section| Some((section, section.key(name.get_ref())?))) {
                if !fits(key.kind, value.get_ref()) {
                    self.fault(line, &here, mistyped(key, value.get_ref()));
                }
                let written = text.get(value.span()).unwrap_or_default().to_owned();
                entry.value = Some((section, key, place.header.clone(), written));
                self.entries.push(entry);
                continue;
            }
            self.entries.push(entry);
            match (here.kind(), value.get_ref()) {
                (Some(Node::Table), DeValue::Table(inner)) => self.walk(text, inner, &here),
                (Some(Node::List), DeValue::Array(inner)) => self.walk_list(text, inner, line, &here),
                (Some(node), _) => self.fault(line, &here, not_a_table(node, &here.pattern)),
                (None, _) => self.fault(line, &here, unknown(name.get_ref(), place)),
            }
        }
    }

    fn walk_list(&mut self, text: &str, list: &[Spanned<DeValue<'_>>], line: usize, place: &Place) {
        for (n, element) in list.iter().enumerate() {
            let here = place.element(n);
            let DeValue::Table(inner) = element.get_ref() else {
                return self.fault(line, &here, not_a_table(Node::List, &place.pattern));
            };
            self.entries.push(Entry {
                key: here.shown.clone(),
                line: line_at(text, element.span().start),
                span: element.span(),
                value: None,
            });
            self.walk(text, inner, &here);
        }
    }

    fn fault(&mut self, line: usize, place: &Place, message: String) {
        self.faults.push(Fault {
            line: Some(line),
            key: place.shown.clone(),
            message,
        });
    }

    /// The fault with its line: that of its key, or of the table that the key would be in.
    pub(super) fn placed(&self, mut fault: Fault) -> Fault {
        let mut key = fault.key.as_str();
        while fault.line.is_none() {
            let entry = self.entries.iter().find(|entry| entry.key == key);
            fault.line = entry.map(|entry| entry.line);
            match key.rsplit_once('.') {
                Some((above, _)) => key = above,
                None => break,
            }
        }
        fault
    }

    /// What a typed reader has found, with its key and line.
    pub(super) fn fault_of(&self, text: &str, error: &toml::de::Error) -> Fault {
        let at = error.span().map(|span| span.start);
        let holds = |entry: &&Entry| at.is_some_and(|at| entry.span.contains(&at));
        let innermost = self.entries.iter().filter(holds).min_by_key(|entry| entry.span.len());
        Fault {
            line: at.map(|at| line_at(text, at)),
            key: innermost.map(|entry| entry.key.clone()).unwrap_or_default(),
            message: error
                .message()
                .replace("unknown variant", "it cannot be")
                .replace("expected", "write"),
        }
    }

    /// What every key is, the sections in their order: what is written, else the default.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for section in SECTIONS {
            let of_section = |entry: &&Entry| entry.value.as_ref().is_some_and(|value| value.0.path == section.path);
            let mut written: Vec<&Entry> = self.entries.iter().filter(of_section).collect();
            // What is one table's stands together, however it is written.
            written.sort_by_key(|entry| (entry.value.as_ref().map(|value| value.2.clone()), entry.line));
            if section.is_of_many() {
                settings.extend(written.into_iter().filter_map(setting));
                continue;
            }
            for key in section.keys {
                let entry = written
                    .iter()
                    .find(|entry| entry.value.as_ref().is_some_and(|value| value.1.name == key.name));
                settings.push(entry.copied().and_then(setting).unwrap_or_else(|| Setting {
                    table: section.header(),
                    key: key.name.to_owned(),
                    value: key.default.map(str::to_owned),
                    from: "built in".to_owned(),
                }));
            }
        }
        settings
    }

    /// How many keys are written.
    pub fn count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.value.is_some()).count()
    }
}

fn setting(entry: &Entry) -> Option<Setting> {
    let (_, key, table, value) = entry.value.as_ref()?;
    Some(Setting {
        table: table.clone(),
        key: key.name.to_owned(),
        value: Some(value.clone()),
        from: format!("line {}", entry.line),
    })
}

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
enum Node {
    Table,
    List,
}

/// A place in the file: as the table of keys has it, as it is told, and as the header of its table has it.
#[derive(Clone, Debug, Default)]
struct Place {
    pattern: String,
    shown: String,
    header: String,
}

impl Place {
    fn of(&self, name: &str) -> Self {
        let quoted = quoted(name);
        let join = |to: &str, name: &str| {
            if to.is_empty() {
                name.to_owned()
            } else {
                format!("{to}.{name}")
            }
        };
        let named = join(&self.pattern, name);
        let any = join(&self.pattern, "NAME");
        let shown = join(&self.shown, &quoted);
        Self {
            pattern: if is_path(&any) { any } else { named },
            header: format!("[{shown}]"),
            shown,
        }
    }

    fn element(&self, n: usize) -> Self {
        Self {
            pattern: format!("{}[]", self.pattern),
            shown: format!("{}[{}]", self.shown, n + 1),
            header: format!("[[{}]]", self.shown),
        }
    }

    fn kind(&self) -> Option<Node> {
        let list = format!("{}[]", self.pattern);
        if is_path(&list) {
            Some(Node::List)
        } else {
            is_path(&self.pattern).then_some(Node::Table)
        }
    }
}

/// How a name is written in a key.
pub(super) fn quoted(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

/// Whether a section is there, or below it.
fn is_path(pattern: &str) -> bool {
    let below = format!("{pattern}.");
    SECTIONS
        .iter()
        .any(|section| section.path == pattern || section.path.starts_with(&below))
}

fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn fits(kind: Kind, value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(_) => matches!(kind, Kind::Text | Kind::TextOrInteger),
        DeValue::Integer(_) => matches!(kind, Kind::Integer | Kind::TextOrInteger),
        DeValue::Boolean(_) => kind == Kind::Flag,
        _ => false,
    }
}

fn mistyped(key: &Key, value: &DeValue<'_>) -> String {
    let found = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time of the calendar",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let wanted = match key.kind {
        Kind::Text => "a text",
        Kind::Integer => "a whole number",
        Kind::Flag => "true or false",
        Kind::TextOrInteger => "a whole number or a text",
    };
    format!("it is {wanted}, not {found}: write {} = {}", key.name, key.example)
}

fn not_a_table(node: Node, pattern: &str) -> String {
    match node {
        Node::Table => format!("it is a table: write [{pattern}], and its keys below"),
        Node::List => format!("it is a list of tables: write [[{pattern}]], and the keys of each below"),
    }
}

/// How a name that is none may have been meant.
fn unknown(name: &str, place: &Place) -> String {
    let section = SECTIONS.iter().find(|section| section.path == place.pattern);
    let keys = section.into_iter().flat_map(|section| section.keys).map(|key| key.name);
    let above = if place.pattern.is_empty() {
        String::new()
    } else {
        format!("{}.", place.pattern)
    };
    let tables = SECTIONS
        .iter()
        .filter_map(|section| section.path.strip_prefix(&above)?.split(['.', '[']).next());
    let mut known: Vec<&str> = keys.chain(tables).collect();
    known.sort_unstable();
    known.dedup();
    let near = known.iter().map(|known| (osa_distance(name, known), known)).min();
    let is_there = |section: &&Section| section.key(name).is_some() || section.path.ends_with(&format!(".{name}"));
    if let Some(elsewhere) = SECTIONS.iter().find(is_there) {
        return format!("there is no such key here: there is one in {}", elsewhere.header());
    }
    if let Some((_, nearest)) = near.filter(|(distance, _)| *distance <= 1 + name.len() / 3) {
        return format!("there is no such key: did you mean {nearest}?");
    }
    format!("there is no such key: write one of {}", known.join(", "))
}

//! JSON with comments and TOML as one tree of texts, lists and tables, each with its place in the file. Changes nothing.

use std::ops::Range;

use jsonc_parser::{CollectOptions, ParseOptions, ast::Value, common::Ranged as _, parse_to_ast};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON, with comments and trailing commas where its host takes them.
    Json,
    /// TOML.
    Toml,
}

/// A value, and where it stands in the text, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Range<usize>,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A string, without its quotes and escapes.
    Text(String),
    /// Values.
    List(Vec<Node>),
    /// Entries in the order of the file.
    Table(Vec<Entry>),
    /// Anything else.
    Other,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Range<usize>,
    pub(super) value: Node,
}

/// A text that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub(super) struct NotRead {
    line: usize,
    column: usize,
    message: String,
}

impl Node {
    /// The entries of a table; none where it is none.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of a key: the last one, as hosts read it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().rfind(|entry| entry.key == key)
    }

    /// The string that it is.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a text.
pub(super) fn read(text: &str, format: Format) -> Result<Node, NotRead> {
    match format {
        Format::Json => {
            // As strict as the hosts that read comments and trailing commas.
            let options = ParseOptions {
                allow_comments: true,
                allow_trailing_commas: true,
                allow_loose_object_property_names: false,
                allow_missing_commas: false,
                allow_single_quoted_strings: false,
                allow_hexadecimal_numbers: false,
                allow_unary_plus_numbers: false,
                allow_bare_decimal_point_numbers: false,
                allow_non_finite_numbers: false,
                allow_extended_string_escapes: false,
            };
            let parsed = parse_to_ast(text, &CollectOptions::default(), &options)
                .map_err(|error| not_read(text, error.range().start, error.kind().to_string()))?;
            let value = parsed.value.as_ref().map(of_json);
            value.ok_or_else(|| not_read(text, text.len(), "there is no value".to_owned()))
        }
        Format::Toml => {
            let parsed = DeTable::parse(text).map_err(|error| {
                let at = error.span().map_or(0, |span| span.start);
                not_read(text, at, error.message().to_owned())
            })?;
            Ok(Node {
                at: parsed.span(),
                kind: of_table(parsed.get_ref()),
            })
        }
    }
}

fn not_read(text: &str, at: usize, message: String) -> NotRead {
    let before = text.get(..at).unwrap_or(text);
    let begins = before.rfind('\n').map_or(0, |newline| newline + 1);
    NotRead {
        line: before.matches('\n').count() + 1,
        column: before[begins..].chars().count() + 1,
        message,
    }
}

fn of_json(value: &Value<'_>) -> Node {
    let range = value.range();
    let kind = match value {
        Value::StringLit(string) => Kind::Text(string.value.clone().into_owned()),
        Value::Array(array) => Kind::List(array.elements.iter().map(of_json).collect()),
        Value::Object(object) => {
            let entries = object.properties.iter().map(|property| Entry {
                key: property.name.as_str().to_owned(),
                key_at: property.name.start()..property.name.end(),
                value: of_json(&property.value),
            });
            Kind::Table(entries.collect())
        }
        Value::NumberLit(_) | Value::BooleanLit(_) | Value::NullKeyword(_) => Kind::Other,
    };
    Node {
        at: range.start..range.end,
        kind,
    }
}

fn of_toml(value: &Spanned<DeValue<'_>>) -> Node {
    let kind = match value.get_ref() {
        DeValue::String(string) => Kind::Text(string.clone().into_owned()),
        DeValue::Array(array) => Kind::List(array.iter().map(of_toml).collect()),
        DeValue::Table(table) => of_table(table),
        _ => Kind::Other,
    };
    Node { at: value.span(), kind }
}

fn of_table(table: &DeTable<'_>) -> Kind {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().clone().into_owned(),
            key_at: key.span(),
            value: of_toml(value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_at.start);
    Kind::Table(entries)
}

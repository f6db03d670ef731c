//! The two text formats, line by line. Knows no metric.

use std::fmt::{self, Write as _};

/// A format of scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that the value of an `Accept` header likes better; Prometheus' own where it says nothing of either.
    pub fn accepted(header: &str) -> Self {
        let mut liked = (0.0, Self::Prometheus);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Self::Prometheus,
                _ => continue,
            };
            let (mut quality, mut is_known) = (1.0, true);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match (name.trim(), value.trim().trim_matches('"')) {
                    ("q", value) => quality = value.parse().unwrap_or(0.0),
                    ("version", version) => is_known = format == Self::Prometheus || version == "1.0.0",
                    _ => {}
                }
            }
            if is_known && quality > liked.0 {
                liked = (quality, format);
            }
        }
        liked.1
    }

    /// The value of the `Content-Type` header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family's values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They go up and down.
    Gauge,
    /// They only go up, until the agent starts anew or the series ends.
    Counter,
}

/// A value, exact where its unit is a part of the base unit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    /// Seconds, in nanoseconds.
    Nanoseconds(u64),
    /// Seconds, in milliseconds.
    Milliseconds(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Nanoseconds(ns) => write!(f, "{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
            Self::Milliseconds(ms) => write!(f, "{}.{:03}", ms / 1000, ms % 1000),
            Self::Real(number) if number.is_infinite() => f.write_str(if *number > 0.0 { "+Inf" } else { "-Inf" }),
            Self::Real(number) => number.fmt(f),
        }
    }
}

/// Labels with their values, ready to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    /// These, and one more.
    pub(super) fn and(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    fn push(&mut self, name: &str, value: &str) {
        let between = if self.0.is_empty() { "" } else { "," };
        // A string takes all that is written to it.
        let _ = write!(self.0, "{between}{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

/// A scrape's text as it grows.
#[derive(Debug)]
pub(super) struct Text {
    format: Format,
    text: String,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        let text = String::new();
        Self { format, text }
    }

    /// Begins a family; of a counter, `name` ends with `_total`.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let family = match self.format {
            Format::Prometheus => name,
            // There, the end belongs to the sample alone.
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}");
        Family {
            text: &mut self.text,
            name,
        }
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A family that takes its samples.
#[derive(Debug)]
pub(super) struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Family<'_> {
    /// A sample with no labels.
    pub(super) fn alone(&mut self, number: impl Into<Number>) {
        let _ = writeln!(self.text, "{} {}", self.name, number.into());
    }

    /// A sample with labels.
    pub(super) fn with(&mut self, labels: &Labels, number: impl Into<Number>) {
        let _ = writeln!(self.text, "{}{{{}}} {}", self.name, labels.0, number.into());
    }

    /// A sample with labels and one more.
    pub(super) fn and(&mut self, labels: &Labels, name: &str, value: &str, number: impl Into<Number>) {
        self.with(&labels.clone().and(name, value), number);
    }
}

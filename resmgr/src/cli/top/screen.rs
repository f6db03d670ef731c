//! What a screen shows: rows of text with tones. Turns two of them into what a terminal is sent; writes nothing itself.

use std::fmt::Write as _;

use crate::export::{Span, Tone, ascii, cut, width};

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// It has colours, and they are wanted.
    pub(super) has_colours: bool,
    /// It shows more than ASCII.
    pub(super) has_utf8: bool,
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    spans: Vec<Span>,
    /// It is the one that keys are about.
    is_selected: bool,
}

impl Row {
    /// A row that is all one thing.
    pub(super) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self::of(vec![Span::new(text, tone)])
    }

    /// A row of several.
    pub(super) fn of(spans: Vec<Span>) -> Self {
        Self {
            spans,
            is_selected: false,
        }
    }

    /// The row, as the one that keys are about or not.
    pub(super) fn selected(self, is_selected: bool) -> Self {
        Self { is_selected, ..self }
    }

    fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    /// The row with no more than fits.
    fn cut(self, columns: usize) -> Self {
        let mut left = columns;
        let mut spans = Vec::with_capacity(self.spans.len());
        for mut span in self.spans {
            if width(&span.text) > left {
                span.text = cut(&span.text, left);
            }
            left -= width(&span.text);
            spans.push(span);
        }
        Self { spans, ..self }
    }

    fn written(&self, columns: usize, look: Look) -> String {
        let mut written = String::new();
        for span in &self.spans {
            let text = if look.has_utf8 {
                span.text.clone()
            } else {
                ascii(&span.text)
            };
            let selected = span.tone.selected(look.has_colours);
            // Faint on a bar is hard to read.
            let selected = if self.is_selected && span.tone == Tone::Faint {
                ""
            } else {
                selected
            };
            let bar = if self.is_selected { "\x1b[7m" } else { "" };
            let end = if selected.is_empty() && bar.is_empty() {
                ""
            } else {
                "\x1b[0m"
            };
            let _ = write!(written, "{bar}{selected}{text}{end}");
        }
        if self.is_selected {
            let blank = columns.saturating_sub(width(&self.text()));
            let _ = write!(written, "\x1b[7m{:blank$}\x1b[0m", "");
        }
        written
    }
}

/// A whole screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    columns: usize,
    rows: Vec<Row>,
}

impl Frame {
    /// So many rows and columns; what is beyond is left out.
    pub(super) fn new(columns: usize, rows: usize, shown: Vec<Row>) -> Self {
        let mut shown: Vec<Row> = shown.into_iter().take(rows).map(|row| row.cut(columns)).collect();
        shown.resize(rows, Row::default());
        Self { columns, rows: shown }
    }

    /// What makes a terminal show it that shows another one; or of which nothing is known.
    pub(super) fn written(&self, shown: Option<&Self>, look: Look) -> String {
        let shown = shown.filter(|shown| shown.columns == self.columns && shown.rows.len() == self.rows.len());
        let mut written = String::new();
        if shown.is_none() {
            written.push_str("\x1b[0m\x1b[2J");
        }
        for (n, row) in self.rows.iter().enumerate() {
            if shown.is_some_and(|shown| shown.rows.get(n) == Some(row)) {
                continue;
            }
            // What was there is cleared first: to do it after a full row would take its last character.
            let _ = write!(written, "\x1b[{};1H\x1b[K{}", n + 1, row.written(self.columns, look));
        }
        written
    }

    /// Its rows as text.
    #[cfg(test)]
    pub(super) fn text(&self) -> Vec<String> {
        self.rows.iter().map(Row::text).collect()
    }
}

#[cfg(test)]
mod tests {
    //! Screens, and what it takes to get from one to the next.
    use super::*;

    const PLAIN: Look = Look {
        has_colours: false,
        has_utf8: false,
    };

    #[test]
    fn what_has_not_changed_is_not_sent() {
        let frame = |second: &str| {
            Frame::new(
                10,
                3,
                vec![Row::new("first", Tone::Plain), Row::new(second, Tone::Plain)],
            )
        };
        let shown = frame("second");
        assert_eq!(shown.written(Some(&shown), PLAIN), "");
        assert_eq!(frame("other").written(Some(&shown), PLAIN), "\x1b[2;1H\x1b[Kother");
        let all = shown.written(None, PLAIN);
        assert!(all.contains("first") && all.contains("second") && all.contains("\x1b[2J"));
        // On a screen of another size nothing is where it was.
        let narrow = Frame::new(4, 3, vec![Row::new("first", Tone::Plain)]);
        assert_eq!(narrow.text(), ["fir…", "", ""]);
        assert!(narrow.written(Some(&shown), PLAIN).contains("fir~"));
    }

    #[test]
    fn the_selected_row_is_a_bar_from_edge_to_edge() {
        let row = Row::of(vec![Span::new("ab", Tone::Warning), Span::new("c", Tone::Faint)]).selected(true);
        let has_colours = Look {
            has_colours: true,
            has_utf8: true,
        };
        assert_eq!(
            row.written(5, has_colours),
            "\x1b[7m\x1b[33mab\x1b[0m\x1b[7mc\x1b[0m\x1b[7m  \x1b[0m"
        );
        assert_eq!(
            row.written(3, PLAIN),
            "\x1b[7m\x1b[1mab\x1b[0m\x1b[7mc\x1b[0m\x1b[7m\x1b[0m"
        );
    }
}

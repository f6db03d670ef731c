//! The one table printer: columns as wide as their content, those of text cut where the terminal is too narrow.

use super::{Span, Tone, cut, harmless, padded, width};

/// Text is cut down to so many columns before anything else of a line is.
const NARROWEST: usize = 8;

/// How a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// To the left: text.
    Left,
    /// To the right: numbers.
    Right,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub heading: &'static str,
    /// How its cells stand.
    pub align: Align,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Span>>,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// An empty table of numbers, about what the first column names.
    pub fn of_numbers(headings: &[&'static str]) -> Self {
        let column = |(n, heading): (usize, &&'static str)| Column {
            heading,
            align: if n == 0 { Align::Left } else { Align::Right },
        };
        Self::new(&headings.iter().enumerate().map(column).collect::<Vec<_>>())
    }

    /// Adds a row: a cell a column, in their order.
    pub fn row<C: Into<Span>>(&mut self, cells: Vec<C>) {
        let cell = |cell: C| {
            let mut cell = cell.into();
            if cell.text.contains(char::is_control) {
                cell.text = harmless(&cell.text);
            }
            cell
        };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// The lines of the table, the heading first. With a `width` no line is longer; without one nothing is cut.
    pub fn lines(&self, width: Option<usize>) -> Vec<String> {
        let text = |line: Vec<Span>| line.into_iter().map(|span| span.text).collect::<String>();
        self.spans(width).into_iter().map(text).collect()
    }

    /// The same as a terminal is told of them, with colours or without.
    pub fn painted(&self, width: Option<usize>, has_colours: bool) -> Vec<String> {
        let painted = |line: Vec<Span>| line.iter().map(|span| span.painted(has_colours)).collect::<String>();
        self.spans(width).into_iter().map(painted).collect()
    }

    fn spans(&self, width: Option<usize>) -> Vec<Vec<Span>> {
        let widths = self.widths(width);
        let heading = |column: &Column| Span::new(column.heading, Tone::Heading);
        let heading: Vec<Span> = self.columns.iter().map(heading).collect();
        let rows = std::iter::once(&heading).chain(&self.rows);
        rows.map(|row| self.line(row, &widths, width)).collect()
    }

    /// How wide each column is: as its content, but where the whole is too wide the widest columns of text are less.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let of = |(n, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(n));
            cells
                .map(|cell| width(&cell.text))
                .max()
                .unwrap_or(0)
                .max(width(column.heading))
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(of).collect();
        let mut beyond = match room {
            Some(room) => (widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)).saturating_sub(room),
            None => 0,
        };
        while beyond > 0 {
            let can_give = |n: &usize| self.columns[*n].align == Align::Left && widths[*n] > NARROWEST;
            let Some(widest) = (0..widths.len()).filter(can_give).max_by_key(|n| widths[*n]) else {
                break;
            };
            widths[widest] -= 1;
            beyond -= 1;
        }
        widths
    }

    fn line(&self, row: &[Span], widths: &[usize], room: Option<usize>) -> Vec<Span> {
        let mut line: Vec<Span> = Vec::new();
        let mut left = room.unwrap_or(usize::MAX);
        for (n, (column, wide)) in self.columns.iter().zip(widths).enumerate() {
            let (text, tone) = row
                .get(n)
                .map_or(("", Tone::Plain), |cell| (cell.text.as_str(), cell.tone));
            let is_last = n + 1 == self.columns.len();
            let mut text = if is_last && column.align == Align::Left {
                cut(text, *wide)
            } else {
                padded(text, *wide, column.align)
            };
            if is_last {
                text.truncate(text.trim_end().len());
            }
            if n > 0 {
                text.insert_str(0, "  ");
            }
            text = cut(&text, left);
            left -= width(&text);
            line.push(Span::new(text, tone));
        }
        // What is blank at the end is not printed.
        while let Some(last) = line.last_mut() {
            last.text.truncate(last.text.trim_end().len());
            if !last.text.is_empty() {
                break;
            }
            line.pop();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    //! Tables in narrow and in unbounded places.
    use super::*;

    fn table() -> Table {
        let column = |heading, align| Column { heading, align };
        let mut table = Table::new(&[column("PID", Align::Right), column("COMMAND", Align::Left)]);
        table.row(vec!["1".to_owned(), "init".to_owned()]);
        table.row(vec!["12345".to_owned(), "a long command line".to_owned()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_content() {
        assert_eq!(
            table().lines(None),
            ["  PID  COMMAND", "    1  init", "12345  a long command line"]
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let lines = table().lines(Some(12));
        assert!(lines.iter().all(|line| line.chars().count() <= 12), "{lines:?}");
        assert_eq!(lines[2], "12345  a lo…");
        assert_eq!(table().lines(Some(0)), ["", "", ""]);
    }

    #[test]
    fn text_gives_way_to_numbers() {
        let mut table = Table::of_numbers(&["TOOL", "MEMORY", "FDS"]);
        table.row(vec![
            "a-name-that-goes-on-and-on".to_owned(),
            "64.0M".to_owned(),
            "12".to_owned(),
        ]);
        assert_eq!(
            table.lines(Some(24)),
            ["TOOL         MEMORY  FDS", "a-name-tha…   64.0M   12"]
        );
        assert!(table.lines(Some(13)).iter().all(|line| width(line) <= 13));
    }

    #[test]
    fn colours_take_no_room_and_names_cannot_set_them() {
        let mut table = table();
        table.row(vec![
            Span::new("3", Tone::Warning),
            Span::new("\x1b[31mred", Tone::Plain),
        ]);
        let painted = table.painted(Some(20), true);
        assert_eq!(painted[3], "\x1b[33m    3\x1b[0m  ?[31mred");
        assert_eq!(table.lines(Some(20))[3], "    3  ?[31mred");
    }
}

//! The one table printer: columns as wide as their content, the last one cut to the terminal's width.

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
    rows: Vec<Vec<String>>,
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
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines of the table, the heading first. With a `width` no line is longer; without one nothing is cut.
    pub fn lines(&self, width: Option<usize>) -> Vec<String> {
        let heading: Vec<String> = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        let rows = || std::iter::once(&heading).chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|n| {
                rows()
                    .map(|row| row.get(n).map_or(0, |cell| cell.chars().count()))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        rows().map(|row| self.line(row, &widths, width)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize], width: Option<usize>) -> String {
        let mut line = String::new();
        for (n, column) in self.columns.iter().enumerate() {
            let cell = row.get(n).map_or("", String::as_str);
            let room = widths.get(n).copied().unwrap_or(0);
            if n > 0 {
                line.push_str("  ");
            }
            let padding = std::iter::repeat_n(' ', room.saturating_sub(cell.chars().count()));
            let last = n + 1 == self.columns.len();
            match column.align {
                Align::Left if last => line.push_str(cell),
                Align::Left => line.extend(cell.chars().chain(padding)),
                Align::Right => line.extend(padding.chain(cell.chars())),
            }
        }
        match width {
            Some(width) => cut(line.trim_end(), width),
            None => line.trim_end().to_owned(),
        }
    }
}

/// A text of at most `width` characters; what was cut is marked.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    //! Tables in narrow and in unbounded places.
    use super::*;

    fn table() -> Table {
        let column = |heading, align| Column { heading, align };
        let mut table = Table::new(&[column("PID", Align::Right), column("COMMAND", Align::Left)]);
        table.row(vec!["1".into(), "init".into()]);
        table.row(vec!["12345".into(), "a long command line".into()]);
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
}

//! Standard output: how wide it is, whether a person looks at it, and what can be shown there.

use std::{
    env,
    ffi::OsStr,
    io::{self, IsTerminal as _, Write as _},
};

use serde::Serialize;

use super::{Failure, failure::Code};
use crate::export::{Table, ascii, harmless, wrapped};

/// Width of the terminal on standard output; `None` where it is none.
pub(super) fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    // A terminal that does not know its size says 0.
    Some(if size.ws_col == 0 { 80 } else { usize::from(size.ws_col) })
}

/// Whether the terminal knows more than text.
pub(super) fn can_be_painted() -> bool {
    env::var_os("TERM").as_deref() != Some(OsStr::new("dumb"))
}

/// Whether a terminal is to show colours.
pub(super) fn colours_are_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the locale has UTF-8; else what is printed is ASCII.
pub(super) fn has_utf8() -> bool {
    let mut set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os);
    is_utf8(set.find(|value| !value.is_empty()).as_deref())
}

fn is_utf8(locale: Option<&OsStr>) -> bool {
    let locale = locale.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// A table's lines, painted where a person looks at it: there it has a width.
pub(super) fn table(table: &Table, width: Option<usize>) -> Vec<String> {
    if width.is_some() && can_be_painted() {
        table.painted(width, colours_are_wanted())
    } else {
        table.lines(width)
    }
}

/// Lines without what would speak to a terminal, broken where it is too narrow for them.
pub(super) fn fitted(lines: &[String], width: Option<usize>) -> Vec<String> {
    let fitted = |line: &String| match width {
        Some(width) => wrapped(&harmless(line), width),
        None => vec![harmless(line)],
    };
    lines.iter().flat_map(fitted).collect()
}

/// What can be shown here of a line.
fn shown(line: &str, has_utf8: bool) -> String {
    if has_utf8 { line.to_owned() } else { ascii(line) }
}

/// Writes lines; a closed pipe is an error like any other, for the caller to end by.
pub(super) fn print(lines: &[String]) -> io::Result<()> {
    let has_utf8 = has_utf8();
    let mut stdout = io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{}", shown(line, has_utf8))?;
    }
    stdout.flush()
}

/// Writes a line of JSON, which is UTF-8 everywhere.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::new(Code::Failed, error))?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Clears the terminal and writes lines from its top, no more than fit.
pub(super) fn redraw(lines: &[String]) -> io::Result<()> {
    let has_utf8 = has_utf8();
    let mut stdout = io::stdout().lock();
    let rows = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_row));
    let fitting = if rows == 0 {
        lines.len()
    } else {
        lines.len().min(rows - 1)
    };
    let mut screen = String::from("\x1b[H");
    for line in &lines[..fitting] {
        screen.push_str(&shown(line, has_utf8));
        screen.push_str("\x1b[K\n");
    }
    screen.push_str("\x1b[J");
    stdout.write_all(screen.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    //! Locales as they are set.
    use super::*;

    #[test]
    fn a_locale_has_utf8_where_it_says_so() {
        for (locale, expected) in [
            (Some("C.UTF-8"), true),
            (Some("de_DE.utf8"), true),
            (Some("de_DE@euro"), false),
            (Some("POSIX"), false),
            (None, false),
        ] {
            assert_eq!(is_utf8(locale.map(OsStr::new)), expected, "{locale:?}");
        }
    }
}

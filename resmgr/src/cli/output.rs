//! Standard output: how wide it is, and whether a person looks at it.

use std::io::{self, IsTerminal as _, Write as _};

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

/// Writes lines; a closed pipe is an error like any other, for the caller to end by.
pub(super) fn print(lines: &[String]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}")?;
    }
    stdout.flush()
}

/// Clears the terminal and writes lines from its top, no more than fit.
pub(super) fn redraw(lines: &[String]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let rows = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_row));
    let shown = if rows == 0 {
        lines.len()
    } else {
        lines.len().min(rows - 1)
    };
    let mut screen = String::from("\x1b[H");
    for line in &lines[..shown] {
        screen.push_str(line);
        screen.push_str("\x1b[K\n");
    }
    screen.push_str("\x1b[J");
    stdout.write_all(screen.as_bytes())?;
    stdout.flush()
}

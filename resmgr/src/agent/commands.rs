//! Command lines, from `/proc`. They hold secrets: only their owner and root are shown them.

use std::fs::File;
use std::io::Read as _;

use crate::model::ProcessId;

/// Bytes of a command line that are read at most.
const MOST: u64 = 4096;

/// Nanoseconds of a tick in which `/proc` gives a process's start (`USER_HZ` is 100 on every architecture here).
const TICK_NS: u64 = 10_000_000;

/// The command line of a process, its arguments separated by spaces; `None` where it has none, or is gone and its pid
/// perhaps another's.
pub(super) fn read(id: ProcessId) -> Option<String> {
    let pid = id.pid;
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))
        .ok()?
        .take(MOST)
        .read_to_end(&mut bytes)
        .ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    if start_ticks(&stat)? != id.start_ns / TICK_NS {
        return None;
    }
    readable(&bytes)
}

/// The start of a process in ticks since boot, from its `stat`: the 22nd field, the second of which may hold anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Arguments as one line: what could move a terminal's cursor is replaced.
fn readable(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line: String = text
        .trim_end_matches('\0')
        .chars()
        .map(|c| {
            if c == '\0' || c.is_whitespace() {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    //! Command lines that would spoil a table.
    use super::*;

    #[test]
    fn the_start_is_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(start_ticks(stat), Some(4711));
        assert_eq!(start_ticks("7 (cut"), None);
    }

    #[test]
    fn a_command_line_is_one_line_without_control_characters() {
        assert_eq!(readable(b"sh\0-c\0echo\nhi\0").as_deref(), Some("sh -c echo hi"));
        assert_eq!(readable(b"evil\x1b[2J\0").as_deref(), Some("evil\u{fffd}[2J"));
        assert_eq!(readable(b"\xff\xfe\0").as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(readable(b""), None);
    }
}

//! What `/proc` tells of what a process executes. Command lines hold secrets: only their owner and root are shown them.

use std::{fs, fs::File, io::Read as _};

use crate::{config::Executed, enforce, model::ProcessId};

/// Bytes of a command line that are read at most.
const MOST: u64 = 4096;

/// The command line of a process, its arguments separated by spaces; `None` where it has none, or is gone and its pid
/// perhaps another's.
pub(super) fn command(id: ProcessId) -> Option<String> {
    let pid = id.pid;
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))
        .ok()?
        .take(MOST)
        .read_to_end(&mut bytes)
        .ok()?;
    enforce::identify(pid).filter(|now| now.is_same_by_tick(id))?;
    readable(&bytes)
}

/// The path of a process's cgroup (v2).
pub(super) fn cgroup(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

/// What rules are matched with, of a process that runs.
pub(super) fn executed(id: ProcessId, uid: u32) -> Option<Executed> {
    Some(Executed {
        path: fs::read_link(format!("/proc/{}/exe", id.pid))
            .ok()?
            .to_str()?
            .to_owned(),
        command: command(id)?,
        cgroup: cgroup(id.pid),
        uid,
    })
}

/// Arguments as one line: what could move a terminal's cursor is replaced.
pub(super) fn readable(bytes: &[u8]) -> Option<String> {
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
    fn a_command_line_is_one_line_without_control_characters() {
        assert_eq!(readable(b"sh\0-c\0echo\nhi\0").as_deref(), Some("sh -c echo hi"));
        assert_eq!(readable(b"evil\x1b[2J\0").as_deref(), Some("evil\u{fffd}[2J"));
        assert_eq!(readable(b"\xff\xfe\0").as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(readable(b""), None);
    }
}

//! What `/proc` tells of a process: who it is, and what it executes. Command lines hold secrets: only their owner and root
//! are shown them.

use std::{fs, fs::File, io::Read as _};

use crate::{
    config::Executed,
    model::{PROC_TICK_NS, ProcessId},
};

/// Bytes of a command line that are read at most.
const MOST: u64 = 4096;
/// A thread of the kernel, in the flags of `stat`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A process, as `/proc` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Its identity, the start rounded down to a tick.
    pub(super) id: ProcessId,
    /// Its parent.
    pub(super) ppid: u32,
    /// Real user id.
    pub(super) uid: u32,
    /// Effective user id.
    pub(super) euid: u32,
    /// A thread of the kernel.
    pub(super) kernel_thread: bool,
    /// Ended, and not yet reaped.
    pub(super) zombie: bool,
}

/// Describes a process; `None` where there is none.
pub(super) fn describe(pid: u32) -> Option<Described> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |n: usize| field(&stat, n)?.parse::<u64>().ok();
    let mut uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace();
    let mut uid = || uids.next()?.parse().ok();
    Some(Described {
        id: ProcessId {
            pid,
            start_ns: number(22)? * PROC_TICK_NS,
        },
        ppid: u32::try_from(number(4)?).ok()?,
        uid: uid()?,
        euid: uid()?,
        kernel_thread: number(9)? & PF_KTHREAD != 0,
        zombie: field(&stat, 3)? == "Z",
    })
}

/// A field of `stat` by its number in proc(5), from the third on: the second may hold anything.
fn field(stat: &str, n: usize) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(n.checked_sub(3)?)
}

/// Whether a process still is the one that it was.
pub(super) fn is_alive(id: ProcessId) -> bool {
    describe(id.pid).is_some_and(|process| process.id.is_same_by_tick(id) && !process.zombie)
}

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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    if field(&stat, 22)?.parse::<u64>().ok()? != id.start_ns / PROC_TICK_NS {
        return None;
    }
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
    fn fields_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(field(stat, 22), Some("4711"));
        assert_eq!(field(stat, 4), Some("1"));
        assert_eq!(field("7 (cut", 22), None);
    }

    #[test]
    fn this_process_is_described() {
        let pid = std::process::id();
        let own = describe(pid).unwrap();
        assert_eq!((own.id.pid, own.kernel_thread, own.zombie), (pid, false, false));
        assert_eq!(own.ppid, std::os::unix::process::parent_id());
        assert!(is_alive(own.id));
        assert!(!is_alive(ProcessId { pid, start_ns: 1 }));
    }

    #[test]
    fn a_command_line_is_one_line_without_control_characters() {
        assert_eq!(readable(b"sh\0-c\0echo\nhi\0").as_deref(), Some("sh -c echo hi"));
        assert_eq!(readable(b"evil\x1b[2J\0").as_deref(), Some("evil\u{fffd}[2J"));
        assert_eq!(readable(b"\xff\xfe\0").as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(readable(b""), None);
    }
}

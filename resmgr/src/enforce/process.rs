//! Processes as they are acted on: described by `/proc`, held by a descriptor that no other process can come to mean.

use std::{
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::model::{PROC_TICK_NS, ProcessId};

/// A thread of the kernel, in the flags of `stat`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A process, as `/proc` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its identity, the start rounded down to a tick.
    pub id: ProcessId,
    /// Its parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// A thread of the kernel.
    pub kernel_thread: bool,
    /// Ended, and not yet reaped.
    pub zombie: bool,
}

/// Describes a process; `None` where there is none.
pub fn describe(pid: u32) -> Option<Described> {
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
        // A leader that has ended while other threads run is shown alike.
        zombie: field(&stat, 3)? == "Z" && number(20)? <= 1,
    })
}

/// A field of `stat` by its number in proc(5), from the third on: the second may hold anything.
pub(super) fn field(stat: &str, n: usize) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(n.checked_sub(3)?)
}

/// Whether a process still is the one that it was.
pub fn is_alive(id: ProcessId) -> bool {
    describe(id.pid).is_some_and(|process| process.id.is_same_by_tick(id) && !process.zombie)
}

/// Who has a process id now; `None` where nobody has.
pub fn identify(pid: u32) -> Option<ProcessId> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = field(&stat, 22)?.parse().ok()?;
    Some(ProcessId {
        pid,
        start_ns: ticks * PROC_TICK_NS,
    })
}

/// A process that is held: what is sent to it reaches no other, whoever has its number by then.
pub struct Held {
    id: ProcessId,
    fd: OwnedFd,
}

impl Held {
    /// Holds a process, and tells whose it is; `None` where it has gone.
    pub fn hold(id: ProcessId) -> io::Result<Option<(Self, Described)>> {
        let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after it is held: now it stays who it is.
        let Some(described) = describe(id.pid).filter(|now| now.id.is_same_by_tick(id)) else {
            return Ok(None);
        };
        Ok(Some((Self { id, fd }, described)))
    }

    /// Which process it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Sends it a signal; `false` where it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The most descriptors that a process may have itself: its soft limit.
pub fn most_descriptors(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Blocks until all of these have ended, no longer than that; returns those that have not.
pub(super) fn outlasting(mut held: Vec<Held>, limit: Duration) -> Vec<Held> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled: Vec<PollFd<'_>> = held.iter().map(|held| PollFd::new(&held.fd, PollFlags::IN)).collect();
        // A time that is too long to be told is as good as for ever.
        let timeout = Timespec::try_from(left).ok();
        let waited = poll(&mut polled, timeout.as_ref());
        let ended: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        held.retain(|_| !ended.next().unwrap_or(false));
        let goes_on = matches!(waited, Ok(1..) | Err(rustix::io::Errno::INTR));
        if held.is_empty() || left.is_zero() || !goes_on {
            return held;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Processes, by example of this one and its children.
    use super::*;
    use crate::enforce::sleeper::sleeper;

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
    fn a_process_that_is_held_is_waited_for_and_no_other_is_taken_for_it() {
        let mut child = sleeper();
        let id = identify(child.id()).unwrap();
        let other = ProcessId {
            start_ns: id.start_ns + 10 * PROC_TICK_NS,
            ..id
        };
        assert!(Held::hold(other).unwrap().is_none());
        let (held, described) = Held::hold(id).unwrap().unwrap();
        assert_eq!(described.ppid, std::process::id());
        let held = outlasting(vec![held], Duration::from_millis(1)).pop().unwrap();
        assert!(held.signal(Signal::TERM).unwrap());
        assert!(outlasting(vec![held], Duration::from_secs(60)).is_empty());
        let (held, described) = Held::hold(id).unwrap().unwrap();
        assert!(described.zombie);
        child.wait().unwrap();
        assert!(!held.signal(Signal::TERM).unwrap());
        assert!(Held::hold(id).unwrap().is_none());
    }
}

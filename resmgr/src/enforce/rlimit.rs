//! The descriptors that a process may have itself, where nothing refuses them on its tool's total: `RLIMIT_NOFILE`, which
//! bounds their numbers. Reads and changes processes' limits; notes nothing.

use std::{fs, io};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::model::ProcessId;

/// The capability to raise hard limits, by its bit in `/proc/self/status`.
const CAP_SYS_RESOURCE: u32 = 24;

/// A process's limits of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// What holds; a process may raise it up to the other.
    pub(super) soft: u64,
    /// What a process may not raise.
    pub(super) hard: u64,
}

/// Whether this process may raise hard limits, and so put back what it has lowered.
pub fn raises_hard_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_SYS_RESOURCE & 1 == 1)
}

impl Descriptors {
    /// What a process has now.
    pub(super) fn of(id: ProcessId) -> io::Result<Self> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", id.pid))?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let words = line.unwrap_or_default().split_whitespace();
        let mut numbers = words.map(|text| text.parse().unwrap_or(u64::MAX));
        match (numbers.next(), numbers.next()) {
            (Some(soft), Some(hard)) => Ok(Self { soft, hard }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Gives them to a process.
    pub(super) fn give(self, id: ProcessId) -> io::Result<()> {
        let limit = |n: u64| (n != u64::MAX).then_some(n);
        let new = Rlimit {
            current: limit(self.soft),
            maximum: limit(self.hard),
        };
        let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        prlimit(Some(pid), Resource::Nofile, new)?;
        Ok(())
    }

    /// What a process with these is to have, so that it opens none beyond `most`: never less than `numbers`, which it uses
    /// already (poll fails otherwise), nor more than it had at first. `held` is what it was limited to so far: who has less
    /// has chosen so. `hard` says whether the hard one is lowered with it.
    pub(super) fn within(self, most: u64, numbers: u64, first: Self, held: Option<u64>, hard: bool) -> Self {
        let target = most.max(numbers);
        let is_own_choice = self.soft < target && held.is_none_or(|held| self.soft < held);
        let soft = if is_own_choice {
            self.soft
        } else {
            target.min(first.soft)
        };
        let lowered = target.min(first.hard).max(soft);
        Self {
            soft,
            hard: if hard { lowered } else { self.hard.max(soft) },
        }
    }

    /// What a process with these is to have when it is not limited any more: what it had at first, unless it has more.
    pub(super) fn released(self, first: Self, held: Option<u64>) -> Self {
        let is_own_choice = held.is_some_and(|held| self.soft < held);
        let hard = self.hard.max(first.hard);
        let soft = if is_own_choice {
            self.soft
        } else {
            self.soft.max(first.soft)
        };
        Self {
            soft: soft.min(hard),
            hard,
        }
    }
}

/// The numbers of descriptors that a process uses: one more than the highest.
pub(super) fn numbers_used(id: ProcessId) -> u64 {
    let entries = fs::read_dir(format!("/proc/{}/fd", id.pid)).into_iter().flatten();
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    numbers.max().map_or(0, |highest| highest + 1)
}

#[cfg(test)]
mod tests {
    //! Limits worked out by hand, and a child of this process.
    use super::*;
    use crate::enforce::{identify, sleeper::sleeper};

    const FIRST: Descriptors = Descriptors { soft: 1024, hard: 4096 };

    fn limits(soft: u64, hard: u64) -> Descriptors {
        Descriptors { soft, hard }
    }

    #[test]
    fn a_process_is_limited_not_below_what_it_uses_and_raised_again() {
        assert_eq!(FIRST.within(50, 4, FIRST, None, false), limits(50, 4096));
        assert_eq!(FIRST.within(50, 4, FIRST, None, true), limits(50, 50));
        assert_eq!(FIRST.within(50, 256, FIRST, None, true), limits(256, 256));
        let held = limits(50, 4096);
        assert_eq!(held.within(80, 4, FIRST, Some(50), false), limits(80, 4096));
        assert_eq!(held.within(9000, 4, FIRST, Some(50), false), limits(1024, 4096));
        assert_eq!(limits(50, 50).within(80, 4, FIRST, Some(50), true), limits(80, 80));
        assert_eq!(held.released(FIRST, Some(50)), FIRST);
        assert_eq!(limits(50, 50).released(FIRST, None), FIRST);
    }

    #[test]
    fn what_a_process_has_chosen_itself_stays() {
        // Less than it is limited to, before and after.
        assert_eq!(limits(20, 4096).within(50, 4, FIRST, None, false), limits(20, 4096));
        assert_eq!(limits(20, 4096).within(80, 4, FIRST, Some(50), false), limits(20, 4096));
        assert_eq!(limits(20, 4096).released(FIRST, Some(50)), limits(20, 4096));
        // More: it is limited again when something else is wanted, and keeps it when it is let go.
        assert_eq!(
            limits(4096, 4096).within(80, 4, FIRST, Some(50), false),
            limits(80, 4096)
        );
        assert_eq!(limits(4096, 4096).released(FIRST, Some(50)), limits(4096, 4096));
    }

    #[test]
    fn a_child_has_what_it_is_given_by_the_kernels_own_account() {
        let mut child = sleeper();
        let id = identify(child.id()).unwrap();
        let first = Descriptors::of(id).unwrap();
        let most = numbers_used(id).max(16);
        let given = first.within(16, numbers_used(id), first, None, false);
        assert_eq!(given, limits(most, first.hard));
        given.give(id).unwrap();
        let text = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft = line.split_whitespace().nth(3);
        assert_eq!(soft, Some(most.to_string().as_str()));
        Descriptors::of(id)
            .unwrap()
            .released(first, Some(most))
            .give(id)
            .unwrap();
        assert_eq!(Descriptors::of(id).unwrap(), first);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

//! What each process of a tool is held by itself: what its leaf cannot do. What was before is noted first, and what a
//! process has changed itself since is left alone.

use std::{collections::BTreeMap, fs, io};

use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, prlimit},
};

use super::{
    journal::{Change, Journal, JournalError},
    process::is_alive,
    rlimit::{Descriptors, numbers_used, raises_hard_limits},
};
use crate::model::{Enforcer, ProcessId, SchedulingPolicy};

/// What a tool's processes are raised to, of 1000, among those that the kernel may kill when the host is out of memory.
const OOM_SCORE: i32 = 300;

/// What holds a process, and those that it forks from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessHold {
    /// The private memory that it may have, in bytes: its soft `RLIMIT_DATA`.
    pub data_bytes: Option<u64>,
    /// The descriptors that it may have: its soft `RLIMIT_NOFILE`, and the hard one where that can be put back.
    pub descriptors: Option<u64>,
    /// It runs when nobody else wants to (`SCHED_IDLE`).
    pub idle: bool,
    /// The kernel kills it before the host's own when memory is out (`oom_score_adj`).
    pub expendable: bool,
}

/// A process cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum ProcessHoldError {
    /// What was before cannot be noted, so it is not changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel refuses.
    #[error("{operation} of process {pid}: {source}")]
    Kernel {
        /// What was to be changed.
        operation: &'static str,
        /// Of which process.
        pid: u32,
        /// Why it was not.
        source: io::Error,
    },
}

fn failed(operation: &'static str, id: ProcessId) -> impl FnOnce(io::Error) -> ProcessHoldError {
    move |source| ProcessHoldError::Kernel {
        operation,
        pid: id.pid,
        source,
    }
}

/// The processes of one instance, as they are held.
pub struct Each<'j> {
    journal: &'j Journal,
    instance: u64,
    enforcer: &'j dyn Enforcer,
    /// No thread of it was made idle before: those that are have chosen it themselves.
    first_idle: bool,
}

impl<'j> Each<'j> {
    /// Processes of an instance; changes are noted in `journal`.
    pub fn of(journal: &'j Journal, instance: u64, enforcer: &'j dyn Enforcer) -> Self {
        let is_idle = |change: &Change| matches!(change, Change::Idle { .. });
        Self {
            journal,
            instance,
            enforcer,
            first_idle: !journal.changes(instance).iter().any(is_idle),
        }
    }

    /// Holds a process by `wanted`, and by nothing else any more; `before` is what held it, where that is known. One that
    /// has gone needs nothing. False where it is to be tried again: no limit is lowered below what is in use.
    pub fn hold(
        &self,
        id: ProcessId,
        wanted: ProcessHold,
        before: Option<ProcessHold>,
    ) -> Result<bool, ProcessHoldError> {
        // Whoever has its number by now is not meant.
        if !is_alive(id) {
            return Ok(true);
        }
        let held = self
            .schedule_all(id, wanted.idle)
            .and_then(|()| self.prefer(id, wanted.expendable))
            .and_then(|()| self.limit_descriptors(id, wanted.descriptors, before.and_then(|before| before.descriptors)))
            .and_then(|is_whole| {
                let before = before.and_then(|before| before.data_bytes);
                Ok(self.limit_data(id, wanted.data_bytes, before)? && is_whole)
            });
        match held {
            Err(ProcessHoldError::Kernel { .. }) if !is_alive(id) => Ok(true),
            held => held,
        }
    }

    fn prefer(&self, id: ProcessId, expendable: bool) -> Result<(), ProcessHoldError> {
        let error = || failed("change oom_score_adj", id);
        let path = format!("/proc/{}/oom_score_adj", id.pid);
        let text = fs::read_to_string(&path).map_err(error())?;
        let now: i32 = text.trim().parse().unwrap_or(OOM_SCORE);
        let new = if expendable {
            // One that is preferred more already stays so.
            if now >= OOM_SCORE {
                return Ok(());
            }
            self.journal.note(self.instance, Change::OomScore { from: now })?;
            OOM_SCORE
        } else {
            let noted = self.before(|change| match change {
                Change::OomScore { from } => Some(*from),
                _ => None,
            });
            match noted {
                Some(from) if now == OOM_SCORE => from,
                _ => return Ok(()),
            }
        };
        fs::write(&path, new.to_string()).map_err(error())
    }

    fn limit_data(&self, id: ProcessId, wanted: Option<u64>, before: Option<u64>) -> Result<bool, ProcessHoldError> {
        let error = || failed("change RLIMIT_DATA", id);
        let now = data_limit(id).map_err(error())?;
        let mut is_whole = true;
        let new = if let Some(bytes) = wanted {
            let bytes = now.maximum.map_or(bytes, |hard| bytes.min(hard));
            let is_lower = now.current.is_none_or(|current| bytes < current);
            let room = if is_lower { room(id).map_err(error())? } else { 0 };
            is_whole = bytes >= room;
            let bytes = bytes.max(room);
            if now
                .current
                .is_some_and(|current| current == bytes || is_lower && current < bytes)
            {
                // It was born with it, or is as low as can be.
                return Ok(is_whole);
            }
            self.journal.note(self.instance, Change::Data { from: now.current })?;
            Some(bytes)
        } else {
            let noted = self.before(|change| match change {
                Change::Data { from } => Some(*from),
                _ => None,
            });
            match noted {
                Some(from) if before.is_none() || now.current == before => from,
                _ => return Ok(true),
            }
        };
        let new = Rlimit { current: new, ..now };
        let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else {
            return Ok(true);
        };
        prlimit(Some(pid), Resource::Data, new).map_err(|errno| error()(errno.into()))?;
        Ok(is_whole)
    }

    fn limit_descriptors(
        &self,
        id: ProcessId,
        wanted: Option<u64>,
        before: Option<u64>,
    ) -> Result<bool, ProcessHoldError> {
        let error = || failed("change RLIMIT_NOFILE", id);
        let noted = self.before(|change| match change {
            &Change::Descriptors { soft, hard } => Some(Descriptors { soft, hard }),
            _ => None,
        });
        if wanted.is_none() && noted.is_none() {
            return Ok(true);
        }
        let now = Descriptors::of(id).map_err(error())?;
        let first = noted.unwrap_or(now);
        let mut is_whole = true;
        let new = if let Some(most) = wanted {
            let numbers = numbers_used(id);
            is_whole = numbers <= most;
            // What was noted was lowered by us, if nobody knows to what.
            let held = before.or_else(|| noted.map(|_| now.soft));
            now.within(most, numbers, first, held, raises_hard_limits())
        } else {
            now.released(first, before)
        };
        if new == now {
            return Ok(is_whole);
        }
        let Descriptors { soft, hard } = first;
        self.journal.note(self.instance, Change::Descriptors { soft, hard })?;
        new.give(id).map_err(error())?;
        Ok(is_whole)
    }

    fn schedule_all(&self, id: ProcessId, idle: bool) -> Result<(), ProcessHoldError> {
        if idle { self.make_idle(id) } else { self.make_usual(id) }
    }

    fn make_idle(&self, id: ProcessId) -> Result<(), ProcessHoldError> {
        for thread in threads(id) {
            let policy = match self.enforcer.policy(thread) {
                // Real-time threads are somebody's decision, and not ours to take back.
                Ok(SchedulingPolicy::RealTime) | Err(_) => continue,
                Ok(SchedulingPolicy::Idle) if !self.first_idle => continue,
                Ok(policy) => policy,
            };
            let mut unusual = BTreeMap::new();
            if policy != SchedulingPolicy::Other {
                unusual.insert(thread, policy);
            }
            self.journal.note(self.instance, Change::Idle { unusual })?;
            self.schedule(id, thread, SchedulingPolicy::Idle)?;
        }
        Ok(())
    }

    fn make_usual(&self, id: ProcessId) -> Result<(), ProcessHoldError> {
        let unusual = self.before(|change| match change {
            Change::Idle { unusual } => Some(unusual.clone()),
            _ => None,
        });
        let Some(unusual) = unusual else { return Ok(()) };
        for thread in threads(id) {
            if matches!(self.enforcer.policy(thread), Ok(SchedulingPolicy::Idle)) {
                let policy = unusual.get(&thread).copied().unwrap_or(SchedulingPolicy::Other);
                self.schedule(id, thread, policy)?;
            }
        }
        Ok(())
    }

    fn schedule(&self, id: ProcessId, thread: u32, policy: SchedulingPolicy) -> Result<(), ProcessHoldError> {
        match self.enforcer.set_policy(thread, policy) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(()),
            set => set.map_err(failed("change the scheduling", id)),
        }
    }

    /// What was before a change, where it was noted.
    fn before<T>(&self, find: impl Fn(&Change) -> Option<T>) -> Option<T> {
        self.journal.changes(self.instance).iter().find_map(find)
    }
}

/// The threads of a process.
fn threads(id: ProcessId) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{}/task", id.pid))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The private memory that a process has to be let have so that it can go on, in bytes: what it has, and a quarter more.
fn room(id: ProcessId) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", id.pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024 / 4 * 5)
}

/// A process's limits of private memory, by `/proc`: what is no number is unlimited.
fn data_limit(id: ProcessId) -> io::Result<Rlimit> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", id.pid))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size"));
    let mut numbers = line
        .unwrap_or_default()
        .split_whitespace()
        .map(|text| text.parse().ok());
    Ok(Rlimit {
        current: numbers.next().flatten(),
        maximum: numbers.next().flatten(),
    })
}

#[cfg(test)]
mod tests {
    //! A child of this process, held and let go; the kernel's own account is the judge.
    use std::sync::Mutex;

    use tempfile::TempDir;

    use super::*;
    use crate::enforce::{identify, sleeper::sleeper};

    /// How threads are scheduled, without a kernel: all as usual, but for those that were named.
    struct Scheduled(Mutex<BTreeMap<u32, SchedulingPolicy>>);

    impl Enforcer for Scheduled {
        fn policy(&self, thread: u32) -> io::Result<SchedulingPolicy> {
            let policies = self.0.lock().unwrap();
            Ok(policies.get(&thread).copied().unwrap_or(SchedulingPolicy::Other))
        }

        fn set_policy(&self, thread: u32, policy: SchedulingPolicy) -> io::Result<()> {
            self.0.lock().unwrap().insert(thread, policy);
            Ok(())
        }
    }

    fn oom_score(pid: u32) -> String {
        fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))
            .unwrap()
            .trim()
            .to_owned()
    }

    #[test]
    fn what_a_process_was_held_by_before_is_put_back() {
        let folder = TempDir::new().unwrap();
        let journal = Journal::open(folder.path(), "boot").unwrap();
        let mut child = sleeper();
        let id = identify(child.id()).unwrap();
        let before = (oom_score(id.pid), data_limit(id).unwrap());
        let enforcer = Scheduled(Mutex::new(BTreeMap::from([(id.pid, SchedulingPolicy::Batch)])));
        let each = Each::of(&journal, 1, &enforcer);
        let wanted = ProcessHold {
            data_bytes: Some(64 << 20),
            // Whoever runs the tests may leave numbers open to it.
            descriptors: Some(100_000),
            idle: true,
            expendable: true,
        };
        assert!(each.hold(id, wanted, None).unwrap());
        assert_eq!(data_limit(id).unwrap().current, Some(64 << 20));
        assert_eq!(oom_score(id.pid), "300");
        assert_eq!(enforcer.policy(id.pid).unwrap(), SchedulingPolicy::Idle);
        let tighter = ProcessHold {
            data_bytes: Some(32 << 20),
            ..wanted
        };
        assert!(each.hold(id, tighter, Some(wanted)).unwrap());
        assert_eq!(data_limit(id).unwrap().current, Some(32 << 20));
        // What it has, by the kernel's own account, and a quarter more is left to it.
        let status = fs::read_to_string(format!("/proc/{}/status", id.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmData:")).unwrap();
        let has: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let tightest = ProcessHold {
            data_bytes: Some(4096),
            ..wanted
        };
        assert!(
            !each.hold(id, tightest, Some(tighter)).unwrap(),
            "it is to be tried again"
        );
        assert_eq!(data_limit(id).unwrap().current, Some(has * 1024 / 4 * 5));
        drop(journal);
        // Another agent, which knows no more than the journal.
        let journal = Journal::open(folder.path(), "boot").unwrap();
        let each = Each::of(&journal, 1, &enforcer);
        each.hold(id, ProcessHold::default(), None).unwrap();
        assert_eq!((oom_score(id.pid), data_limit(id).unwrap()), before);
        assert_eq!(enforcer.policy(id.pid).unwrap(), SchedulingPolicy::Batch);
        child.kill().unwrap();
        child.wait().unwrap();
        each.hold(id, wanted, None).unwrap();
    }

    #[test]
    fn what_a_process_has_changed_itself_and_what_was_idle_before_stay() {
        let folder = TempDir::new().unwrap();
        let journal = Journal::open(folder.path(), "boot").unwrap();
        let mut child = sleeper();
        let id = identify(child.id()).unwrap();
        let enforcer = Scheduled(Mutex::new(BTreeMap::from([(id.pid, SchedulingPolicy::Idle)])));
        let each = Each::of(&journal, 1, &enforcer);
        let wanted = ProcessHold {
            data_bytes: Some(64 << 20),
            descriptors: Some(64),
            idle: true,
            expendable: true,
        };
        each.hold(id, wanted, None).unwrap();
        fs::write(format!("/proc/{}/oom_score_adj", id.pid), "700").unwrap();
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw);
        let own = Rlimit {
            current: Some(16 << 20),
            ..data_limit(id).unwrap()
        };
        prlimit(pid, Resource::Data, own).unwrap();
        each.hold(id, ProcessHold::default(), Some(wanted)).unwrap();
        assert_eq!(oom_score(id.pid), "700");
        assert_eq!(data_limit(id).unwrap().current, Some(16 << 20));
        assert_eq!(enforcer.policy(id.pid).unwrap(), SchedulingPolicy::Idle);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_cannot_be_noted_is_not_done() {
        let folder = TempDir::new().unwrap();
        let journal = Journal::open(folder.path(), "boot").unwrap().full();
        let mut child = sleeper();
        let id = identify(child.id()).unwrap();
        let before = oom_score(id.pid);
        let enforcer = Scheduled(Mutex::new(BTreeMap::new()));
        let wanted = ProcessHold {
            expendable: true,
            ..ProcessHold::default()
        };
        let held = Each::of(&journal, 1, &enforcer).hold(id, wanted, None);
        assert!(matches!(held, Err(ProcessHoldError::Journal(_))), "{held:?}");
        assert_eq!(oom_score(id.pid), before);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

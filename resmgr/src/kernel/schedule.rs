//! How other threads are scheduled: two calls that the libraries do not offer.

use std::io;

use crate::model::{Enforcer, SchedulingPolicy};

/// The kernel, asked to schedule threads otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scheduler;

impl Enforcer for Scheduler {
    fn policy(&self, thread: u32) -> io::Result<SchedulingPolicy> {
        // SAFETY: the call takes a number and touches no memory of ours.
        match unsafe { libc::sched_getscheduler(thread.cast_signed()) } {
            -1 => Err(io::Error::last_os_error()),
            // A bit beside the policy says that children do not inherit it.
            policy => Ok(match policy & !libc::SCHED_RESET_ON_FORK {
                libc::SCHED_OTHER => SchedulingPolicy::Other,
                libc::SCHED_BATCH => SchedulingPolicy::Batch,
                libc::SCHED_IDLE => SchedulingPolicy::Idle,
                _ => SchedulingPolicy::RealTime,
            }),
        }
    }

    fn set_policy(&self, thread: u32, policy: SchedulingPolicy) -> io::Result<()> {
        let policy = match policy {
            SchedulingPolicy::Other => libc::SCHED_OTHER,
            SchedulingPolicy::Batch => libc::SCHED_BATCH,
            SchedulingPolicy::Idle => libc::SCHED_IDLE,
            SchedulingPolicy::RealTime => return Err(io::ErrorKind::InvalidInput.into()),
        };
        // Their nice value stays, by the kernel's own rule.
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the parameters are a local variable of their type, and are only read.
        match unsafe { libc::sched_setscheduler(thread.cast_signed(), policy, &raw const parameters) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    //! A child of this process.
    use super::*;

    #[test]
    fn a_thread_is_made_idle_and_what_it_was() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let scheduler = Scheduler;
        assert_eq!(scheduler.policy(child.id()).unwrap(), SchedulingPolicy::Other);
        scheduler.set_policy(child.id(), SchedulingPolicy::Idle).unwrap();
        // The kernel's own account, which is field 41 of `stat`.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        assert_eq!(stat.split_whitespace().nth(40), Some("5"));
        assert_eq!(scheduler.policy(child.id()).unwrap(), SchedulingPolicy::Idle);
        scheduler.set_policy(child.id(), SchedulingPolicy::Batch).unwrap();
        assert_eq!(scheduler.policy(child.id()).unwrap(), SchedulingPolicy::Batch);
        let refused = scheduler.set_policy(child.id(), SchedulingPolicy::RealTime);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(scheduler.policy(child.id()).is_err());
    }
}

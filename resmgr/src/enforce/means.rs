//! By what a host holds each limit: the kernel's own means, what stands in for them, or nothing. Pure.

use super::hold::Controllers;
use crate::model::{Enforcement, LimitsAsked, Mode, Resource, ToolOrigin};

/// What there is on a host to hold tools by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// What leaves can hold.
    pub controllers: Controllers,
    /// Connects can be refused.
    pub connects: bool,
    /// Descriptors can be refused.
    pub descriptors: bool,
}

/// How a limit is held, in words that go on from "it is held by" or "it is not held: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// The kernel holds what the tool uses in all.
    Kernel(&'static str),
    /// Something less exact stands in for it.
    Instead(&'static str),
    /// It can only be told of.
    Nothing(&'static str),
}

impl Means {
    /// How a limit of a tool is held; of one that is only observed, nothing is to be.
    pub fn hold(self, resource: Resource, mode: Mode, origin: ToolOrigin) -> HeldBy {
        match self.of_processes(resource, mode, origin) {
            HeldBy::Nothing(_) if origin == ToolOrigin::Api => {
                HeldBy::Instead("the library alone, which refuses what it is told of")
            }
            held => held,
        }
    }

    /// The same of a tool's processes.
    fn of_processes(self, resource: Resource, mode: Mode, origin: ToolOrigin) -> HeldBy {
        if resource == Resource::Connections {
            return if self.connects {
                HeldBy::Kernel("connect fails beyond the maximum, also when no agent runs")
            } else {
                HeldBy::Nothing("cgroup v2 is not mounted, or its programs are refused")
            };
        }
        if resource == Resource::Fds && self.descriptors {
            return HeldBy::Kernel("open, socket and the like fail beyond the maximum, also when no agent runs");
        }
        if !origin.has_leaf() {
            return match mode {
                Mode::Enforce => HeldBy::Instead("the end of the tool, when it stays at the maximum for its grace"),
                Mode::Observe | Mode::Throttle => {
                    HeldBy::Nothing("the tool is in a cgroup of others, which is only read")
                }
            };
        }
        match (resource, mode) {
            (Resource::Memory, _) if self.controllers.memory => {
                HeldBy::Kernel("memory.high and memory.max of the tool's cgroup")
            }
            (Resource::Memory, Mode::Enforce) => {
                HeldBy::Instead("RLIMIT_DATA of each process by itself (no memory controller)")
            }
            (Resource::Memory, _) => HeldBy::Nothing(
                "cgroup v2 has no memory controller here (--mode enforce limits each process by itself)",
            ),
            (Resource::Cpu, _) if self.controllers.cpu => HeldBy::Kernel("cpu.max of the tool's cgroup"),
            (Resource::Cpu, _) => {
                HeldBy::Instead("giving way to others (SCHED_IDLE), then freezing by turns (no cpu controller)")
            }
            (Resource::Fds | Resource::Connections, _) => {
                HeldBy::Instead("RLIMIT_NOFILE of each process by itself (no BPF LSM)")
            }
        }
    }

    /// The first limit that is asked for by itself and that cannot be held, and why.
    pub fn lacks(
        self,
        asked: &LimitsAsked,
        enforcement: Enforcement,
        origin: ToolOrigin,
    ) -> Option<(Resource, &'static str)> {
        if enforcement.mode == Mode::Observe {
            return None;
        }
        let is_asked = |resource: &Resource| asked.span(*resource).is_some();
        Resource::ALL.into_iter().filter(is_asked).find_map(|resource| {
            match self.hold(resource, enforcement.mode, origin) {
                HeldBy::Nothing(why) => Some((resource, why)),
                HeldBy::Kernel(_) | HeldBy::Instead(_) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    //! Hosts that have everything, and hosts that do not.
    use super::*;
    use crate::model::LimitSpan;

    const ALL: Means = Means {
        controllers: Controllers {
            memory: true,
            cpu: true,
            pids: true,
        },
        connects: true,
        descriptors: true,
    };

    fn lacks(means: Means, resource: Resource, mode: Mode, origin: ToolOrigin) -> bool {
        let span = Some(LimitSpan {
            base: None,
            max: 500 << 20,
        });
        let mut asked = LimitsAsked::default();
        match resource {
            Resource::Memory => asked.memory = span,
            Resource::Cpu => asked.cpu = span,
            Resource::Fds => asked.fds = span,
            Resource::Connections => asked.connections = span,
        }
        let enforcement = Enforcement {
            mode,
            ..Enforcement::default()
        };
        means.lacks(&asked, enforcement, origin).is_some()
    }

    #[test]
    fn what_can_only_be_told_of_is_lacking_and_nothing_is_where_nothing_is_to_be_held() {
        let none = Means::default();
        let exec = ToolOrigin::Exec;
        for resource in [Resource::Memory, Resource::Cpu, Resource::Connections] {
            assert!(!lacks(ALL, resource, Mode::Throttle, exec), "{resource}");
            assert!(!lacks(none, resource, Mode::Observe, exec), "{resource}");
        }
        assert!(lacks(none, Resource::Memory, Mode::Throttle, exec));
        assert!(!lacks(none, Resource::Memory, Mode::Enforce, exec));
        assert!(!lacks(none, Resource::Cpu, Mode::Throttle, exec));
        assert!(lacks(none, Resource::Connections, Mode::Enforce, exec));
        assert!(!lacks(none, Resource::Fds, Mode::Throttle, exec));
        assert!(lacks(none, Resource::Fds, Mode::Throttle, ToolOrigin::Process));
        assert!(!lacks(ALL, Resource::Fds, Mode::Throttle, ToolOrigin::Process));
        assert!(lacks(ALL, Resource::Memory, Mode::Throttle, ToolOrigin::Process));
        assert!(!lacks(ALL, Resource::Memory, Mode::Enforce, ToolOrigin::Cgroup));
        assert!(!lacks(ALL, Resource::Connections, Mode::Throttle, ToolOrigin::Rule));
        // The library refuses what it is told of.
        for resource in Resource::ALL {
            assert!(!lacks(none, resource, Mode::Throttle, ToolOrigin::Api), "{resource}");
        }
        let nothing = LimitsAsked::default();
        assert_eq!(none.lacks(&nothing, Enforcement::default(), exec), None);
    }
}

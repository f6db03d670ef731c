//! What to attach on a host, from what the host offers. Pure: facts in, plan out.

use resmgr_common::names;

use super::HostFacts;
use crate::model::MissingHook;

/// A kind of place in the kernel that a program attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// A tracepoint whose arguments the verifier knows by BTF.
    Typed,
    /// The exit or entry of a system call, by tracefs.
    Syscall,
    /// The release of sockets, at the root of cgroup v2.
    SocketRelease,
    /// Connects, at the root of cgroup v2.
    Connect,
    /// A question that the kernel asks its security modules.
    Lsm,
}

/// A program and the place that it attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name of the program.
    pub program: &'static str,
    /// Kind of place.
    pub kind: HookKind,
    /// Name of the tracepoint.
    pub name: &'static str,
}

/// What to attach, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachPlan {
    /// What to attach, in this order.
    pub hooks: Vec<Hook>,
    /// What this host lacks, and what follows.
    pub missing: Vec<MissingHook>,
    /// Tracepoints of calls that this kernel or architecture does not have: nothing can use them, nothing is missed.
    pub absent_calls: Vec<&'static str>,
}

/// Without these there is nothing to count by; every kernel since 5.10 has them.
const TYPED: [(&str, &str); 5] = [
    (names::SCHED_SWITCH, "sched_switch"),
    (names::PROCESS_FORK, "sched_process_fork"),
    (names::PROCESS_EXEC, "sched_process_exec"),
    (names::SOCKET_STATE, "inet_sock_set_state"),
    (names::MEMORY_COUNTED, "rss_stat"),
];

/// Connects by the program that decides on them, and the one for kernels without atomic operations that fetch.
const CONNECTS: [(&str, &str, &str); 2] = [
    ("connect4", names::CONNECT4, names::CONNECT4_LOCKED),
    ("connect6", names::CONNECT6, names::CONNECT6_LOCKED),
];

/// Questions to security modules about descriptors, likewise.
const DESCRIPTORS: [(&str, &str, &str); 5] = [
    ("file_open", names::FILE_OPEN, names::FILE_OPEN_LOCKED),
    ("socket_create", names::SOCKET_CREATE, names::SOCKET_CREATE_LOCKED),
    ("socket_accept", names::SOCKET_ACCEPT, names::SOCKET_ACCEPT_LOCKED),
    ("file_fcntl", names::FILE_FCNTL, names::FILE_FCNTL_LOCKED),
    ("file_receive", names::FILE_RECEIVE, names::FILE_RECEIVE_LOCKED),
];

/// What is missing where descriptors cannot be refused, by name.
pub(super) const LSM_HOOKS: &str = "LSM";

/// That descriptors cannot be refused on a tool's total, and why.
pub(super) fn no_descriptors(reason: String) -> MissingHook {
    MissingHook {
        hook: format!("{LSM_HOOKS} file_open, socket_create, socket_accept, file_fcntl, file_receive"),
        reason,
        consequence: "descriptors are limited for each process by itself (RLIMIT_NOFILE), not on the tool's total"
            .to_owned(),
    }
}

/// Calls by the program that counts them. `FD_RECOUNTED` takes those whose result does not tell what became of the table.
const SYSCALLS: [(&str, &[&str]); 8] = [
    (
        names::MEMORY_CHANGED,
        &["sys_exit_mmap", "sys_exit_munmap", "sys_exit_mremap", "sys_exit_brk"],
    ),
    (
        names::FD_OPENED,
        &[
            "sys_exit_open",
            "sys_exit_openat",
            "sys_exit_openat2",
            "sys_exit_creat",
            "sys_exit_dup",
            "sys_exit_socket",
            "sys_exit_accept",
            "sys_exit_accept4",
            "sys_exit_eventfd",
            "sys_exit_eventfd2",
            "sys_exit_epoll_create",
            "sys_exit_epoll_create1",
            "sys_exit_timerfd_create",
            "sys_exit_memfd_create",
            "sys_exit_memfd_secret",
            "sys_exit_inotify_init",
            "sys_exit_inotify_init1",
            "sys_exit_fanotify_init",
            "sys_exit_userfaultfd",
            "sys_exit_pidfd_open",
            "sys_exit_pidfd_getfd",
            "sys_exit_perf_event_open",
            "sys_exit_io_uring_setup",
            "sys_exit_open_by_handle_at",
            "sys_exit_fsopen",
            "sys_exit_fspick",
            "sys_exit_fsmount",
            "sys_exit_open_tree",
            "sys_exit_mq_open",
        ],
    ),
    (
        names::FD_PAIR_OPENED,
        &["sys_exit_pipe", "sys_exit_pipe2", "sys_exit_socketpair"],
    ),
    (names::FD_CLOSED, &["sys_exit_close"]),
    (names::FD_REPLACED, &["sys_exit_dup2", "sys_exit_dup3"]),
    (
        names::FD_RECOUNTED,
        &[
            "sys_exit_fcntl",
            "sys_exit_close_range",
            "sys_exit_signalfd",
            "sys_exit_signalfd4",
            "sys_exit_bpf",
            "sys_exit_seccomp",
            "sys_exit_landlock_create_ruleset",
        ],
    ),
    (names::CONNECT_LEFT, &["sys_exit_connect"]),
    (names::ACCEPTED, &["sys_exit_accept", "sys_exit_accept4"]),
];

impl AttachPlan {
    /// What to attach on a host with these facts.
    pub fn for_host(facts: &HostFacts) -> Self {
        let mut plan = Self::default();
        for (program, name) in TYPED {
            let kind = HookKind::Typed;
            plan.hooks.push(Hook { program, kind, name });
        }
        plan.add_syscalls(facts);
        if facts.cgroup2.is_some() {
            plan.hooks.push(Hook {
                program: names::SOCKET_RELEASED,
                kind: HookKind::SocketRelease,
                name: "sock_release",
            });
            let kind = HookKind::Connect;
            for (name, program, locked) in CONNECTS {
                let program = facts.programs.variant(program, locked);
                plan.hooks.push(Hook { program, kind, name });
            }
        } else {
            plan.missing.push(MissingHook {
                hook: "sock_release".to_owned(),
                reason: "cgroup v2 is not mounted".to_owned(),
                consequence: "between sweeps a closed connection is still counted".to_owned(),
            });
            plan.missing.push(MissingHook {
                hook: "connect4, connect6".to_owned(),
                reason: "cgroup v2 is not mounted".to_owned(),
                consequence: "connections beyond a tool's limit are told of, and not refused".to_owned(),
            });
        }
        plan.add_descriptors(facts);
        plan
    }

    /// Whoever is let have a descriptor is asked what came of it when the call ends: without that, none is refused.
    fn add_descriptors(&mut self, facts: &HostFacts) {
        let asks_bpf = |modules: &Vec<String>| modules.iter().any(|module| module == "bpf");
        let reason = match &facts.security_modules {
            _ if facts.syscall_tracepoints.is_empty() => "this kernel has no system call tracepoints".to_owned(),
            None => "which security modules this kernel asks cannot be seen (securityfs)".to_owned(),
            Some(modules) if !asks_bpf(modules) => format!(
                "bpf is not among the security modules that this kernel asks ({}): boot with lsm={},bpf",
                modules.join(","),
                modules.join(",")
            ),
            Some(_) => {
                let kind = HookKind::Lsm;
                for (name, program, locked) in DESCRIPTORS {
                    let program = facts.programs.variant(program, locked);
                    self.hooks.push(Hook { program, kind, name });
                }
                return;
            }
        };
        self.missing.push(no_descriptors(reason));
    }

    fn add_syscalls(&mut self, facts: &HostFacts) {
        if facts.syscall_tracepoints.is_empty() {
            self.missing.push(MissingHook {
                hook: "syscalls:*".to_owned(),
                reason: "this kernel has no system call tracepoints (CONFIG_FTRACE_SYSCALLS)".to_owned(),
                consequence: "descriptors, connections and virtual memory are counted by sweeps alone".to_owned(),
            });
            return;
        }
        let kind = HookKind::Syscall;
        for (program, calls) in SYSCALLS {
            for &name in calls {
                if facts.syscall_tracepoints.contains(name) {
                    self.hooks.push(Hook { program, kind, name });
                } else if !self.absent_calls.contains(&name) {
                    self.absent_calls.push(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Plans for hosts that lack something.
    use super::*;

    fn host(tracepoints: &[&str], cgroup2: Option<&str>) -> HostFacts {
        HostFacts {
            syscall_tracepoints: tracepoints.iter().map(|&name| name.to_owned()).collect(),
            cgroup2: cgroup2.map(Into::into),
            security_modules: Some(vec!["capability".to_owned(), "bpf".to_owned()]),
            ..HostFacts::default()
        }
    }

    #[test]
    fn a_call_that_the_architecture_lacks_is_no_loss() {
        let plan = AttachPlan::for_host(&host(&["sys_exit_openat", "sys_exit_close"], Some("/cg")));
        let has = |name| plan.hooks.iter().any(|hook| hook.name == name);
        assert!(has("sys_exit_openat") && has("sys_exit_close") && has("sched_switch"));
        assert!(!has("sys_exit_open"));
        assert!(plan.absent_calls.contains(&"sys_exit_open"));
        assert_eq!(plan.missing, []);
    }

    #[test]
    fn a_kernel_without_syscall_tracepoints_is_counted_by_sweeps_and_says_so() {
        let plan = AttachPlan::for_host(&host(&[], Some("/cg")));
        assert!(plan.hooks.iter().all(|hook| hook.kind != HookKind::Syscall));
        assert_eq!(plan.missing.len(), 2);
        assert!(plan.missing[0].consequence.contains("sweeps alone"));
        assert!(plan.missing[1].reason.contains("tracepoints"), "{:?}", plan.missing[1]);
    }

    #[test]
    fn where_the_kernel_does_not_ask_us_descriptors_are_not_refused_and_it_is_said_what_would_help() {
        let mut facts = host(&["sys_exit_openat"], Some("/cg"));
        let asked = |facts: &HostFacts| {
            let plan = AttachPlan::for_host(facts);
            let asked = plan.hooks.iter().filter(|hook| hook.kind == HookKind::Lsm).count();
            (asked, plan.missing)
        };
        assert_eq!(asked(&facts), (5, Vec::new()));
        facts.security_modules = Some(vec!["lockdown".to_owned(), "yama".to_owned()]);
        let (none, missing) = asked(&facts);
        assert_eq!(none, 0);
        assert!(missing[0].reason.contains("lsm=lockdown,yama,bpf"), "{missing:?}");
        assert!(missing[0].consequence.contains("RLIMIT_NOFILE"), "{missing:?}");
        facts.security_modules = None;
        assert!(asked(&facts).1[0].reason.contains("securityfs"));
    }

    #[test]
    fn without_cgroup_v2_the_release_of_sockets_is_missed_and_said() {
        let plan = AttachPlan::for_host(&host(&["sys_exit_close"], None));
        assert!(plan.hooks.iter().all(|hook| hook.kind != HookKind::SocketRelease));
        assert_eq!(plan.missing[0].hook, "sock_release");
    }

    #[test]
    fn every_program_of_the_object_but_iterators_and_the_probe_has_a_hook() {
        let all: Vec<&str> = SYSCALLS.iter().flat_map(|(_, calls)| *calls).copied().collect();
        let mut plan = AttachPlan::for_host(&host(&all, Some("/cg")));
        let newer = HostFacts {
            programs: crate::kernel::probe::ProgramFacts {
                fetching_atomics: true,
                ..Default::default()
            },
            ..host(&all, Some("/cg"))
        };
        plan.hooks.extend(AttachPlan::for_host(&newer).hooks);
        for program in names::PROGRAMS {
            let special = [
                names::SWEEP_TASKS,
                names::SWEEP_FILES,
                names::PROBE_TRAMPOLINE,
                names::EMPTY_TYPED,
                names::EMPTY_SYSCALL,
                names::EMPTY_LSM,
            ]
            .contains(&program);
            assert_eq!(
                plan.hooks.iter().any(|hook| hook.program == program),
                !special,
                "{program}"
            );
        }
    }
}

//! Tasks, and what their thread groups share. Reads by typed pointers alone.

use resmgr_common::{COMM_LEN, RSS_KINDS};

use super::{Memory, Table, current_task, follow, load, offset};

/// The kernel's mark of a task that is switched away from for the last time.
const TASK_DEAD: u32 = 0x80;
/// Priorities from here on are of the fair class.
const MAX_RT_PRIO: i32 = 100;
/// A thread of the kernel.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Threads that the kernel adds to a process (`io_uring`, vhost) without a fork event.
const PF_WORKER: u32 = 0x10 | 0x4000;

/// Whether the task that runs makes calls for another one (`io_uring`): the registers that it has are none of a call's.
#[inline(always)]
pub fn is_worker_running() -> bool {
    follow::<u32>(current_task(), offset!(task_flags)) & PF_WORKER != 0
}

/// A task, by a pointer that the verifier knows the type of.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    /// Wraps an argument of a BTF tracepoint or the task of an iterator.
    #[inline(always)]
    pub fn new(task: *const u8) -> Self {
        Self(task)
    }

    /// The address, to compare.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Thread id.
    #[inline(always)]
    pub fn tid(self) -> u32 {
        load(self.0, offset!(task_pid))
    }

    /// Thread group id.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        load(self.0, offset!(task_tgid))
    }

    /// Whether it is a thread of the kernel.
    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        load::<u32>(self.0, offset!(task_flags)) & PF_KTHREAD != 0
    }

    /// Whether it is a thread that no fork event announced.
    #[inline(always)]
    pub fn is_worker(self) -> bool {
        load::<u32>(self.0, offset!(task_flags)) & PF_WORKER != 0 && self.tid() != self.tgid()
    }

    /// Whether it leaves the CPU for the last time, or has.
    #[inline(always)]
    pub fn is_dead(self) -> bool {
        load::<u32>(self.0, offset!(task_state)) & TASK_DEAD != 0
    }

    /// Whether it has exited.
    #[inline(always)]
    pub fn has_exited(self) -> bool {
        load::<u32>(self.0, offset!(task_exit_state)) != 0
    }

    /// How its process ended, as wait(2) tells it: what all threads were told to end with, else what the leader ended with.
    #[inline(always)]
    pub fn exit_status(self) -> u32 {
        let of_all = self.group().exit_code();
        if of_all != 0 {
            return of_all;
        }
        load(self.leader().0, offset!(task_exit_code))
    }

    /// CPU time in nanoseconds, as the scheduler counts it.
    #[inline(always)]
    pub fn runtime_ns(self) -> u64 {
        load(self.0, offset!(task_sum_exec_runtime))
    }

    /// Its CPU time in nanoseconds when the scheduler last picked it to run; kept for tasks of the fair class only.
    #[inline(always)]
    pub fn turn_began_ns(self) -> u64 {
        load(self.0, offset!(task_prev_sum_exec_runtime))
    }

    /// Whether it is of the scheduler's fair class: neither deadline nor real-time.
    #[inline(always)]
    pub fn is_fair(self) -> bool {
        load::<i32>(self.0, offset!(task_prio)) >= MAX_RT_PRIO
    }

    /// When the scheduler last brought the CPU time up to date, on the run queue's clock.
    #[inline(always)]
    pub fn accounted_at_ns(self) -> u64 {
        load(self.0, offset!(task_exec_start))
    }

    /// Start of the task in nanoseconds since boot.
    #[inline(always)]
    pub fn start_ns(self) -> u64 {
        load(self.0, offset!(task_start_boottime))
    }

    /// The leader of its thread group.
    #[inline(always)]
    pub fn leader(self) -> Self {
        Self(load(self.0, offset!(task_group_leader)))
    }

    /// Its parent, as the kernel signals it.
    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(load(self.0, offset!(task_real_parent)))
    }

    /// Real and effective user id.
    #[inline(always)]
    pub fn uids(self) -> (u32, u32) {
        let cred: *const u8 = load(self.0, offset!(task_real_cred));
        (load(cred, offset!(cred_uid)), load(cred, offset!(cred_euid)))
    }

    /// Command name.
    #[inline(always)]
    pub fn comm(self) -> [u8; COMM_LEN] {
        let words: [u64; 2] = [load(self.0, offset!(task_comm)), load(self.0, offset!(task_comm) + 8)];
        // SAFETY: sixteen bytes in either type.
        unsafe { core::mem::transmute(words) }
    }

    /// Resident pages by kind that it has not yet added to its address space's: kernels before 6.2 do so in batches.
    #[inline(always)]
    pub fn rss_cached(self) -> [i32; RSS_KINDS] {
        let at = offset!(task_rss_cached);
        if at == 0 {
            return [0; RSS_KINDS];
        }
        [
            load(self.0, at),
            load(self.0, at + 4),
            load(self.0, at + 8),
            load(self.0, at + 12),
        ]
    }

    /// Identity of the cgroup (v2) that it is in; 0 where the kernel has none.
    #[inline(always)]
    pub fn cgroup(self) -> u64 {
        if offset!(task_cgroups) == 0 {
            return 0;
        }
        let set: *const u8 = load(self.0, offset!(task_cgroups));
        let cgroup: *const u8 = load(set, offset!(css_set_default));
        let node: *const u8 = load(cgroup, offset!(cgroup_node));
        load(node, offset!(kernfs_node_id))
    }

    /// What the thread group shares.
    #[inline(always)]
    pub fn group(self) -> Group {
        Group(load(self.0, offset!(task_signal)))
    }

    /// Its descriptor table.
    #[inline(always)]
    pub fn table(self) -> Table {
        let files: *const u8 = load(self.0, offset!(task_files));
        Table::at(files as u64)
    }

    /// Its address space.
    #[inline(always)]
    pub fn memory(self) -> Memory {
        let mm: *const u8 = load(self.0, offset!(task_mm));
        Memory::at(mm as u64)
    }
}

/// What a thread group shares (`signal_struct`).
#[derive(Clone, Copy)]
pub struct Group(*const u8);

impl Group {
    /// CPU time in nanoseconds of threads that are gone.
    #[inline(always)]
    pub fn dead_runtime_ns(self) -> u64 {
        load(self.0, offset!(signal_sum_sched_runtime))
    }

    /// What all threads were told to end with; 0 where they were not.
    #[inline(always)]
    pub fn exit_code(self) -> u32 {
        load(self.0, offset!(signal_group_exit_code))
    }

    /// Threads that have not begun to exit.
    #[inline(always)]
    pub fn live(self) -> u32 {
        load(self.0, offset!(signal_live))
    }

    /// Highest number of resident pages, noted when a thread has exited.
    #[inline(always)]
    pub fn peak_rss_pages(self) -> u64 {
        load(self.0, offset!(signal_maxrss))
    }

    /// Threads that are in the kernel's list of threads.
    #[inline(always)]
    pub fn threads(self) -> u32 {
        load(self.0, offset!(signal_nr_threads))
    }
}

//! Processes: their birth at fork, their change of image at exec, their end at the last switch of the last thread.

use aya_ebpf::{helpers::generated, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::warn;
use resmgr_common::{
    EventKind, EventRecord, HookIndex, IMAGE_ARGUMENTS_LEN, ImageRecord, Loss, ProcessCounters, ToolResource,
};

use crate::{
    kernel::{Task, image_path, now_ns},
    maps::{
        EEXIST, add_signed, begin_counters, counters_of, end_counters, facts, is_active, lost, push, push_image,
        replace_counters, tracks_all,
    },
    tools::{self, Tool},
};

/// `sched_process_fork(parent, child)`: before the child first runs. A child of a tool's process is the tool's.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    if !is_active(HookIndex::Fork) {
        return 0;
    }
    let parent = Task::new(ctx.arg(0));
    let child = Task::new(ctx.arg(1));
    let tgid = child.tgid();
    // What a child inherits, by value: a pointer that may be missing would leave the verifier a register to wonder about.
    let mut is_tracked = tracks_all();
    let (mut connections_open, mut tool) = (0, 0);
    if let Some(parents) = counters_of(parent.tgid()) {
        // SAFETY: counters_of returned Some, so the verifier bounded this slot.
        unsafe {
            if tgid == parent.tgid() {
                add_signed(&raw mut (*parents).threads, 1);
                return 0;
            }
            connections_open = (*parents).connections_open;
            tool = (*parents).tool;
        }
        is_tracked = true;
    }
    if !is_tracked || tgid == parent.tgid() || child.is_kernel_thread() {
        return 0;
    }
    let memory = child.memory();
    let mut counters = ProcessCounters {
        start_ns: child.start_ns(),
        virtual_bytes: memory.virtual_bytes(),
        fds_open: child.table().count().unwrap_or(0) as i64,
        // The child's table is a copy.
        connections_open,
        tool,
        threads: 1,
        ..ProcessCounters::default()
    };
    if memory.address() != parent.memory().address() {
        counters.mm = memory.address();
        counters.memory_pages = memory.counted_pages();
        counters.born_pages = counters.memory_pages;
    }
    if !begin(tgid, &counters) {
        let times = lost(Loss::CountersFull);
        // Told the more seldom, the more there are: a storm is no reason for another.
        if times & times.wrapping_sub(1) == 0 {
            warn!(
                &ctx,
                "the map of process counters is full: process {} has none, {} so far on this CPU", tgid, times
            );
        }
    }
    push(
        |event| describe(event, EventKind::Fork, child, parent.tgid(), &counters),
        || true,
    );
    0
}

/// `sched_process_exec(task, old_pid, binprm)`: the new image is in place, descriptors marked close-on-exec are closed.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    if !is_active(HookIndex::Exec) {
        return 0;
    }
    let task = Task::new(ctx.arg(0));
    let tgid = task.tgid();
    let wanted = tools::wanted_by(task, tgid);
    let is_matching = facts().is_some_and(|facts| facts.matching != 0);
    let counters = match counters_of(tgid) {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; exec has ended the other threads.
        Some(counters) => unsafe {
            if wanted != 0 {
                move_to(counters, tgid, wanted);
            }
            renew(task, tgid, counters);
            *counters
        },
        // Where there are rules it is counted until user space has decided, with what it does meanwhile.
        None if wanted != 0 || is_matching => {
            let mut counters = truth(task);
            counters.tool = wanted;
            if !begin(tgid, &counters) {
                lost(Loss::CountersFull);
            }
            counters
        }
        None => return 0,
    };
    if is_matching && counters.tool == 0 {
        let binprm: *const u8 = ctx.arg(2);
        push_image(|image| describe_image(image, task, binprm, &counters));
    } else {
        push(
            |event| describe(event, EventKind::Exec, task, task.parent().tgid(), &counters),
            || true,
        );
    }
    0
}

/// What a process without counters holds now.
#[inline(always)]
fn truth(task: Task) -> ProcessCounters {
    let memory = task.memory();
    ProcessCounters {
        start_ns: task.leader().start_ns(),
        cpu_ns: task.runtime_ns() + task.group().dead_runtime_ns(),
        virtual_bytes: memory.virtual_bytes(),
        fds_open: task.table().count().unwrap_or(0) as i64,
        threads: 1,
        mm: memory.address(),
        memory_pages: memory.counted_pages(),
        ..ProcessCounters::default()
    }
}

/// Takes a process from its tool, if it has one, to another.
#[inline(always)]
pub fn move_to(counters: *mut ProcessCounters, tgid: u32, slot: u32) {
    // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
    unsafe {
        if (*counters).tool == slot {
            return;
        }
        if let Some(tool) = Tool::of(counters) {
            tool.leave(counters, tgid);
        }
        (*counters).tool = slot;
        // Whose they were need not be in the other tool.
        (*counters).born_pages = 0;
        if let Some(tool) = Tool::at(slot) {
            tool.join(counters, tgid);
        }
    }
}

/// Brings a process's counters to what its new image holds.
#[inline(always)]
fn renew(task: Task, tgid: u32, counters: *mut ProcessCounters) {
    let memory = task.memory();
    let pages = memory.counted_pages();
    // SAFETY: as in `move_to`.
    unsafe {
        let fds = match task.table().count() {
            Some(open) => open as i64,
            None => (*counters).fds_open,
        };
        let own_pages = (*counters).memory_pages - (*counters).born_pages;
        let (fds_grown, pages_grown) = (fds - (*counters).fds_open, pages - own_pages);
        if fds_grown < 0 {
            (*counters).fds_closed += fds_grown.unsigned_abs();
        }
        (*counters).fds_open = fds;
        (*counters).memory_pages = pages;
        (*counters).born_pages = 0;
        (*counters).virtual_bytes = memory.virtual_bytes();
        (*counters).mm = memory.address();
        if let Some(tool) = Tool::of(counters) {
            tool.change(ToolResource::Descriptors, fds_grown, tgid);
            tool.change(ToolResource::Memory, pages_grown, tgid);
        }
    }
}

/// At a thread's last switch, its CPU time counted: the last one ends the process.
#[inline(always)]
pub fn thread_gone(task: Task, tgid: u32, counters: *mut ProcessCounters) {
    if task.is_worker() {
        return;
    }
    // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
    unsafe {
        add_signed(&raw mut (*counters).threads, -1);
        // Threads that end together may all see zero; the one that removes the entry tells of the end.
        if (*counters).threads > 0 {
            return;
        }
        (*counters).peak_rss_pages = task.group().peak_rss_pages();
        let mut last = *counters;
        if !end_counters(tgid) {
            return;
        }
        if let Some(tool) = Tool::of(&raw const last) {
            tool.ended(&raw const last, tgid);
        } else {
            // Born just before its parent was taken in.
            last.tool = gone_unknown(task, tgid, last.cpu_ns, last.peak_rss_pages);
        }
        push(
            |event| describe(event, EventKind::Exit, task, task.parent().tgid(), &last),
            || true,
        );
    }
}

/// At the last switch of a process without counters: its birth was missed, or there was no room for it.
#[inline(always)]
pub fn unknown_gone(task: Task, tgid: u32) {
    let group = task.group();
    if task.tid() == tgid && group.live() == 0 {
        let cpu_ns = task.runtime_ns() + group.dead_runtime_ns();
        gone_unknown(task, tgid, cpu_ns, group.peak_rss_pages());
    }
}

/// Counts the end of a process that is not known to be a tool's: where its parent is one's, so was it. Returns the tool's
/// slot, 0 for none.
#[inline(always)]
fn gone_unknown(task: Task, tgid: u32, cpu_ns: u64, peak_rss_pages: u64) -> u32 {
    if tgid == tools::agent() {
        return 0;
    }
    let slot = tools::of_process(task.parent().tgid());
    if let Some(tool) = Tool::at(slot) {
        tool.came_and_went(cpu_ns, peak_rss_pages);
    }
    slot
}

/// Takes back that a tool's process was begun, unless its end has been counted.
#[inline(always)]
pub fn forget_newborn(tgid: u32, counters: &ProcessCounters) {
    if end_counters(tgid)
        && let Some(tool) = Tool::of(counters)
    {
        tool.unjoin(counters, tgid);
    }
}

/// Begins a process's counters, replacing those of an earlier process with the same id; false where the map is full.
#[inline(always)]
pub fn begin(tgid: u32, counters: &ProcessCounters) -> bool {
    let begun = match begin_counters(tgid, counters) {
        0 => true,
        EEXIST => {
            let Some(there) = counters_of(tgid) else {
                return true;
            };
            // A sweep may have met the newborn first. SAFETY: get_ptr_mut returned Some, so the slot is bounded.
            unsafe {
                if (*there).start_ns == counters.start_ns {
                    if (*there).tool == 0 && counters.tool != 0 {
                        move_to(there, tgid, counters.tool);
                    }
                    return true;
                }
                // The end of the earlier one went by unseen.
                if let Some(tool) = Tool::of(there) {
                    tool.ended(there, tgid);
                }
            }
            replace_counters(tgid, counters)
        }
        _ => {
            return false;
        }
    };
    if begun && let Some(tool) = Tool::of(counters) {
        tool.join(counters, tgid);
    }
    true
}

/// Fills in what a process has executed.
#[inline(always)]
fn describe_image(image: &mut ImageRecord, task: Task, binprm: *const u8, counters: &ProcessCounters) {
    describe(&mut image.event, EventKind::Image, task, task.parent().tgid(), counters);
    image.cgroup = task.cgroup();
    image._pad = 0;
    image_path(binprm, &mut image.path);
    let (from, to) = task.memory().arguments();
    let len = (to - from).min(IMAGE_ARGUMENTS_LEN as u64 - 1) as u32 & (IMAGE_ARGUMENTS_LEN as u32 - 1);
    image.arguments_len = len;
    // SAFETY: the length is masked to the room; the helper zeroes it where the pages are not there.
    unsafe {
        generated::bpf_probe_read_user(image.arguments.as_mut_ptr().cast(), len, from as *const _);
    }
}

/// Fills in an event.
#[inline(always)]
fn describe(event: &mut EventRecord, kind: EventKind, task: Task, ppid: u32, counters: &ProcessCounters) {
    event.kind = kind as u32;
    event.tgid = task.tgid();
    event.ppid = ppid;
    (event.uid, event.euid) = task.uids();
    event.exit_status = match kind {
        EventKind::Exit => task.exit_status(),
        _ => 0,
    };
    event.at_ns = now_ns();
    event.comm = task.comm();
    event.counters = *counters;
}

//! Processes: their birth at fork, their change of image at exec, their end at the last switch of the last thread.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::warn;
use resmgr_common::{EventKind, EventRecord, Loss, ProcessCounters};

use crate::{
    kernel::{Task, now_ns},
    maps::{COUNTERS, EEXIST, add_signed, lost, push},
};

/// `sched_process_fork(parent, child)`: before the child first runs.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent = Task::new(ctx.arg(0));
    let child = Task::new(ctx.arg(1));
    let tgid = child.tgid();
    if tgid == parent.tgid() {
        if let Some(counters) = COUNTERS.get_ptr_mut(tgid) {
            // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
            unsafe { add_signed(&raw mut (*counters).threads, 1) };
        }
        return 0;
    }
    if child.is_kernel_thread() {
        return 0;
    }
    let mut counters = ProcessCounters {
        start_ns: child.start_ns(),
        virtual_bytes: child.memory().virtual_bytes(),
        fds_open: child.table().count().unwrap_or(0) as i64,
        threads: 1,
        ..ProcessCounters::default()
    };
    if let Some(parents) = COUNTERS.get_ptr(parent.tgid()) {
        // The child's table is a copy. SAFETY: get_ptr returned Some, so the verifier bounded this slot.
        counters.connections_open = unsafe { (*parents).connections_open };
    }
    if !begin(tgid, &counters) {
        warn!(&ctx, "the map of process counters is full: process {} has none", tgid);
    }
    push(
        |event| describe(event, EventKind::Fork, child, parent.tgid(), &counters),
        || true,
    );
    0
}

/// `sched_process_exec(task, …)`: the new image is in place, descriptors marked close-on-exec are closed.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    let Some(counters) = COUNTERS.get_ptr_mut(task.tgid()) else {
        return 0;
    };
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; exec has ended the other threads.
    unsafe {
        if let Some(open) = task.table().count() {
            let closed = (*counters).fds_open - open as i64;
            if closed > 0 {
                (*counters).fds_closed += closed.unsigned_abs();
            }
            (*counters).fds_open = open as i64;
        }
        (*counters).virtual_bytes = task.memory().virtual_bytes();
        push(
            |event| describe(event, EventKind::Exec, task, task.parent().tgid(), &*counters),
            || true,
        );
    }
    0
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
        push(
            |event| describe(event, EventKind::Exit, task, task.parent().tgid(), &*counters),
            || COUNTERS.remove(tgid).is_ok(),
        );
    }
}

/// Begins a process's counters, replacing those of an earlier process with the same id; false where the map is full.
#[inline(always)]
pub fn begin(tgid: u32, counters: &ProcessCounters) -> bool {
    match COUNTERS.insert(tgid, counters, u64::from(BPF_NOEXIST)) {
        Ok(()) => true,
        Err(EEXIST) => {
            if let Some(there) = COUNTERS.get_ptr(tgid) {
                // A sweep may have met the newborn first. SAFETY: get_ptr returned Some, so the slot is bounded.
                if unsafe { (*there).start_ns } != counters.start_ns {
                    let _ = COUNTERS.insert(tgid, counters, u64::from(BPF_ANY));
                }
            }
            true
        }
        Err(_) => {
            lost(Loss::CountersFull);
            false
        }
    }
}

/// Fills in an event.
#[inline(always)]
fn describe(event: &mut EventRecord, kind: EventKind, task: Task, ppid: u32, counters: &ProcessCounters) {
    event.kind = kind as u32;
    event.tgid = task.tgid();
    event.ppid = ppid;
    (event.uid, event.euid) = task.uids();
    event._pad = 0;
    event.at_ns = now_ns();
    event.comm = task.comm();
    event.counters = *counters;
}

//! CPU time: what a task used between being switched in and out, by the scheduler's own count.
//!
//! A switch may go by unseen (kernels exist that trace no switch away from some of their tasks). Then the scheduler's own
//! note of where the turn began stands in; it keeps one for tasks of its fair class, which is nearly all of them.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use resmgr_common::HookIndex;

use crate::{
    kernel::Task,
    maps::{RUNNING, add, counters_of, is_active},
    process,
    tools::Tool,
};

/// `sched_switch(preempt, prev, next, …)`: charges `prev`, remembers `next`.
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    if !is_active(HookIndex::Switch) {
        return 0;
    }
    let prev = Task::new(ctx.arg(1));
    let next = Task::new(ctx.arg(2));
    let Some(running) = RUNNING.get_ptr_mut(0) else {
        return 0;
    };
    let runtime_ns = prev.runtime_ns();
    let tgid = prev.tgid();
    if tgid == 0 {
        // The idle task is nobody's.
    } else if let Some(counters) = counters_of(tgid) {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded both slots. `running` is this CPU's own and the
        // tracepoint runs with interrupts off; `cpu_ns` is added to atomically.
        unsafe {
            let began_ns = if (*running).task == prev.address() {
                (*running).runtime_ns
            } else if prev.is_fair() {
                prev.turn_began_ns()
            } else {
                runtime_ns
            };
            add(&raw mut (*counters).cpu_ns, runtime_ns - began_ns);
            if let Some(tool) = Tool::of(counters) {
                tool.used_cpu(runtime_ns - began_ns, prev.accounted_at_ns(), tgid);
            }
        }
        if prev.is_dead() {
            process::thread_gone(prev, tgid, counters);
        }
    } else if prev.is_dead() {
        process::unknown_gone(prev, tgid);
    }
    // SAFETY: as above.
    unsafe {
        (*running).task = next.address();
        (*running).runtime_ns = next.runtime_ns();
    }
    0
}

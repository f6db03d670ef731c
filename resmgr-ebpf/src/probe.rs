//! Programs that do nothing. One is on a kernel function that is seldom called: whether it attaches tells whether this
//! kernel allows trampolines, which `doctor` reports. The others are what the benchmark takes off the cost of real ones.

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, lsm, tracepoint},
    programs::{BtfTracePointContext, FEntryContext, LsmContext, TracePointContext},
};

/// On the entry of fallocate.
#[fentry(function = "vfs_fallocate")]
pub fn probe_trampoline(_ctx: FEntryContext) -> i32 {
    0
}

/// On `sched_switch`.
#[btf_tracepoint(function = "sched_switch")]
pub fn empty_typed(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// On a system call.
#[tracepoint]
pub fn empty_syscall(_ctx: TracePointContext) -> u32 {
    0
}

/// On an LSM hook.
#[lsm(hook = "file_open")]
pub fn empty_lsm(_ctx: LsmContext) -> i32 {
    0
}

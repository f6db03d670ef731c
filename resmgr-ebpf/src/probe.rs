//! A program that does nothing, on a kernel function that is seldom called: whether it attaches tells whether this kernel
//! allows trampolines, which `doctor` reports.

use aya_ebpf::{macros::fentry, programs::FEntryContext};

/// On the entry of fallocate.
#[fentry(function = "vfs_fallocate")]
pub fn probe_trampoline(_ctx: FEntryContext) -> i32 {
    0
}

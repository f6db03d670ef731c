//! Virtual memory: after each mmap, munmap, mremap and brk, what the address space holds.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext};

use crate::{
    kernel::{Memory, now_ns},
    maps::COUNTERS,
};

/// On the exit of each call: the kernel's own total, so that no arithmetic on ranges can go wrong.
#[tracepoint]
pub fn memory_changed(_ctx: TracePointContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(counters) = COUNTERS.get_ptr_mut(tgid) {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; a racing thread stores a total too.
        unsafe {
            (*counters).virtual_bytes = Memory::of_current().virtual_bytes();
            (*counters).last_memory_ns = now_ns();
        }
    }
    0
}

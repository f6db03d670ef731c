//! Memory: after each mmap, munmap, mremap and brk, what the address space holds; and resident pages as they come and go.

use aya_ebpf::{
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use resmgr_common::{HookIndex, ToolResource};

use crate::{
    kernel::Memory,
    maps::{add_signed, own_counters, own_tgid},
    tools::Tool,
};

/// On the exit of each call: the kernel's own total, so that no arithmetic on ranges can go wrong.
#[tracepoint]
pub fn memory_changed(_ctx: TracePointContext) -> u32 {
    if let Some(counters) = own_counters(HookIndex::Map) {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; a racing thread stores a total too.
        unsafe {
            (*counters).virtual_bytes = Memory::virtual_bytes_of_current((*counters).mm);
        }
    }
    0
}

/// `rss_stat(mm, member, …)`: a page came or went. The kernel sums up a batch at a time, so most events change nothing.
#[btf_tracepoint(function = "rss_stat")]
pub fn memory_counted(ctx: BtfTracePointContext) -> i32 {
    let Some(counters) = own_counters(HookIndex::Memory) else {
        return 0;
    };
    let mm: *const u8 = ctx.arg(0);
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot. Threads that come together may both add a
    // difference, which the next sweep heals.
    unsafe {
        // Another's pages may come and go in this process's time (ptrace), and a vforked child lives in its parent's.
        if (*counters).mm != mm as u64 {
            return 0;
        }
        let difference = Memory::counted_pages_of(mm) - (*counters).memory_pages;
        if difference != 0 {
            add_signed(&raw mut (*counters).memory_pages, difference);
            if let Some(tool) = Tool::of(counters) {
                tool.change(ToolResource::Memory, difference, own_tgid());
            }
        }
    }
    0
}

//! Address spaces: virtual and resident pages, the latter summed over the CPUs where the kernel keeps them so.

use aya_ebpf::helpers::generated;
use resmgr_common::{RSS_KINDS, RssShape};

use super::{current_task, follow, load, offset, probe, window};
use crate::maps::{CPU_BASES, RUNNING, Words};

/// An address space, by address.
#[derive(Clone, Copy)]
pub struct Memory {
    mm: u64,
}

impl Memory {
    /// The address space at an address.
    #[inline(always)]
    pub fn at(mm: u64) -> Self {
        Self { mm }
    }

    /// The address space of the task that runs.
    #[inline(always)]
    pub fn of_current() -> Self {
        Self::at(follow(current_task(), offset!(task_mm)))
    }

    /// Virtual bytes of the address space of the task that runs; `known` is its address where it is known, else 0.
    #[inline(always)]
    pub fn virtual_bytes_of_current(known: u64) -> u64 {
        if offset!(typed_current) == 0 && known != 0 {
            return Self::at(known).virtual_bytes();
        }
        let pages: u64 = follow(Self::of_current().mm, offset!(mm_total_vm));
        pages << offset!(page_shift)
    }

    /// The address, to compare; 0 where the task has none.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.mm
    }

    /// Anonymous, shared and swapped-out pages as far as they are summed up: without what CPUs hold back (since 6.2), or
    /// threads (before).
    #[inline(always)]
    pub fn counted_pages(self) -> i64 {
        if self.mm == 0 {
            return 0;
        }
        let stat = self.mm + u64::from(offset!(mm_rss_stat) + offset!(percpu_counter_count));
        let stride = offset!(rss_stride);
        // All kinds but the first, which is files.
        probe::<i64>(stat, stride) + probe::<i64>(stat, stride * 2) + probe::<i64>(stat, stride * 3)
    }

    /// The same, by a pointer that the verifier knows the type of: plain loads where it follows them. Verifiers of the time
    /// of the older shape do not follow the array of counters.
    #[inline(always)]
    pub fn counted_pages_of(mm: *const u8) -> i64 {
        if offset!(rss_shape) != RssShape::PerCpu as u32 {
            return Self::at(mm as u64).counted_pages();
        }
        let stat = offset!(mm_rss_stat) + offset!(percpu_counter_count);
        let stride = offset!(rss_stride);
        load::<i64>(mm, stat + stride) + load::<i64>(mm, stat + stride * 2) + load::<i64>(mm, stat + stride * 3)
    }

    /// Where the arguments lie that its program was started with: from, to.
    #[inline(always)]
    pub fn arguments(self) -> (u64, u64) {
        (
            probe(self.mm, offset!(mm_arg_start)),
            probe(self.mm, offset!(mm_arg_end)),
        )
    }

    /// Virtual pages.
    #[inline(always)]
    pub fn virtual_pages(self) -> u64 {
        if self.mm == 0 {
            0
        } else {
            probe(self.mm, offset!(mm_total_vm))
        }
    }

    /// Virtual bytes.
    #[inline(always)]
    pub fn virtual_bytes(self) -> u64 {
        self.virtual_pages() << offset!(page_shift)
    }

    /// Highest number of resident pages that the kernel has noted; it notes it late.
    #[inline(always)]
    pub fn peak_rss_pages(self) -> u64 {
        probe(self.mm, offset!(mm_hiwater_rss))
    }

    /// Resident pages by kind.
    #[inline(always)]
    pub fn rss_pages(self) -> [i64; RSS_KINDS] {
        let mut pages = [0; RSS_KINDS];
        let stat = self.mm + u64::from(offset!(mm_rss_stat));
        let stride = offset!(rss_stride);
        let count = offset!(percpu_counter_count);
        for (kind, sum) in pages.iter_mut().enumerate() {
            *sum = probe(stat, stride * kind as u32 + count);
        }
        if offset!(rss_shape) == RssShape::PerCpu as u32 {
            let counters = offset!(percpu_counter_counters);
            for (kind, sum) in pages.iter_mut().enumerate() {
                let per_cpu: u64 = probe(stat, stride * kind as u32 + counters);
                *sum += per_cpu_sum(per_cpu);
            }
        }
        pages
    }
}

/// Sums a per-CPU counter's parts, which `percpu_counter.count` does not hold yet.
#[inline(always)]
fn per_cpu_sum(counters: u64) -> i64 {
    let mut sum = 0;
    for cpu in 0..offset!(cpus) {
        if let Some(base) = CPU_BASES.get(cpu) {
            sum += i64::from(probe::<i32>(counters + *base, 0));
        }
    }
    sum
}

/// Finds where each CPU's copy of per-CPU data begins: per-CPU reads count from there.
///
/// The kernel tells the address of a map's element on any CPU; less the element's per-CPU handle, which the map holds
/// in its first `pptrs` slot, it is the base.
#[inline(always)]
pub fn learn_cpu_bases() {
    if offset!(rss_shape) != RssShape::PerCpu as u32 {
        return;
    }
    let Some(window) = window() else {
        return;
    };
    let map = &raw const RUNNING as *mut core::ffi::c_void;
    let handle: u64 = probe(as_number(window, map), offset!(bpf_array_pptrs));
    let key = 0u32;
    for cpu in 0..offset!(cpus) {
        // SAFETY: the map is one of ours and the key a u32 on the stack; the helper bounds the CPU. Kernels whose
        // layout is not per CPU never reach this call, so the verifier does not ask whether they have the helper.
        let element = unsafe { generated::bpf_map_lookup_percpu_elem(map, (&raw const key).cast(), cpu) };
        if element.is_null() {
            return;
        }
        let base = as_number(window, element).wrapping_sub(handle);
        let _ = CPU_BASES.set(cpu, base, 0);
    }
}

/// A pointer as a number that may be computed with: what is read from a map has no type.
#[inline(always)]
fn as_number(window: &mut Words, pointer: *mut core::ffi::c_void) -> u64 {
    let slot = &raw mut window[0];
    // SAFETY: the slot is inside the window; volatile, so that the value does go through memory.
    unsafe {
        core::ptr::write_volatile(slot.cast(), pointer);
        core::ptr::read_volatile(slot)
    }
}

//! Reserving: one more of what a tool may have, counted in one step with the comparison. Knows no call.

use aya_ebpf::bindings::BPF_NOEXIST;
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use resmgr_common::ToolResource;

use crate::{
    maps::{GUARDED, add_signed},
    tools::Tool,
};

/// How often a step is tried again that another CPU came in between of.
const TRIES: u32 = 64;
/// How often a lock is tried. Its holder may have to wait for its CPU, where that is a virtual one.
const LOCK_TRIES: u32 = 512;

/// The sum of a tool that is reserved from.
#[inline(always)]
fn sum(tool: Tool, resource: ToolResource) -> *mut i64 {
    // SAFETY: the verifier bounded the slot of the sums.
    unsafe {
        match resource {
            ToolResource::Descriptors => &raw mut (*tool.sums()).fds_open,
            _ => &raw mut (*tool.sums()).connections_open,
        }
    }
}

/// Reserves one where there are fewer than `most`.
#[inline(always)]
pub fn reserve_at_once(tool: Tool, resource: ToolResource, most: i64) -> bool {
    let count = sum(tool, resource);
    for _ in 0..TRIES {
        // SAFETY: the verifier bounded the slot of the sums; volatile because others change it.
        let open = unsafe { count.read_volatile() };
        if open >= most {
            return false;
        }
        // SAFETY: as above.
        let (_, is_done) = unsafe {
            atomic_cxchg::<i64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(count, open, open + 1)
        };
        if is_done {
            return true;
        }
    }
    false
}

/// [`reserve_at_once`] with an entry of a map for a lock. Kernels that need it do not preempt its holder.
#[inline(always)]
pub fn reserve_locked(tool: Tool, resource: ToolResource, most: i64) -> bool {
    let count = sum(tool, resource);
    let lock = tool.slot() << 2 | resource as u32;
    for _ in 0..LOCK_TRIES {
        if GUARDED.insert(lock, 1u8, u64::from(BPF_NOEXIST)).is_err() {
            continue;
        }
        // SAFETY: as in `reserve_at_once`. Whoever takes away does so without the lock, which is safe.
        let is_free = unsafe { count.read_volatile() < most };
        if is_free {
            add_signed(count, 1);
        }
        // It is there: nobody else removes it.
        let _ = GUARDED.remove(lock);
        return is_free;
    }
    false
}

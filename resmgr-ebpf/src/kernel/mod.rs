//! Reads kernel structs, at the offsets that user space found in the kernel's BTF. Nothing else here reads one.
//!
//! Two ways: a plain load from a pointer whose type the verifier knows (a tracepoint's argument, an iterator's
//! context, and what is loaded from such a pointer), and `bpf_probe_read_kernel` from any other address.

mod call;
mod memory;
mod socket;
mod table;
mod task;

use aya_ebpf::helpers::generated;
use resmgr_common::Layout;

use crate::maps::{WORDS, Words};

pub use call::Call;
pub use memory::{Memory, learn_cpu_bases};
pub use socket::{
    CLOSE, ESTABLISHED, File, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, SYN_SENT, Socket, Transport, TypedSocket,
};
pub use table::Table;
pub use task::{Task, is_worker_running};

/// User space overrides this before loading; the verifier then knows each value.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::ZERO;

/// The offset of a field, as a value that the compiler cannot fold and the verifier knows.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a read of a static; volatile because the loader, not the compiler, decides the value.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::LAYOUT.$field) }
    };
}

use offset;

/// A load from a pointer that the verifier knows the type of.
#[inline(always)]
fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the verifier accepts the load only inside the pointer's type; a fault reads as zero.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast()) }
}

/// A read from any kernel address; zero where it faults.
#[inline(always)]
fn probe<T: Copy>(base: u64, offset: u32) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let from = (base + u64::from(offset)) as *const core::ffi::c_void;
    // SAFETY: the helper writes all of the value: what it read, or zeros where it faulted. Every T here is made of
    // integers. Its result is not looked at: a branch for each read would multiply the paths that the verifier follows.
    unsafe {
        generated::bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from);
        value.assume_init()
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { generated::bpf_ktime_get_ns() }
}

/// The task that runs, by address; the verifier knows its type where the kernel lets it.
#[inline(always)]
fn current_task() -> u64 {
    if offset!(typed_current) == 0 {
        // SAFETY: the helper has no precondition.
        unsafe { generated::bpf_get_current_task() }
    } else {
        // SAFETY: as above.
        unsafe { generated::bpf_get_current_task_btf() as u64 }
    }
}

/// A field of what [`current_task`] leads to.
#[inline(always)]
fn follow<T: Copy>(base: u64, offset: u32) -> T {
    if offset!(typed_current) == 0 {
        probe(base, offset)
    } else {
        load(base as *const u8, offset)
    }
}

/// Copies the path that an exec was given, from its `linux_binprm`.
#[inline(always)]
pub fn image_path(binprm: *const u8, into: &mut [u8; resmgr_common::IMAGE_PATH_LEN]) {
    let path: u64 = probe(binprm as u64, offset!(binprm_filename));
    // SAFETY: the helper writes at most the length that it is given, NUL included.
    unsafe {
        generated::bpf_probe_read_kernel_str(into.as_mut_ptr().cast(), into.len() as u32, path as *const _);
    }
}

/// This CPU's room for words of a table.
#[inline(always)]
fn window() -> Option<&'static mut Words> {
    let room = WORDS.get_ptr_mut(0)?;
    // SAFETY: the look-up returned Some, so the verifier bounded this slot. Another program that interrupts this one
    // on the same CPU and uses the room too can only spoil a count, which the next sweep heals.
    Some(unsafe { &mut *room })
}

/// Fills the window from a kernel address.
#[inline(always)]
fn fill(window: &mut Words, from: u64) {
    // SAFETY: the helper writes exactly the window's 512 bytes, and zeros them where it faults.
    unsafe {
        generated::bpf_probe_read_kernel(window.as_mut_ptr().cast(), 512, from as *const _);
    }
}

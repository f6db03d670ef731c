//! The BPF programs: a file per resource, all maps in `maps`, all reading of kernel structs in `kernel`.
//!
//! Every program observes and returns; those in `guard` alone change what the hooked call does.
#![no_std]
#![no_main]
#![expect(
    internal_features,
    reason = "bpfel-unknown-none has no AtomicU64::fetch_add; the intrinsic is what it would call"
)]
#![expect(
    unreachable_pub,
    reason = "nothing is outside a binary; what a room offers to the others is pub"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a checked conversion is a branch for the verifier to follow; the kernel bounds each of these values"
)]
#![feature(asm_experimental_arch, core_intrinsics)]

mod connections;
mod cpu;
mod descriptors;
mod drift;
mod guard;
mod kernel;
mod maps;
mod memory;
mod places;
mod probe;
mod process;
mod sweep;
mod tools;

/// The kernel refuses the helpers used here to programs whose licence is not compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: no program here can panic, and the verifier would refuse one that did.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

//! The one place where bytes from the kernel become records, and records become map values.

use bytemuck::Pod;

/// A plain record as a map key or value.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Wire<T>(pub(super) T);

// SAFETY: `Wire` is transparent over a type that bytemuck has checked to be plain data without padding, which is all
// that aya's trait asks for.
unsafe impl<T: Pod> aya::Pod for Wire<T> {}

/// Reads a record from the start of a byte slice; `None` where it is too short. The bytes need not be aligned.
pub(super) fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    bytes.get(..size_of::<T>()).map(bytemuck::pod_read_unaligned)
}

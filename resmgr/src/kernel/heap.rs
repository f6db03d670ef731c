//! Gives memory back that loading needed once: the kernel's types take tens of megabytes while they are read.

/// Returns the heap's unused pages to the system, where the C library can.
#[cfg(target_env = "gnu")]
pub(super) fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: declared as in glibc's malloc.h; it takes the allocator's own locks and may be called at any time.
    unsafe {
        malloc_trim(0);
    }
}

/// Other C libraries give memory back on their own.
#[cfg(not(target_env = "gnu"))]
pub(super) fn trim() {}

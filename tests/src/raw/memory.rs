//! Memory that processes share, as words that are only ever touched as atomics; and memory that nobody touches.

use std::{
    ffi::c_void,
    os::fd::AsFd,
    ptr::{NonNull, null_mut},
    sync::atomic::AtomicU32,
};

use rustix::{
    fs::{fstat, ftruncate},
    io::{Errno, Result},
    mm::{MapFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mremap, munmap},
};

/// Maps the words of a memory file, which is made that long where it is shorter. They stay mapped until the process ends.
pub fn shared_words(file: impl AsFd, count: usize) -> Result<&'static [AtomicU32]> {
    let len = count * size_of::<AtomicU32>();
    let there = usize::try_from(fstat(&file)?.st_size).map_err(|_| Errno::OVERFLOW)?;
    if there < len {
        ftruncate(&file, len as u64)?;
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh mapping, at an address that the kernel chooses, of a file that is as long and never shortened.
    let words = unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, file, 0)? };
    // SAFETY: the mapping is page aligned, as long as `count` words, and never unmapped; any bits are a valid AtomicU32,
    // and every process touches them through one.
    Ok(unsafe { std::slice::from_raw_parts(words.cast(), count) })
}

/// Memory that is reserved and never touched: by mmap, and given back by munmap.
pub struct Reserved {
    start: NonNull<c_void>,
    len: usize,
}

impl Reserved {
    /// Reserves so many bytes.
    pub fn map(len: usize) -> Result<Self> {
        // SAFETY: a fresh mapping, at an address that the kernel chooses.
        let start = unsafe { mmap_anonymous(null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE)? };
        let start = NonNull::new(start).ok_or(Errno::NOMEM)?;
        Ok(Self { start, len })
    }

    /// Makes it so many bytes, by mremap.
    pub fn resize(&mut self, len: usize) -> Result<()> {
        // SAFETY: the mapping is this one's alone, and nothing points into it.
        let start = unsafe { mremap(self.start.as_ptr(), self.len, len, MremapFlags::MAYMOVE)? };
        (self.start, self.len) = (NonNull::new(start).ok_or(Errno::NOMEM)?, len);
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: as in `resize`.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be given back");
    }
}

/// Moves the break up by so many bytes, which nobody touches.
pub fn grow_break(bytes: usize) -> Result<()> {
    let bytes = isize::try_from(bytes).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: upwards only, so that nobody loses memory; the C library's allocator expects that others move the break.
    let before = unsafe { libc::sbrk(bytes) };
    if before.addr() == usize::MAX {
        Err(Errno::NOMEM)
    } else {
        Ok(())
    }
}

//! Memory that processes share: words that are only ever touched as atomics.

use std::{os::fd::AsFd, ptr::null_mut, sync::atomic::AtomicU32};

use rustix::{
    fs::{fstat, ftruncate},
    io::{Errno, Result},
    mm::{MapFlags, ProtFlags, mmap},
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

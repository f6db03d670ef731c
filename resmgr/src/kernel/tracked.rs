//! The map `TRACKED`, in which programs and user space count together what has an entry in a larger map.

use std::{
    os::fd::AsFd as _,
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicU32, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use resmgr_common::{Tracked, names, process_bucket, socket_bucket};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::KernelError;

/// The map's value, shared with the programs, which add to it atomically as well.
pub(super) struct Shared {
    at: NonNull<Tracked>,
    /// Programs that are yet to be loaded refer to it.
    _map: MapData,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is touched through atomics alone.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps the value.
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, KernelError> {
        let failed = |message: String| KernelError::Map {
            operation: "share",
            map: names::TRACKED,
            message,
        };
        let Some(Map::Array(map)) = bpf.take_map(names::TRACKED) else {
            return Err(failed(
                "the BPF object has no such array: rebuild it with `cargo xtask ebpf`".to_owned(),
            ));
        };
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let fd = map.fd().as_fd();
        // SAFETY: a fresh mapping, at an address that the kernel chooses.
        let at = unsafe { mmap(null_mut(), size_of::<Tracked>(), protection, MapFlags::SHARED, fd, 0) };
        let at = at.map_err(|errno| failed(errno.to_string()))?;
        let at = NonNull::new(at.cast()).ok_or_else(|| failed("it was mapped at no address".to_owned()))?;
        Ok(Self { at, _map: map })
    }

    /// User space has ended a process's counters.
    pub(super) fn process_dismissed(&self, pid: u32) {
        // SAFETY: the mapping is as long as the value and lives as long as this.
        let bucket = unsafe { &raw mut (*self.at.as_ptr()).processes[process_bucket(pid)] };
        one_less(bucket);
    }

    /// User space has forgotten a socket.
    #[expect(clippy::cast_possible_truncation, reason = "the bucket goes by the lower half")]
    pub(super) fn socket_forgotten(&self, sock: u64) {
        // SAFETY: as above.
        let bucket = unsafe { &raw mut (*self.at.as_ptr()).sockets[socket_bucket(sock as u32)] };
        one_less(bucket);
    }
}

fn one_less(bucket: *mut u32) {
    // SAFETY: the bucket is aligned and lies in the mapping; the programs add to it by atomic instructions, too.
    unsafe { AtomicU32::from_ptr(bucket) }.fetch_sub(1, Ordering::Relaxed);
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was mapped as long, and nothing points into it any more. It fails for no mapping only.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), size_of::<Tracked>()) };
    }
}

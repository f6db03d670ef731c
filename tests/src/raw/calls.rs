//! Calls that make, copy and close descriptors. Each is one system call, and none is tried again.

use std::{
    ffi::{CStr, c_int, c_long, c_uint},
    os::fd::AsFd,
};

use rustix::{
    io::{Errno, Result},
    process::Pid,
};

use super::{Descriptor, descriptor, number, result};

/// `open`, by its own call where the architecture still has one.
pub fn open(path: &CStr) -> Result<Descriptor> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the path is a C string that outlives the call.
    return descriptor(unsafe { libc::syscall(libc::SYS_open, path.as_ptr(), libc::O_RDONLY, 0) });
    #[cfg(not(target_arch = "x86_64"))]
    return Err(path.is_empty().then_some(Errno::NOENT).unwrap_or(Errno::NOSYS));
}

/// `creat`, by its own call where the architecture still has one.
pub fn creat(path: &CStr) -> Result<Descriptor> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the path is a C string that outlives the call.
    return descriptor(unsafe { libc::syscall(libc::SYS_creat, path.as_ptr(), 0o600) });
    #[cfg(not(target_arch = "x86_64"))]
    return Err(path.is_empty().then_some(Errno::NOENT).unwrap_or(Errno::NOSYS));
}

/// `dup2` onto any number.
pub fn dup2(from: impl AsFd, onto: Descriptor) -> Result<Descriptor> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call takes integers alone.
    return descriptor(unsafe { libc::syscall(libc::SYS_dup2, number(from), number(onto)) });
    #[cfg(not(target_arch = "x86_64"))]
    return dup3(from, onto, false);
}

/// `dup3` onto any number.
pub fn dup3(from: impl AsFd, onto: Descriptor, close_on_exec: bool) -> Result<Descriptor> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: the call takes integers alone.
    descriptor(unsafe { libc::syscall(libc::SYS_dup3, number(from), number(onto), flags) })
}

/// `fcntl(F_DUPFD)`: onto the lowest number that is free from `least` on.
pub fn duplicate_from(from: impl AsFd, least: u32) -> Result<Descriptor> {
    // SAFETY: the call takes integers alone.
    descriptor(unsafe { libc::syscall(libc::SYS_fcntl, number(from), libc::F_DUPFD, least) })
}

/// Whether something is open under a number.
pub fn has_descriptor(descriptor: Descriptor) -> bool {
    // SAFETY: the call takes integers alone.
    result(unsafe { libc::syscall(libc::SYS_fcntl, number(descriptor), libc::F_GETFD) }).is_ok()
}

/// `close_range`, both ends included.
pub fn close_range(first: u32, last: u32, flags: c_uint) -> Result<()> {
    // SAFETY: the call takes integers alone; what `Descriptor::close` says of closing holds for each number.
    result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// `unshare(CLONE_FILES)`: this thread gets a table of its own.
pub fn unshare_table() -> Result<()> {
    // SAFETY: every number in the old table means the same in the copy, and the churn owns no descriptor by its number.
    result(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FILES) }).map(drop)
}

/// `signalfd4` for SIGUSR1.
pub fn signalfd() -> Result<Descriptor> {
    let signals: u64 = 1 << (libc::SIGUSR1 - 1);
    let (none, len, flags): (c_long, usize, c_int) = (-1, size_of::<u64>(), 0);
    // SAFETY: the kernel's set of signals is these eight bytes, which outlive the call.
    descriptor(unsafe { libc::syscall(libc::SYS_signalfd4, none, &raw const signals, len, flags) })
}

/// `fanotify_init`, a group that only listens.
pub fn fanotify_init() -> Result<Descriptor> {
    // SAFETY: the call takes integers alone.
    descriptor(unsafe { libc::syscall(libc::SYS_fanotify_init, libc::FAN_CLASS_NOTIF, libc::O_RDONLY) })
}

/// `userfaultfd`, which nothing is registered with.
pub fn userfaultfd() -> Result<Descriptor> {
    // SAFETY: the call takes integers alone; without a registration it sees no memory.
    descriptor(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) })
}

/// `perf_event_open`: the event that counts nothing, disabled, of this thread.
pub fn perf_event_open() -> Result<Descriptor> {
    // `struct perf_event_attr` up to its first published size: type, size, config, then a bit field at byte 40.
    const ATTRIBUTES_LEN: usize = 64;
    const SOFTWARE: u8 = 1;
    const DUMMY: u8 = 9;
    const DISABLED: u8 = 1;
    let mut attributes = [0_u64; ATTRIBUTES_LEN / 8];
    attributes[0] = u64::from(SOFTWARE) | (ATTRIBUTES_LEN as u64) << 32;
    attributes[1] = u64::from(DUMMY);
    attributes[5] = u64::from(DISABLED);
    let (this_thread, any_cpu, no_group, flags): (c_long, c_long, c_long, c_long) = (0, -1, -1, 0);
    // SAFETY: the kernel reads as many bytes as the attributes say that they are long, which is how long they are.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            this_thread,
            any_cpu,
            no_group,
            flags,
        )
    })
}

/// `bpf(BPF_MAP_CREATE)`: an array of one integer.
pub fn bpf_map() -> Result<Descriptor> {
    const MAP_CREATE: c_long = 0;
    const ARRAY: u32 = 2;
    // Type, size of a key, size of a value, entries.
    let attributes: [u32; 4] = [ARRAY, 4, 4, 1];
    // SAFETY: the kernel reads as many bytes as it is told, and takes the rest of `union bpf_attr` for zero.
    descriptor(unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, attributes.as_ptr(), size_of_val(&attributes)) })
}

/// Whether two threads share a descriptor table, by `kcmp`.
pub fn shares_table(one: Pid, other: Pid) -> Result<bool> {
    const KCMP_FILES: c_long = 2;
    let (one, other) = (c_long::from(one.as_raw_pid()), c_long::from(other.as_raw_pid()));
    // SAFETY: the call takes integers alone.
    result(unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) }).map(|order| order == 0)
}

/// The longest handle that any file system makes (`MAX_HANDLE_SZ`).
const HANDLE_LEN: usize = 128;

/// A file by its handle rather than its path.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FileHandle {
    len: u32,
    kind: i32,
    bytes: [u8; HANDLE_LEN],
}

impl FileHandle {
    /// The handle of an open file; refused where its file system makes none.
    pub fn of(file: impl AsFd) -> Result<Self> {
        let mut handle = Self {
            len: u32::try_from(HANDLE_LEN).map_err(|_| Errno::OVERFLOW)?,
            kind: 0,
            bytes: [0; HANDLE_LEN],
        };
        let mut mount: c_int = 0;
        // SAFETY: the handle says how many bytes it has room for, and both it and the mount's number outlive the call.
        result(unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                number(file),
                c"".as_ptr(),
                &raw mut handle,
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        })?;
        Ok(handle)
    }
}

/// `open_by_handle_at`, through any open file of the same file system.
pub fn open_by_handle(through: impl AsFd, handle: &FileHandle) -> Result<Descriptor> {
    // SAFETY: the kernel reads the handle up to the length that it says, which is inside it.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            number(through),
            std::ptr::from_ref(handle),
            libc::O_RDONLY,
        )
    })
}

//! System calls that rustix does not offer, or not on a bare descriptor number: the one place of the tests with `unsafe`.
//!
//! Descriptors here are numbers, not owners: the churn closes them behind each other's back, which is what it is for.
//! Nothing here decides what to call.

mod calls;
mod memory;
mod process;
mod ring;

use std::{
    ffi::c_long,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, IntoRawFd as _, OwnedFd, RawFd},
};

use rustix::io::{Errno, Result};

pub use calls::{
    FileHandle, bpf_map, close_range, creat, dup2, dup3, duplicate_from, fanotify_init, has_descriptor, open,
    open_by_handle, perf_event_open, shares_table, signalfd, unshare_table, userfaultfd,
};
pub use memory::{Reserved, grow_break, shared_words};
pub use process::{
    ChildrenUsage, children_usage, clone_sibling, exec, exit_process, exit_thread, fork, fork_as, process_clock_ns,
    spawn,
};
pub use ring::{Installed, Ring};

/// A descriptor by its number. Another thread may have closed it, and opened something else under the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(RawFd);

impl Descriptor {
    /// The descriptor under a number.
    pub const fn numbered(number: u32) -> Self {
        Self(number.cast_signed())
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0.cast_unsigned()
    }

    /// Closes it, if something is open under its number.
    pub fn close(self) -> Result<()> {
        // SAFETY: the number came from a call that returned a descriptor, and every descriptor of this process that
        // somebody owns by `OwnedFd` stands below those that the churn closes; closing touches no memory.
        result(unsafe { libc::syscall(libc::SYS_close, c_long::from(self.0)) }).map(drop)
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(owned: OwnedFd) -> Self {
        Self(owned.into_raw_fd())
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: never -1. That it stays open is not certain, and nothing leans on it: a call on a number that is
        // closed fails with EBADF, one on a number that was used again does to that file what it would have done here,
        // and none of them maps memory.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// What a call of the C library returned, or the error that it left behind.
fn result(returned: c_long) -> Result<c_long> {
    if returned >= 0 {
        return Ok(returned);
    }
    let number = std::io::Error::last_os_error().raw_os_error();
    Err(Errno::from_raw_os_error(number.unwrap_or(0)))
}

/// The descriptor that a call of the C library returned.
fn descriptor(returned: c_long) -> Result<Descriptor> {
    let number = result(returned)?;
    RawFd::try_from(number).map(Descriptor).map_err(|_| Errno::OVERFLOW)
}

/// The number that the kernel wants for a borrowed descriptor.
fn number(fd: impl AsFd) -> c_long {
    c_long::from(fd.as_fd().as_raw_fd())
}

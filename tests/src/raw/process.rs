//! Processes and threads that begin and end in ways that the standard library does not know.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long},
    ptr::{null, null_mut},
};

use rustix::{
    io::{Errno, Result},
    process::Pid,
};

use super::result;

/// `fork` of the C library; `None` in the child, which has this thread alone.
///
/// The child takes no lock that another thread of its parent may have held, but for the C library's own, which its
/// `fork` takes care of.
pub fn fork() -> Result<Option<Pid>> {
    // SAFETY: the C library leaves its allocator usable in the child; what else the child may touch stands above.
    let pid = result(c_long::from(unsafe { libc::fork() }))?;
    as_child(pid)
}

/// `clone` of a process as a child of this one's own parent, by a process with one thread; `None` in the child.
///
/// With `same_table`, both go on with one descriptor table.
pub fn clone_sibling(same_table: bool) -> Result<Option<Pid>> {
    let share = if same_table { libc::CLONE_FILES } else { 0 };
    let flags = c_long::from(libc::SIGCHLD | libc::CLONE_PARENT | share);
    let none: c_long = 0;
    // SAFETY: without CLONE_VM the child has a copy of all memory, and with no stack given it goes on with a copy of this
    // one. The caller is its process's only thread, so no lock is held by a thread that the child does not have.
    as_child(result(unsafe {
        libc::syscall(libc::SYS_clone, flags, none, none, none, none)
    })?)
}

/// A child with a process id of one's choice, which nobody has: by a process with one thread, as root. `None` in the child.
pub fn fork_as(pid: u32) -> Result<Option<Pid>> {
    let wanted = pid.cast_signed();
    // SAFETY: a plain struct of integers, of which zeros are a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    arguments.set_tid = (&raw const wanted).expose_provenance() as u64;
    arguments.set_tid_size = 1;
    // SAFETY: the arguments and the number that they point to outlive the call. The rest is as for `clone_sibling`.
    as_child(result(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>())
    })?)
}

fn as_child(pid: c_long) -> Result<Option<Pid>> {
    let pid = i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?;
    Ok(Pid::from_raw(pid))
}

/// The clock of another process (`clock_getcpuclockid`), in nanoseconds.
pub fn process_clock_ns(pid: u32) -> Result<u64> {
    let mut clock = 0;
    // SAFETY: the clock's id is written to a local variable.
    let error = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if error != 0 {
        return Err(Errno::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written to a local variable of the type that is wanted.
    result(c_long::from(unsafe { libc::clock_gettime(clock, &raw mut time) }))?;
    Ok(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// What children used that have ended and were waited for.
#[derive(Clone, Copy, Debug)]
pub struct ChildrenUsage {
    /// CPU time in nanoseconds, to the microsecond.
    pub cpu_ns: u64,
    /// The highest resident memory of one of them in bytes.
    pub peak_rss_bytes: u64,
}

/// `RUSAGE_CHILDREN`.
pub fn children_usage() -> ChildrenUsage {
    // SAFETY: a plain struct of integers, of which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the usage is written to a local variable of the type that is wanted.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let ns = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_usec.unsigned_abs() * 1000;
    ChildrenUsage {
        cpu_ns: ns(usage.ru_utime) + ns(usage.ru_stime),
        peak_rss_bytes: usage.ru_maxrss.unsigned_abs() << 10,
    }
}

/// Ends this thread alone, as `pthread_exit` does in the end, without unwinding it: what it held stays as it is.
pub fn exit_thread() -> ! {
    // SAFETY: the call takes an integer and does not return. The thread's stack is never given back, so what other threads
    // have borrowed from it stays.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("a thread went on after its end")
}

/// Ends the process at once: no handler runs, nothing is flushed.
pub fn exit_process(code: c_int) -> ! {
    // SAFETY: the call has no precondition.
    unsafe { libc::_exit(code) }
}

/// The arguments as the kernel wants them: pointers to C strings, and a null at the end.
fn pointers(arguments: &[CString]) -> Vec<*mut c_char> {
    let all = arguments.iter().map(|argument| argument.as_ptr().cast_mut());
    all.chain([null_mut()]).collect()
}

/// `execve` with an empty environment; returns only where it failed.
pub fn exec(path: &CStr, arguments: &[CString]) -> Errno {
    let pointers = pointers(arguments);
    let environment: [*const c_char; 1] = [null()];
    // SAFETY: the path, each argument and both lists outlive the call, and the lists end with a null.
    let returned = unsafe { libc::execve(path.as_ptr(), pointers.as_ptr().cast(), environment.as_ptr()) };
    result(c_long::from(returned)).err().unwrap_or(Errno::INVAL)
}

/// `posix_spawn` with an empty environment: by vfork, so that the child runs in this process's memory until its exec.
pub fn spawn(path: &CStr, arguments: &[CString]) -> Result<Pid> {
    let pointers = pointers(arguments);
    let environment: [*mut c_char; 1] = [null_mut()];
    let mut pid = 0;
    // SAFETY: the path, each argument and both lists outlive the call, and the lists end with a null; the pid has room.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            null(),
            null(),
            pointers.as_ptr(),
            environment.as_ptr(),
        )
    };
    if error != 0 {
        return Err(Errno::from_raw_os_error(error));
    }
    Pid::from_raw(pid).ok_or(Errno::INVAL)
}

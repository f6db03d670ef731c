//! Two questions about other processes that no file of `/proc` answers: their own clock, and whether two threads share a
//! descriptor table.

use std::io;

/// CPU time of a process by its own clock (`clock_getcpuclockid`), in nanoseconds: all its threads, the ended ones
/// included.
pub fn process_clock_ns(pid: u32) -> io::Result<u64> {
    let mut clock = 0;
    // SAFETY: the clock's id is written to a local variable of its type.
    let error = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written to a local variable of its type.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// Whether two threads share a descriptor table (`kcmp`).
pub fn share_descriptors(one: u32, other: u32) -> io::Result<bool> {
    const KCMP_FILES: libc::c_long = 2;
    let (one, other) = (libc::c_long::from(one), libc::c_long::from(other));
    let none: libc::c_long = 0;
    // SAFETY: the call takes five numbers and touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, none, none) } {
        -1 => Err(io::Error::last_os_error()),
        order => Ok(order == 0),
    }
}

#[cfg(test)]
mod tests {
    //! This very process.
    use super::*;

    #[test]
    fn this_process_has_a_clock_that_goes_on() {
        let pid = std::process::id();
        let before = process_clock_ns(pid).unwrap();
        assert!(before > 0 && process_clock_ns(pid).unwrap() >= before);
    }

    #[test]
    fn threads_share_their_table() {
        let own = std::process::id();
        let other = std::thread::spawn(|| {
            let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            share_descriptors(std::process::id(), tid).unwrap()
        });
        assert!(other.join().unwrap());
        assert!(share_descriptors(own, own).unwrap());
    }
}

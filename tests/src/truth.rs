//! The kernel's own account of a process, from `/proc`: what the agent's numbers are compared with.

use std::{collections::BTreeSet, fs};

use crate::account::socket_inode;

/// The numbers of a process's open descriptors.
pub fn open_fds(pid: u32) -> BTreeSet<u32> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives");
    folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The inode numbers of a process's sockets, of any kind.
pub fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    open_fds(pid)
        .into_iter()
        .filter_map(|fd| socket_inode(format!("/proc/{pid}/fd/{fd}")))
        .collect()
}

/// CPU time of a process's living threads in nanoseconds, as the scheduler counts it.
pub fn cpu_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    threads
        .flatten()
        .filter_map(|thread| {
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// A process's own clock (`clock_getcpuclockid`) in nanoseconds: all its threads, the ended ones included.
pub fn process_clock_ns(pid: u32) -> u64 {
    crate::raw::process_clock_ns(pid).expect("the process lives")
}

/// The kernel's own sum over a process's pages of a kind (`Rss`, `Anonymous`), in KiB.
pub fn page_sum_kib(pid: u32, kind: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.expect("the kernel sums this kind")
}

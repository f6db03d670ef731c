//! What the agent's pass over 5,000 processes with 27 descriptors each costs, beside reading the same from `/proc` as fast
//! as that can be read. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Workload, number};
use rustix::fs::{Mode, OFlags, RawDir, openat, readlinkat_raw};

const PROCESSES: u64 = 5_000;
const DESCRIPTORS: u64 = 27;
const SWEEPS: usize = 20;
const READINGS: usize = 5;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// What a reading came to, so that nothing of it is left out.
#[derive(Default)]
struct Sum {
    processes: u64,
    descriptors: u64,
    bytes: u64,
    sockets: u64,
}

/// A file's content into a buffer.
fn read(folder: &OwnedFd, name: &str, buffer: &mut [u8]) -> Option<usize> {
    let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    rustix::io::read(&file, buffer).ok()
}

/// Reads CPU time, memory and descriptor counts of every process; with `sockets`, which descriptors are sockets too.
fn read_proc(sockets: bool) -> Sum {
    let mut sum = Sum::default();
    let mut text = [0; 4096];
    let mut entries = vec![MaybeUninit::uninit(); 32 << 10];
    let mut inner = [MaybeUninit::uninit(); 8 << 10];
    let mut link = [MaybeUninit::uninit(); 64];
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/proc", folder, Mode::empty()).unwrap();
    let mut listing = RawDir::new(root.as_fd(), &mut entries);
    while let Some(Ok(entry)) = listing.next() {
        let name = entry.file_name();
        if !name.to_bytes()[0].is_ascii_digit() {
            continue;
        }
        let Ok(process) = openat(&root, name, folder, Mode::empty()) else {
            continue;
        };
        sum.processes += 1;
        sum.bytes += read(&process, "stat", &mut text).unwrap_or(0) as u64;
        sum.bytes += read(&process, "statm", &mut text).unwrap_or(0) as u64;
        let Ok(fds) = openat(&process, "fd", folder, Mode::empty()) else {
            continue;
        };
        let mut descriptors = RawDir::new(fds.as_fd(), &mut inner);
        while let Some(Ok(descriptor)) = descriptors.next() {
            let name = descriptor.file_name();
            if !name.to_bytes()[0].is_ascii_digit() {
                continue;
            }
            sum.descriptors += 1;
            if sockets && let Ok((target, _)) = readlinkat_raw(&fds, name, &mut link) {
                sum.sockets += u64::from(target.starts_with(b"socket:"));
            }
        }
    }
    sum
}

fn main() {
    let mut workload = Workload::start();
    workload.order(format!("open {}", DESCRIPTORS - 3));
    for _ in 0..PROCESSES {
        workload.order("fork-idle");
    }
    let agent = Agent::start(&[]);
    let mut processes = 0;
    let mut in_kernel = Vec::new();
    for _ in 0..SWEEPS {
        let status = agent.status(&["--fresh"]);
        in_kernel.push(Duration::from_nanos(number(&status["agent"]["sweep_ns"])));
        processes = number(&status["host"]["processes"]);
    }
    let sweep = median(in_kernel);
    let reading = |sockets| {
        let mut sum = Sum::default();
        let times = (0..READINGS).map(|_| {
            let began = Instant::now();
            sum = read_proc(sockets);
            began.elapsed()
        });
        let time = median(times.collect());
        assert!(sum.processes >= PROCESSES && sum.descriptors >= PROCESSES * DESCRIPTORS && sum.bytes > 0);
        time
    };
    let (plain, with_sockets) = (reading(false), reading(true));
    let each = |ms: f64| ms * 1e6 / f64::from(u32::try_from(processes).unwrap());
    println!("{processes} processes, most with {DESCRIPTORS} descriptors");
    println!(
        "  the agent's pass               {sweep:>8.1} ms  {:>7.0} ns a process",
        each(sweep)
    );
    println!(
        "  /proc: stat, statm, fd         {plain:>8.1} ms  {:>7.0} ns a process",
        each(plain)
    );
    println!(
        "  /proc: which are sockets, too  {with_sockets:>8.1} ms  {:>7.0} ns a process",
        each(with_sockets)
    );
    println!(
        "  the pass costs 1/{:.1} of the former, 1/{:.1} of the latter (aim 1/10)",
        plain / sweep,
        with_sockets / sweep
    );
}

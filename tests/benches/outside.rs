//! What the hooks cost from outside: calls timed with no agent, with one, in one of its tools, and with bpftrace counting the
//! same by process. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    fs::File,
    hint::black_box,
    io::{BufRead as _, BufReader, Read as _, Write as _, pipe},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Instant,
};

use resmgr_tests::{Agent, raw::Descriptor, run};
use rustix::process::{Pid, Signal, kill_process};

/// Times that each is measured; the least counts, since others only add.
const ROUNDS: usize = 5;
/// What counts the same as the agent's hooks on these calls.
const BPFTRACE: &str = "BEGIN { printf(\"ready\\n\"); } \
    tracepoint:sched:sched_switch, tracepoint:syscalls:sys_exit_openat, tracepoint:syscalls:sys_exit_close, \
    tracepoint:syscalls:sys_exit_mmap, tracepoint:syscalls:sys_exit_munmap, tracepoint:kmem:rss_stat { @[pid] = count(); }";

/// What is timed: its name, and nanoseconds for one.
type Times = Vec<(&'static str, f64)>;

fn each(calls: u32, mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..calls {
        work();
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

/// Times each kind of call.
fn measure() -> Times {
    const MAPPED: usize = 40 << 20;
    const PAGES: u32 = 10_240;
    let mut least: Times = Vec::new();
    for _ in 0..ROUNDS {
        let round = [
            ("getpid", each(300_000, || _ = black_box(rustix::process::getpid()))),
            (
                "open + close",
                each(100_000, || {
                    let file: OwnedFd = File::open("/dev/null").unwrap().into();
                    Descriptor::from(file).close().unwrap();
                }),
            ),
            (
                "mmap + munmap",
                each(50_000, || drop(black_box(Vec::<u8>::with_capacity(MAPPED)))),
            ),
            (
                "page touch",
                each(5, || drop(black_box(vec![1u8; MAPPED]))) / f64::from(PAGES),
            ),
            ("ping-pong", ping_pong(50_000)),
        ];
        if least.is_empty() {
            least = round.to_vec();
        }
        for (kept, (_, time)) in least.iter_mut().zip(round) {
            kept.1 = kept.1.min(time);
        }
    }
    least
}

/// Nanoseconds for a byte to a thread and back, by two pipes.
fn ping_pong(n: u32) -> f64 {
    let ((mut there, mut to), (mut back, mut from)) = (pipe().unwrap(), pipe().unwrap());
    let other = std::thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() {
            from.write_all(&byte).unwrap();
        }
    });
    let mut byte = [0];
    let time = each(n, || {
        to.write_all(&byte).unwrap();
        back.read_exact(&mut byte).unwrap();
    });
    drop(to);
    other.join().unwrap();
    time
}

/// A bpftrace that counts, ended with the benchmark.
struct Bpftrace(Child);

impl Bpftrace {
    fn start() -> Self {
        let mut child = Command::new("bpftrace")
            .args(["-e", BPFTRACE])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        assert!(
            output.lines().map_while(Result::ok).any(|line| line == "ready"),
            "bpftrace does not start"
        );
        Self(child)
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

fn main() {
    // On one CPU, so that a ping-pong is switches and nothing else.
    let mut cpu = rustix::thread::CpuSet::new();
    cpu.set(0);
    rustix::thread::sched_setaffinity(None, &cpu).unwrap();
    let off = measure();
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let beside = measure();
    let pid = std::process::id().to_string();
    let attached = run(&mut agent.client(&["attach", "--tool", "bench", "--pid", &pid]));
    assert_eq!(attached.code, Some(0), "{}", attached.stderr);
    let inside = measure();
    drop(agent);
    let off_again = measure();
    let bpftrace = Bpftrace::start();
    let traced = measure();
    drop(bpftrace);
    println!("nanoseconds, the least of {ROUNDS}; what is added stands behind");
    println!(
        "{:<14}{:>8}{:>9}{:>16}{:>16}{:>18}",
        "", "off", "again", "in no tool", "in a tool", "bpftrace"
    );
    for n in 0..off.len() {
        let base = off[n].1.min(off_again[n].1);
        let with = |times: &Times| format!("{:.0} +{:.0}", times[n].1, times[n].1 - base);
        println!(
            "{:<14}{:>8.0}{:>9.0}{:>16}{:>16}{:>18}",
            off[n].0,
            off[n].1,
            off_again[n].1,
            with(&beside),
            with(&inside),
            with(&traced)
        );
    }
}

//! What the agent itself costs with 1,000 tools of five processes with 27 descriptors each: how long `status --json` and a scrape
//! take, its CPU time beyond its sweeps, its memory. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Workload, binary, http, number, process_clock_ns};
use rustix::process::{Resource, Rlimit, setrlimit};

const TOOLS: usize = 1_000;
/// Processes of each beside its first.
const CHILDREN: usize = 4;
const DESCRIPTORS: u64 = 27;
const ASKED: usize = 20;
/// A little more than the time between sweeps.
const SWEPT_EVERY: Duration = Duration::from_millis(1100);
/// How long the agent is watched while nobody asks.
const WATCHED: Duration = Duration::from_secs(30);

fn main() {
    // Two pipes to each tool.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(16_384),
            maximum: Some(16_384),
        },
    )
    .unwrap();
    let agent = Agent::start(&[]);
    let began = Instant::now();
    let tools: Vec<Workload> = (0..TOOLS).map(|n| tool(&agent, n)).collect();
    println!(
        "{TOOLS} tools begun in {:.1} s, each of {} processes with {DESCRIPTORS} descriptors",
        began.elapsed().as_secs_f64(),
        CHILDREN + 1
    );
    let status = agent.status(&["--fresh"]);
    let sum = |what: &str| -> u64 {
        let tools = status["tools"].as_array().unwrap();
        tools.iter().map(|tool| number(&tool[what])).sum()
    };
    assert_eq!(sum("process_count"), (TOOLS * (CHILDREN + 1)) as u64);
    // What it learned of their start settles.
    thread::sleep(WATCHED / 3);
    memory(&agent, "at rest");
    rest(&agent);
    answers(&agent);
    memory(&agent, "then");
    drop(tools);
}

fn tool(agent: &Agent, n: usize) -> Workload {
    let mut exec = agent.exec(&format!("tool-{n}"), &["--profile", "heavy"]);
    // A host without all means to hold a tool says so of each.
    let mut tool = Workload::over(exec.arg(binary("workload")).stderr(Stdio::null()));
    tool.order(format!("open {}", DESCRIPTORS - 3));
    tool.order(format!("fork-idle-many {CHILDREN}"));
    tool
}

/// Its CPU time while nobody asks, and what of it is the sweeps'.
fn rest(agent: &Agent) {
    let pid = agent.pid();
    let sweeps = || number(&agent.status(&[])["agent"]["sweeps"]);
    let first = sweeps();
    let (cpu, began) = (process_clock_ns(pid), Instant::now());
    let mut passes = Vec::new();
    // What asking costs is left out.
    let mut asked = 0;
    while began.elapsed() < WATCHED {
        thread::sleep(Duration::from_secs(5));
        let before = process_clock_ns(pid);
        passes.push(number(&agent.status(&[])["agent"]["sweep_ns"]));
        asked += process_clock_ns(pid) - before;
    }
    let used = process_clock_ns(pid) - cpu - asked;
    let elapsed = began.elapsed();
    passes.sort_unstable();
    let pass = passes[passes.len() / 2];
    let swept = pass * (sweeps() - first);
    let of_core = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 100.0 / elapsed.as_secs_f64();
    println!(
        "  a sweep's pass                {:>8.1} ms",
        Duration::from_nanos(pass).as_secs_f64() * 1e3
    );
    println!("  CPU time, sweeps included     {:>8.2} % of a core", of_core(used));
    println!(
        "  CPU time beyond the sweeps    {:>8.2} % of a core  (aim at most 1 %)",
        of_core(used.saturating_sub(swept))
    );
}

/// How long answers take: to the command, and over a connection that is there.
fn answers(agent: &Agent) {
    let command = (0..ASKED).map(|_| {
        let began = Instant::now();
        assert_eq!(
            resmgr_tests::run(&mut agent.client(&["status", "--json"])).code,
            Some(0)
        );
        began.elapsed()
    });
    let command = median(command.collect());
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    let asked = (0..ASKED).map(|_| {
        let began = Instant::now();
        writeln!(stream, "{{\"v\":1,\"method\":\"status\",\"params\":{{}}}}").unwrap();
        line.clear();
        reader.read_line(&mut line).unwrap();
        began.elapsed()
    });
    let answer = median(asked.collect());
    let scraped = (0..ASKED).map(|_| {
        // After each sweep: what is scraped again before the next one costs no look at descriptors.
        thread::sleep(SWEPT_EVERY);
        let began = Instant::now();
        http(agent.metrics(), b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        began.elapsed()
    });
    println!(
        "  a scrape                      {:>8.1} ms  (aim under 100 ms)",
        median(scraped.collect())
    );
    println!("  `status --json`               {command:>8.1} ms  (aim under 50 ms)");
    println!(
        "  of that, the agent's answer   {answer:>8.1} ms  {} KiB",
        line.len() / 1024
    );
}

fn memory(agent: &Agent, when: &str) {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let kib: f64 = line
            .trim_matches([':', '\t', ' '])
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib / 1024.0
    };
    let (now, most) = (mib("VmRSS"), mib("VmHWM"));
    println!("  resident memory, {when:<12} {now:>8.1} MiB, at most {most:.1}  (aim at most 40 MiB)");
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

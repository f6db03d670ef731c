//! What the agent costs with 1,000 tools of 5 processes with 27 descriptors each: how long a scrape and `status --json` take, and
//! what CPU time and memory it uses meanwhile. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    fs,
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Workload, binary, http, number, process_clock_ns};

const TOOLS: usize = 1_000;
const PROCESSES: usize = 5;
const DESCRIPTORS: usize = 27;
const ROUNDS: usize = 20;
/// How long it is watched at rest.
const WATCHED: Duration = Duration::from_secs(20);
/// Time between scrapes meanwhile, as Prometheus has it unless told otherwise, by four.
const BETWEEN: Duration = Duration::from_secs(4);

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn timed(mut ask: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        // Each has numbers of its own: a scrape after the same sweep costs no look at descriptors.
        std::thread::sleep(Duration::from_millis(1100));
        let began = Instant::now();
        ask();
        began.elapsed().as_secs_f64() * 1000.0
    });
    median(times.collect())
}

/// Memory of a process in KiB, by a field of its status.
fn kib(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':')
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse()
        .unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "a share, of which a few digits are shown")]
fn main() {
    let agent = Agent::start(&[]);
    let began = Instant::now();
    let tools: Vec<Workload> = (0..TOOLS)
        .map(|n| {
            let mut exec = agent.exec(&format!("tool-{n}"), &["--mode", "observe"]);
            let mut workload = Workload::over(exec.arg(binary("workload")));
            workload.order(format!("open {}", DESCRIPTORS - 3));
            for _ in 1..PROCESSES {
                workload.order("fork-idle");
            }
            workload
        })
        .collect();
    let status = agent.status(&["--fresh"]);
    println!(
        "{} tools, {} processes, {} descriptors, started in {:.0} s",
        status["tools"].as_array().unwrap().len(),
        status["host"]["processes"],
        status["host"]["open_fds"],
        began.elapsed().as_secs_f64()
    );
    let sweeps = |status: &serde_json::Value| number(&status["agent"]["sweeps"]);
    println!(
        "  a sweep                     {:>8.1} ms",
        number(&status["agent"]["sweep_ns"]) as f64 / 1e6
    );
    let address = agent.metrics();
    let scrape = || http(address, b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let size = scrape().body.len();
    println!(
        "  a scrape                    {:>8.1} ms  aim under 100; {size} bytes",
        timed(|| _ = scrape())
    );
    let in_loop = agent.scrape().0["resmgr_agent_scrape_seconds"] * 1000.0;
    println!("    of it in the agent's loop {in_loop:>8.1} ms");
    let mut command = agent.client(&["status", "--json"]);
    println!(
        "  status --json               {:>8.1} ms  aim under 50",
        timed(|| assert!(command.output().unwrap().status.success()))
    );
    let watched = |ask: &dyn Fn()| {
        let (before, began) = (process_clock_ns(agent.pid()), Instant::now());
        let first = agent.status(&["nobody"]);
        while began.elapsed() < WATCHED {
            std::thread::sleep(BETWEEN);
            ask();
        }
        let last = agent.status(&["nobody"]);
        let used = (process_clock_ns(agent.pid()) - before) as f64;
        let sweep = number(&last["agent"]["sweep_ns"]) as f64 * (sweeps(&last) - sweeps(&first)) as f64;
        let elapsed = began.elapsed().as_nanos() as f64;
        (used / elapsed * 100.0, sweep / elapsed * 100.0)
    };
    for (what, ask) in [("at rest", &(|| ()) as &dyn Fn()), ("scraped", &|| _ = scrape())] {
        let (used, sweeping) = watched(ask);
        println!("  CPU {what:<7}                 {used:>8.1} % of a core, {sweeping:.1} in sweeps");
    }
    println!(
        "  memory                      {:>8.1} MiB, at most {:.1}; aim 40",
        kib(agent.pid(), "VmRSS") / 1024.0,
        kib(agent.pid(), "VmHWM") / 1024.0
    );
    drop(tools);
}

//! How soon the agent reacts: from a line crossed to the alert at who follows, from `resmgr cleanup` to the tool's end, and
//! from the end of the grace to the last process gone. In a virtual machine: that last beside earlyoom's, on the same ramp.
//! Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use resmgr_tests::{Agent, Process, Workload, binary, in_machine, open_fds, run, until};
use serde_json::Value;

/// How often each is measured; the last takes its grace each time.
const RUNS: usize = 100;
const ENDS: usize = 20;
/// The grace of tools that are ended.
const GRACE: Duration = Duration::from_millis(300);

fn start(agent: &Agent, tool: &str, flags: &[&str]) -> Workload {
    let mut exec = agent.client(&["exec", "--tool", tool]);
    // What it says of this host is no part of it.
    exec.args(flags).arg("--").arg(binary("workload")).stderr(Stdio::null());
    Workload::over(&mut exec)
}

fn print(what: &str, mut times: Vec<f64>, aim: &str) {
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!(
        "{what:<58} median {:7.2}  p99 {:7.2}  most {:7.2} ms   {aim}",
        at(50),
        at(99),
        at(100),
    );
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn main() {
    let agent = Agent::start(&[]);
    if in_machine() {
        // Under emulation the times themselves say little; how two compare that do the same says something.
        beside_earlyoom(&agent);
        return;
    }
    alerts(&agent);
    cleanups(&agent);
    ends(&agent);
}

/// The ramp at whose end both are to act: what it begins with, and how far above the line that is watched.
const RAMPS: usize = 10;
const ROOM: u64 = 64 << 20;
const PER_SECOND: u64 = 20 << 20;

/// Takes most of what there is, and then more, until it is ended; returns when it was.
fn ramp(workload: &mut Workload, first: u64) -> SystemTime {
    workload.order(format!("touch {first}"));
    let order = format!("ramp {} {PER_SECOND} anonymous", 1_u64 << 40);
    assert_eq!(workload.attempt(order), None);
    workload.wait_until_gone()
}

/// A field of `/proc/meminfo` in bytes.
fn memory(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches([':', ' ', 'k', 'B']).parse::<u64>().unwrap() << 10
}

/// One that takes memory at a rate: from its maximum to its end by the agent, beyond the grace; and, where nothing holds
/// it, from the line at which earlyoom acts (a tenth of the host's memory is left) to its end by that.
fn beside_earlyoom(agent: &Agent) {
    let line = memory("MemTotal") / 10;
    let first = memory("MemAvailable") - line - ROOM;
    let grace = format!("{}ms", GRACE.as_millis());
    let mut beyond = Vec::new();
    for n in 0..RAMPS {
        let name = format!("ramp-{n}");
        let max = format!("{}", (first + ROOM) >> 20);
        let limit = format!("{max}M:{max}M");
        let mut ramping = start(
            agent,
            &name,
            &["--memory", &limit, "--mode", "enforce", "--grace", &grace],
        );
        let gone = ramp(&mut ramping, first);
        let shown = until("its end is known", || {
            let tool = agent.status(&[&name])["tools"][0].take();
            tool["root_exit"].is_object().then_some(tool)
        });
        assert_eq!(shown["root_exit"]["cause"], "resmgr", "{shown}");
        let crossings = shown["crossings"].as_array().unwrap();
        let critical = crossings
            .iter()
            .find(|crossing| crossing["level"] == "critical")
            .unwrap();
        let took = gone.duration_since(wall(&critical["at"])).unwrap_or_default();
        beyond.push(milliseconds(took) - milliseconds(GRACE));
    }
    print(
        "resmgr: 95 % of its maximum, to gone, beyond the grace",
        beyond,
        "aim: under 100 ms",
    );

    let mut took = Vec::new();
    for _ in 0..RAMPS {
        let mut earlyoom = Command::new("/usr/bin/earlyoom");
        let earlyoom = Process::start(earlyoom.args(["-r", "0"]).stdout(Stdio::null()).stderr(Stdio::null()));
        let mut ramping = Workload::start();
        let is_over = AtomicBool::new(false);
        let (gone, crossed) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while memory("MemAvailable") > line && !is_over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                SystemTime::now()
            });
            let gone = ramp(&mut ramping, first);
            is_over.store(true, Ordering::Relaxed);
            (gone, watch.join().unwrap())
        });
        took.push(gone.duration_since(crossed).map_or(0.0, milliseconds));
        drop(earlyoom);
    }
    print("earlyoom: a tenth of the host's memory left, to gone", took, "");
}

/// From before the call that crosses the line to the alert in the hands of who follows.
fn alerts(agent: &Agent) {
    let mut follow = agent.client(&["alerts", "--follow", "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(follow.stdout.take().unwrap()).lines();
    let _follow = Process::of(follow);
    let (mut whole, mut inside) = (Vec::new(), Vec::new());
    for n in 0..RUNS {
        let name = format!("near-{n}");
        let mut near = start(agent, &name, &["--fds", "50:50", "--mode", "observe"]);
        near.order(format!("open {}", 39 - open_fds(near.pid()).len()));
        let began = Instant::now();
        near.order("open 1");
        let alert: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
        whole.push(milliseconds(began.elapsed()));
        assert_eq!(alert["tool"], name.as_str());
        let crossing = agent.status(&[&name])["tools"][0]["crossings"][0]["at"].take();
        inside.push(milliseconds(between(&crossing, &alert["at"])));
    }
    print("a line crossed, to the alert made", inside, "aim: p99 under 5 ms");
    print("the call that crosses it, to the alert at who follows", whole, "");
}

/// The time from one moment to a later one, as the agent writes them.
fn between(from: &Value, to: &Value) -> Duration {
    wall(to).duration_since(wall(from)).unwrap_or_default()
}

fn wall(at: &Value) -> SystemTime {
    let at: chrono::DateTime<chrono::Utc> = at.as_str().unwrap().parse().unwrap();
    at.into()
}

/// From the command to its end, and as the agent measured it.
fn cleanups(agent: &Agent) {
    let (mut whole, mut inside) = (Vec::new(), Vec::new());
    for n in 0..RUNS {
        let name = format!("over-{n}");
        let mut exec = agent.client(&["exec", "--tool", &name, "--", "sh", "-c"]);
        let mut tree = Process::start(exec.arg("sleep 60 & (setsid sleep 60 &); exec sleep 60"));
        until("all three run", || {
            let running = agent.status(&[&name, "--fresh"])["tools"][0]["process_count"].as_u64();
            (running == Some(3)).then_some(())
        });
        let began = Instant::now();
        let output = run(&mut agent.client(&["cleanup", &name, "--json"]));
        whole.push(milliseconds(began.elapsed()));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        inside.push(report["tools"][0]["took_ms"].as_f64().unwrap());
        tree.wait();
    }
    print(
        "resmgr cleanup of three that end at SIGTERM, the agent's part",
        inside,
        "aim: median under 50 ms",
    );
    print("the same, as a command", whole, "");
}

/// From the end of the grace of who stays at the maximum of memory, to the process gone.
fn ends(agent: &Agent) {
    let grace = format!("{}ms", GRACE.as_millis());
    let mut beyond = Vec::new();
    for n in 0..ENDS {
        let name = format!("full-{n}");
        let mut full = start(
            agent,
            &name,
            &["--memory", "128M:128M", "--mode", "enforce", "--grace", &grace],
        );
        full.order(format!("touch {}", 124 << 20));
        let gone = full.wait_until_gone();
        let shown = until("its end is known", || {
            let tool = agent.status(&[&name])["tools"][0].take();
            tool["root_exit"].is_object().then_some(tool)
        });
        let crossings = shown["crossings"].as_array().unwrap().clone();
        let critical = crossings
            .iter()
            .find(|crossing| crossing["level"] == "critical")
            .unwrap();
        let took = gone.duration_since(wall(&critical["at"])).unwrap_or_default();
        beyond.push(milliseconds(took) - milliseconds(GRACE));
    }
    print(
        "held at its maximum, to the last process gone, beyond the grace",
        beyond,
        "aim: under 100 ms",
    );
}

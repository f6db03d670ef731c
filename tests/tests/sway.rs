//! Limits that are changed again and again, and an agent that is killed, while a tool goes on taking: nobody is killed for
//! a limit that was lowered, nobody stalls, and what holds goes on holding.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use resmgr_tests::{Agent, Ramped, Random, Workload, binary, in_machine, keyed, number, patience, run, seed, until};
use rustix::{io::Errno, process::Signal};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// What the tool holds all the time, and what it takes and gives back in each round, in bytes.
const HELD: u64 = 24 * MIB;
const ROUND: u64 = MIB;
/// How long it is asked to work at a time, in milliseconds.
const TURN_MS: u64 = 500;

/// How often limits are changed.
fn changes() -> u32 {
    if in_machine() && env::var_os("RESMGR_TEST_FULL").is_none() {
        50
    } else {
        200
    }
}

/// A limit as it is typed: a base and a maximum, both by chance. Maxima of memory are far from what the tool uses, so that
/// it is the lowering alone that could kill it, and not its own next step beyond.
fn any_limit(random: &mut Random, resource: &str) -> String {
    let of = |random: &mut Random, values: &[u64]| values[random.index(values.len())];
    let (max, unit) = match resource {
        "memory" => (of(random, &[4, 8, 12, 16, 48, 64, 96, 128, 256, 512]), "M"),
        "cpu" => (of(random, &[10, 50, 200, 1000, 5000, 60_000, 3_600_000]), "ms"),
        "fds" => (of(random, &[4, 5, 8, 20, 50, 200, 1000]), ""),
        _ => (of(random, &[1, 2, 5, 10, 50]), ""),
    };
    let least = match resource {
        "memory" | "connections" => 1,
        "cpu" => 10,
        _ => 4,
    };
    let base = least + u64::from(random.below(u32::try_from(max - least + 1).unwrap()));
    format!("--{resource}={base}{unit}:{max}{unit}")
}

/// Has a workload work until it is told to stop; returns its longest round.
fn longest_round(workload: &mut Workload, is_over: &AtomicBool) -> Duration {
    let mut longest_us = 0;
    while !is_over.load(Ordering::Relaxed) {
        let answer = workload.order(format!("rounds {TURN_MS} {ROUND}"));
        longest_us = longest_us.max(answer.split(' ').nth(1).unwrap().parse().unwrap());
    }
    Duration::from_micros(longest_us)
}

#[test]
fn limits_that_sway_at_random_neither_kill_nor_stall_who_works_on() {
    let seed = seed();
    println!("seed {seed}: RESMGR_TEST_SEED={seed} repeats it");
    let mut random = Random::new(seed, [0; 3]);
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let flags = ["--memory", "64M:512M", "--grace", "1h", "--mode", "enforce"];
    let workload = |mut command: Command| {
        // What is given back goes back to the kernel, and what is taken again is asked of it.
        Workload::over(command.arg(binary("workload")).env("MALLOC_MMAP_THRESHOLD_", "65536"))
    };
    let mut swaying = workload(agent.exec("swaying", &flags));
    let mut free = workload(Command::new("env"));
    for workload in [&mut swaying, &mut free] {
        workload.order(format!("touch {HELD}"));
    }
    let is_over = AtomicBool::new(false);
    let (managed, unmanaged) = thread::scope(|scope| {
        let managed = scope.spawn(|| longest_round(&mut swaying, &is_over));
        let unmanaged = scope.spawn(|| longest_round(&mut free, &is_over));
        for n in 0..changes() {
            let mut set = agent.client(&["limits", "set", "swaying"]);
            for resource in ["memory", "cpu", "fds", "connections"] {
                set.arg(any_limit(&mut random, resource));
            }
            // In throttle nothing but a leaf holds memory.
            set.arg("--best-effort");
            set.args(["--mode", if random.once_in(4) { "throttle" } else { "enforce" }]);
            let output = run(&mut set);
            if output.code != Some(0) || managed.is_finished() {
                is_over.store(true, Ordering::Relaxed);
                panic!("change {n} of {set:?}: {output:?}");
            }
            // Some follow at once, others when the last has been taken in.
            thread::sleep(Duration::from_millis(u64::from(random.below(60))));
        }
        is_over.store(true, Ordering::Relaxed);
        (managed.join().unwrap(), unmanaged.join().unwrap())
    });
    println!(
        "longest round: {managed:.1?} with {} changes of its limits, {unmanaged:.1?} without limits",
        changes()
    );
    swaying.order("rewrite");
    let shown = agent.tool("swaying");
    assert_eq!(
        (&shown["ended_s"], number(&shown["process_count"])),
        (&Value::Null, 1),
        "{shown}"
    );
    assert_eq!(number(&shown["oom_kills"]), 0, "{shown}");
    if agent.has_controller("memory") {
        let events = agent.leaf_says("swaying", "memory.events");
        assert_eq!((keyed(&events, "oom_kill"), keyed(&events, "oom")), (0, 0), "{events}");
    }
    // A second, and more where the machine is slow.
    assert!(
        managed <= unmanaged + patience(1),
        "{managed:?}, and {unmanaged:?} without limits"
    );
}

/// What the files of a leaf hold its tool by.
fn held_by(agent: &Agent, tool: &str, pid: u32) -> Vec<String> {
    if agent.has_controller("memory") {
        let files = [
            "memory.max",
            "memory.high",
            "memory.swap.max",
            "memory.oom.group",
            "pids.max",
            "cpu.max",
        ];
        return files.iter().map(|file| agent.leaf_says(tool, file)).collect();
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    limits
        .lines()
        .filter(|line| line.starts_with("Max data size"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_ramp_that_outlives_the_agent_meets_the_same_line_and_the_next_agent_does_nothing_twice() {
    const MAX: u64 = 96 * MIB;
    let mut agent = Agent::start_pinned(&["--sweep-interval", "100ms"]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let flags = ["--memory", "96M:96M", "--connections", "10:10", "--grace", "1m"];
    // One at its limits, which stays as it is, and one on its way beyond.
    let mut steady = agent.workload("steady", &flags);
    assert_eq!(steady.order(format!("connect-at-once {address} 15")), "10 5 0");
    steady.order(format!("touch {}", 48 * MIB));
    agent.alert("steady", |alert| alert["level"] == "emergency");
    let mut ramping = agent.workload("ramping", &flags);
    let leaf = agent.leaf("ramping");
    let is_held = agent.has_controller("memory");
    until("what holds is there", || {
        (held_by(&agent, "steady", steady.pid()) == held_by(&agent, "ramping", ramping.pid())).then_some(())
    });
    let before = agent.tool("steady");
    let holds = held_by(&agent, "steady", steady.pid());

    // So slow that the agent is gone before it is there.
    let per_second = if in_machine() { 5 * MIB } else { 20 * MIB };
    let pid = ramping.pid();
    let is_over = AtomicBool::new(false);
    let (answer, most) = thread::scope(|scope| {
        let ramp = scope.spawn(|| {
            let answer = ramping.attempt(format!("ramp {} {per_second} anonymous", 2 * MAX));
            is_over.store(true, Ordering::Relaxed);
            answer
        });
        until("it is on its way", || {
            (number(&agent.tool("ramping")["usage"]["memory_bytes"]) > MAX / 4).then_some(())
        });
        assert!(!is_over.load(Ordering::Relaxed), "the agent is killed on the way");
        agent.signal(Signal::KILL);
        agent.wait();
        let mut most = 0;
        while !is_over.load(Ordering::Relaxed) {
            let charged = fs::read_to_string(leaf.join("memory.current"));
            let resident = || resmgr_tests::page_sum_kib(pid, "Anonymous") << 10;
            most = most.max(charged.map_or_else(|_| resident(), |text| text.trim().parse().unwrap()));
            thread::sleep(Duration::from_millis(5));
        }
        (ramp.join().unwrap(), most)
    });
    println!("at most {} MiB of {} were had without an agent", most / MIB, MAX / MIB);
    assert!(most > MAX / 2 && most <= MAX, "{most}");
    if is_held {
        assert_eq!(answer, None, "nobody was there to end it but the kernel");
        assert_eq!(ramping.wait().signal(), Some(Signal::KILL.as_raw()));
    } else {
        assert_eq!(Ramped::of(&answer.unwrap()).errno, Errno::NOMEM.raw_os_error());
    }
    // What is refused meanwhile is counted.
    assert_eq!(steady.order(format!("connect-at-once {address} 5")), "0 5 0");

    agent.start_again(&["--sweep-interval", "100ms"]);
    let after = agent.tool("steady");
    assert_eq!(number(&after["events"]["connections_refused"]), 10, "{after}");
    for same in ["connections_open", "connections_made", "fds_open"] {
        assert_eq!(after["events"][same], before["events"][same], "{same}: {after}");
    }
    assert_eq!(after["processes_total"], before["processes_total"], "{after}");
    assert_eq!(after["limits"], before["limits"]);
    let memory = |tool: &Value| number(&tool["usage"]["memory_bytes"]);
    assert!(memory(&after).abs_diff(memory(&before)) < MIB, "{after}");
    assert!(number(&after["cpu_time_ns"]) >= number(&before["cpu_time_ns"]));
    // Some sweeps later nothing was drawn, raised or ended anew.
    let sweeps = || number(&agent.status(&[])["agent"]["sweeps"]);
    let began = sweeps();
    until("it has swept", || (sweeps() >= began + 5).then_some(()));
    let done = |tool: &Value| tool["actions"].as_array().unwrap().len();
    let later = agent.tool("steady");
    assert!(done(&later) <= done(&before), "{later}");
    assert_eq!(held_by(&agent, "steady", steady.pid()), holds);
    steady.order("rewrite");
}

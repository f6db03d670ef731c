//! Descriptors beyond what a tool may have: refused on its total where the kernel asks us, else to each process by itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use resmgr_tests::{Agent, Workload, binary, number, open_fds, run, until};
use rustix::{io::Errno, process::Signal};
use serde_json::Value;

/// Threads that open at the same moment.
const THREADS: u64 = 300;

fn start(agent: &Agent, tool: &str, flags: &[&str]) -> Workload {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool]);
    Workload::over(exec.args(flags).arg("--").arg(binary("opener")))
}

fn tool(agent: &Agent, name: &str) -> Value {
    agent.status(&[name, "--fresh"])["tools"][0].take()
}

fn set(agent: &Agent, tool: &str, flags: &[&str]) {
    let output = run(agent.client(&["limits", "set", tool]).args(flags));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

/// How often something was done, refused, and failed otherwise.
fn ways(workload: &mut Workload, order: &str) -> [u64; 3] {
    let answer = workload.order(order);
    let numbers: Vec<u64> = answer.split(' ').map(|n| n.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn count(workload: &Workload) -> u64 {
    open_fds(workload.pid()).len() as u64
}

/// Whether descriptors are refused on a tool's total here: the virtual machines have all that it takes. Where they are not,
/// it is said why, and what follows.
fn refuses(agent: &Agent) -> bool {
    let status = agent.status(&[]);
    let refuses = status["agent"]["refuses_descriptors"].as_bool().unwrap();
    let is_machine = std::env::var_os("RESMGR_TEST_VM").is_some();
    assert!(refuses || !is_machine, "{}", status["agent"]["hooks_missing"]);
    let missing = status["agent"]["hooks_missing"].as_array().unwrap();
    let lsm = missing
        .iter()
        .find(|hook| hook["hook"].as_str().unwrap().starts_with("LSM"));
    assert_eq!(lsm.is_some(), !refuses, "{missing:?}");
    if let Some(lsm) = lsm {
        assert!(lsm["consequence"].as_str().unwrap().contains("RLIMIT_NOFILE"), "{lsm}");
    }
    refuses
}

/// The soft and the hard limit of descriptors that a process has itself.
fn own_limits(pid: u32) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.unwrap().split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn threads_that_open_together_do_not_pass_the_limit_together() {
    let agent = Agent::start(&[]);
    let on_total = refuses(&agent);
    let mut crowd = start(&agent, "crowd", &["--fds", "50:50"]);
    let mut neighbour = start(&agent, "neighbour", &["--fds", "1000:1000"]);
    let own = count(&crowd);
    for round in 1..=5 {
        let free = 50 - own;
        let expected = [free, THREADS - free, 0];
        assert_eq!(
            ways(&mut crowd, &format!("at-once {THREADS}")),
            expected,
            "round {round}"
        );
        assert_eq!(count(&crowd), 50);
        assert_eq!(ways(&mut neighbour, "try open 100"), [100, 0, 0]);
        let shown = tool(&agent, "crowd");
        assert_eq!(shown["usage"]["file_handles"].as_array().unwrap().len(), 50, "{shown}");
        let refused = if on_total { round * (THREADS - free) } else { 0 };
        assert_eq!(number(&shown["events"]["fds_refused"]), refused);
        crowd.order(format!("close {free}"));
    }
    let shown = tool(&agent, "neighbour");
    assert_eq!(number(&shown["events"]["fds_refused"]), 0);
}

#[test]
fn who_opens_and_closes_without_end_is_never_let_have_more() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    refuses(&agent);
    let mut busy = start(&agent, "busy", &["--fds", "20:20"]);
    let own = count(&busy);
    for _ in 0..3 {
        let answer = busy.order("hammer 40 2000");
        let numbers: Vec<u64> = answer.split(' ').map(|n| n.parse().unwrap()).collect();
        let [most, opened, refused, failed] = numbers.try_into().unwrap();
        let losses = agent.status(&[])["agent"]["losses"].take();
        assert!(most + own <= 20, "{most} and {own} at once; {losses}");
        assert!(opened > 100 && refused > 0, "{answer}");
        assert_eq!(failed, 0);
    }
    // What sweeps met under way is no loss for good.
    until("all that it may have is to be had", || {
        let [done, ..] = ways(&mut busy, "try open 20");
        busy.order(format!("close {done}"));
        assert!(done + own <= 20);
        (done + own == 20).then_some(())
    });
}

#[test]
fn what_comes_to_no_descriptor_gives_its_place_back() {
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    refuses(&agent);
    let mut exec = agent.client(&[
        "exec",
        "--require",
        "--tool",
        "fickle",
        "--fds",
        "10:10",
        "--",
        "setsid",
    ]);
    let mut fickle = Workload::over(exec.arg(binary("opener")));
    let free = 10 - count(&fickle);
    // Before the hook is asked, and after it: of the last one the device decides, which knows no terminal of ours.
    for (path, error) in [
        ("/nowhere", Errno::NOENT),
        ("/dev/null/no", Errno::NOTDIR),
        ("/proc", Errno::ISDIR),
        ("/dev/tty", Errno::NXIO),
    ] {
        let told = fickle.order(format!("in-vain {path} 40"));
        assert_eq!(told, error.raw_os_error().to_string(), "{path}");
    }
    assert_eq!(ways(&mut fickle, "try open 20"), [free, 20 - free, 0]);
}

#[test]
fn what_a_hook_is_asked_about_is_refused_and_the_rest_is_counted_and_passes() {
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let on_total = refuses(&agent);
    let mut all = start(&agent, "all", &["--fds", "40:40", "--mode", "throttle"]);
    all.order("prepare 3");
    let own = count(&all);
    let free = 40 - own;
    for way in ["open", "openat2", "temporary", "socket", "fcntl", "getfd", "receive"] {
        let answer = ways(&mut all, &format!("try {way} 50"));
        assert_eq!(answer, [free, 50 - free, 0], "{way}");
        assert_eq!(count(&all), 40, "{way}");
        all.order(format!("close {free}"));
    }
    let pairs = free / 2;
    assert_eq!(ways(&mut all, "try socketpair 30"), [pairs, 30 - pairs, 0]);
    all.order(format!("close {}", 2 * pairs));
    assert_eq!(ways(&mut all, "try accept 1"), [1, 0, 0]);
    assert_eq!(ways(&mut all, &format!("try open {}", free - 1)), [free - 1, 0, 0]);
    assert_eq!(ways(&mut all, "try accept 1"), [0, 1, 0]);
    // Here the tool has all that it may have.
    for (way, made) in [
        ("dup", 1),
        ("pipe", 2),
        ("eventfd", 1),
        ("epoll", 1),
        ("memfd", 1),
        ("path", 1),
    ] {
        let before = count(&all);
        let answer = ways(&mut all, &format!("try {way} 3"));
        // The limit of a process itself knows no ways.
        let expected = if on_total { [3, 0, 0] } else { [0, 3, 0] };
        assert_eq!(answer, expected, "{way}");
        let grown = 3 * made * u64::from(on_total);
        assert_eq!(count(&all), before + grown, "{way}");
        let counted = number(&agent.status(&["all"])["tools"][0]["events"]["fds_open"]);
        if on_total {
            assert_eq!(counted, before + grown, "{way}");
        }
        assert_eq!(ways(&mut all, "try open 1"), [0, 1, 0], "{way}");
    }
}

#[test]
fn a_program_is_executed_by_who_has_all_that_it_may_have() {
    let agent = Agent::start(&[]);
    refuses(&agent);
    let mut full = start(&agent, "full", &["--fds", "20:20"]);
    ways(&mut full, "try open 20");
    assert_eq!(ways(&mut full, "try open 1"), [0, 1, 0]);
    // On a host whose programs are linked at run time, their libraries are opened by them, and may be refused.
    if std::env::var_os("RESMGR_TEST_VM").is_some() {
        assert_eq!(full.order("execute"), "exit status: 0");
    }
}

#[test]
fn what_is_observed_is_not_refused_until_it_is_throttled_and_raised_lines_hold_at_once() {
    let agent = Agent::start(&[]);
    let on_total = refuses(&agent);
    let mut watched = start(&agent, "watched", &["--fds", "10:30", "--mode", "observe"]);
    let before = own_limits(watched.pid());
    let own = count(&watched);
    assert_eq!(ways(&mut watched, "try open 60"), [60, 0, 0]);
    watched.order("close 60");
    let reach = |watched: &mut Workload, expected: u64| {
        until("the line holds", || {
            let [done, refused, failed] = ways(watched, "try open 60");
            watched.order(format!("close {done}"));
            (done + own == expected && refused == 60 - done && failed == 0).then_some(())
        });
    };
    set(&agent, "watched", &["--mode", "throttle"]);
    reach(&mut watched, 30);
    set(&agent, "watched", &["--fds", "10:40"]);
    reach(&mut watched, 40);
    if on_total {
        assert_eq!(own_limits(watched.pid()), before, "no process is limited by itself");
    }
    set(&agent, "watched", &["--mode", "observe"]);
    until("nothing is refused", || {
        let [done, ..] = ways(&mut watched, "try open 60");
        watched.order(format!("close {done}"));
        (done == 60).then_some(())
    });
    assert_eq!(own_limits(watched.pid()), before, "what was changed is put back");
}

#[test]
fn who_is_strict_is_refused_at_the_limit_in_force_until_that_is_raised() {
    let agent = Agent::start(&[]);
    refuses(&agent);
    let mut strict = start(&agent, "strict", &["--fds", "20:60", "--strict"]);
    let own = count(&strict);
    // Nobody raises it while the agent is stopped.
    agent.signal(Signal::STOP);
    let answer = ways(&mut strict, "at-once 100");
    agent.signal(Signal::CONT);
    assert_eq!(answer, [20 - own, 80 + own, 0]);
    // 20, and a quarter more, are to be 80 %.
    let raised = until("the limit is raised", || {
        let current = number(&tool(&agent, "strict")["limits"]["fds"]["current"]);
        (current > 20).then_some(current)
    });
    assert!((31..=32).contains(&raised), "{raised}");
    until("the line is raised", || {
        let [done, ..] = ways(&mut strict, "try open 1");
        (done == 1).then_some(())
    });
}

#[test]
fn the_kernel_goes_on_refusing_when_the_agent_is_killed() {
    let mut agent = Agent::start_pinned(&[]);
    let on_total = refuses(&agent);
    let mut crowd = start(&agent, "crowd", &["--fds", "50:50"]);
    let free = 50 - count(&crowd);
    assert_eq!(ways(&mut crowd, "at-once 300"), [free, 300 - free, 0]);
    crowd.order("close 3");
    let status = agent.status(&[]);
    let keeps_all = status["agent"]["hooks_attached"] == status["agent"]["hooks_pinned"];
    agent.signal(Signal::KILL);
    agent.wait();
    let answer = ways(&mut crowd, "at-once 300");
    if keeps_all || !on_total {
        assert_eq!(answer, [3, 297, 0]);
    } else {
        // Where nothing is left that sees calls end, nothing is refused: half a count would refuse what may be had.
        assert_eq!(answer, [300, 0, 0]);
        crowd.order("close 297");
    }
    agent.start_again(&[]);
    let shown = tool(&agent, "crowd");
    assert_eq!(shown["usage"]["file_handles"].as_array().unwrap().len(), 50, "{shown}");
    until("the rest is refused", || {
        let answer = ways(&mut crowd, "at-once 300");
        crowd.order(format!("close {}", answer[0]));
        (answer == [0, 300, 0]).then_some(())
    });
    crowd.order(format!("close {free}"));
    until("what was closed is to be had", || {
        let [done, ..] = ways(&mut crowd, "at-once 300");
        crowd.order(format!("close {done}"));
        assert!(done <= free, "{done}");
        (done == free).then_some(())
    });
}

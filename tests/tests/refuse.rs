//! Refusals: what a tool may not have any more, the kernel refuses; exactly, and for nobody else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpStream;

use resmgr_tests::{Agent, Workload, binary, number, run, until};
use rustix::process::Signal;
use serde_json::Value;

/// Threads that connect at the same moment.
const THREADS: u64 = 50;

fn start(agent: &Agent, tool: &str, flags: &[&str]) -> Workload {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool]);
    Workload::over(exec.args(flags).arg("--").arg(binary("workload")))
}

fn tool(agent: &Agent, name: &str) -> Value {
    agent.status(&[name, "--fresh"])["tools"][0].take()
}

/// Asserts how often something was told by a hook that the kernel may leave out, which is counted: Linux 7 does.
fn told(agent: &Agent, shown: &Value, what: &str, expected: u64) {
    let counted = number(&shown["events"][what]);
    let missed = number(&agent.status(&[])["agent"]["losses"]["runs_missed"]);
    assert!(
        counted <= expected && expected - counted <= missed,
        "{what}: {counted} of {expected}, {missed} runs missed: {shown}"
    );
}

/// How many threads connected, how many were not permitted to, how many failed otherwise.
fn at_once(workload: &mut Workload, address: &str) -> Vec<u64> {
    let answer = workload.order(format!("connect-at-once {address} {THREADS}"));
    answer.split(' ').map(|n| n.parse().unwrap()).collect()
}

#[test]
fn threads_that_connect_together_do_not_pass_the_limit_together() {
    let agent = Agent::start(&[]);
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut listener = Workload::start();
        let address = listener.order(format!("listen {address}"));
        let mut crowd = start(&agent, "crowd", &["--connections", "10:10"]);
        for round in 0..5 {
            assert_eq!(at_once(&mut crowd, &address), [10, 40, 0], "round {round}");
            listener.order("accept 10");
            let shown = tool(&agent, "crowd");
            assert_eq!(shown["usage"]["connections"].as_array().unwrap().len(), 10, "{shown}");
            assert_eq!(number(&shown["events"]["connections_open"]), 10);
            assert_eq!(number(&shown["events"]["connections_refused"]), 40 * (round + 1));
            told(&agent, &shown, "connections_made", 10 * (round + 1));
            // The listener does not mind: it is nobody's tool, and neither is this test.
            let neighbours: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&address).unwrap()).collect();
            listener.order("accept 20");
            drop(neighbours);
            crowd.order("disconnect 10");
            listener.order("disconnect 30");
        }
        drop(crowd);
        until("the tool is over", || {
            tool(&agent, "crowd")["ended_s"].is_u64().then_some(())
        });
    }
}

#[test]
fn what_comes_to_no_connection_gives_its_place_back() {
    let agent = Agent::start(&[]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let closed = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let mut fickle = start(&agent, "fickle", &["--connections", "3:3"]);
    // Refused by the other side, after a handshake began; and where there is no way, before one does.
    fickle.order(format!("connect-in-vain {closed} 20"));
    fickle.order("connect-in-vain 255.255.255.255:9 20");
    assert_eq!(fickle.order(format!("connect-nonblocking {closed} 20")), "20");
    let shown = tool(&agent, "fickle");
    assert_eq!(number(&shown["events"]["connections_open"]), 0, "{shown}");
    told(&agent, &shown, "connections_failed", 60);
    assert_eq!(number(&shown["events"]["connections_refused"]), 0);
    fickle.order(format!("udp {address} 2"));
    assert_eq!(fickle.order(format!("connect-nonblocking {address} 2")), "1");
    assert_eq!(number(&tool(&agent, "fickle")["events"]["connections_refused"]), 1);
}

#[test]
fn what_is_observed_is_not_refused_until_it_is_throttled() {
    let agent = Agent::start(&[]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let set = |flags: &[&str]| {
        let output = run(agent.client(&["limits", "set", "watched"]).args(flags));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    };
    let flags = ["--connections", "5:20", "--fds", "1000:1000", "--mode", "observe"];
    let mut watched = start(&agent, "watched", &flags);
    assert_eq!(at_once(&mut watched, &address), [50, 0, 0]);
    assert_eq!(tool(&agent, "watched")["levels"]["connections"], "emergency");
    watched.order("disconnect 50");
    listener.order("accept 50");
    listener.order("disconnect 50");
    set(&["--mode", "throttle"]);
    assert_eq!(tool(&agent, "watched")["enforcement"]["mode"], "throttle");
    assert_eq!(at_once(&mut watched, &address), [20, 30, 0]);
    // What it has already stays; there is no more.
    set(&["--strict"]);
    assert_eq!(at_once(&mut watched, &address), [0, 50, 0]);
    set(&["--exempt-loopback"]);
    assert_eq!(at_once(&mut watched, &address), [50, 0, 0]);
    set(&["--exempt-loopback=false", "--strict=false"]);
    assert_eq!(at_once(&mut watched, &address), [0, 50, 0]);
}

#[test]
fn who_is_strict_is_refused_at_the_limit_in_force_until_that_is_raised() {
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut strict = start(&agent, "strict", &["--connections", "5:20", "--strict"]);
    // Nobody raises it while the agent is stopped.
    agent.signal(Signal::STOP);
    let connected = at_once(&mut strict, &address);
    agent.signal(Signal::CONT);
    assert_eq!(connected, [5, 45, 0]);
    // 5, and a quarter more, are to be 80 %.
    until("the limit is raised", || {
        (number(&tool(&agent, "strict")["limits"]["connections"]["current"]) == 9).then_some(())
    });
    agent.signal(Signal::STOP);
    let connected = at_once(&mut strict, &address);
    agent.signal(Signal::CONT);
    assert_eq!(connected, [4, 46, 0]);
}

#[test]
fn the_kernel_goes_on_refusing_when_the_agent_is_killed() {
    let mut agent = Agent::start_pinned(&[]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut crowd = start(&agent, "crowd", &["--connections", "10:10"]);
    assert_eq!(at_once(&mut crowd, &address), [10, 40, 0]);
    crowd.order("disconnect 3");
    agent.signal(Signal::KILL);
    agent.wait();
    assert_eq!(at_once(&mut crowd, &address), [3, 47, 0]);
    agent.start_again(&[]);
    let shown = tool(&agent, "crowd");
    assert_eq!(shown["enforcement"]["mode"], "enforce");
    assert_eq!(number(&shown["events"]["connections_open"]), 10);
    assert_eq!(number(&shown["events"]["connections_refused"]), 87);
    assert_eq!(at_once(&mut crowd, &address), [0, 50, 0]);
    crowd.order("disconnect 10");
    assert_eq!(at_once(&mut crowd, &address), [10, 40, 0]);
}

//! What the agent learns of tools on the live kernel, and what it makes of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    thread,
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Workload, number, open_fds, patience, until, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// So that what takes minutes at the usual rate takes seconds.
const OFTEN: [&str; 2] = ["--sweep-interval", "100ms"];

fn current(tool: &Value, resource: &str) -> u64 {
    number(&tool["limits"][resource]["current"])
}

fn reasons(tool: &Value, resource: &str) -> Vec<String> {
    let of_limit = |action: &&Value| action["step"] == "limit" && action["resource"] == resource;
    let actions = tool["actions"].as_array().unwrap();
    let reasons = actions.iter().filter(of_limit).map(|action| &action["reason"]);
    reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect()
}

/// Lets a tool use more and more of a resource, at most as fast as `every` says, until its limit is at its maximum: that was
/// done ahead of its use, and is told.
fn grows(agent: &Agent, resource: &str, flags: &[&str], every: Duration, mut more: impl FnMut(&mut Workload)) {
    let name = format!("growing-{resource}");
    let mut workload = agent.workload(&name, flags);
    let deadline = Instant::now() + patience(120);
    let mut next = Instant::now();
    let tool = loop {
        more(&mut workload);
        let tool = agent.status(&[&name])["tools"][0].take();
        if current(&tool, resource) == number(&tool["limits"][resource]["max"]) {
            break tool;
        }
        assert!(Instant::now() < deadline, "in vain: {}", tool["limits"][resource]);
        next += every;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    };
    let reasons = reasons(&tool, resource);
    let ahead = |reason: &&String| ["grows", "expected"].contains(&reason.as_str());
    assert!(ahead(&&reasons[0]), "it was raised ahead of the use: {reasons:?}");
    assert!(reasons.iter().filter(ahead).count() >= 2, "{reasons:?}");
    let alert = agent.alert(&name, |alert| alert["kind"] == "growth");
    let message = alert["message"].as_str().unwrap();
    let said = format!("{resource} grows by ");
    assert!(
        message.contains(&said) && message.contains("at its maximum of"),
        "{message}"
    );
    let explained = agent.explain(&name);
    assert!(
        explained.contains("grows steadily") && explained.contains("Learned:"),
        "{explained}"
    );
    let learned = &tool["learned"][resource];
    assert_eq!(learned["pattern"]["kind"], "linear", "{resource}: {learned}");
    assert!(learned["pattern"]["trend"].as_f64().unwrap() > 0.0);
    assert!(
        explained.contains("linear growth") && explained.contains("Growth: "),
        "{explained}"
    );
}

#[test]
fn limits_are_raised_ahead_of_each_resource_that_grows_up_to_the_maximum_and_that_is_told() {
    let agent = Agent::start(&OFTEN);
    // What is connected to, outside of all tools.
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    thread::scope(|scope| {
        let (agent, address) = (&agent, &address);
        let every = Duration::from_millis(400);
        scope.spawn(move || {
            let flags = ["--memory", "60M:140M", "--mode", "enforce"];
            grows(agent, "memory", &flags, every, |workload| {
                workload.order(format!("touch {}", 1 << 20));
            });
        });
        scope.spawn(move || {
            let flags = ["--fds", "60:120", "--mode", "throttle"];
            grows(agent, "fds", &flags, every, |workload| {
                workload.order("open 1");
            });
        });
        scope.spawn(move || {
            let flags = ["--connections", "60:120", "--fds", "500:1000", "--mode", "throttle"];
            grows(agent, "connections", &flags, every, |workload| {
                workload.order(format!("connect {address} 1"));
            });
        });
        scope.spawn(move || {
            let flags = ["--cpu", "24s:40s", "--mode", "throttle"];
            grows(agent, "cpu", &flags, Duration::ZERO, |workload| {
                workload.order("spin 200");
            });
        });
    });
}

#[test]
fn a_burst_of_a_second_is_told_once_a_level_and_its_raise_is_taken_back() {
    let agent = Agent::start(&OFTEN);
    let mut bursting = agent.workload("bursting", &["--fds", "50:400", "--mode", "throttle"]);
    let there = open_fds(bursting.pid()).len() as u64;
    let current = || current(&agent.status(&["bursting"])["tools"][0], "fds");
    assert_eq!(current(), 50);
    bursting.order(format!("open {}", 120 - there));
    until("it is raised", || Some(current()).filter(|current| *current > 100));
    thread::sleep(Duration::from_secs(1));
    // Not the first limit above: the raise may come in steps.
    let raised = current();
    bursting.order(format!("close {}", 120 - there));
    let began = Instant::now();
    // Half of it after half a minute, and all of it after two.
    wait_until("half of it is taken back", 60, || {
        current() <= 50 + (raised - 50).div_ceil(2)
    });
    assert!(began.elapsed() >= Duration::from_secs(25), "{:?}", began.elapsed());
    let alerts = agent.alerts("bursting");
    for level in ["warning", "critical", "emergency"] {
        let is_of =
            |alert: &&Value| alert["level"] == level && alert["state"] == "raised" && alert["kind"]["limit"] == "fds";
        assert!(alerts.iter().filter(is_of).count() <= 1, "{level}: {alerts:?}");
    }
    let tool = agent.tool("bursting");
    assert!(reasons(&tool, "fds").contains(&"cooled".to_owned()), "{tool}");
    assert!(agent.explain("bursting").contains("raised for a burst"));
    if std::env::var_os("RESMGR_TEST_FULL").is_some() {
        wait_until("all of it is taken back", 150, || current() == 50);
    }
}

#[test]
fn another_instance_begins_with_what_those_before_it_needed_also_after_a_restart() {
    let mut agent = Agent::start_pinned(&OFTEN);
    for _ in 0..3 {
        let mut short = agent.workload("short", &["--fds", "50:400", "--mode", "throttle"]);
        short.order("open 90");
        until("it is seen", || {
            (number(&agent.tool("short")["peak"]["open_fds"]) >= 90).then_some(())
        });
        drop(short);
        wait_until("it has ended", 30, || agent.tool("short")["ended_s"].is_u64());
    }
    let first_limit = |agent: &Agent| {
        let _next = agent.workload("short", &["--fds", "50:400", "--mode", "throttle"]);
        let tools = agent.status(&["short"])["tools"].take();
        let latest = tools
            .as_array()
            .unwrap()
            .iter()
            .max_by_key(|tool| number(&tool["instance"]));
        let latest = latest.unwrap();
        (current(latest, "fds"), reasons(latest, "fds"))
    };
    let (limit, why) = first_limit(&agent);
    // 93 descriptors are 80 % of 117.
    assert!((116..=250).contains(&limit), "{limit}");
    assert_eq!(why, ["learned"]);
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    agent.start_again(&OFTEN);
    let (limit, why) = first_limit(&agent);
    assert!((116..=250).contains(&limit), "{limit}");
    assert_eq!(why, ["learned"]);
}

//! Limits: asked for by flags, by configuration and while a tool runs, under the operator's ceiling.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command};

use resmgr_tests::{Agent, Workload, binary, number, open_fds, run, unprivileged, until};
use rustix::process::Signal;
use serde_json::Value;

fn start(agent: &Agent, tool: &str, flags: &[&str]) -> Workload {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool]);
    Workload::over(exec.args(flags).arg("--").arg(binary("workload")))
}

fn tool(agent: &Agent, name: &str) -> Value {
    agent.status(&[name, "--fresh"])["tools"][0].take()
}

/// Base, limit in force, maximum, and where base and maximum come from.
fn limit(tool: &Value, resource: &str) -> (u64, u64, u64, String, String) {
    let range = &tool["limits"][resource];
    let text = |key: &str| range[key].as_str().unwrap().to_owned();
    let of = |key: &str| number(&range[key]);
    (
        of("base"),
        of("current"),
        of("max"),
        text("base_from"),
        text("max_from"),
    )
}

fn expected(base: u64, current: u64, max: u64, base_from: &str, max_from: &str) -> (u64, u64, u64, String, String) {
    (base, current, max, base_from.to_owned(), max_from.to_owned())
}

#[test]
fn a_flag_wins_over_the_configuration_and_the_ceiling_over_a_flag() {
    let folder = Agent::folder();
    let path = folder.path().join("resmgr.toml");
    let text = "[limits]\nprofile = 'standard'\n[tool.search]\nconnections = '20:30'\n[ceiling]\nmemory = '1G'\n";
    fs::write(&path, text).unwrap();
    let agent = Agent::start(&["--config", path.to_str().unwrap()]);
    let _search = start(&agent, "search", &["--fds", "30:60"]);
    let search = tool(&agent, "search");
    assert_eq!(limit(&search, "fds"), expected(30, 30, 60, "flag", "flag"));
    let own = expected(20, 20, 30, "tool_config", "tool_config");
    assert_eq!(limit(&search, "connections"), own);
    let memory = expected(512 << 20, 512 << 20, 1 << 30, "config", "ceiling");
    assert_eq!(limit(&search, "memory"), memory);
    assert_eq!(
        limit(&search, "cpu"),
        expected(60_000, 60_000, 300_000, "config", "config")
    );
    let _other = start(&agent, "other", &["--profile", "heavy", "--cpu", "10s"]);
    let other = tool(&agent, "other");
    assert_eq!(limit(&other, "cpu"), expected(10_000, 10_000, 10_000, "flag", "flag"));
    assert_eq!(
        limit(&other, "memory"),
        expected(1 << 30, 1 << 30, 1 << 30, "ceiling", "ceiling")
    );

    let shown = run(&mut agent.client(&["limits", "show", "search"])).stdout;
    for said in [
        "base: configuration [limits]; maximum: configuration [ceiling]",
        "flag",
        "512.0M",
        "1m00s",
    ] {
        assert!(shown.contains(said), "{said} in {shown}");
    }
    assert!(!shown.contains("other"), "{shown}");
}

#[test]
fn limits_that_are_set_hold_at_once_and_over_a_restart() {
    let mut agent = Agent::start_pinned(&[]);
    let mut workload = start(&agent, "growing", &["--fds", "10:20", "--mode", "observe"]);
    let there = open_fds(workload.pid()).len();
    workload.order(format!("open {}", 9 - there));
    let level = |agent: &Agent| tool(agent, "growing")["levels"]["fds"].as_str().unwrap().to_owned();
    assert_eq!(level(&agent), "warning");
    let set = run(&mut agent.client(&["limits", "set", "growing", "--fds", "40:50", "--json"]));
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let set: Value = serde_json::from_str(&set.stdout).unwrap();
    assert_eq!(limit(&set["tools"][0], "fds"), expected(40, 40, 50, "set", "set"));
    let shown = tool(&agent, "growing");
    let actions = shown["actions"].as_array().unwrap();
    let action = actions.iter().find(|action| action["resource"] == "fds").unwrap();
    assert_eq!((number(&action["from"]), number(&action["to"])), (10, 40), "{action}");
    assert_eq!(action["reason"], "asked");
    until("the line is left", || (level(&agent) == "normal").then_some(()));
    let last = || {
        let shown = tool(&agent, "growing");
        let last = shown["crossings"].as_array().unwrap().last().cloned().unwrap();
        (last["risen"] == true, number(&last["value"]))
    };
    until("it is told", || (!last().0).then_some(()));
    workload.order("open 23");
    until("the new line is crossed", || (last().0 && last().1 >= 32).then_some(()));

    agent.signal(Signal::KILL);
    let _ = agent.wait();
    agent.start_again(&[]);
    assert_eq!(
        limit(&tool(&agent, "growing"), "fds"),
        expected(40, 40, 50, "set", "set")
    );
    let restarted = tool(&agent, "growing");
    assert_eq!(restarted["levels"]["fds"], "warning", "{restarted}");
}

#[test]
fn a_limit_that_use_comes_near_is_raised_at_once_and_explained() {
    // No tick comes in the time of this test.
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let mut workload = start(&agent, "growing", &["--fds", "50:200"]);
    let current = || number(&agent.status(&["growing"])["tools"][0]["limits"]["fds"]["current"]);
    let there = open_fds(workload.pid()).len();
    workload.order(format!("open {}", 39 - there));
    assert_eq!(current(), 50);
    workload.order("open 1");
    until("the limit is raised", || (current() == 63).then_some(()));
    workload.order("open 150");
    until("the limit is its maximum", || (current() == 200).then_some(()));
    let shown = agent.status(&["growing"])["tools"][0].take();
    let actions = shown["actions"].as_array().unwrap();
    let is_meant = |action: &&Value| action["resource"] == "fds" && action["step"] == "limit";
    let action = actions.iter().find(is_meant).unwrap();
    assert_eq!((number(&action["from"]), number(&action["to"])), (50, 63));
    assert_eq!(action["reason"], "near");
    assert_eq!(action["evidence"]["value"], 40, "{action}");
    assert_eq!(action["evidence"]["limit"], 50);
    assert!(number(&shown["actions_total"]) >= 2, "{shown}");

    // Who is only observed keeps the limits that were given.
    let mut observed = start(&agent, "observed", &["--fds", "50:200", "--mode", "observe"]);
    observed.order("open 60");
    until("it is told", || {
        (tool(&agent, "observed")["levels"]["fds"] == "emergency").then_some(())
    });
    assert_eq!(number(&tool(&agent, "observed")["limits"]["fds"]["current"]), 50);

    drop(workload);
    for flags in [&["explain", "growing"][..], &["explain", "growing", "--instance", "1"]] {
        let explained = run(&mut agent.client(flags));
        assert_eq!(explained.code, Some(0), "{}", explained.stderr);
        for said in [
            "growing (instance 1)",
            "mode enforce",
            "fds: limit 50 -> 63: the use was 40, of a limit of 50",
            "fds: reached Warning at 40",
            "built in",
        ] {
            assert!(explained.stdout.contains(said), "{said} in {}", explained.stdout);
        }
    }
    let none = run(&mut agent.client(&["explain", "nobody"]));
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("no tool nobody of yours runs"), "{}", none.stderr);
}

#[test]
fn what_is_no_limit_is_refused_and_nothing_runs() {
    let agent = Agent::start(&[]);
    for (flags, said) in [
        (["--memory", "100 bananas"], "like 512K, 100M"),
        (["--memory", "1e30"], "100M"),
        (["--memory", "500M:100M"], "write 100M:500M"),
        (["--memory", "0"], "1M"),
        (["--cpu", "30"], "250ms, 1s"),
        (["--fds", "-1"], "-1"),
        (["--fds", "3"], "4: standard input"),
        (["--connections", "0"], "1"),
        (["--profile", "huge"], "light, standard or heavy"),
    ] {
        let output = run(agent.client(&["exec"]).args(flags).args(["--", "echo", "ran"]));
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (Some(2), ""),
            "{flags:?}: {}",
            output.stderr
        );
        assert!(output.stderr.contains(said), "{flags:?}: {}", output.stderr);
    }
    let none = run(&mut agent.client(&["limits", "set", "nobody", "--fds", "50"]));
    assert!(
        none.code == Some(1) && none.stderr.contains("no tool nobody"),
        "{}",
        none.stderr
    );
    let _tool = start(&agent, "rooted", &[]);
    let empty = run(&mut agent.client(&["limits", "set", "rooted"]));
    assert!(
        empty.code == Some(2) && empty.stderr.contains("no limit is given"),
        "{}",
        empty.stderr
    );
    let other = run(unprivileged(
        &mut agent.client(&["limits", "set", "rooted", "--fds", "50"]),
    ));
    assert!(
        other.code == Some(1) && other.stderr.contains("no tool rooted of yours"),
        "{}",
        other.stderr
    );
    assert_eq!(limit(&tool(&agent, "rooted"), "fds").2, 200);
}

#[test]
fn a_configuration_of_limits_that_cannot_be_is_refused_with_the_place() {
    let folder = Agent::folder();
    let path = folder.path().join("resmgr.toml");
    for (text, said) in [
        ("[limits]\nmemory = '100 bananas'\n", "line 2: limits.memory"),
        ("[tool.search]\nfds = '9:5'\n", "line 2: tool.search.fds"),
        ("[ceiling]\nprofile = 'light'\n", "there is one in [limits]"),
    ] {
        fs::write(&path, text).unwrap();
        let mut agent: Command = Agent::command(folder.path(), &["--config", path.to_str().unwrap()]);
        let output = run(&mut agent);
        assert!(
            output.code == Some(2) && output.stderr.contains(said),
            "{}",
            output.stderr
        );
    }
}

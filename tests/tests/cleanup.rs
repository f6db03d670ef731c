//! The end of tools: all of one, however it resists, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use resmgr_tests::{Agent, Process, Workload, number, run, unprivileged, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Starts a tool that runs a script.
fn script(agent: &Agent, tool: &str, flags: &[&str], script: &str) -> Process {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool]);
    exec.args(flags).args(["--", "sh", "-c", script]);
    Process::start(&mut exec)
}

fn tool(agent: &Agent, name: &str) -> Value {
    agent.status(&[name, "--fresh"])["tools"][0].take()
}

/// The processes of a tool that run, once there are that many.
fn running(agent: &Agent, name: &str, count: usize) -> BTreeSet<u64> {
    until("all of it runs", || {
        let status = agent.status(&[name, "--fresh", "--processes"]);
        let processes = status["processes"].as_array().unwrap();
        let running = processes.iter().filter(|process| process["zombie"] == false);
        let pids: BTreeSet<u64> = running.map(|process| number(&process["pid"])).collect();
        (pids.len() >= count).then_some(pids)
    })
}

/// Whether a process runs.
fn runs(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// What cleaning up said of the one instance there was.
fn clean_up(agent: &Agent, name: &str, flags: &[&str]) -> (Option<i32>, Value) {
    let output = run(agent.client(&["cleanup", name, "--json"]).args(flags));
    assert!(
        output.code == Some(0) || output.code == Some(1) && !output.stdout.is_empty(),
        "{}",
        output.stderr
    );
    let mut report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["tools"].as_array().unwrap().len(), 1, "{report}");
    (output.code, report["tools"][0].take())
}

/// Each level ignores SIGTERM, has left its session and lost its parent.
const STUBBORN: &str = r#"
trap '' TERM
level() {
    if [ "$1" -gt 0 ]; then (setsid sh -c "$SCRIPT" sh $(($1 - 1)) &); fi
    while :; do sleep 1000; done
}
level "${1:-3}"
"#;

#[test]
fn a_tree_that_resists_is_gone_and_nothing_else_is() {
    let agent = Agent::start(&[]);
    let mut neighbour = Workload::over(
        agent
            .client(&["exec", "--require", "--tool", "neighbour", "--"])
            .arg(resmgr_tests::binary("workload")),
    );
    let mut stranger = Workload::start();
    let mut exec = agent.client(&["exec", "--require", "--tool", "stubborn", "--", "sh", "-c", STUBBORN]);
    let mut root = Process::start(exec.env("SCRIPT", STUBBORN));
    // Four shells and what they wait for.
    let pids = running(&agent, "stubborn", 8);
    let leaf = tool(&agent, "stubborn")["cgroup"].clone();
    let (code, report) = clean_up(&agent, "stubborn", &["--grace", "200ms"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (number(&report["killed"]), number(&report["ended"])),
        (8, 0),
        "{report}"
    );
    assert_eq!(report["left"], Value::Array(Vec::new()));
    for pid in pids {
        assert!(!runs(pid), "process {pid} runs: {report}");
    }
    if let Some(leaf) = leaf.as_str() {
        assert_eq!(report["cgroup_left"], Value::Null, "{report}");
        assert!(!Path::new(leaf).exists());
    }
    root.wait();
    until("the tool is over", || {
        tool(&agent, "stubborn")["ended_s"].is_u64().then_some(())
    });
    assert_eq!(number(&tool(&agent, "neighbour")["process_count"]), 1);
    // Both answer.
    neighbour.order("numbers");
    stranger.order("numbers");
}

#[test]
fn what_ends_when_asked_is_not_killed_and_what_is_stopped_hears_it_too() {
    let agent = Agent::start(&[]);
    let mut ready = script(
        &agent,
        "ready",
        &[],
        "(setsid sleep 1000 &); (sleep 1000 &); exec sleep 1000",
    );
    let pids = running(&agent, "ready", 3);
    let (code, report) = clean_up(&agent, "ready", &[]);
    assert_eq!((code, &report["killed"]), (Some(0), &Value::from(0)), "{report}");
    assert_eq!(number(&report["ended"]), 3);
    assert!(pids.into_iter().all(|pid| !runs(pid)));
    ready.wait();

    let mut stopped = script(&agent, "stopped", &[], "exec sleep 1000");
    running(&agent, "stopped", 1);
    kill_process(
        Pid::from_raw(i32::try_from(stopped.pid()).unwrap()).unwrap(),
        Signal::STOP,
    )
    .unwrap();
    let (code, report) = clean_up(&agent, "stopped", &[]);
    assert_eq!((code, number(&report["ended"])), (Some(0), 1), "{report}");
    stopped.wait();

    let none = run(&mut agent.client(&["cleanup", "absent"]));
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("no tool absent of yours runs"), "{}", none.stderr);
}

#[test]
fn what_forks_faster_than_it_is_killed_is_gone_all_the_same() {
    let agent = Agent::start(&[]);
    let forker = "trap '' TERM; while :; do for i in 1 2 3 4 5 6 7 8; do sleep 0.05 & done; wait; done";
    let mut of_exec = script(&agent, "forker", &[], forker);
    running(&agent, "forker", 5);
    let (code, report) = clean_up(&agent, "forker", &["--grace", "100ms"]);
    assert_eq!(code, Some(0), "{report}");
    of_exec.wait();
    assert_eq!(number(&tool(&agent, "forker")["process_count"]), 0);
    // The same without a cgroup of its own.
    let mut attached = Process::start(Command::new("sh").args(["-c", forker]));
    let output = run(agent
        .client(&["attach", "--tool", "attached", "--pid"])
        .arg(attached.pid().to_string()));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let (code, report) = clean_up(&agent, "attached", &["--grace", "100ms"]);
    assert_eq!(code, Some(0), "{report}");
    attached.wait();
    assert_eq!(number(&tool(&agent, "attached")["process_count"]), 0);
}

#[test]
fn an_ordinary_user_ends_tools_of_their_own_alone() {
    let agent = Agent::start(&[]);
    let mut roots = script(&agent, "roots", &[], "exec sleep 1000");
    running(&agent, "roots", 1);
    let mut exec = agent.client(&["exec", "--require", "--tool", "theirs", "--", "sleep", "1000"]);
    let mut theirs = Process::start(unprivileged(&mut exec));
    running(&agent, "theirs", 1);
    let refused = run(unprivileged(&mut agent.client(&["cleanup", "roots"])));
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("no tool roots of yours runs"),
        "{}",
        refused.stderr
    );
    assert!(runs(u64::from(roots.pid())));
    let output = run(unprivileged(&mut agent.client(&["cleanup", "theirs"])));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(
        output.stdout.contains("1 ended when asked, 0 killed, 0 left"),
        "{}",
        output.stdout
    );
    theirs.wait();
    clean_up(&agent, "roots", &[]);
    roots.wait();
}

#[test]
fn what_outlives_its_tool_is_reaped_where_that_is_the_policy() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let leave = "(setsid sleep 1000 &); exit 0";
    let mut reaped = script(&agent, "reaped", &["--orphans", "reap"], leave);
    let mut kept = script(&agent, "kept", &["--orphans", "keep"], leave);
    reaped.wait();
    kept.wait();
    until("the tool is reaped", || {
        tool(&agent, "reaped")["ended_s"].is_u64().then_some(())
    });
    assert_eq!(number(&tool(&agent, "kept")["process_count"]), 1);
    assert_eq!(tool(&agent, "kept")["enforcement"]["orphans"], "keep");

    // Whoever started it ends, and it runs on.
    let mut owner = Command::new("sh");
    owner
        .args([
            "-c",
            r#""$@" & read -r line"#,
            "sh",
            agent.client::<&str>(&[]).get_program().to_str().unwrap(),
        ])
        .args(
            agent
                .client(&["exec", "--require", "--tool", "server", "--orphans", "reap"])
                .get_args(),
        )
        .args(["--", "sleep", "1000"]);
    let mut owner = owner.stdin(Stdio::piped()).spawn().unwrap();
    let ends_with_its_input = owner.stdin.take();
    let mut owner = Process::of(owner);
    running(&agent, "server", 1);
    assert_eq!(tool(&agent, "server")["owner"]["alive"], true);
    drop(ends_with_its_input);
    owner.wait();
    until("the tool is reaped", || {
        tool(&agent, "server")["ended_s"].is_u64().then_some(())
    });
    // The policy may change while it runs.
    let set = run(&mut agent.client(&["limits", "set", "kept", "--orphans", "reap"]));
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    until("the tool is reaped", || {
        tool(&agent, "kept")["ended_s"].is_u64().then_some(())
    });
}

#[test]
fn what_nobody_reaps_is_named_with_the_parent_that_has_to() {
    let agent = Agent::start(&[]);
    let child = script(&agent, "dead", &[], "exec sleep 1000");
    running(&agent, "dead", 1);
    let (code, report) = clean_up(&agent, "dead", &[]);
    assert_eq!(code, Some(0), "{report}");
    // This test has not waited for it yet.
    assert_eq!(number(&report["ended"]), 1, "{report}");
    let zombie = &report["zombies"][0];
    assert_eq!(number(&zombie["pid"]), u64::from(child.pid()), "{report}");
    assert_eq!(number(&zombie["parent"]), u64::from(std::process::id()));
}

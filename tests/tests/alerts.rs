//! Alerts: told at once, once, with what to type; to who may know, to who follows, and to a command.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Process, Workload, binary, number, open_fds, run, unprivileged, until};
use serde_json::Value;

fn start(agent: &Agent, tool: &str, flags: &[&str]) -> Workload {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool]);
    Workload::over(exec.args(flags).arg("--").arg(binary("workload")))
}

/// The alerts of a tool.
fn alerts(agent: &Agent, tool: &str) -> Vec<Value> {
    let output = run(&mut agent.client(&["alerts", tool, "--json"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The first alert of a tool about something.
fn about(agent: &Agent, tool: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
    until("the alert", || alerts(agent, tool).into_iter().find(&is_meant))
}

#[test]
fn a_level_is_told_once_at_once_with_the_flag_that_raises_the_limit() {
    // No tick comes in the time of this test.
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let mut follow = agent.client(&["alerts", "--follow", "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(follow.stdout.take().unwrap()).lines();
    let _follow = Process::of(follow);

    let mut full = start(&agent, "full", &["--fds", "50:50"]);
    full.order(format!("open {}", 40 - open_fds(full.pid()).len()));
    let first: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
    assert_eq!((&first["tool"], &first["level"]), (&"full".into(), &"warning".into()));
    assert_eq!(
        (&first["kind"], &first["state"]),
        (&serde_json::json!({"limit": "fds"}), &"raised".into())
    );
    assert_eq!((number(&first["value"]), number(&first["limit"])), (40, 50));
    let message = first["message"].as_str().unwrap();
    assert!(message.contains("resmgr limits set full --fds "), "{message}");
    // To and fro, and on.
    for _ in 0..5 {
        full.order("close 10");
        full.order("open 10");
    }
    full.order("open 10");
    let levels: Vec<String> = (0..2)
        .map(|_| {
            let alert: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
            alert["level"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(levels, ["critical", "emergency"]);
    assert_eq!(alerts(&agent, "full").len(), 3);

    // Seen by root, and by nobody else.
    let theirs = run(unprivileged(&mut agent.client(&["alerts", "--json"])));
    assert_eq!((theirs.code, theirs.stdout.as_str()), (Some(0), ""));
    let second = number(&alerts(&agent, "full")[1]["id"]).to_string();
    let seen = run(&mut agent.client(&["alerts", "--acknowledge", &second]));
    assert_eq!(seen.stdout, "2 acknowledged\n");
    let news = run(&mut agent.client(&["alerts", "--new"])).stdout;
    assert_eq!(news.lines().count(), 1, "{news}");
    assert!(news.contains("emergency") && news.contains("fds: 50 of 50"), "{news}");
}

#[test]
fn what_is_over_is_told_after_it_has_stayed_so() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut full = start(&agent, "full", &["--fds", "50:50"]);
    full.order(format!("open {}", 45 - open_fds(full.pid()).len()));
    about(&agent, "full", |alert| alert["level"] == "warning");
    let began = Instant::now();
    full.order("close 30");
    let over = about(&agent, "full", |alert| alert["state"] == "cleared");
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!((&over["level"], alerts(&agent, "full").len()), (&"warning".into(), 2));
}

#[test]
fn births_full_tables_and_who_is_left_are_worth_an_alert() {
    let agent = Agent::start(&["--sweep-interval", "1s"]);
    let mut forking = start(&agent, "forking", &[]);
    until("births are told", || {
        forking.order("fork-many 200");
        alerts(&agent, "forking")
            .into_iter()
            .find(|alert| alert["kind"] == "spawn_rate")
    });
    let script = format!("ulimit -n 256; exec {}", binary("workload").display());
    let mut exec = agent.client(&["exec", "--require", "--tool", "narrow", "--fds", "900:900", "--"]);
    let mut narrow = Workload::over(exec.args(["sh", "-c", &script]));
    narrow.order("open 220");
    let alert = about(&agent, "narrow", |alert| alert["kind"] == "process_fds");
    assert_eq!(number(&alert["limit"]), 256);
    assert!(alert["message"].as_str().unwrap().contains("ulimit -n"), "{alert}");

    let mut left = agent.client(&[
        "exec",
        "--require",
        "--tool",
        "left",
        "--",
        "sh",
        "-c",
        "(setsid sleep 1000 &)",
    ]);
    Process::start(&mut left).wait();
    let alert = about(&agent, "left", |alert| alert["kind"] == "left");
    assert!(
        alert["message"].as_str().unwrap().contains("resmgr cleanup left"),
        "{alert}"
    );
    let output = run(&mut agent.client(&["cleanup", "left"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

#[test]
fn a_command_is_given_each_alert_and_may_hang_or_flood() {
    let folder = Agent::folder();
    let config = folder.path().join("resmgr.toml");
    let seen = folder.path().join("seen");
    // It tells, and then neither ends nor is silent.
    let command = format!(
        "cat >> {0}; echo $RESMGR_ALERT_LEVEL $$ >> {0}.env; yes",
        seen.display()
    );
    fs::write(&config, format!("[alert]\ncommand = '{command}'\n")).unwrap();
    let agent = Agent::start(&["--config", config.to_str().unwrap(), "--sweep-interval", "100ms"]);
    let mut full = start(&agent, "full", &["--fds", "50:50"]);
    full.order(format!("open {}", 40 - open_fds(full.pid()).len()));
    let env = folder.path().join("seen.env");
    let line = until("the command ran", || {
        let text = fs::read_to_string(&env).ok()?;
        text.lines().next().map(str::to_owned)
    });
    let told: Value = serde_json::from_str(fs::read_to_string(&seen).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!((&told["tool"], &told["level"]), (&"full".into(), &"warning".into()));
    let (level, shell) = line.split_once(' ').unwrap();
    assert_eq!(level, "warning");
    full.order("open 8");
    about(&agent, "full", |alert| alert["level"] == "critical");
    // Meanwhile the agent answers; and what hangs is ended, with what it started, to make room for the next.
    assert_eq!(alerts(&agent, "full").len(), 2);
    until("the second alert has its turn", || {
        let text = fs::read_to_string(&env).ok()?;
        text.lines().any(|line| line.starts_with("critical")).then_some(())
    });
    assert!(!fs::exists(format!("/proc/{shell}")).unwrap());
    // What has ended may wait for whoever took it over.
    let script = format!("cat /proc/[0-9]*/stat | awk '$3 != \"Z\" && $5 == {shell}'");
    until("all of its group is gone", || {
        run(Command::new("sh").args(["-c", &script]))
            .stdout
            .is_empty()
            .then_some(())
    });
}

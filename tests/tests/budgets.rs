//! Budgets: what all instances of a name may use together, over and above what each may.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, net::TcpListener};

use resmgr_tests::{Agent, Output, Workload, binary, number, run, until};
use serde_json::Value;

fn agent(budget: &str) -> (tempfile::TempDir, Agent) {
    let folder = Agent::folder();
    let config = folder.path().join("resmgr.toml");
    fs::write(&config, format!("[tool.shared.budget]\n{budget}\n")).unwrap();
    let agent = Agent::start(&["--sweep-interval", "100ms", "--config", config.to_str().unwrap()]);
    (folder, agent)
}

fn start(agent: &Agent, flags: &[&str]) -> Workload {
    let mut exec = agent.client(&["exec", "--require", "--tool", "shared"]);
    Workload::over(exec.args(flags).arg("--").arg(binary("workload")))
}

/// What comes of another instance, which would print a word.
fn another(agent: &Agent, flags: &[&str]) -> Output {
    let mut exec = agent.client(&["exec", "--tool", "shared"]);
    run(exec.args(flags).args(["--", "echo", "began"]))
}

fn instances(agent: &Agent) -> Vec<Value> {
    agent.status(&["shared", "--fresh"])["tools"]
        .as_array()
        .unwrap()
        .clone()
}

fn alerts(agent: &Agent) -> String {
    run(&mut agent.client(&["alerts", "shared", "--json"])).stdout
}

#[test]
fn no_more_instances_begin_than_there_may_be() {
    let (_folder, agent) = agent("instances = 2");
    let first = start(&agent, &[]);
    let _second = start(&agent, &[]);
    let refused = another(&agent, &[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(125), ""), "nothing runs");
    for said in ["2 of 2 instances", "resmgr cleanup shared", "[tool.shared.budget]"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    // Another name has nothing to do with it, and who is only observed is refused nothing.
    let other = run(&mut agent.client(&["exec", "--tool", "other", "--", "echo", "began"]));
    assert_eq!(other.stdout, "began\n");
    assert_eq!(another(&agent, &["--mode", "observe"]).stdout, "began\n");
    drop(first);
    until("one has ended, and another may begin", || {
        (another(&agent, &[]).stdout == "began\n").then_some(())
    });
}

#[test]
fn connections_of_all_instances_together_are_refused_beyond_the_budget() {
    let (_folder, agent) = agent("connections = 6");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut one, mut other) = (start(&agent, &[]), start(&agent, &[]));
    one.order(format!("connect {address} 4"));
    until("both know what is left", || {
        let used = |tool: &Value| tool["budgets"]["connections"]["used"] == 4;
        instances(&agent).iter().all(used).then_some(())
    });
    let made = other.order(format!("connect-at-once {address} 10"));
    let succeeded: u64 = made.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(succeeded, 2, "{made}");
    until("it is told", || {
        let told = alerts(&agent);
        (told.contains("budget") && told.contains("6 of their budget of 6")).then_some(())
    });
    let refused = another(&agent, &[]);
    assert_eq!(refused.code, Some(125));
    assert!(refused.stderr.contains("connections: 6 of 6"), "{}", refused.stderr);
    one.order("disconnect 4");
    until("what one has given back, the other may have", || {
        let made = other.order(format!("connect-at-once {address} 1"));
        made.starts_with('1').then_some(())
    });
}

#[test]
fn who_uses_most_is_ended_where_memory_together_is_used_up_and_nobody_else() {
    let (_folder, agent) = agent("memory = '96M'");
    let flags = ["--mode", "enforce", "--grace", "500ms"];
    let (mut small, mut large) = (start(&agent, &flags), start(&agent, &flags));
    small.order(format!("touch {}", 24 << 20));
    large.order(format!("touch {}", 76 << 20));
    large.wait_until_gone();
    let ended = until("its end is known", || {
        let over = |tool: &Value| tool["ended_s"].is_u64();
        instances(&agent).into_iter().find(over)
    });
    assert_eq!(number(&ended["root_pid"]), u64::from(large.pid()));
    let last = ended["actions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["step"], &last["reason"]), (&"clean_up".into(), &"budget".into()));
    assert!(number(&last["evidence"]["value"]) >= 95 << 20, "{last}");
    assert_eq!(number(&last["evidence"]["limit"]), 96 << 20);
    let explained = run(&mut agent.client(&["explain", "shared"])).stdout;
    assert!(explained.contains("of a budget of 96.0M"), "{explained}");
    std::thread::sleep(std::time::Duration::from_secs(2));
    small.order("rewrite");
}

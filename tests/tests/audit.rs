//! `resmgr audit` on the live kernel: it finds nothing where nothing is wrong, and what is wrong where something is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use resmgr_tests::{Agent, Output, Workload, number, run, unprivileged};
use serde_json::Value;

fn audit(agent: &Agent) -> (Output, Value) {
    let output = run(&mut agent.client(&["audit", "--json"]));
    let report = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, report)
}

/// What an audit says of one of our processes, by quantity; others of this host come and go as they like.
fn beyond(report: &Value, pid: u32) -> Vec<String> {
    let quantities = report["quantities"].as_array().unwrap();
    let is_named = |compared: &&Value| {
        let offenders = compared["beyond"].as_array().unwrap();
        offenders.iter().any(|offender| offender["pid"] == pid)
    };
    let named = quantities.iter().filter(is_named);
    named
        .map(|compared| compared["quantity"].as_str().unwrap().to_owned())
        .collect()
}

fn workload_in_tool(agent: &Agent, mode: &str) -> Workload {
    let mut command: Command = agent.client(&["exec", "--require", "--tool", "audited", "--mode", mode, "--"]);
    command.arg(resmgr_tests::binary("workload"));
    Workload::over(&mut command)
}

#[test]
fn at_rest_every_number_is_equal() {
    let agent = Agent::start(&[]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut workload = workload_in_tool(&agent, "throttle");
    workload.order(format!("connect {address} 3"));
    workload.order("touch 10000000");
    workload.order("spin-threads 3 20");
    workload.order("fork-idle");
    let (_, report) = audit(&agent);
    for pid in [workload.pid(), listener.pid()] {
        assert_eq!(beyond(&report, pid), [""; 0], "{report}");
    }
    assert!(number(&report["tools"]) >= 1);
    let status = agent.status(&["audited"]);
    let charges = status["tools"][0]["shared_bytes"].is_null();
    for compared in report["quantities"].as_array().unwrap() {
        let may_be_missing = match compared["quantity"].as_str().unwrap() {
            "tool_charged_bytes" => !charges,
            // Told by counters that a kernel may not have added up for any process.
            "file_bytes" | "shmem_bytes" | "swap_bytes" => true,
            _ => false,
        };
        assert!(may_be_missing || number(&compared["quiet"]) > 0, "{compared}");
    }
}

#[test]
fn under_change_every_number_lies_in_between() {
    let agent = Agent::start(&[]);
    let mut workload = workload_in_tool(&agent, "throttle");
    let pid = workload.pid();
    let busy = std::thread::spawn(move || {
        for _ in 0..20 {
            workload.order("open-close 2000");
            workload.order("spin 20");
            workload.order("open 1");
        }
        workload
    });
    while !busy.is_finished() {
        let (_, report) = audit(&agent);
        assert_eq!(beyond(&report, pid), [""; 0], "{report}");
    }
    drop(busy.join().unwrap());
}

#[test]
fn numbers_that_are_wrong_are_found_and_named() {
    // By events alone, what arrives over a socket is not seen, unless it could be refused.
    let agent = Agent::start(&["--no-sweep"]);
    let mut workload = workload_in_tool(&agent, "observe");
    workload.order("receive 9");
    let (output, report) = audit(&agent);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("beyond their bounds"), "{}", output.stderr);
    assert_eq!(report["ok"], false);
    assert!(beyond(&report, workload.pid()).contains(&"fds".to_owned()), "{report}");
    let shown = run(&mut agent.client(&["audit"])).stdout;
    assert!(
        shown.contains(&format!("fds of workload {}: ", workload.pid())),
        "{shown}"
    );
}

#[test]
fn only_root_may_audit() {
    let agent = Agent::start(&[]);
    let output = run(unprivileged(&mut agent.client(&["audit"])));
    assert_eq!(output.code, Some(4));
    assert!(output.stderr.contains("only root"), "{}", output.stderr);
}

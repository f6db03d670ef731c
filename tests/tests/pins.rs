//! Pins on the live kernel: what is counted while no agent runs, who takes over, and what is left.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use resmgr_tests::{Agent, Workload, number, open_fds, run, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// A workload that is a tool.
fn workload_in_tool(agent: &Agent, tool: &str) -> Workload {
    let mut command = agent.client(&["exec", "--require", "--tool", tool, "--"]);
    command.arg(resmgr_tests::binary("workload"));
    Workload::over(&mut command)
}

fn tool(agent: &Agent, name: &str) -> Value {
    let mut status = agent.status(&[name, "--fresh"]);
    assert_eq!(status["tools"].as_array().unwrap().len(), 1, "{status}");
    status["tools"][0].take()
}

/// Whether this kernel keeps the hooks on system calls when their agent is killed (5.15 and later).
fn keeps_all_hooks(agent: &Agent) -> bool {
    let status = agent.status(&[]);
    let (attached, pinned) = (&status["agent"]["hooks_attached"], &status["agent"]["hooks_pinned"]);
    let kept = attached == pinned;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(
        kept,
        !release.starts_with("5.10."),
        "{release}: {pinned} of {attached} hooks are pinned"
    );
    kept
}

#[test]
fn what_happens_while_no_agent_runs_is_counted() {
    let mut agent = Agent::start_pinned(&[]);
    let mut workload = workload_in_tool(&agent, "kept");
    let kept = keeps_all_hooks(&agent);
    let before = tool(&agent, "kept");
    agent.signal(Signal::KILL);
    let _ = agent.wait();
    let children_ns: u64 = workload.order("fork-many 1000").parse().unwrap();
    workload.order("open 100");
    agent.start_again(&[]);
    let after = tool(&agent, "kept");
    assert_eq!(after["instance"], before["instance"]);
    assert_eq!(after["registered_at"], before["registered_at"]);
    assert_eq!(after["root_pid"], workload.pid());
    assert_eq!(
        number(&after["processes_total"]) - number(&before["processes_total"]),
        1000
    );
    assert_eq!(number(&after["process_count"]), 1);
    let fds = open_fds(workload.pid()).len();
    assert_eq!(after["usage"]["file_handles"].as_array().unwrap().len(), fds);
    let used = number(&after["cpu_time_ns"]) - number(&before["cpu_time_ns"]);
    assert!(used >= children_ns, "{used} of {children_ns}");
    let opened = number(&after["events"]["fds_opened"]) - number(&before["events"]["fds_opened"]);
    let status = agent.status(&[]);
    if kept {
        assert_eq!(opened, 100);
        assert_eq!(status["agent"]["hooks_adopted"], status["agent"]["hooks_attached"]);
    } else {
        // No hook was on open meanwhile: the sweep has found them, and the drift says so.
        assert_eq!(opened, 0);
        assert!(number(&status["agent"]["hooks_adopted"]) >= 5, "{status}");
        assert_eq!(after["events"]["fds_open"], fds, "healed");
        assert!(
            number(&status["agent"]["drift_total"]["fds"]) >= 100,
            "{}",
            status["agent"]["drift_total"]
        );
    }
    drop(workload);
    wait_until("the tool ends with its process", 10, || {
        !agent.status(&["kept"])["tools"][0]["ended_s"].is_null()
    });
}

#[test]
fn other_programs_take_over_without_a_gap_and_without_counting_twice() {
    let mut agent = Agent::start_pinned(&[]);
    let mut workload = workload_in_tool(&agent, "moved");
    if !keeps_all_hooks(&agent) {
        // There is a gap in which nothing is on the calls; that it is healed is the other test's.
        return;
    }
    let before = tool(&agent, "moved");
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    // Calls without end while one set of programs takes over from the other.
    let calls = 200_000;
    let busy = std::thread::spawn(move || {
        workload.order(format!("open-close {calls}"));
        workload
    });
    // Tracking all makes other programs of them: other constants.
    agent.start_again(&["--track", "all"]);
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    agent.start_again(&[]);
    let workload = busy.join().unwrap();
    let after = tool(&agent, "moved");
    let counted = |what: &str| number(&after["events"][what]) - number(&before["events"][what]);
    assert_eq!((counted("fds_opened"), counted("fds_closed")), (calls, calls));
    assert_eq!(agent.status(&[])["agent"]["hooks_adopted"], 0, "these are new programs");
    let generations = fs::read_dir(agent.pin_dir().join("abi-2")).unwrap().flatten();
    let left = generations.filter(|entry| entry.file_name().to_string_lossy().starts_with("gen-"));
    assert_eq!(left.count(), 1, "the others are detached");
    drop(workload);
}

#[test]
fn an_ephemeral_agent_pins_nothing_and_release_removes_everything() {
    let mut ephemeral = Agent::start(&[]);
    assert!(!ephemeral.pin_dir().exists());
    ephemeral.signal(Signal::TERM);
    assert_eq!(ephemeral.wait(), Some(0));

    let mut agent = Agent::start_pinned(&[]);
    let (pins, folder) = (agent.pin_dir(), agent.folder_path());
    assert!(pins.join("active").exists());
    let held = run(&mut Agent::pinned_command(&folder, &["--release"]));
    assert_eq!(held.code, Some(1));
    assert!(held.stderr.contains("another agent's"), "{}", held.stderr);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(), Some(0));
    assert!(pins.join("active").exists(), "SIGTERM leaves them");
    let released = run(&mut Agent::pinned_command(&folder, &["--release"]));
    assert_eq!(released.code, Some(0), "{}", released.stderr);
    assert!(!pins.exists());
}

/// Starts an agent that is expected to refuse, and returns why it did.
fn refused(folder: &Path) -> String {
    let output = run(&mut Agent::pinned_command(folder, &[]));
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    output.stderr
}

#[test]
fn what_is_not_ours_is_named_and_stays() {
    let mut agent = Agent::start_pinned(&[]);
    let (pins, folder) = (agent.pin_dir(), agent.folder_path());
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    for (stranger, said) in [
        ("cilium", "not resmgr's"),
        ("abi-99", "newer resmgr"),
        ("abi-1", "older resmgr"),
        ("abi-2/notes", "not resmgr's"),
    ] {
        let path = pins.join(stranger);
        fs::create_dir(&path).unwrap();
        let error = refused(&folder);
        assert!(
            error.contains(said) && error.contains(path.to_str().unwrap()),
            "{error}"
        );
        let error = run(&mut Agent::pinned_command(&folder, &["--release"]));
        assert_eq!(error.code, Some(1));
        assert!(path.exists(), "it stays");
        fs::remove_dir(&path).unwrap();
    }
    // A link of another name than its program's.
    let generation = fs::read_dir(pins.join("abi-2"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .unwrap();
    let link = generation.join("sched_switch-sched_switch");
    let renamed = generation.join("process_fork-sched_switch");
    fs::rename(&link, &renamed).unwrap();
    let error = refused(&folder);
    assert!(error.contains("a link of the program sched_switch"), "{error}");
    fs::rename(&renamed, &link).unwrap();
    agent.start_again(&[]);
}

#[test]
fn pins_belong_on_a_bpf_file_system_and_to_one_agent() {
    let agent = Agent::start_pinned(&[]);
    let other = Agent::folder();
    let output = run(&mut Agent::command_with_pins(other.path(), &agent.pin_dir()));
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("another agent's"), "{}", output.stderr);

    let output = run(&mut Agent::command_with_pins(other.path(), &other.path().join("pins")));
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("not on a BPF file system"), "{}", output.stderr);
}

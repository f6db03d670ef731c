//! Pins on the live kernel: what is counted while no agent runs, who takes over, and what is left.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use resmgr::{
    kernel::{HostFacts, Kernel, LoadOptions, Mounts},
    model::{Source as _, ToolSums},
};
use resmgr_common::ABI_VERSION;
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
    // Ten seconds of it: what the tool does lies all over them.
    let (mut children_ns, killed) = (0, Instant::now());
    for part in 1..=10 {
        children_ns += workload.order("fork-many 100").parse::<u64>().unwrap();
        workload.order("open 10");
        wait_until("another second without an agent", 30, || {
            killed.elapsed() >= Duration::from_secs(part)
        });
    }
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
    // All of them, but where the kernel left out runs of the programs: these are counted, over all three sets.
    let missed = number(&agent.status(&[])["agent"]["losses"]["runs_missed"]);
    for what in ["fds_opened", "fds_closed"] {
        let counted = counted(what);
        assert!(
            counted <= calls && calls - counted <= missed,
            "{what}: {counted} of {calls}; {missed} runs missed"
        );
    }
    assert_eq!(agent.status(&[])["agent"]["hooks_adopted"], 0, "these are new programs");
    assert_eq!(generations(&agent.pin_dir(), ABI_VERSION), 1, "the others are detached");
    drop(workload);
}

/// The generations that are pinned as a version.
fn generations(pins: &Path, abi: u32) -> usize {
    let entries = fs::read_dir(pins.join(format!("abi-{abi}")))
        .into_iter()
        .flatten()
        .flatten();
    let is_one = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("gen-");
    entries.filter(is_one).count()
}

#[test]
fn a_newer_version_takes_over_from_an_older_one_which_then_leaves_it_alone() {
    let mut agent = Agent::start_pinned(&[]);
    let mut workload = workload_in_tool(&agent, "moved");
    let kept_hooks = keeps_all_hooks(&agent);
    let (pins, folder) = (agent.pin_dir(), agent.folder_path());
    let before = tool(&agent, "moved");
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    let (calls, children) = (100_000, 300);
    let busy = std::thread::spawn(move || {
        workload.order(format!("open-close {calls}"));
        workload.order(format!("fork-many {children}"));
        workload
    });
    let mut mounts = Mounts::default();
    mounts.ensure().unwrap();
    let newer = LoadOptions {
        pin_dir: Some(pins.clone()),
        abi: ABI_VERSION + 1,
        ..LoadOptions::default()
    };
    let mut kernel = Kernel::start(&HostFacts::look(None), &newer).unwrap();
    let workload = busy.join().unwrap();
    assert_eq!(kernel.capabilities().hooks_adopted, 0, "these are other programs");
    let kept = kernel.kept_tools().unwrap();
    assert_eq!(kept.len(), 1);
    let ToolSums {
        fds_opened,
        fds_closed,
        processes,
        processes_total,
        ..
    } = kernel.tool_sums(kept[0].0.slot).unwrap();
    let since = |now: u64, what: &str| now - number(&before["events"][what]);
    let (opened, closed) = (since(fds_opened, "fds_opened"), since(fds_closed, "fds_closed"));
    if kept_hooks {
        assert_eq!((opened, closed), (calls, calls));
    } else {
        // Nothing was on the calls until it came; nothing is counted twice all the same.
        assert!(opened <= calls && closed <= calls, "{opened} and {closed} of {calls}");
    }
    assert_eq!(
        (processes, processes_total),
        (1, number(&before["processes_total"]) + children)
    );
    assert_eq!(
        (generations(&pins, ABI_VERSION), generations(&pins, ABI_VERSION + 1)),
        (0, 1)
    );
    drop(kernel);

    let error = refused(&folder);
    assert!(error.contains("newer resmgr"), "{error}");
    let error = run(&mut Agent::pinned_command(&folder, &["--release"]));
    assert_eq!((error.code, generations(&pins, ABI_VERSION + 1)), (Some(1), 1));
    Kernel::release(&pins, ABI_VERSION + 1).unwrap();
    assert!(!pins.exists());
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
    let own = format!("abi-{ABI_VERSION}/notes");
    for (stranger, said) in [
        ("cilium", "not resmgr's"),
        ("abi-99", "newer resmgr"),
        ("abi-1/TOOLS", "no map"),
        (own.as_str(), "not resmgr's"),
    ] {
        let path = pins.join(stranger);
        fs::create_dir_all(&path).unwrap();
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
    let generation = fs::read_dir(pins.join(format!("abi-{ABI_VERSION}")))
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

//! What the agent remembers of tools, whatever ends it and whatever becomes of its file; and what is made of that.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use resmgr_tests::{Agent, number, open_fds, run, until, wait_until};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::Signal,
};
use serde_json::Value;

/// So that what takes minutes at the usual rate takes seconds.
const OFTEN: [&str; 2] = ["--sweep-interval", "100ms"];

/// The history of a tool as JSON.
fn history(agent: &Agent, arguments: &[&str]) -> Value {
    let mut all = vec!["history", "kept", "--format", "json"];
    all.extend(arguments);
    let output = run(&mut agent.client(&all));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

fn rows(history: &Value) -> &Vec<Value> {
    history["rows"].as_array().unwrap()
}

#[test]
fn a_history_is_what_was_used_and_survives_whatever_ends_the_agent() {
    let mut agent = Agent::start_pinned(&OFTEN);
    let mut kept = agent.workload("kept", &["--mode", "observe"]);
    let there = open_fds(kept.pid()).len() as u64;
    let samples = |agent: &Agent| rows(&history(agent, &["--resolution", "1s"])).clone();
    wait_until("there are samples", 30, || samples(&agent).len() > 10);
    kept.order("open 20");
    wait_until("there are more", 30, || {
        samples(&agent).last().unwrap()["use"]["fds"]["max"] == there + 20
    });
    let before = samples(&agent);
    let counts: Vec<u64> = before.iter().map(|row| number(&row["use"]["fds"]["max"])).collect();
    assert!(
        counts.iter().all(|count| *count == there || *count == there + 20),
        "{counts:?}"
    );
    assert!(
        counts.windows(2).all(|pair| pair[0] <= pair[1]),
        "in the order of time: {counts:?}"
    );
    // The minute that is not over, by its own samples.
    let minute = history(&agent, &["--resolution", "1m"]);
    let minute = rows(&minute).last().unwrap();
    assert_eq!(
        (&minute["under_way"], &minute["use"]["fds"]["max"]),
        (&true.into(), &(there + 20).into())
    );
    let limits = number(&minute["limits"]["fds"]);
    assert_eq!(limits, 50);

    agent.signal(Signal::KILL);
    let _ = agent.wait();
    agent.start_again(&OFTEN);
    wait_until("it goes on", 30, || samples(&agent).len() > before.len() + 10);
    let after = samples(&agent);
    assert_eq!(after[..before.len()], before[..], "what was asked for was written");
    assert_eq!(
        rows(&history(&agent, &["--resolution", "1h"])).len(),
        1,
        "the hour goes on"
    );
    let learned = |agent: &Agent| number(&agent.tool("kept")["learned"]["memory"]["samples"]);
    wait_until("something is learned", 30, || learned(&agent) > 30);
    let known = learned(&agent);
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    // What it used at most is known, though it uses less by now.
    kept.order("close 20");
    agent.start_again(&OFTEN);
    assert!(learned(&agent) >= known, "it is known after a restart");
    assert_eq!(history(&agent, &[])["instances"][0]["peaks"][2], there + 20);
    assert_eq!(number(&agent.tool("kept")["peak"]["open_fds"]), there + 20);

    // Part of it, as a table and as CSV.
    let last = history(&agent, &["--resolution", "1s", "--since", "1s"]);
    assert!(rows(&last).len() < 30, "{}", rows(&last).len());
    let output = run(&mut agent.client(&[
        "history",
        "kept",
        "--format",
        "csv",
        "--of",
        "fds",
        "--resolution",
        "1s",
    ]));
    let csv: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(csv[0], "at,instance,measure,count,min,mean,max,p50,p95,p99,need,limit");
    assert!(csv.len() > before.len() && csv[1].contains(",fds,1,"), "{}", csv[1]);
    let table = run(&mut agent.client(&["history", "kept"])).stdout;
    assert!(table.starts_with("FROM") && table.contains("MEMORY"), "{table}");
    let other = run(&mut agent.client(&["history", "nobody"]));
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("no tool nobody"), "{}", other.stderr);
    let mut unprivileged = agent.client(&["history", "kept"]);
    let refused = run(resmgr_tests::unprivileged(&mut unprivileged));
    assert_eq!(refused.code, Some(1), "another user's: {}", refused.stdout);
}

#[test]
fn limits_are_suggested_replayed_and_reported_from_what_was_recorded() {
    let folder = Agent::folder();
    let agent = Agent::start(&OFTEN);
    let mut recorded = agent.workload("recorded", &["--mode", "observe"]);
    let there = open_fds(recorded.pid()).len() as u64;
    recorded.order(format!("open {}", 100 - there));
    recorded.order(format!("touch {}", 80 << 20));
    wait_until("there is enough", 60, || agent.remembered("recorded") > 150);
    let ask = |arguments: &[&str]| {
        let output = run(&mut agent.client(arguments));
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
        output.stdout
    };
    let suggested = ask(&["limits", "suggest", "recorded", "--resolution", "1s"]);
    let config = &suggested[suggested.find('[').unwrap()..];
    // What is printed is what the agent reads.
    let path = folder.path().join("resmgr.toml");
    fs::write(&path, config).unwrap();
    let other = Agent::start(&["--config", path.to_str().unwrap()]);
    let _tool = other.workload("recorded", &[]);
    let limits = other.tool("recorded")["limits"].take();
    // 100 and a quarter of it, and one and a half times as many.
    assert_eq!(
        (number(&limits["fds"]["base"]), number(&limits["fds"]["max"])),
        (130, 150),
        "{config}"
    );
    assert!(
        (100..140).contains(&(number(&limits["memory"]["base"]) >> 20)),
        "{config}"
    );
    assert!(agent.explain("recorded").contains("fds = \"130:150\""));
    let json: Value =
        serde_json::from_str(&ask(&["limits", "suggest", "recorded", "--resolution", "1s", "--json"])).unwrap();
    let fds = json
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["resource"] == "fds")
        .unwrap();
    assert_eq!((number(&fds["base"]), number(&fds["now"]["base"])), (130, 50), "{fds}");

    let said = folder.path().join("said.csv");
    let replayed = [
        "backtest",
        "limits",
        "--tool",
        "recorded",
        "--of",
        "fds",
        "--resolution",
        "1s",
        "--out",
    ];
    let table = ask(&[&replayed[..], &[said.to_str().unwrap()]].concat());
    for row in ["calm", "balanced", "safe", "as it was"] {
        assert!(table.contains(row), "{row} in {table}");
    }
    let said = fs::read_to_string(said).unwrap();
    let needs: Vec<f64> = said
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap().1.parse().unwrap())
        .collect();
    let last = needs.last().unwrap();
    assert!(needs.len() > 100 && (100.0..160.0).contains(last), "{last}");

    let page = folder.path().join("report.html");
    ask(&["report", "recorded", "-o", page.to_str().unwrap()]);
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(
        page.matches("<svg").count(),
        5,
        "memory, CPU time, CPU use, descriptors, connections"
    );
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(
        page.contains("class=\"band\"") && page.contains("limit in force"),
        "the forecast"
    );
    for outside in ["http://", "https://", "src=", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let nowhere = run(&mut agent.client(&["report", "recorded", "-o", "/nowhere/report.html"]));
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stderr.contains("/nowhere/report.html"), "{}", nowhere.stderr);
}

#[test]
fn a_history_that_cannot_be_read_is_set_aside_and_another_one_begins() {
    let mut agent = Agent::start_pinned(&OFTEN);
    let _kept = agent.workload("kept", &["--mode", "observe"]);
    wait_until("there are samples", 30, || !rows(&history(&agent, &[])).is_empty());
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    let state = agent.folder_path().join("state");
    let damaged = "what somebody has written over it\n".repeat(300);
    fs::write(state.join("history.redb"), &damaged).unwrap();
    agent.start_again(&OFTEN);
    wait_until("another one begins", 30, || !rows(&history(&agent, &[])).is_empty());
    let names: Vec<String> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let aside = names.iter().find(|name| name.starts_with("history.redb.set-aside-"));
    assert_eq!(fs::read_to_string(state.join(aside.unwrap())).unwrap(), damaged);
}

/// A small file system over a folder, which is gone with it.
struct Small(PathBuf);

impl Small {
    fn over(folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), Some(c"size=4m")).unwrap();
        Self(folder.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn on_a_full_disk_the_agent_says_so_goes_on_and_writes_again_when_there_is_room() {
    let folder = Agent::folder();
    let state = folder.path().join("state");
    let small = Small::over(&state);
    let mut agent = Agent::start_pinned_in(folder, &OFTEN);
    let full = state.join("full");
    // Until there is no room at all.
    let filled = fs::write(&full, vec![0; 8 << 20]).unwrap_err();
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    let mut going = agent.workload("going", &["--mode", "observe"]);
    // What is asked for is written first.
    let asked = || run(&mut agent.client(&["history", "going"])).code;
    let health = || agent.status(&[])["agent"]["history"].take();
    let failing = until("it is said", || {
        asked();
        Some(health()).filter(|health| health["failure"].is_string())
    });
    assert!(failing["failure"].as_str().unwrap().contains("history"), "{failing}");
    going.order("open 30");
    let counted = agent.tool("going")["usage"]["file_handles"].as_array().unwrap().len();
    assert_eq!(counted, open_fds(going.pid()).len(), "everything else goes on");
    fs::remove_file(&full).unwrap();
    wait_until("it is written again", 90, || {
        asked();
        health()["failure"].is_null()
    });
    assert!(number(&health()["samples_lost"]) > 0);
    wait_until("there is a history again", 30, || asked() == Some(0));
    drop(going);
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    drop(small);
}

//! Bad luck and bad input of limits: each is said, by an error or an alert; other tools go on, and nothing is left behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use resmgr_tests::{Agent, Process, Workload, binary, cgroup2, keyed, number, open_fds, run, until};
use rustix::process::Signal;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// A cgroup of a test's own, outside of what is the agent's.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn make(agent: &Agent) -> Self {
        let path = PathBuf::from(format!("{}-elsewhere", agent.cgroup_root().display()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn takes(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Where the test has failed, what is in it is ended; what has just ended may be in it for a moment.
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for left in procs.lines().filter_map(|line| line.parse().ok()) {
            let _ = rustix::process::kill_process(pid(left), Signal::KILL);
        }
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Ends a tool, all of it, with nothing left.
fn clean_up(agent: &Agent, name: &str) -> Value {
    let output = run(&mut agent.client(&["cleanup", name, "--grace", "200ms", "--json"]));
    assert_eq!(output.code, Some(0), "{} {}", output.stdout, output.stderr);
    let mut report: Value = serde_json::from_str(&output.stdout).unwrap();
    let mut report = report["tools"][0].take();
    assert_eq!(
        (&report["left"], &report["cgroup_left"]),
        (&Value::Array(Vec::new()), &Value::Null)
    );
    report.take()
}

/// A tool that is well is not concerned by what befalls another.
fn is_well(agent: &Agent, name: &str, workload: &mut Workload) {
    workload.order(format!("rounds 50 {}", 64 << 10));
    let shown = agent.tool(name);
    assert_eq!(
        (number(&shown["process_count"]), &shown["escaped"]),
        (1, &Value::Array(Vec::new()))
    );
    assert_eq!(agent.alerts(name), Vec::<Value>::new());
}

/// The cgroups that are left under an agent's root.
fn leaves(agent: &Agent) -> Vec<String> {
    let entries = fs::read_dir(agent.cgroup_root()).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// A tool's standard error as it starts, and the tool.
fn start_and_listen(agent: &Agent, folder: &Path, tool: &str, flags: &[&str]) -> (Workload, String) {
    let said = folder.join(format!("{tool}.err"));
    let mut exec = agent.exec(tool, flags);
    exec.arg(binary("workload")).stderr(fs::File::create(&said).unwrap());
    let workload = Workload::over(&mut exec);
    (workload, fs::read_to_string(&said).unwrap())
}

#[test]
fn a_leaf_that_somebody_removes_is_told_and_its_tool_is_ended_all_the_same() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut neighbour = agent.workload("neighbour", &["--memory", "64M:64M"]);
    let mut lost = agent.workload("lost", &["--memory", "64M:64M", "--connections", "2:2"]);
    let leaf = agent.leaf("lost");
    let elsewhere = Elsewhere::make(&agent);
    elsewhere.takes(lost.pid());
    until("its leaf is removed", || fs::remove_dir(&leaf).ok());
    let alert = agent.alert("lost", |alert| alert["kind"] == "escaped");
    let message = alert["message"].as_str().unwrap();
    assert!(message.contains("resmgr cleanup lost"), "{message}");
    assert_eq!(agent.tool("lost")["escaped"], serde_json::json!([lost.pid()]));
    // It is asked to hold more, in vain where it was held there, and says so; what needs no leaf holds.
    let set = run(&mut agent.client(&["limits", "set", "lost", "--memory", "96M:96M"]));
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    if agent.has_controller("memory") {
        let alert = agent.alert("lost", |alert| alert["kind"] == "not_held");
        let message = alert["message"].as_str().unwrap();
        assert!(
            message.contains("memory.") && message.contains("No such file"),
            "{message}"
        );
    }
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    assert_eq!(lost.order(format!("connect-at-once {address} 5")), "2 3 0");
    is_well(&agent, "neighbour", &mut neighbour);
    clean_up(&agent, "lost");
    assert!(!runs(lost.pid()));
    lost.wait();
    is_well(&agent, "neighbour", &mut neighbour);
    assert_eq!(leaves(&agent).len(), 1, "{:?}", leaves(&agent));
}

#[test]
fn who_moves_itself_out_is_told_and_ended_with_what_it_forked() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut neighbour = agent.workload("neighbour", &[]);
    let elsewhere = Elsewhere::make(&agent);
    let script = format!(
        "echo $$ > {0}/cgroup.procs; trap '' TERM; (setsid sleep 1000 &); while :; do sleep 1000; done",
        elsewhere.0.display()
    );
    let mut gone = Process::start(agent.exec("gone", &[]).args(["sh", "-c", &script]));
    let alert = agent.alert("gone", |alert| alert["kind"] == "escaped");
    assert_eq!(
        (&alert["state"], &alert["level"]),
        (&"raised".into(), &"warning".into())
    );
    let shown = until("all three are seen", || {
        let shown = agent.tool("gone");
        (number(&shown["process_count"]) == 3).then_some(shown)
    });
    let escaped: Vec<u32> = serde_json::from_value(shown["escaped"].clone()).unwrap();
    assert_eq!(escaped.len(), 3, "{shown}");
    assert!(escaped.contains(&gone.pid()));
    let report = clean_up(&agent, "gone");
    assert_eq!(number(&report["killed"]) + number(&report["ended"]), 3, "{report}");
    assert!(escaped.iter().all(|pid| !runs(*pid)), "{report}");
    gone.wait();
    is_well(&agent, "neighbour", &mut neighbour);
}

#[test]
fn where_there_is_no_room_for_a_leaf_the_tool_runs_and_that_is_said() {
    let folder = Agent::folder();
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut neighbour = agent.workload("neighbour", &[]);
    let room = agent.cgroup_root().join("cgroup.max.descendants");
    fs::write(&room, "1").unwrap();
    let flags = ["--memory", "32M:64M", "--connections", "2:2"];
    let (mut homeless, said) = start_and_listen(&agent, folder.path(), "homeless", &flags);
    for word in [
        "the tool has no cgroup of its own",
        "homeless-2",
        "Resource temporarily unavailable",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert_eq!(agent.tool("homeless")["cgroup"], Value::Null);
    // What needs no cgroup of its own holds all the same.
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    assert_eq!(homeless.order(format!("connect-at-once {address} 5")), "2 3 0");
    until("each process's memory is limited", || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", homeless.pid())).unwrap();
        let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
        data.contains(&(64 * MIB).to_string()).then_some(())
    });
    clean_up(&agent, "homeless");
    homeless.wait();
    fs::write(&room, "max").unwrap();
    let housed = agent.workload("housed", &[]);
    assert!(agent.leaf("housed").is_dir());
    drop(housed);
    is_well(&agent, "neighbour", &mut neighbour);
}

#[test]
fn where_a_root_of_leaves_is_busy_tools_are_held_without_its_controllers_and_that_is_said() {
    let folder = Agent::folder();
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    // A process in the root itself: the kernel does not give memory away.
    let root = agent.cgroup_root();
    fs::create_dir(&root).unwrap();
    let mut squatter = Process::start(Command::new("sleep").arg("1000"));
    fs::write(root.join("cgroup.procs"), squatter.pid().to_string()).unwrap();
    let (mut held, said) = start_and_listen(&agent, folder.path(), "held", &["--memory", "32M:64M"]);
    assert!(said.contains("memory") && said.contains("RLIMIT_DATA"), "{said}");
    let controllers = fs::read_to_string(agent.leaf("held").join("cgroup.controllers")).unwrap();
    assert!(!controllers.contains("memory"), "{controllers}");
    let refused = held.order(format!("ramp {} {} anonymous", 80 * MIB, 1000 * MIB));
    let refused = resmgr_tests::Ramped::of(&refused);
    assert_eq!(refused.errno, rustix::io::Errno::NOMEM.raw_os_error(), "{refused:?}");
    assert!(refused.had <= 64 * MIB, "{refused:?}");
    clean_up(&agent, "held");
    held.wait();
    assert!(runs(squatter.pid()), "it is nobody's tool");
    rustix::process::kill_process(pid(squatter.pid()), Signal::KILL).unwrap();
    squatter.wait();
    assert_eq!(leaves(&agent), Vec::<String>::new());
}

fn pid(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[test]
fn a_leafs_name_that_is_taken_is_left_to_who_has_it() {
    let agent = Agent::start(&[]);
    let mut neighbour = agent.workload("neighbour", &[]);
    let taken = agent.cgroup_root().join("second-2");
    fs::create_dir(&taken).unwrap();
    let mut squatter = Process::start(Command::new("sleep").arg("1000"));
    fs::write(taken.join("cgroup.procs"), squatter.pid().to_string()).unwrap();
    let mut second = agent.workload("second", &["--memory", "32M:64M"]);
    assert_eq!(agent.leaf("second"), agent.cgroup_root().join("second-2-2"));
    clean_up(&agent, "second");
    second.wait();
    assert!(runs(squatter.pid()) && taken.is_dir());
    rustix::process::kill_process(pid(squatter.pid()), Signal::KILL).unwrap();
    squatter.wait();
    until("it is empty", || fs::remove_dir(&taken).ok());
    is_well(&agent, "neighbour", &mut neighbour);
}

#[test]
fn where_cgroups_are_read_only_tools_run_and_what_needs_no_cgroup_holds() {
    let folder = Agent::folder();
    let script = "mount --make-rprivate / && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let mount = cgroup2();
    let agent = Agent::start_by(
        &["unshare", "-m", "sh", "-c", script, &mount],
        &["--sweep-interval", "100ms"],
    );
    let flags = ["--memory", "32M:64M", "--connections", "2:2", "--grace", "300ms"];
    let (mut held, said) = start_and_listen(&agent, folder.path(), "held", &flags);
    assert!(
        said.contains("the tool has no cgroup of its own") && said.contains("Read-only file system"),
        "{said}"
    );
    assert_eq!(agent.tool("held")["cgroup"], Value::Null);
    assert!(!agent.cgroup_root().exists());
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    assert_eq!(held.order(format!("connect-at-once {address} 5")), "2 3 0");
    held.order(format!("open {}", 45 - open_fds(held.pid()).len()));
    agent.alert("held", |alert| alert["kind"] == serde_json::json!({"limit": "fds"}));
    let mut other = agent.workload("other", &[]);
    clean_up(&agent, "held");
    assert!(!runs(held.pid()));
    held.wait();
    is_well(&agent, "other", &mut other);
}

#[test]
fn what_is_no_limit_is_refused_wherever_it_is_written() {
    let folder = Agent::folder();
    let path = folder.path().join("resmgr.toml");
    let agent = Agent::start(&[]);
    let mut running = agent.workload("running", &["--memory", "32M:64M"]);
    let before = agent.tool("running")["limits"].take();
    let no_limits = |resource: &str| match resource {
        "memory" => ["500M:100M", "0", "-5M", "1e30", "100 bananas", "", "9999999999999999T"],
        "cpu" => [
            "60s:30s",
            "0s",
            "-1s",
            "1e30s",
            "100 bananas",
            "",
            "99999999999999999999s",
        ],
        _ => ["90:60", "0", "-1", "1e30", "100 bananas", "", "99999999999999999999"],
    };
    for resource in ["memory", "cpu", "fds", "connections"] {
        for text in no_limits(resource) {
            let flag = format!("--{resource}={text}");
            let ran = run(agent
                .client(&["exec", "--require", &flag, "--", "echo", "ran"])
                .stderr(Stdio::piped()));
            let set = run(&mut agent.client(&["limits", "set", "running", &flag]));
            for output in [&ran, &set] {
                assert_eq!(
                    (output.code, output.stdout.as_str()),
                    (Some(2), ""),
                    "{flag}: {}",
                    output.stderr
                );
                assert!(output.stderr.contains(resource), "{flag}: {}", output.stderr);
            }
            for table in ["limits", "tool.running", "ceiling"] {
                fs::write(&path, format!("[{table}]\n{resource} = {text:?}\n")).unwrap();
                let output = run(&mut Agent::command(
                    folder.path(),
                    &["--config", path.to_str().unwrap()],
                ));
                assert_eq!(
                    output.code,
                    Some(2),
                    "[{table}] {resource} = {text:?}: {}",
                    output.stderr
                );
                assert!(
                    output.stderr.contains(resource),
                    "[{table}] {text:?}: {}",
                    output.stderr
                );
            }
        }
    }
    assert_eq!(agent.tool("running")["limits"], before);
    running.order("numbers");
    if agent.has_controller("memory") {
        assert_eq!(keyed(&agent.leaf_says("running", "memory.events"), "max"), 0);
    }
}

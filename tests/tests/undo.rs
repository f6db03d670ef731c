//! What is changed on the host for a tool is put back, whoever has changed it and however that one ended; and what slows a
//! tool where there is no quota of CPU time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Process, Workload, binary, number, run, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// `resmgr exec --tool NAME FLAGS -- `, to be given a command.
fn exec(agent: &Agent, tool: &str, flags: &[&str]) -> Command {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool]);
    exec.args(flags).arg("--");
    exec
}

fn tool(agent: &Agent, name: &str) -> Value {
    agent.status(&[name, "--fresh"])["tools"][0].take()
}

/// Whether this host's leaves have a controller.
fn has(agent: &Agent, controller: &str) -> bool {
    let controllers = fs::read_to_string(agent.cgroup_root().join("cgroup.controllers")).unwrap();
    controllers.split_whitespace().any(|name| name == controller)
}

/// What the kernel says of a process that an agent may change: where it is, what it may have, who goes first, and how it
/// is scheduled.
#[derive(Debug, PartialEq)]
struct Account {
    cgroup: String,
    data: String,
    files: String,
    oom_score: String,
    policy: String,
}

impl Account {
    fn of(pid: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let line = |text: &str, prefix: &str| text.lines().find(|line| line.starts_with(prefix)).unwrap().to_owned();
        let stat = read("stat");
        Self {
            cgroup: line(&read("cgroup"), "0::"),
            data: line(&read("limits"), "Max data size"),
            files: line(&read("limits"), "Max open files"),
            oom_score: read("oom_score_adj"),
            // Field 41; what is in brackets may hold spaces.
            policy: stat
                .rsplit_once(')')
                .unwrap()
                .1
                .split_whitespace()
                .nth(38)
                .unwrap()
                .to_owned(),
        }
    }
}

/// A workload in a tool that is held by all there is, with a child of its own, and the account of one that is in none.
fn held(agent: &Agent) -> (Workload, Vec<u32>, Account) {
    let usual = Workload::start();
    let before = Account::of(usual.pid());
    let flags = ["--memory", "32M:64M", "--mode", "enforce"];
    let mut held = Workload::over(exec(agent, "held", &flags).arg(binary("workload")));
    let child = held.order("fork-idle");
    let pids = vec![held.pid(), child.parse().unwrap()];
    let shown = tool(agent, "held");
    assert_eq!(number(&shown["process_count"]), 2, "{shown}");
    for &pid in &pids {
        let now = Account::of(pid);
        assert!(now.cgroup.contains("/held-"), "{now:?}");
        assert_eq!(now.oom_score.trim(), "300");
        assert_eq!(now.data.contains("67108864"), !has(agent, "memory"), "{now:?}");
        // Where nothing refuses them on the tool's total.
        let refuses = agent.status(&[])["agent"]["refuses_descriptors"].as_bool().unwrap();
        assert_eq!(now.files == before.files, refuses, "{now:?}");
    }
    (held, pids, before)
}

#[test]
fn an_ephemeral_agent_puts_everything_back_when_it_stops() {
    let mut agent = Agent::start(&["--sweep-interval", "100ms"]);
    let (mut held, pids, before) = held(&agent);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(), Some(0));
    for pid in pids {
        assert_eq!(Account::of(pid), before);
    }
    assert!(!agent.cgroup_root().exists(), "the leaves have gone");
    assert!(
        !agent.folder_path().join("state").exists(),
        "nothing is left to be put back"
    );
    held.order("numbers");
}

#[test]
fn what_an_agent_that_was_killed_had_changed_is_put_back_by_release() {
    let mut agent = Agent::start_pinned(&["--sweep-interval", "100ms"]);
    let (mut held, pids, before) = held(&agent);
    agent.signal(Signal::KILL);
    let _ = agent.wait();
    // It holds on, and who looks after it next goes on from there.
    assert_ne!(Account::of(pids[1]), before);
    agent.start_again(&["--sweep-interval", "100ms"]);
    tool(&agent, "held");
    assert_ne!(Account::of(pids[1]), before);
    // One that runs keeps its own.
    let refused = run(&mut Agent::pinned_command(&agent.folder_path(), &["--release"]));
    assert_eq!(refused.code, Some(1));
    assert_ne!(Account::of(pids[0]), before);
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    let released = run(&mut Agent::pinned_command(&agent.folder_path(), &["--release"]));
    assert_eq!(released.code, Some(0), "{}", released.stderr);
    for pid in pids {
        assert_eq!(Account::of(pid), before);
    }
    assert!(!agent.cgroup_root().exists());
    held.order("numbers");
}

#[test]
fn what_nobody_manages_any_more_is_put_back_by_the_next_start() {
    // Ephemeral, and killed: its programs have gone with it, and nobody knows its tools.
    let mut agent = Agent::start(&["--sweep-interval", "100ms"]);
    let (mut held, pids, before) = held(&agent);
    agent.signal(Signal::KILL);
    let _ = agent.wait();
    assert_ne!(Account::of(pids[0]), before);
    agent.start_again(&[]);
    for pid in pids {
        assert_eq!(Account::of(pid), before);
    }
    assert_eq!(agent.status(&["--fresh"])["tools"], Value::Array(Vec::new()));
    held.order("numbers");
}

#[test]
fn what_is_only_observed_is_let_go() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let (mut held, pids, before) = held(&agent);
    let set = run(&mut agent.client(&["limits", "set", "held", "--mode", "observe"]));
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    until("both are as before, but for their cgroup", || {
        let is_free = |&pid: &u32| {
            let now = Account::of(pid);
            (now.data, now.oom_score) == (before.data.clone(), before.oom_score.clone())
        };
        pids.iter().all(is_free).then_some(())
    });
    held.order("numbers");
}

#[test]
fn a_state_folder_belongs_to_one_agent_and_damage_is_set_aside() {
    let mut agent = Agent::start_pinned(&[]);
    let folder = agent.folder_path();
    let other = Agent::folder();
    let state = std::os::unix::fs::symlink(folder.join("state"), other.path().join("state"));
    state.unwrap();
    let refused = run(&mut Agent::command(other.path(), &[]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--state-dir"), "{}", refused.stderr);
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    let journal = folder.join("state/journal");
    let whole = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, format!("{whole}{{\"instance\":7,\"chan")).unwrap();
    agent.start_again(&[]);
    agent.status(&[]);
    let aside = fs::read_to_string(folder.join("state/journal.damaged")).unwrap();
    assert!(aside.starts_with(&whole) && aside.len() > whole.len());
}

/// The processes that the agent has started and that freeze by turns.
fn freezers(agent: u32) -> BTreeSet<u32> {
    let children = fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap();
    let is_freezer = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("freeze-by-turns")
    };
    let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.filter(is_freezer).collect()
}

fn frozen(leaf: &Path) -> bool {
    let events = fs::read_to_string(leaf.join("cgroup.events")).unwrap();
    events.lines().any(|line| line == "frozen 1")
}

/// CPU time that a process had used, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(')').unwrap().1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_a_quota_an_operation_beyond_its_cpu_time_runs_by_turns_and_is_never_left_frozen() {
    let mut agent = Agent::start_pinned(&["--sweep-interval", "100ms"]);
    let mut spin = exec(&agent, "spin", &["--cpu", "10ms:20ms", "--mode", "throttle"]);
    let mut spin = Process::start(spin.args(["sh", "-c", "while :; do :; done"]));
    let shown = until("it is beyond its maximum, and something is done", || {
        let shown = agent.status(&["spin", "--fresh"])["tools"].get(0)?.clone();
        let actions = shown["actions"].as_array()?;
        let slowed = actions.iter().any(|action| {
            let step = action["step"].as_str().unwrap_or_default();
            action["to"] == 8 && ["quota", "turns"].contains(&step)
        });
        slowed.then_some(shown)
    });
    let leaf = PathBuf::from(shown["cgroup"].as_str().unwrap());
    if has(&agent, "cpu") {
        assert_eq!(freezers(agent.pid()), BTreeSet::new(), "the kernel's quota is enough");
        run(&mut agent.client(&["cleanup", "spin"]));
        spin.wait();
        return;
    }
    until("it is frozen", || frozen(&leaf).then_some(()));
    until("it runs", || (!frozen(&leaf)).then_some(()));
    // 8 % of the time, on a machine that others may be busy on: no more than a quarter, and never nothing for long.
    let (before, began) = (ticks(spin.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let used = Duration::from_millis(10 * (ticks(spin.pid()) - before));
    assert!(used < began.elapsed() / 4, "{used:?} of {:?}", began.elapsed());

    // Who freezes may be killed too, with something frozen: another one takes over.
    let first = freezers(agent.pid());
    assert_eq!(first.len(), 1);
    let killed = Pid::from_raw(i32::try_from(*first.first().unwrap()).unwrap()).unwrap();
    kill_process(killed, Signal::KILL).unwrap();
    let freezer = until("another one is there", || {
        let now = freezers(agent.pid());
        (now.len() == 1 && now != first).then_some(now)
    });
    until("it runs by turns", || (!frozen(&leaf)).then_some(()));
    until("it is frozen by turns", || frozen(&leaf).then_some(()));
    agent.signal(Signal::KILL);
    let _ = agent.wait();
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
    until("who froze it has ended with the agent", || {
        freezer.iter().all(gone).then_some(())
    });
    assert!(!frozen(&leaf), "nothing is left frozen");
    agent.start_again(&["--sweep-interval", "100ms"]);
    until("it runs by turns again", || frozen(&leaf).then_some(()));

    // Who is frozen hears that it is to end.
    let ended = run(&mut agent.client(&["cleanup", "spin", "--json"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (
            number(&report["tools"][0]["ended"]),
            number(&report["tools"][0]["killed"])
        ),
        (1, 0),
        "{report}"
    );
    spin.wait();
    until("nobody freezes any more", || {
        freezers(agent.pid()).is_empty().then_some(())
    });
}

#[test]
fn without_a_quota_an_operation_a_little_beyond_its_cpu_time_gives_way_to_others() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut busy = Workload::over(exec(&agent, "busy", &["--mode", "throttle"]).arg(binary("workload")));
    // Beside what `resmgr exec` has used before it became it, which is much where a machine is emulated.
    busy.order("spin 300");
    let used: u64 = number(&tool(&agent, "busy")["operation_cpu_ms"]);
    // A tenth beyond: for that it is to have half of a core.
    let max = format!("--cpu={}ms", used * 10 / 11);
    assert_eq!(run(&mut agent.client(&["limits", "set", "busy", &max])).code, Some(0));
    let is_idle = |pid: u32| Account::of(pid).policy == "5";
    if has(&agent, "cpu") {
        until("the quota is drawn", || {
            let leaf = PathBuf::from(tool(&agent, "busy")["cgroup"].as_str()?);
            fs::read_to_string(leaf.join("cpu.max"))
                .ok()?
                .starts_with("50000 ")
                .then_some(())
        });
        assert!(!is_idle(busy.pid()));
        return;
    }
    // SCHED_IDLE is 5. The operation is over a second after its last use: it is seen before that, or is used again.
    until("it gives way", || {
        busy.order("spin 5");
        is_idle(busy.pid()).then_some(())
    });
    assert_eq!(
        run(&mut agent.client(&["limits", "set", "busy", "--cpu=1h"])).code,
        Some(0)
    );
    until("it has its share again", || (!is_idle(busy.pid())).then_some(()));
    let shown = tool(&agent, "busy");
    let actions = shown["actions"].as_array().unwrap().iter();
    let idle: Vec<&Value> = actions.filter(|action| action["step"] == "idle").collect();
    let (first, last) = (&idle[0]["to"], &idle[idle.len() - 1]["to"]);
    assert_eq!((first, last), (&100.into(), &Value::Null), "{shown}");
}

//! What tools are held by: memory, CPU time, descriptors; gently first, and by the kernel where it can.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::process::ExitStatusExt as _, path::PathBuf, process::Command, thread::sleep, time::Duration};

use resmgr_tests::{Agent, Process, Workload, binary, number, open_fds, run, until};
use rustix::process::Signal;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// `resmgr exec --tool NAME FLAGS -- `, to be given a command.
fn exec(agent: &Agent, tool: &str, flags: &[&str]) -> Command {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool]);
    exec.args(flags).arg("--");
    exec
}

fn start(agent: &Agent, tool: &str, flags: &[&str]) -> Workload {
    Workload::over(exec(agent, tool, flags).arg(binary("workload")))
}

fn tool(agent: &Agent, name: &str) -> Value {
    agent.status(&[name, "--fresh"])["tools"][0].take()
}

/// Whether this host's leaves have a controller: where they have none, that is asserted to be so.
fn has(agent: &Agent, controller: &str) -> bool {
    let controllers = fs::read_to_string(agent.cgroup_root().join("cgroup.controllers")).unwrap();
    let has = controllers.split_whitespace().any(|name| name == controller);
    let is_machine = std::env::var_os("RESMGR_TEST_VM").is_some();
    assert!(
        has || !is_machine,
        "the virtual machines have all controllers: {controllers}"
    );
    has
}

fn leaf(agent: &Agent, name: &str) -> PathBuf {
    PathBuf::from(tool(agent, name)["cgroup"].as_str().unwrap())
}

/// What a file of a leaf says.
fn said(leaf: &std::path::Path, file: &str) -> String {
    fs::read_to_string(leaf.join(file)).unwrap().trim().to_owned()
}

/// The steps that were taken, like `memory hard_line`.
fn steps(tool: &Value) -> Vec<String> {
    let step = |action: &Value| {
        let text = |key: &str| action[key].as_str().unwrap_or("tool").to_owned();
        format!("{} {}", text("resource"), text("step"))
    };
    tool["actions"].as_array().unwrap().iter().map(step).collect()
}

fn levels(tool: &Value, resource: &str) -> Vec<String> {
    let crossings = tool["crossings"].as_array().unwrap().iter();
    let risen = crossings.filter(|crossing| crossing["resource"] == resource && crossing["risen"] == true);
    risen
        .map(|crossing| crossing["level"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn memory_beyond_the_maximum_is_never_had_and_warnings_come_first() {
    let agent = Agent::start(&[]);
    let mut neighbour = start(&agent, "neighbour", &["--memory", "64M:64M"]);
    neighbour.order(format!("touch {}", 8 * MIB));
    let script = r#"for n in $(seq 40); do echo "touch $((2 << 20))"; done"#;
    let mut greedy = exec(&agent, "greedy", &["--memory", "16M:64M"]);
    greedy.args([
        "sh",
        "-c",
        &format!("({script}) | exec \"$0\" >/dev/null 2>&1; exit $?"),
    ]);
    let status = Process::start(greedy.arg(binary("workload"))).wait();
    assert!(!status.success(), "{status}");
    let ended = until("the tool is over", || {
        let tool = tool(&agent, "greedy");
        tool["ended_s"].is_u64().then_some(tool)
    });
    let told = levels(&ended, "memory");
    for level in ["warning", "critical"] {
        assert!(told.contains(&level.to_owned()), "{level} in {told:?}: {ended}");
    }
    let peak = number(&ended["peak"]["memory_bytes"]);
    // What events count of pages that were charged before it was the tool's, too.
    assert!(peak <= 68 * MIB, "{} MiB", peak >> 20);
    // Told apart: by the kernel for want of memory, or by its own mistake, to go on where there is none.
    let exit = &ended["root_exit"];
    if has(&agent, "memory") {
        assert_eq!(
            (&exit["cause"], number(&exit["signal"])),
            (&"out_of_memory".into(), 9),
            "{ended}"
        );
        assert!(number(&ended["oom_kills"]) > 0);
    }
    if has(&agent, "memory") {
        assert!(steps(&ended).contains(&"memory hard_line".to_owned()), "{ended}");
    }
    // Who has a limit of its own, and is far from it, notices nothing.
    let neighbours = tool(&agent, "neighbour");
    assert_eq!(levels(&neighbours, "memory"), Vec::<String>::new());
    if has(&agent, "memory") {
        let events = said(&leaf(&agent, "neighbour"), "memory.events");
        for none in ["high 0", "max 0", "oom 0", "oom_kill 0"] {
            assert!(events.contains(none), "{none} in {events}");
        }
    }
    neighbour.order("rewrite");
}

#[test]
fn a_leaf_holds_what_the_mode_says_and_lets_go_where_it_says_so() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut held = start(&agent, "held", &["--memory", "16M:128M"]);
    let folder = leaf(&agent, "held");
    let set = |flags: &[&str]| {
        let output = run(agent.client(&["limits", "set", "held"]).args(flags));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    };
    if !has(&agent, "memory") {
        // Each process by itself, and what it forks.
        let data = || {
            let limits = fs::read_to_string(format!("/proc/{}/limits", held.pid())).unwrap();
            let line = limits.lines().find_map(|line| line.strip_prefix("Max data size"));
            line.unwrap().split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(data(), (128 * MIB).to_string());
        set(&["--memory", "16M:196M"]);
        until("the limit is raised", || {
            (data() == (196 * MIB).to_string()).then_some(())
        });
        set(&["--mode", "throttle"]);
        until("the limit is taken back", || (data() == "unlimited").then_some(()));
        return;
    }
    assert_eq!(said(&folder, "memory.max"), (128 * MIB).to_string());
    // Drawn before anything is used, for what no event tells.
    assert_eq!(
        said(&folder, "memory.high"),
        (128 * MIB * 95 / 100 / 65_536 * 65_536).to_string()
    );
    assert_eq!(said(&folder, "memory.oom.group"), "1");
    assert_eq!(said(&folder, "pids.max"), "4096");
    // Critical: the soft line is drawn, a little below the hard one.
    held.order(format!("touch {}", 122 * MIB));
    let soft = until("the soft line is drawn", || {
        let soft = said(&folder, "memory.high").parse::<u64>().unwrap();
        (soft > 122 * MIB).then_some(soft)
    });
    assert!(soft < 128 * MIB, "{soft}");
    let shown = tool(&agent, "held");
    assert!(steps(&shown).contains(&"memory soft_line".to_owned()), "{shown}");

    // A hard line is not drawn below what is in use; what is raised holds at once.
    set(&["--memory", "16M:32M"]);
    sleep(Duration::from_millis(700));
    assert_eq!(said(&folder, "memory.max"), (128 * MIB).to_string());
    held.order("rewrite");
    set(&["--memory", "16M:256M"]);
    until("the hard line is raised", || {
        (said(&folder, "memory.max") == (256 * MIB).to_string()).then_some(())
    });
    until("the soft line is taken back", || {
        (said(&folder, "memory.high").parse::<u64>().unwrap() > 240 * MIB).then_some(())
    });
    set(&["--mode", "observe"]);
    until("nothing holds", || {
        let all = ["memory.max", "memory.high", "pids.max"].map(|file| said(&folder, file));
        (all == ["max", "max", "max"]).then_some(())
    });
    held.order("rewrite");
}

#[test]
fn an_operation_beyond_its_cpu_time_is_slowed_and_then_ended() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let spin = ["sh", "-c", "while :; do :; done"];
    let mut slowed = Process::start(exec(&agent, "slowed", &["--cpu", "100ms:500ms", "--mode", "throttle"]).args(spin));
    let mut ended = Process::start(
        exec(
            &agent,
            "ended",
            &["--cpu", "100ms:500ms", "--grace", "1s", "--mode", "enforce"],
        )
        .args(spin),
    );
    assert_eq!(ended.wait().signal(), Some(Signal::XCPU.as_raw()));
    let last = until("the tool is over", || {
        let tool = tool(&agent, "ended");
        tool["ended_s"].is_u64().then_some(tool)
    });
    let actions = last["actions"].as_array().unwrap();
    let action = actions.iter().find(|action| action["step"] == "clean_up").unwrap();
    assert_eq!(action["reason"], "held", "{last}");
    assert!(number(&action["evidence"]["value"]) >= 500, "{action}");
    assert_eq!(number(&action["evidence"]["over_s"]), 1);
    let exit = &last["root_exit"];
    let xcpu = u64::try_from(Signal::XCPU.as_raw()).unwrap();
    assert_eq!(
        (&exit["cause"], number(&exit["signal"])),
        (&"resmgr".into(), xcpu),
        "{last}"
    );

    if has(&agent, "cpu") {
        let folder = leaf(&agent, "slowed");
        until("the quota is the last one", || {
            (said(&folder, "cpu.max") == "8000 100000").then_some(())
        });
        let stat = said(&folder, "cpu.stat");
        let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        assert!(throttled.unwrap().parse::<u64>().unwrap() > 0, "{stat}");
        let shown = tool(&agent, "slowed");
        assert!(steps(&shown).contains(&"cpu quota".to_owned()), "{shown}");
    }
    assert_eq!(number(&tool(&agent, "slowed")["process_count"]), 1, "it is not ended");
    run(&mut agent.client(&["cleanup", "slowed"]));
    slowed.wait();
}

#[test]
fn what_passes_the_maximum_of_descriptors_is_ended_where_it_is_enforced() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut leaking = start(&agent, "leaking", &["--fds", "10:20", "--grace", "300ms"]);
    let mut full = start(&agent, "full", &["--fds", "10:20", "--grace", "300ms"]);
    full.order(format!("dup {}", 20 - open_fds(full.pid()).len()));
    // A child's copies are refused by nothing.
    leaking.order(format!("dup {}", 12 - open_fds(leaking.pid()).len()));
    leaking.order("fork-idle");
    until("the tool is ended", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", leaking.pid())).unwrap();
        stat.contains(") Z ").then_some(())
    });
    let explained = run(&mut agent.client(&["explain", "leaking"])).stdout;
    assert!(
        explained.contains("fds: clean-up: the use was 24, of a maximum of 20"),
        "{explained}"
    );
    // All that it may have is not too much.
    full.order("numbers");
}

#[test]
fn what_holds_survives_the_agent_and_goes_with_it_where_that_is_asked() {
    let mut agent = Agent::start_pinned(&["--sweep-interval", "100ms"]);
    let mut held = start(&agent, "held", &["--memory", "32M:64M"]);
    held.order("numbers");
    let folder = leaf(&agent, "held");
    agent.signal(Signal::KILL);
    let _ = agent.wait();
    let holds = has(&agent, "memory");
    let data = |pid: u32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max data size"));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let is_held = |pid: u32| {
        if holds {
            said(&folder, "memory.max") == (64 * MIB).to_string()
        } else {
            data(pid) == (64 * MIB).to_string()
        }
    };
    assert!(is_held(held.pid()));
    agent.start_again(&["--sweep-interval", "100ms"]);
    held.order("touch 4096");
    sleep(Duration::from_millis(500));
    assert!(is_held(held.pid()));
    assert_eq!(
        steps(&tool(&agent, "held")),
        Vec::<String>::new(),
        "nothing is done twice"
    );
    agent.signal(Signal::TERM);
    let _ = agent.wait();
    assert!(is_held(held.pid()));
    let mut release = Agent::pinned_command(&agent.folder_path(), &["--release"]);
    assert_eq!(run(&mut release).code, Some(0));
    assert!(!folder.exists(), "it has gone, with what its files held");
    assert_eq!(data(held.pid()), "unlimited");
    held.order("numbers");
}

#[test]
fn how_a_tool_ended_is_told_apart() {
    let agent = Agent::start(&[]);
    let end = |name: &str, script: &str| {
        let _ = Process::start(exec(&agent, name, &[]).args(["sh", "-c", script])).wait();
        let tool = until("the end is told", || {
            let tool = tool(&agent, name);
            tool["root_exit"].is_object().then_some(tool)
        });
        let exit = &tool["root_exit"];
        let number = |key: &str| exit[key].as_u64();
        (
            exit["cause"].as_str().unwrap().to_owned(),
            number("code"),
            number("signal"),
        )
    };
    assert_eq!(end("good", "exit 0"), ("exit".to_owned(), Some(0), None));
    assert_eq!(end("bad", "exit 3"), ("exit".to_owned(), Some(3), None));
    assert_eq!(end("crashed", "kill -SEGV $$"), ("crash".to_owned(), None, Some(11)));
    assert_eq!(end("killed", "kill -KILL $$"), ("signal".to_owned(), None, Some(9)));
    let explained = run(&mut agent.client(&["explain", "crashed"])).stdout;
    assert!(
        explained.contains("Its first process ended by signal 11: it crashed."),
        "{explained}"
    );
}

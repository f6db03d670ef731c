//! Tools on the live kernel: who belongs to one, what they use together, and what becomes of it.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use resmgr_tests::{
    Agent, Process, Workload, number, open_fds, pids, run, tool, tools, unprivileged, until, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// `resmgr exec --tool NAME -- CMD…`, ready to be started.
fn exec(agent: &Agent, tool: &str, command: &[&str]) -> Command {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool, "--"]);
    exec.args(command).stdin(Stdio::null());
    exec
}

/// Starts a tool that runs a script.
fn script(agent: &Agent, tool: &str, script: &str) -> Process {
    Process::start(&mut exec(agent, tool, &["sh", "-c", script]))
}

#[test]
fn a_tool_goes_on_when_its_first_process_ends_before_anybody_looked() {
    let agent = Agent::start(&["--sweep-interval", "500ms"]);
    for round in 0..5 {
        let name = format!("brief-{round}");
        assert!(script(&agent, &name, "sleep 60 & exit 0").wait().success());
        // Three ticks, and nobody asks for a sweep.
        std::thread::sleep(Duration::from_millis(1500));
        let tool = agent.status(&[&name])["tools"][0].take();
        assert_eq!(
            (&tool["ended_s"], number(&tool["process_count"])),
            (&Value::Null, 1),
            "{tool}"
        );
        let output = run(&mut agent.client(&["cleanup", &name]));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    }
}

#[test]
fn exec_is_the_command_itself() {
    let agent = Agent::start(&[]);
    let child = exec(&agent, "echo", &["sh", "-c", "echo $$; cat; exit 7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{pid}\n"),
        "the same process, and nothing of resmgr's on standard output"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");

    let killed = exec(&agent, "killed", &["sh", "-c", "kill -TERM $$"]).status().unwrap();
    assert_eq!(killed.signal(), Some(15));
    let missing = run(&mut exec(&agent, "missing", &["/does/not/exist"]));
    assert_eq!(missing.code, Some(127));
    assert!(missing.stderr.contains("/does/not/exist"), "{}", missing.stderr);
    let folder = run(&mut exec(&agent, "folder", &["/"]));
    assert_eq!(folder.code, Some(126));
}

#[test]
fn without_an_agent_a_command_runs_untracked_unless_it_must_not() {
    let folder = Agent::folder();
    let mut command = Command::new(resmgr_tests::binary("resmgr"));
    command.arg("--socket").arg(folder.path().join("none.sock"));
    let output = run(command.args(["exec", "--tool", "a", "--", "echo", "done"]));
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "done\n"));
    assert!(
        output.stderr.contains("no agent answers") && output.stderr.contains("untracked"),
        "{}",
        output.stderr
    );

    let mut command = Command::new(resmgr_tests::binary("resmgr"));
    command.arg("--socket").arg(folder.path().join("none.sock"));
    let output = run(command.args(["exec", "--require", "--tool", "a", "--", "echo", "done"]));
    assert_eq!((output.code, output.stdout.as_str()), (Some(125), ""));
    assert!(output.stderr.contains("was not run"), "{}", output.stderr);
}

#[test]
fn a_name_that_no_tool_can_have_is_refused_with_what_to_write() {
    let agent = Agent::start(&[]);
    for name in ["", "a b", "-x", "a/b", &"a".repeat(64)] {
        let output = run(&mut agent.client(&["exec", &format!("--tool={name}"), "--", "true"]));
        assert_eq!(output.code, Some(2), "{name}: {}", output.stderr);
        assert!(output.stderr.contains("1 to 63"), "{}", output.stderr);
    }
}

/// A tree in which each level leaves its session and is double-forked; each leaf of it tells its process id.
const TREE: &str = r#"
level() {
    if [ "$1" -eq 0 ]; then echo "$(exec sh -c 'echo $PPID')"; exec sleep 60; fi
    setsid sh -c 'sh "$0" "$1" & exit 0' "$SELF" $(($1 - 1)) &
    exec sleep 60
}
level "$1"
"#;

#[test]
fn a_tree_of_depth_six_with_setsid_and_double_forks_stays_whole() {
    let agent = Agent::start(&[]);
    let folder = Agent::folder();
    let script = folder.path().join("tree.sh");
    fs::write(&script, TREE).unwrap();
    let path = script.to_str().unwrap();
    let mut command = exec(&agent, "tree", &["sh", path, "6"]);
    let mut child = command.env("SELF", path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    // What sleeps belongs to the tool, all seven; each was reparented to the host's first process or a subreaper.
    let is_asleep = |pid: &u64| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n");
    let asleep = until("all seven sleep", || {
        let asleep: Vec<u64> = pids(&agent, "tree").into_iter().filter(is_asleep).collect();
        (asleep.len() == 7).then_some(asleep)
    });
    let tool = tool(&agent, "tree");
    assert_eq!(number(&tool["process_count"]), 7, "{tool}");
    let orphans: BTreeSet<u64> = tool["orphans"].as_array().unwrap().iter().map(number).collect();
    let expected: BTreeSet<u64> = asleep
        .iter()
        .copied()
        .filter(|&pid| pid != u64::from(child.id()))
        .collect();
    assert_eq!(orphans, expected);
    for pid in asleep {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
    child.wait().unwrap();
    until("the tool ends", || tools(&agent, "tree")[0]["ended_s"].as_u64());
}

#[test]
fn ten_thousand_processes_that_come_and_go_are_all_counted() {
    let agent = Agent::start(&[]);
    let mut workload = Workload::over(&mut exec(
        &agent,
        "storm",
        &[resmgr_tests::binary("workload").to_str().unwrap()],
    ));
    let before = number(&tool(&agent, "storm")["processes_total"]);
    // Under emulation each takes many times as long.
    let is_set = |name| std::env::var_os(name).is_some();
    let count = if is_set("RESMGR_TEST_VM") && !is_set("RESMGR_TEST_FULL") {
        1000
    } else {
        10_000
    };
    let children_ns: u64 = workload.order(format!("fork-many {count}")).parse().unwrap();
    let tool = tool(&agent, "storm");
    let losses = agent.status(&[])["agent"]["losses"].take();
    let lost = number(&losses["counters_full"]) + number(&losses["runs_missed"]);
    let counted = number(&tool["processes_total"]) - before;
    assert!(
        counted <= count && counted + lost >= count,
        "{counted} of {count}, {losses}"
    );
    assert_eq!(number(&tool["process_count"]), 1);
    // The tool's own process uses CPU time too, for forking: it is taken off.
    let own = number(&agent.process(workload.pid())["cpu_time_ns"]);
    let all = number(&tool["cpu_time_ns"]);
    let of_children = all.saturating_sub(own);
    let difference = of_children.abs_diff(children_ns);
    println!("{count} children: {of_children} ns counted, {children_ns} ns by getrusage");
    // What a child does after its parent has been told of its end is not in getrusage. It is little, but for emulation.
    let percent = if std::env::var_os("RESMGR_TEST_VM").is_some() {
        5
    } else {
        1
    };
    assert!(
        difference * 100 <= children_ns * percent,
        "{of_children} against {children_ns}"
    );
}

#[test]
fn what_a_process_does_in_two_milliseconds_is_not_missed() {
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let output = run(&mut exec(
        &agent,
        "short",
        &["sh", "-c", "exec 3</dev/null 4</dev/null; exit 0"],
    ));
    assert_eq!(output.code, Some(0));
    let tool = until("the tool has ended", || {
        tools(&agent, "short")
            .pop()
            .filter(|tool| number(&tool["process_count"]) == 0)
    });
    assert_eq!(number(&tool["processes_total"]), 1);
    assert!(number(&tool["cpu_time_ns"]) > 0);
    assert!(number(&tool["events"]["fds_opened"]) >= 2, "{tool}");
    assert!(number(&tool["peak"]["process_rss_bytes"]) > 100_000, "{tool}");
}

#[test]
fn instances_of_a_name_are_told_apart_and_summed() {
    let agent = Agent::start(&[]);
    let first = script(&agent, "twin", "sleep 60 & sleep 60; wait");
    let second = script(&agent, "twin", "exec sleep 60");
    let both = until("three processes run", || {
        let both = tools(&agent, "twin");
        let count: u64 = both.iter().map(|tool| number(&tool["process_count"])).sum();
        (both.len() == 2 && count == 4).then_some(both)
    });
    assert_ne!(both[0]["instance"], both[1]["instance"]);
    let roots: BTreeSet<u64> = both.iter().map(|tool| number(&tool["root_pid"])).collect();
    assert_eq!(roots, BTreeSet::from([u64::from(first.pid()), u64::from(second.pid())]));
    for tool in &both {
        assert_eq!(number(&tool["owner"]["pid"]), u64::from(std::process::id()));
        assert_eq!(tool["owner"]["alive"], true);
    }
    let sums = &agent.status(&["--fresh"])["tools_by_name"]["twin"];
    assert_eq!((number(&sums["instances"]), number(&sums["process_count"])), (2, 4));
    let fds: usize = both
        .iter()
        .map(|tool| tool["usage"]["file_handles"].as_array().unwrap().len())
        .sum();
    assert_eq!(number(&sums["open_fds"]), fds as u64);
    let truth: usize = pids(&agent, "twin")
        .iter()
        .map(|&pid| open_fds(u32::try_from(pid).unwrap()).len())
        .sum();
    assert_eq!(fds, truth);
    for pid in pids(&agent, "twin") {
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
    }
}

#[test]
fn a_tool_sums_up_its_processes_and_counts_what_they_share_once() {
    let agent = Agent::start(&[]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut workload = Workload::over(&mut exec(
        &agent,
        "sum",
        &[resmgr_tests::binary("workload").to_str().unwrap()],
    ));
    workload.order(format!("connect {address} 5"));
    listener.order("accept 5");
    workload.order("open 7");
    // A child of its own that sleeps, with copies of all descriptors and the same five sockets.
    let child: u32 = workload.order("fork-idle").parse().unwrap();
    let tool = tool(&agent, "sum");
    let fds = open_fds(workload.pid()).len() + open_fds(child).len();
    assert_eq!(tool["usage"]["file_handles"].as_array().unwrap().len(), fds);
    assert_eq!(tool["usage"]["network_connections"].as_array().unwrap().len(), 5);
    assert_eq!(number(&tool["events"]["fds_open"]), fds as u64, "{tool}");
    assert_eq!(number(&tool["events"]["connections_open"]), 5, "{tool}");
    assert_eq!(number(&tool["events"]["connections_made"]), 5);
    workload.order("disconnect 5");
    let held = tool_events(&agent, "sum");
    assert_eq!(number(&held["connections_open"]), 5, "the child still holds them");
    workload.order("end-idle");
    until("the sockets are closed", || {
        (number(&tool_events(&agent, "sum")["connections_open"]) == 0).then_some(())
    });
}

fn tool_events(agent: &Agent, name: &str) -> Value {
    tool(agent, name)["events"].take()
}

#[test]
fn crossings_are_told_once_a_level_and_not_at_the_next_tick() {
    // No tick comes in the time of this test.
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    // Observed: its limits stay where they are.
    let mut exec = agent.client(&["exec", "--require", "--tool", "cross", "--mode", "observe", "--"]);
    let mut workload = Workload::over(exec.arg(resmgr_tests::binary("workload")));
    let there = open_fds(workload.pid()).len();
    let levels = |resource: &str| -> Vec<(String, bool, u64)> {
        let status = agent.status(&["cross"]);
        let crossings = status["tools"][0]["crossings"].as_array().unwrap().clone();
        crossings
            .iter()
            .filter(|crossing| crossing["resource"] == resource)
            .map(|crossing| {
                let level = crossing["level"].as_str().unwrap().to_owned();
                (level, crossing["risen"].as_bool().unwrap(), number(&crossing["value"]))
            })
            .collect()
    };
    let told = |resource: &'static str, n: usize| {
        until(&format!("{n} crossings of {resource}"), || {
            Some(levels(resource)).filter(|levels| levels.len() >= n)
        })
    };
    // To and fro over one line: within the hysteresis it is told once. Warning is at 40 of 50.
    workload.order(format!("open {}", 39 - there));
    assert_eq!(levels("fds"), []);
    for _ in 0..5 {
        workload.order("open 1");
        workload.order("close 1");
    }
    assert_eq!(told("fds", 1), [("warning".to_owned(), true, 40)]);
    workload.order("open 15");
    let expected = [("warning", true, 40), ("critical", true, 48), ("emergency", true, 50)];
    let expected = expected.map(|(level, risen, value)| (level.to_owned(), risen, value));
    assert_eq!(told("fds", 3), expected);
    // 75 % and less: all three are left.
    workload.order("close 20");
    let left: BTreeSet<String> = told("fds", 6)[3..]
        .iter()
        .map(|(level, risen, _)| format!("{level} {risen}"))
        .collect();
    assert_eq!(
        left,
        ["critical false", "emergency false", "warning false"]
            .map(str::to_owned)
            .into()
    );

    // Memory: 80 MiB of 100, as pages come.
    workload.order(format!("touch {}", 85 << 20));
    let (level, risen, value) = told("memory", 1).remove(0);
    assert_eq!((level.as_str(), risen), ("warning", true));
    assert!((80 << 20..82 << 20).contains(&value), "{value}");

    // Connections: 8 and 10 of 10, at the connect that makes them; all given up again.
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    workload.order(format!("connect {address} 10"));
    let expected = [("warning", true, 8), ("critical", true, 10), ("emergency", true, 10)];
    let expected = expected.map(|(level, risen, value)| (level.to_owned(), risen, value));
    assert_eq!(told("connections", 3), expected);
    workload.order("disconnect 10");
    assert!(told("connections", 6)[3..].iter().all(|(_, risen, _)| !risen));
}

#[test]
fn cpu_time_crosses_its_line_by_operations_of_the_kind_that_was_asked_for() {
    // Warning is at 80 %: two workloads use more than that on two CPUs, and rest in between.
    let is_full = std::env::var_os("RESMGR_TEST_FULL").is_some();
    // The built-in limit takes a minute, which only a full run does.
    let limit_ms: u64 = if is_full { 30_000 } else { 6_000 };
    let (warning_ms, each_ms) = (limit_ms * 80 / 100, limit_ms * 45 / 100);
    let agent = Agent::start(&[]);
    let start = |tool: &str| {
        let mut exec = agent.client(&["exec", "--require", "--tool", tool, "--operations", tool]);
        if !is_full {
            exec.args(["--cpu", &format!("{limit_ms}ms:120s")]);
        }
        exec.args(["--mode", "observe", "--"]);
        Workload::over(exec.arg(resmgr_tests::binary("workload")))
    };
    let crossings = |name: &str| {
        let tool = tool(&agent, name);
        assert_eq!(number(&tool["limits"]["cpu"]["current"]), limit_ms);
        tool["crossings"].as_array().unwrap().clone()
    };
    let stretch_ms = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for name in ["run", "busy"] {
            let mut workload = start(name);
            let (stretch_ms, crossings) = (&stretch_ms, &crossings);
            scope.spawn(move || {
                workload.order(format!("spin {each_ms}"));
                std::thread::sleep(Duration::from_millis(2500));
                workload.order(format!("spin {each_ms}"));
                assert_eq!(
                    crossings("busy"),
                    Vec::<Value>::new(),
                    "each operation had {each_ms} ms"
                );
                let of_run = crossings("run");
                // The other one may be a little behind.
                if name == "run" {
                    assert_eq!(of_run.len(), 1, "{of_run:?}");
                    assert_eq!(
                        (&of_run[0]["resource"], &of_run[0]["level"]),
                        (&"cpu".into(), &"warning".into())
                    );
                    let value = number(&of_run[0]["value"]);
                    assert!((warning_ms..limit_ms).contains(&value), "{value} ms");
                }
                // Asking took its time, or not: it rests in any case.
                std::thread::sleep(Duration::from_millis(2500));
                let began = std::time::Instant::now();
                workload.order(format!("spin {}", 2 * each_ms));
                if name == "busy" {
                    stretch_ms.store(u64::try_from(began.elapsed().as_millis()).unwrap(), Relaxed);
                }
            });
        }
    });
    // What was used at a stretch is one operation, unless others left it so little of the CPUs that it looked idle.
    let was_starved = stretch_ms.load(Relaxed) > 3 * 2 * each_ms;
    let crossed = crossings("busy").len();
    assert!(
        crossed == 1 || crossed == 0 && was_starved,
        "{crossed} crossings, {stretch_ms:?} ms"
    );
}

#[test]
fn attaching_takes_the_whole_tree_that_runs_already() {
    let agent = Agent::start(&[]);
    let root = Process::start(Command::new("sh").args(["-c", "(sleep 60 & sleep 60 & wait) & wait"]));
    let children = |pid: u32| -> Vec<u32> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    wait_until("four processes run", 10, || {
        children(root.pid())
            .first()
            .is_some_and(|&child| children(child).len() == 2)
    });
    let pid = root.pid().to_string();
    let output = run(&mut agent.client(&["attach", "--tool", "late", "--pid", &pid, "--json"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let registered: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(number(&registered["processes"]), 4, "{registered}");
    assert_eq!(tool(&agent, "late")["origin"], "process");
    // Once is enough.
    let again = run(&mut agent.client(&["attach", "--tool", "again", "--pid", &pid]));
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("belongs to the tool late"), "{}", again.stderr);
    for pid in pids(&agent, "late") {
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
    }
}

#[test]
fn what_cannot_be_a_tool_is_refused_with_the_reason() {
    let agent = Agent::start(&[]);
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let sleeper = Workload::start();
    let attach = |pid: u32| {
        let output = run(&mut agent.client(&["attach", "--tool", "x", "--pid", &pid.to_string()]));
        assert_eq!(output.code, Some(1), "{pid}");
        output.stderr
    };
    assert!(attach(1).contains("parent of all others"));
    assert!(attach(2).contains("thread of the kernel"));
    assert!(attach(agent.pid()).contains("this agent"));
    assert!(attach(ended.id()).contains("no process"));
    let mut as_other = agent.client(&["attach", "--tool", "x", "--pid", &sleeper.pid().to_string()]);
    let output = run(unprivileged(&mut as_other));
    assert!(output.stderr.contains("not yours"), "{}", output.stderr);
    let mut as_other = agent.client(&["attach", "--tool", "x", "--cgroup", "/"]);
    let output = run(unprivileged(&mut as_other));
    assert!(output.stderr.contains("only root"), "{}", output.stderr);
    let output = run(&mut agent.client(&["attach", "--tool", "x", "--cgroup", "/"]));
    assert!(
        output.stderr.contains("all processes of this host"),
        "{}",
        output.stderr
    );
    let output = run(&mut agent.client(&["attach", "--tool", "x", "--cgroup", "/no/such"]));
    assert!(output.stderr.contains("no cgroup /no/such"), "{}", output.stderr);
    assert_eq!(tools(&agent, "x").len(), 0, "nothing is left of what was refused");
}

#[test]
fn an_ordinary_user_has_tools_and_sees_no_other() {
    let agent = Agent::start(&[]);
    let _root = script(&agent, "roots", "exec sleep 60");
    let mut command = exec(&agent, "theirs", &["sleep", "60"]);
    let _child = Process::start(unprivileged(&mut command));
    until("both run", || {
        (pids(&agent, "theirs").len() == 1 && pids(&agent, "roots").len() == 1).then_some(())
    });
    let theirs = tool(&agent, "theirs");
    assert_eq!(number(&theirs["uid"]), 65_534);
    let leaf = theirs["cgroup"].as_str().unwrap();
    assert!(leaf.starts_with(agent.cgroup_root().to_str().unwrap()), "{leaf}");
    let moved = fs::read_to_string(format!("{leaf}/cgroup.procs")).unwrap();
    assert_eq!(
        moved,
        format!("{}\n", theirs["root_pid"]),
        "root's agent has moved it there"
    );
    let seen = run(unprivileged(&mut agent.client(&["status", "--json"])));
    let seen: Value = serde_json::from_str(&seen.stdout).unwrap();
    let names: Vec<&str> = seen["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["theirs"]);
    assert_eq!(seen["tools_by_name"].as_object().unwrap().len(), 1);
}

#[test]
fn rules_make_tools_of_what_is_executed_and_of_what_runs() {
    let folder = Agent::folder();
    let config = folder.path().join("resmgr.toml");
    let sleeper = folder.path().join("sleeper");
    fs::copy("/bin/sleep", &sleeper).unwrap();
    // By another name, what a small system has for `sleep` would not know what to do.
    let sleep = |time: &str| Process::start(Command::new(&sleeper).arg0("sleep").arg(time));
    let before = sleep("60");
    let text = "[[rule]]\ntool = 'napper'\nexecutable = 'sleeper'\ncommand = '*60*'\n";
    fs::write(&config, text).unwrap();
    let agent = Agent::start(&["--config", config.to_str().unwrap(), "--sweep-interval", "60s"]);
    let after = sleep("600");
    let _other = sleep("7");
    until("both are tools", || (tools(&agent, "napper").len() == 2).then_some(()));
    let expected: BTreeSet<u64> = [before.pid(), after.pid()].map(u64::from).into();
    assert_eq!(pids(&agent, "napper"), expected);
}

#[test]
fn what_ends_before_anybody_could_look_at_it_is_a_rules_tool_with_all_that_it_forked() {
    const RUNS: usize = 40;
    let folder = Agent::folder();
    let config = folder.path().join("resmgr.toml");
    fs::write(&config, "[[rule]]\ntool = 'brief'\ncommand = '*brief-by-rule*'\n").unwrap();
    let agent = Agent::start(&["--config", config.to_str().unwrap(), "--sweep-interval", "60s"]);
    for _ in 0..RUNS {
        let mut brief = Process::start(Command::new("sh").args(["-c", ": brief-by-rule; (exit 0); exit 0"]));
        // Looked at while it runs, too: a sweep may come at any moment.
        tools(&agent, "brief");
        assert!(brief.wait().success());
    }
    let brief = until("both processes of each are counted", || {
        let all = tools(&agent, "brief");
        let is_whole = |tool: &Value| number(&tool["processes_total"]) == 2 && number(&tool["process_count"]) == 0;
        let others: Vec<&Value> = all.iter().filter(|tool| !is_whole(tool)).collect();
        if !others.is_empty() {
            eprintln!("{} tools, and not whole: {others:?}", all.len());
        }
        (all.len() == RUNS && others.is_empty()).then_some(all)
    });
    assert!(brief.iter().all(|tool| number(&tool["cpu_time_ns"]) > 0));
}

#[test]
fn a_zombie_names_the_parent_that_has_to_reap_it() {
    let agent = Agent::start(&[]);
    let mut workload = Workload::over(&mut exec(
        &agent,
        "dead",
        &[resmgr_tests::binary("workload").to_str().unwrap()],
    ));
    let zombie: u64 = workload.order("zombie").parse().unwrap();
    let tool = tool(&agent, "dead");
    let zombies = tool["zombies"].as_array().unwrap();
    assert_eq!(zombies.len(), 1, "{tool}");
    assert_eq!(number(&zombies[0]["pid"]), zombie);
    assert_eq!(number(&zombies[0]["parent"]), u64::from(workload.pid()));
    assert_eq!(zombies[0]["parent_comm"], "workload");
    assert_eq!(number(&tool["process_count"]), 1);
}

#[test]
fn one_that_leaves_its_cgroup_is_shown_as_escaped() {
    let agent = Agent::start(&[]);
    let flight = script(&agent, "flight", "exec sleep 60");
    let comm = format!("/proc/{}/comm", flight.pid());
    wait_until("it sleeps", 10, || {
        fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n")
    });
    let shown = tool(&agent, "flight");
    let leaf = shown["cgroup"].as_str().unwrap();
    assert_eq!(
        fs::read_to_string(format!("{leaf}/cgroup.procs")).unwrap(),
        format!("{}\n", flight.pid())
    );
    assert_eq!(shown["escaped"], Value::Array(Vec::new()));
    // To a cgroup of this test's own.
    let elsewhere = format!("{}-elsewhere", agent.cgroup_root().display());
    fs::create_dir(&elsewhere).unwrap();
    fs::write(format!("{elsewhere}/cgroup.procs"), flight.pid().to_string()).unwrap();
    let escaped = tool(&agent, "flight")["escaped"].take();
    assert_eq!(escaped, serde_json::json!([flight.pid()]));
    drop(flight);
    until("its cgroup is empty", || fs::remove_dir(&elsewhere).ok());
}

#[test]
fn the_processes_of_a_cgroup_are_a_tool_now_and_later() {
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let cgroup = format!("{}-container", agent.cgroup_root().display());
    let inner = format!("{cgroup}/inner");
    fs::create_dir_all(&inner).unwrap();
    let in_cgroup = |cgroup: &str, command: &str| {
        Process::start(Command::new("sh").args(["-c", &format!("echo $$ > {cgroup}/cgroup.procs; {command}")]))
    };
    let first = in_cgroup(&cgroup, "sleep 60; exit 0");
    until("it is in its cgroup", || {
        fs::read_to_string(format!("{cgroup}/cgroup.procs"))
            .ok()
            .filter(|procs| procs.lines().count() == 2)
    });
    let output = run(&mut agent.client(&["attach", "--tool", "box", "--cgroup", &cgroup, "--json"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let registered: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(number(&registered["processes"]), 2);
    // Without a sweep in between: it joins when it executes its program there.
    let second = in_cgroup(&inner, "exec sleep 60");
    until("it has joined", || {
        let status = agent.status(&["box"]);
        (number(&status["tools"][0]["processes_total"]) >= 2 && pids(&agent, "box").len() == 3).then_some(())
    });
    for pid in pids(&agent, "box") {
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
    }
    drop((first, second));
    until("the cgroups are empty", || fs::remove_dir(&inner).ok());
    until("the cgroups are empty", || fs::remove_dir(&cgroup).ok());
}

/// Stops a workload; returns its own clock in nanoseconds, which stands still then.
fn stop(workload: &Workload) -> u64 {
    workload.signal(Signal::STOP);
    until("its clock stands still", || {
        let before = resmgr_tests::process_clock_ns(workload.pid());
        std::thread::sleep(Duration::from_millis(50));
        let after = resmgr_tests::process_clock_ns(workload.pid());
        (before == after).then_some(after)
    })
}

#[test]
fn cpu_time_of_threads_dead_and_alive_is_the_process_clock_to_the_nanosecond() {
    let agent = Agent::start(&[]);
    let mut workload = Workload::over(&mut exec(
        &agent,
        "clock",
        &[resmgr_tests::binary("workload").to_str().unwrap()],
    ));
    workload.order("spin-threads 6 80");
    workload.order("spin-and-stay 4 80");
    workload.order("spin 50");
    let truth = stop(&workload);
    let process = agent.process(workload.pid());
    assert_eq!(number(&process["cpu_time_ns"]), truth);
    assert_eq!(number(&tool(&agent, "clock")["cpu_time_ns"]), truth);

    // Where none has died, it is the sum over the threads' own files.
    let mut alive = Workload::start();
    alive.order("spin-and-stay 4 80");
    let truth = stop(&alive);
    assert_eq!(resmgr_tests::cpu_ns(alive.pid()), truth);
    assert_eq!(number(&agent.process(alive.pid())["cpu_time_ns"]), truth);
}

#[test]
fn between_sweeps_cpu_time_is_known_up_to_the_last_switch() {
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let mut workload = Workload::over(&mut exec(
        &agent,
        "switches",
        &[resmgr_tests::binary("workload").to_str().unwrap()],
    ));
    // What the process used before it was the tool's is not in the tool's events.
    let before = |workload: &Workload| {
        let truth = stop(workload);
        let status = agent.status(&["switches"]);
        workload.signal(Signal::CONT);
        let missed = number(&status["agent"]["losses"]["runs_missed"]);
        (truth - number(&status["tools"][0]["events"]["cpu_time_ns"]), missed)
    };
    let (at_first, _) = before(&workload);
    for order in ["spin 100", "spin-and-stay 2 50"] {
        workload.order(order);
        let (now, missed) = before(&workload);
        assert!(
            now == at_first || missed > 0,
            "after {order}: {now}, and at first {at_first}"
        );
    }
    // What a thread uses after the kernel has added it up to its process, on its way to its last switch, is in no clock.
    workload.order("spin-threads 3 50");
    let (now, missed) = before(&workload);
    let beyond = at_first.checked_sub(now);
    assert!(
        beyond.is_some_and(|beyond| beyond < 1_500_000) || missed > 0,
        "{now}, and at first {at_first}"
    );
}

#[test]
fn while_threads_run_cpu_time_lies_between_two_reads_of_the_clock() {
    const TICK_NS: u64 = 10_000_000;
    let agent = Agent::start(&[]);
    let mut workload = Workload::over(&mut exec(
        &agent,
        "busy",
        &[resmgr_tests::binary("workload").to_str().unwrap()],
    ));
    let pid = workload.pid();
    let is_full = std::env::var_os("RESMGR_TEST_FULL").is_some();
    let (threads, each_ms) = (2, if is_full { 10_000 } else { 1_000 });
    let busy = std::thread::spawn(move || {
        workload.order(format!("spin-threads {threads} {each_ms}"));
        workload
    });
    let mut looks = 0;
    while !busy.is_finished() {
        let before = resmgr_tests::process_clock_ns(pid);
        let shown = number(&agent.process(pid)["cpu_time_ns"]);
        let after = resmgr_tests::process_clock_ns(pid);
        // No more than these run at any time: the one that waits for them sleeps.
        let late = TICK_NS * threads;
        assert!(before <= shown + late && shown <= after, "{before} {shown} {after}");
        looks += 1;
    }
    assert!(looks > 1);
    let workload = busy.join().unwrap();
    assert!(resmgr_tests::process_clock_ns(workload.pid()) >= threads * each_ms * 1_000_000);
}

#[test]
fn a_container_that_the_command_starts_joins_by_its_cidfile() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let folder = Agent::folder();
    let cidfile = folder.path().join("cid");
    let id = "0123456789abcdef".repeat(4);
    // As a runtime does it: a cgroup somewhere else, the identity in a file, and the command only waits.
    let cgroup = format!("{}-docker-{id}.scope", agent.cgroup_root().display());
    fs::create_dir(&cgroup).unwrap();
    let inside =
        Process::start(Command::new("sh").args(["-c", &format!("echo $$ > {cgroup}/cgroup.procs; exec sleep 60")]));
    let mut command = agent.client(&["exec", "--require", "--tool", "boxed", "--cidfile"]);
    let command = command.arg(&cidfile).args(["--", "sleep", "60"]);
    let client = Process::start(command);
    until("the command runs", || (pids(&agent, "boxed").len() == 1).then_some(()));
    fs::write(&cidfile, &id).unwrap();
    let expected: BTreeSet<u64> = [client.pid(), inside.pid()].map(u64::from).into();
    until("the container has joined", || {
        (pids(&agent, "boxed") == expected).then_some(())
    });
    drop((client, inside));
    until("the cgroup is empty", || fs::remove_dir(&cgroup).ok());
}

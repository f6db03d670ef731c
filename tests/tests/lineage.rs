//! Who belongs to a tool on the live kernel: whoever bears a process, whoever has its number afterwards, whatever matches.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
};

use resmgr_tests::{Agent, Process, Workload, binary, number, open_fds, pids, run, tool, tools, unprivileged, until};
use rustix::process::Signal;
use serde_json::{Value, json};

fn in_tool(agent: &Agent, tool: &str) -> Workload {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool, "--"]);
    Workload::over(exec.arg(binary("workload")))
}

/// An agent with a configuration.
fn configured(folder: &Path, config: &str, arguments: &[&str]) -> Agent {
    let path = folder.join("resmgr.toml");
    fs::write(&path, config).unwrap();
    Agent::start(&[&["--config", path.to_str().unwrap()], arguments].concat())
}

#[test]
fn whichever_thread_bears_or_becomes_a_process_it_is_the_tools() {
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let mut workload = in_tool(&agent, "threads");
    let by_thread: u64 = workload.order("fork-by-thread").parse().unwrap();
    workload.order("subreaper");
    let orphan: u64 = workload.order("fork-orphan").parse().unwrap();
    let parent = fs::read_to_string(format!("/proc/{orphan}/status")).unwrap();
    let parent = parent.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    assert_eq!(parent.trim(), workload.pid().to_string(), "it has another parent now");
    let itself = u64::from(workload.pid());
    assert_eq!(pids(&agent, "threads"), [itself, by_thread, orphan].into());
    let before = tool(&agent, "threads");
    // One of them was the orphan's parent, and has ended.
    assert_eq!(number(&before["processes_total"]), 4, "{before}");
    assert_eq!(before["orphans"], json!([]), "its parent is the tool's own");

    // The process stays who it is, though another thread of it than the first goes on.
    let opened = number(&agent.process(workload.pid())["events"]["fds_opened"]);
    workload.order("open 9");
    workload.order("exec-by-thread");
    // A program that is started may open some by itself.
    let renewed = number(&agent.process(workload.pid())["events"]["fds_opened"]);
    assert!(
        renewed >= opened + 9,
        "the same counters go on: {renewed} after {opened}"
    );
    workload.order("open 5");
    let after = tool(&agent, "threads");
    assert_eq!(pids(&agent, "threads"), [itself, by_thread, orphan].into());
    assert_eq!(number(&after["processes_total"]), 4, "{after}");
    assert_eq!(after["root_pid"], workload.pid());
    let process = agent.process(workload.pid());
    let open = open_fds(workload.pid()).len() as u64;
    assert_eq!(number(&process["open_fds"]), open);
    let events = &process["events"];
    let counted = (number(&events["fds_open"]), number(&events["fds_opened"]));
    assert_eq!(counted, (open, renewed + 5));
    for pid in [by_thread, orphan] {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}

#[test]
fn a_pid_that_is_used_again_is_another_process_whatever_the_agent_saw_of_it() {
    let folder = Agent::folder();
    let agent = configured(
        folder.path(),
        "[agent]\nring_bytes = 65536\n",
        &["--sweep-interval", "60s"],
    );
    let (mut first, mut second, mut nobodys) = (in_tool(&agent, "first"), in_tool(&agent, "second"), Workload::start());
    first.order("open 20");
    let pid: u32 = first.order("fork-idle").parse().unwrap();
    let original = agent.process(pid);
    assert_eq!(original["tool"], "first");
    let is_alone = |name: &str, total: u64| {
        let tool = tool(&agent, name);
        assert_eq!(
            (number(&tool["process_count"]), number(&tool["processes_total"])),
            (1, total),
            "{tool}"
        );
    };

    // One tool's, then another's.
    first.order("end-idle");
    assert_eq!(second.order(format!("fork-as {pid}")), pid.to_string());
    let other = agent.process(pid);
    assert_eq!(other["tool"], "second");
    assert_ne!(other["start_time_ns"], original["start_time_ns"]);
    assert_eq!(number(&other["open_fds"]), open_fds(pid).len() as u64);
    is_alone("first", 2);
    assert_eq!(number(&tool(&agent, "second")["process_count"]), 2);

    // Then nobody's.
    second.order("end-idle");
    nobodys.order(format!("fork-as {pid}"));
    assert_eq!(agent.process(pid)["tool"], Value::Null);
    is_alone("second", 2);
    nobodys.order("end-idle");

    // And with the end of the one, and the birth of the other, lost: the agent is stopped, and the ring is full.
    first.order(format!("fork-as {pid}"));
    assert_eq!(agent.process(pid)["tool"], "first");
    agent.signal(Signal::STOP);
    first.order("fork-many 1000");
    first.order("end-idle");
    second.order(format!("fork-as {pid}"));
    agent.signal(Signal::CONT);
    let again = agent.process(pid);
    assert_eq!(again["tool"], "second", "{again}");
    assert!(number(&agent.status(&[])["agent"]["losses"]["ring_full"]) > 0);
    assert!(pids(&agent, "second").contains(&u64::from(pid)));
    assert!(!pids(&agent, "first").contains(&u64::from(pid)));
    is_alone("first", 1003);

    // Nor is what is asked of one done to the other.
    let cleaned = run(&mut agent.client(&["cleanup", "first", "--grace", "100ms", "--json"]));
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.stderr);
    assert_eq!(second.order("numbers"), "");
    assert!(fs::exists(format!("/proc/{pid}/fd/0")).unwrap(), "it was not ended");
}

#[test]
fn attaching_what_dies_meanwhile_leaves_no_tool_that_goes_on() {
    let agent = Agent::start(&[]);
    let mut refused = 0;
    for turns in 0..40 {
        // Ever longer lives, from over at once to still there afterwards.
        let script = format!("n=0; while [ $n -lt {} ]; do n=$((n + 1)); done", turns * turns * 20);
        let brief = Process::start(Command::new("sh").args(["-c", &script]));
        let pid = brief.pid().to_string();
        let attached = run(&mut agent.client(&["attach", "--tool", "brief", "--pid", &pid]));
        match attached.code {
            Some(0) => {}
            Some(1) => {
                refused += 1;
                let said = ["no process", "has ended meanwhile"];
                assert!(
                    said.iter().any(|said| attached.stderr.contains(said)),
                    "{}",
                    attached.stderr
                );
            }
            other => panic!("{other:?}: {}", attached.stderr),
        }
    }
    println!("{refused} of 40 were refused");
    // One that has ended and that nobody has waited for.
    let mut ended = Workload::start();
    let zombie = ended.order("zombie");
    let attached = run(&mut agent.client(&["attach", "--tool", "brief", "--pid", &zombie]));
    assert_eq!(attached.code, Some(1));
    assert!(attached.stderr.contains("no process"), "{}", attached.stderr);
    until("all of them are over", || {
        tools(&agent, "brief")
            .iter()
            .all(|tool| tool["ended_s"].is_u64())
            .then_some(())
    });
}

#[test]
fn rules_match_by_cgroup_and_by_user_and_write_no_cgroup() {
    let folder = Agent::folder();
    let config = "[[rule]]\ntool = 'boxed'\ncgroup = '*-libpod-*'\n\
                  [[rule]]\ntool = 'theirs'\nuser = 'nobody'\ncommand = '*by-user*'\n";
    let agent = configured(folder.path(), config, &["--sweep-interval", "60s"]);
    // As podman does it: the container's processes are no descendants of the command's.
    let cgroup = format!("{}-libpod-{}.scope", agent.cgroup_root().display(), "ab".repeat(32));
    fs::create_dir(&cgroup).unwrap();
    let state = || -> Vec<String> {
        let files = [
            "cgroup.procs",
            "cgroup.freeze",
            "memory.max",
            "memory.high",
            "cpu.max",
            "pids.max",
        ];
        let read = |file: &&str| fs::read_to_string(format!("{cgroup}/{file}")).unwrap_or_default();
        files.iter().map(read).collect()
    };
    let enter = format!("echo $$ > {cgroup}/cgroup.procs; read line; exec sleep 60");
    let mut command = Command::new("sh");
    let mut inside = command.args(["-c", &enter]).stdin(Stdio::piped()).spawn().unwrap();
    until("it is in its cgroup", || {
        (state()[0] == format!("{}\n", inside.id())).then_some(())
    });
    let before = state();
    writeln!(inside.stdin.take().unwrap(), "go").unwrap();
    let inside = Process::of(inside);
    until("the container is a tool", || {
        (pids(&agent, "boxed") == [u64::from(inside.pid())].into()).then_some(())
    });
    assert_eq!(tool(&agent, "boxed")["origin"], "rule");
    assert_eq!(state(), before, "its cgroup is left as it is");

    let command = ": by-user; sleep 60; exit 0";
    let theirs = Process::start(unprivileged(Command::new("sh").args(["-c", command])));
    let _others = Process::start(Command::new("sh").args(["-c", command]));
    until("the user's is a tool, with what it forked", || {
        let members = pids(&agent, "theirs");
        (members.len() == 2 && members.contains(&u64::from(theirs.pid()))).then_some(())
    });
    assert_eq!(tools(&agent, "theirs").len(), 1, "the other user's is none");
    for pid in pids(&agent, "theirs") {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    drop(inside);
    until("the cgroup is empty", || fs::remove_dir(&cgroup).ok());
}

#[test]
fn a_process_that_matches_a_rule_by_each_program_that_it_becomes_is_one_tool() {
    let folder = Agent::folder();
    let config = "[[rule]]\ntool = 'chain'\ncommand = '*by-chain*'\n";
    let agent = configured(folder.path(), config, &["--sweep-interval", "60s"]);
    let chain = "exec sh -c ': by-chain; exec sh -c \": by-chain; echo; read line\"'";
    let mut command = Command::new("sh");
    let command = command.args(["-c", chain]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The agent looks once it has become the last.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    until("it is a tool", || (!tools(&agent, "chain").is_empty()).then_some(()));
    assert_eq!(pids(&agent, "chain"), [u64::from(child.id())].into());
    assert_eq!(number(&tool(&agent, "chain")["processes_total"]), 1);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_name_that_no_tool_can_have_is_refused_whichever_way_it_comes() {
    let agent = Agent::start(&[]);
    let pid = std::process::id().to_string();
    for name in ["", "a b", "-x", "a/b", "..", "a\nb", &"a".repeat(64)] {
        let output = run(&mut agent.client(&["attach", &format!("--tool={name}"), "--pid", &pid]));
        assert_eq!(output.code, Some(2), "{name}: {}", output.stderr);
        assert!(output.stderr.contains("1 to 63"), "{}", output.stderr);
        // Without the client's own look at it.
        for (method, rest) in [
            ("attach", json!({"target": {"pid": std::process::id()}})),
            ("register", json!({})),
        ] {
            let mut params = rest;
            params["tool"] = name.into();
            let request = json!({"v": 1, "method": method, "params": params});
            let mut stream = UnixStream::connect(agent.socket()).unwrap();
            writeln!(stream, "{request}").unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains("1 to 63"), "{name} by {method}: {message}");
        }
    }
    assert_eq!(agent.status(&["--fresh"])["tools"], json!([]));
}

//! More processes than there is room for: what is lost is counted, and the agent goes on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use resmgr_tests::{Agent, Process, Workload, binary, number, until};
use serde_json::Value;

/// An agent with a configuration.
fn agent(folder: &Path, config: &str) -> Agent {
    let path = folder.join("resmgr.toml");
    fs::write(&path, config).unwrap();
    Agent::start(&["--config", path.to_str().unwrap()])
}

fn in_tool(agent: &Agent, tool: &str) -> Workload {
    let mut exec = agent.client(&["exec", "--require", "--tool", tool, "--"]);
    Workload::over(exec.arg(binary("workload")))
}

fn tool(agent: &Agent, name: &str) -> Value {
    agent.status(&[name, "--fresh"])["tools"][0].take()
}

fn lost(agent: &Agent, what: &str) -> u64 {
    number(&agent.status(&[])["agent"]["losses"][what])
}

/// As many as are asked for on real machines, fewer where they are emulated.
fn scaled(count: u64) -> u64 {
    if std::env::var_os("RESMGR_TEST_VM").is_some() {
        count / 10
    } else if std::env::var_os("RESMGR_TEST_FULL").is_some() {
        count * 5
    } else {
        count
    }
}

#[test]
fn processes_beyond_a_small_map_are_found_by_sweeps_and_counted_as_lost() {
    let folder = Agent::folder();
    let agent = agent(folder.path(), "[agent]\nmax_processes = 128\n");
    let mut workload = in_tool(&agent, "many");
    // In a full run 100,000, of which 20,000 at a time: a host gives process ids to 32,768.
    let mut waves = vec![scaled(4000)];
    if std::env::var_os("RESMGR_TEST_FULL").is_some() && std::env::var_os("RESMGR_TEST_VM").is_none() {
        waves.extend([4000; 20]);
    }
    let mut all = 1;
    for count in waves {
        let lost_before = lost(&agent, "counters_full");
        workload.order(format!("fork-idle-many {count}"));
        all += count;
        let many = tool(&agent, "many");
        assert_eq!(number(&many["process_count"]), count + 1, "each is the tool's");
        let lost = lost(&agent, "counters_full") - lost_before;
        assert!(lost >= count - 128, "{lost} of {count} lost");
        workload.order("end-idle");
        until("they are gone", || {
            (number(&tool(&agent, "many")["process_count"]) == 1).then_some(())
        });
        let total = number(&tool(&agent, "many")["processes_total"]);
        println!("{total} processes so far, {lost} times no room in this wave");
        let missed = self::lost(&agent, "runs_missed");
        assert!(
            total <= all && total + missed >= all,
            "{total} of {all}, {missed} runs missed"
        );
    }
    // And there is room again.
    workload.order("fork-idle");
    assert_eq!(number(&tool(&agent, "many")["process_count"]), 2);
}

#[test]
fn a_storm_of_forks_through_a_small_ring_is_counted_whole() {
    let folder = Agent::folder();
    let agent = agent(folder.path(), "[agent]\nring_bytes = 65536\n");
    let mut workloads: Vec<Workload> = (0..4).map(|n| in_tool(&agent, &format!("storm{n}"))).collect();
    let count = scaled(5000);
    std::thread::scope(|scope| {
        for workload in &mut workloads {
            scope.spawn(move || workload.order(format!("fork-many {count}")));
        }
        // Meanwhile it answers.
        for _ in 0..5 {
            tool(&agent, "storm0");
        }
    });
    // Newer kernels preempt a program, and leave out another task's run of it meanwhile: they say how often.
    let missed = lost(&agent, "runs_missed");
    println!("{missed} runs missed");
    for n in 0..4 {
        let storm = tool(&agent, &format!("storm{n}"));
        let counted = number(&storm["processes_total"]);
        assert!(
            counted <= count + 1 + missed && counted + missed > count,
            "{missed} missed: {storm}"
        );
        assert_eq!(number(&storm["process_count"]), 1);
    }
    assert_eq!(lost(&agent, "counters_full"), 0);
}

#[test]
fn a_rule_that_matches_everything_leaves_out_who_is_nobodys() {
    let folder = Agent::folder();
    let agent = agent(folder.path(), "[[rule]]\ntool = 'all'\nexecutable = '*'\n");
    let sleeper = Process::start(Command::new("sleep").arg("600"));
    let status = until("every process is a tool's", || {
        let status = agent.status(&["--fresh", "--processes"]);
        let processes = status["processes"].as_array().unwrap().clone();
        let found = processes
            .iter()
            .any(|process| process["pid"] == sleeper.pid() && process["tool_instance"].as_u64().is_some());
        found.then_some(processes)
    });
    for process in status {
        let is_nobodys = process["pid"] == 1 || process["pid"] == agent.pid();
        let tool = &process["tool_instance"];
        assert!(tool.is_null() || !is_nobodys, "{process}");
    }
}

#[test]
fn a_rule_that_matches_more_than_there_is_room_for_fills_it_and_goes_on() {
    let folder = Agent::folder();
    let program = folder.path().join("many-by-rule");
    fs::copy("/bin/sleep", &program).unwrap();
    let agent = agent(folder.path(), "[[rule]]\ntool = 'many'\nexecutable = 'many-by-rule'\n");
    let running = || {
        let status = agent.status(&["--fresh"]);
        let tools = status["tools"].as_array().unwrap();
        tools.iter().filter(|tool| tool["ended_s"].is_null()).count()
    };
    let start = || Process::start(Command::new(&program).arg0("sleep").arg("600"));
    let sleepers: Vec<Process> = (0..1100).map(|_| start()).collect();
    until("no room", || (running() == 1023).then_some(()));
    drop(sleepers);
    until("room", || (running() == 0).then_some(()));
    // What was decided is forgotten once it is done.
    let deciding = || {
        let status = agent.status(&["--fresh"]);
        let maps = status["agent"]["maps"].as_array().unwrap();
        number(&maps.iter().find(|map| map["map"] == "JOINING").unwrap()["entries"])
    };
    until("nothing left to decide", || (deciding() == 0).then_some(()));
    let _another = start();
    until("another", || (running() == 1).then_some(()));
}

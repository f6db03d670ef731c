//! Numbers on the live kernel: processes with a known use, compared with /proc and with arithmetic.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use resmgr_tests::{Agent, Workload, cpu_ns, open_fds, page_sum_kib, socket_inodes, wait_until};
use rustix::process::Signal;
use serde_json::Value;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether a value is within a share of the truth.
fn is_within(value: u64, truth: u64, share: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "shares of nanoseconds")]
    let difference = value.abs_diff(truth) as f64 / truth as f64;
    difference <= share
}

#[test]
fn a_process_with_a_known_use_is_shown_with_it() {
    let agent = Agent::start(&["--track", "all"]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut workload = Workload::start();
    workload.order(format!("connect {address} 5"));
    listener.order("accept 5");
    let there = open_fds(workload.pid()).len();
    workload.order(format!("open {}", 37 - there));
    workload.order(format!("touch {}", 64 << 20));
    workload.order("spin-to 2000");

    let process = agent.process(workload.pid());
    assert_eq!(number(&process["open_fds"]), 37);
    assert_eq!(number(&process["connections"]), 5);
    assert!(number(&process["memory_bytes"]) >= 64 << 20, "{process}");
    assert!(number(&process["virtual_bytes"]) >= 64 << 20);
    let used = number(&process["cpu_time_ns"]);
    assert!(is_within(used, 2_000_000_000, 0.02), "{used}");
    assert!(
        is_within(used, cpu_ns(workload.pid()), 0.001),
        "{used} against {}",
        cpu_ns(workload.pid())
    );

    let usage = &process["usage"];
    let handles: BTreeSet<u32> = usage["file_handles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fd| u32::try_from(number(fd)).unwrap())
        .collect();
    assert_eq!(handles, open_fds(workload.pid()));
    let inodes: BTreeSet<u64> = usage["network_connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect();
    assert_eq!(inodes, socket_inodes(workload.pid()));
    for connection in usage["connections"].as_array().unwrap() {
        assert_eq!(connection["remote"], address.as_str());
        assert_eq!(
            (connection["state"].as_str(), connection["protocol"].as_str()),
            (Some("established"), Some("tcp"))
        );
    }
    // The listening socket is a descriptor, but no connection.
    let other = agent.process(listener.pid());
    assert_eq!(number(&other["open_fds"]), open_fds(listener.pid()).len() as u64);
    assert_eq!(
        (number(&other["connections"]), socket_inodes(listener.pid()).len()),
        (5, 6)
    );
    assert_eq!(number(&other["events"]["connections_accepted"]), 5);
}

#[test]
fn memory_of_a_stopped_process_is_exact_to_the_page() {
    let agent = Agent::start(&[]);
    let mut workload = Workload::start();
    workload.order("touch 12345678");
    // On several CPUs, so that the kernel's own sums lie scattered over them.
    workload.order("spin-threads 4 20");
    workload.signal(Signal::STOP);
    // The kernel walks every page for this file; no other of its numbers is exact.
    let truth = || ["Anonymous", "Rss"].map(|kind| page_sum_kib(workload.pid(), kind));
    let (mut memory, mut anonymous, mut resident) = (Value::Null, 0, 0);
    // A process that is stopped grows all the same when khugepaged joins its small pages to a large one.
    wait_until("the kernel to leave the pages as they are", 20, || {
        [anonymous, resident] = truth();
        memory = agent.process(workload.pid())["memory"].take();
        truth() == [anonymous, resident]
    });
    let kib = |kind: &str| number(&memory[kind]) / 1024;
    assert_eq!(kib("anon_bytes"), anonymous);
    assert_eq!(kib("anon_bytes") + kib("file_bytes") + kib("shmem_bytes"), resident);
}

#[test]
fn without_sweeps_descriptors_are_counted_exactly_for_plain_calls() {
    let agent = Agent::start(&["--no-sweep"]);
    let mut workload = Workload::start();
    let before = agent.process(workload.pid());
    let there = open_fds(workload.pid()).len() as u64;
    assert_eq!(number(&before["open_fds"]), there);
    let (opened_before, closed_before) = (
        number(&before["events"]["fds_opened"]),
        number(&before["events"]["fds_closed"]),
    );
    // Looked at after each order: calls that count the table anew would hide what an earlier one missed.
    let mut made = 0;
    for (order, makes) in [
        ("open 10", 10),
        ("dup 5", 5),
        ("eventfd 3", 3),
        ("pipe 6", 12),
        ("socketpair 2", 4),
        ("fcntl-dup 4", 4),
        ("getfd 50", 0),
    ] {
        workload.order(order);
        made += makes;
        let process = agent.process(workload.pid());
        assert_eq!(number(&process["open_fds"]), there + made, "after {order}");
        assert_eq!(
            number(&process["events"]["fds_opened"]) - opened_before,
            made,
            "after {order}"
        );
    }
    // Over an open one: opened and closed, the table does not grow.
    workload.order("dup2 7");
    workload.order("close 11");
    let process = agent.process(workload.pid());
    assert_eq!(number(&process["open_fds"]), open_fds(workload.pid()).len() as u64);
    assert_eq!(number(&process["open_fds"]), there + made - 11);
    assert_eq!(number(&process["events"]["fds_opened"]) - opened_before, made + 7);
    assert_eq!(number(&process["events"]["fds_closed"]) - closed_before, 7 + 11);
    assert_eq!(process["memory_bytes"], Value::Null, "events do not tell it");
}

#[test]
fn without_sweeps_connections_are_counted_exactly_for_plain_calls() {
    let agent = Agent::start(&["--no-sweep"]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut workload = Workload::start();
    workload.order(format!("connect {address} 7"));
    workload.order(format!("connect-nonblocking {address} 4"));
    listener.order("accept 11");
    workload.order("udp 127.0.0.1:9 2");
    // Nothing listens on port 1.
    workload.order("connect-in-vain 127.0.0.1:1 3");
    assert_eq!(workload.order("connect-nonblocking 127.0.0.1:1 2"), "2");

    let process = agent.process(workload.pid());
    let events = &process["events"];
    assert_eq!(number(&process["connections"]), 13);
    assert_eq!(number(&events["connections_made"]), 13);
    assert_eq!(number(&events["connections_failed"]), 5);
    assert_eq!(number(&agent.process(listener.pid())["connections"]), 11);

    workload.order("disconnect 4");
    assert_eq!(number(&agent.process(workload.pid())["connections"]), 9);
    // The peer's end is seen, but its socket is still open: it is counted until it is closed.
    assert_eq!(number(&agent.process(listener.pid())["connections"]), 11);
    listener.order("disconnect 11");
    assert_eq!(number(&agent.process(listener.pid())["connections"]), 0);

    // Of several paths: each is one, whatever the kernel opens for its paths.
    let mut multipath = Workload::start();
    let made: u64 = multipath.order("mptcp 3").parse().unwrap();
    let process = agent.process(multipath.pid());
    let events = &process["events"];
    assert_eq!(number(&events["connections_made"]), made);
    assert_eq!(number(&events["connections_accepted"]), made);
    assert_eq!(number(&process["connections"]), 2 * made);
}

#[test]
fn without_sweeps_virtual_memory_is_the_kernels_after_each_call_that_changes_it() {
    let agent = Agent::start(&["--no-sweep"]);
    let mut workload = Workload::start();
    // The whole size of its address space in pages.
    let truth = |pid: u32| -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        pages * rustix::param::page_size() as u64
    };
    let mut before = truth(workload.pid());
    for (order, grows) in [
        ("map 30000000", 30_000_000),
        ("remap 50000000", 20_000_000),
        ("remap 10000000", -40_000_000),
        ("unmap", -10_000_000),
        ("brk 3000000", 3_000_000),
    ] {
        workload.order(order);
        let now = truth(workload.pid());
        assert_eq!(
            number(&agent.process(workload.pid())["virtual_bytes"]),
            now,
            "after {order}"
        );
        assert!(
            now.cast_signed() - before.cast_signed() - grows < 1 << 20,
            "{order} did nothing"
        );
        before = now;
    }
}

#[test]
fn peaks_stay_when_what_was_used_is_given_back() {
    const MIB: u64 = 1 << 20;
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut exec = agent.client(&["exec", "--require", "--tool", "peak", "--"]);
    let mut workload = Workload::over(exec.arg(resmgr_tests::binary("workload")));
    let tool = || agent.status(&["peak", "--fresh"])["tools"][0].take();
    // What a child uses that no sweep saw.
    let of_child: u64 = workload.order(format!("fork-touch {}", 24 * MIB)).parse().unwrap();
    assert!(of_child > 24 * MIB);
    assert_eq!(number(&tool()["peak"]["process_rss_bytes"]), of_child);

    workload.order("open 30");
    workload.order(format!("connect {address} 6"));
    workload.order("fork-idle-many 2");
    let open: usize = pids_of(&agent, "peak").iter().map(|&pid| open_fds(pid).len()).sum();
    tool();
    workload.order("end-idle");
    workload.order(format!("touch {}", 48 * MIB));
    let at_most = number(&tool()["usage"]["memory_bytes"]);
    workload.order("forget");
    workload.order("close 30");
    workload.order("disconnect 6");
    let (now, peak) = {
        let tool = tool();
        (tool["usage"].clone(), tool["peak"].clone())
    };
    assert!(number(&now["memory_bytes"]) < 24 * MIB, "{now}");
    // What a cgroup is charged with moves a little by itself.
    let highest = number(&peak["memory_bytes"]);
    assert!(
        at_most >= 48 * MIB && (at_most..at_most + 4 * MIB).contains(&highest),
        "{at_most}: {peak}"
    );
    assert_eq!(number(&peak["open_fds"]), open as u64);
    assert_eq!((number(&peak["connections"]), number(&peak["processes"])), (6, 3));
    // The process's own, as the kernel has noted it, but for what its CPUs hold back.
    let status = std::fs::read_to_string(format!("/proc/{}/status", workload.pid())).unwrap();
    let noted = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let noted: u64 = noted.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    let shown = number(&agent.process(workload.pid())["peak_rss_bytes"]);
    assert!(shown.abs_diff(noted << 10) <= MIB, "{shown} and {noted} KiB");
}

/// The processes of a tool.
fn pids_of(agent: &Agent, tool: &str) -> Vec<u32> {
    let status = agent.status(&[tool, "--fresh", "--processes"]);
    let processes = status["processes"].as_array().unwrap().iter();
    processes
        .map(|process| u32::try_from(number(&process["pid"])).unwrap())
        .collect()
}

#[test]
fn what_it_costs_and_what_is_lost_stands_in_every_status() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut exec = agent.client(&["exec", "--require", "--tool", "any", "--"]);
    let _workload = Workload::over(exec.arg(resmgr_tests::binary("workload")));
    // The programs' own time is sampled in one pass of sixteen.
    wait_until("a sample of the programs' cost", 30, || {
        number(&agent.status(&[])["agent"]["programs"]["runs"]) > 0
    });
    let status = agent.status(&[])["agent"].take();
    let (sampled, run) = (
        number(&status["programs"]["sampled_ns"]),
        number(&status["programs"]["run_ns"]),
    );
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(run > 0 && run < sampled * cpus, "{status}");
    assert!(
        number(&status["sweep_ns"]) > 0 && number(&status["cpu_time_ns"]) > 0,
        "{status}"
    );
    for what in [
        "ring_full",
        "counters_full",
        "sockets_full",
        "crossings_full",
        "runs_missed",
    ] {
        number(&status["losses"][what]);
    }
    for what in ["cpu_time_ns", "virtual_bytes", "fds", "connections"] {
        assert!(
            number(&status["drift"][what]) <= number(&status["drift_total"][what]),
            "{status}"
        );
    }
    let maps = status["maps"].as_array().unwrap();
    let used = |name: &str| {
        let map = maps.iter().find(|map| map["map"] == name).unwrap();
        assert!(map["entries"].as_u64() <= map["max_entries"].as_u64(), "{map}");
        number(&map["entries"])
    };
    assert!(used("COUNTERS") >= 1, "{maps:?}");
}

#[test]
fn without_sweeps_cpu_time_is_within_one_percent() {
    let agent = Agent::start(&["--no-sweep"]);
    let mut workload = Workload::start();
    workload.order("spin 1000");
    workload.order("spin-threads 3 400");
    let used = number(&agent.process(workload.pid())["cpu_time_ns"]);
    // Threads that have ended are in no file of /proc any more, and what they used to start and end they cannot tell.
    let truth: u64 = workload.order("cpu").parse().unwrap();
    assert!(is_within(used, truth, 0.01), "{used} against {truth}");
}

#[test]
fn a_sweep_heals_what_events_did_not_see_and_says_how_much() {
    let agent = Agent::start(&["--sweep-interval", "60s", "--track", "all"]);
    let mut workload = Workload::start();
    workload.order("open 20");
    agent.status(&["--fresh"]);
    // Descriptors received over a socket come by no call that a hook is on.
    workload.order("receive 8");
    let status = agent.status(&["--fresh"]);
    assert!(
        number(&status["agent"]["drift"]["fds"]) >= 8,
        "{}",
        status["agent"]["drift"]
    );
    let process = agent.process(workload.pid());
    assert_eq!(number(&process["open_fds"]), open_fds(workload.pid()).len() as u64);
    assert_eq!(
        number(&process["events"]["fds_open"]),
        open_fds(workload.pid()).len() as u64,
        "healed"
    );
}

#[test]
fn a_table_beyond_what_a_sweep_walks_is_counted_whole() {
    let agent = Agent::start(&[]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut workload = Workload::start();
    // Beyond the walk of 512 descriptors, and beyond the list of 64 sockets.
    workload.order("open 600");
    for _ in 0..10 {
        workload.order(format!("connect {address} 10"));
        listener.order("accept 10");
    }
    for pid in [workload.pid(), listener.pid()] {
        let process = agent.process(pid);
        assert_eq!(number(&process["open_fds"]), open_fds(pid).len() as u64);
        assert_eq!(number(&process["connections"]), 100);
    }
}

#[test]
fn a_short_lived_process_is_counted_when_it_ends() {
    let agent = Agent::start(&["--sweep-interval", "60s", "--track", "all"]);
    let before = number(&agent.status(&["--fresh"])["agent"]["ended"]["processes"]);
    for _ in 0..50 {
        assert!(std::process::Command::new("/bin/true").status().unwrap().success());
    }
    let status = agent.status(&["--fresh"]);
    assert!(number(&status["agent"]["ended"]["processes"]) >= before + 50);
    assert_eq!(number(&status["agent"]["events_lost"]), 0);
}

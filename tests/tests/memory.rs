//! Memory of tools on the live kernel: what processes share counts once, as the kernel charges or divides it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use resmgr_tests::{Agent, Workload, binary, number, until};
use serde_json::Value;

const MIB: u64 = 1 << 20;

fn tool(agent: &Agent) -> Value {
    let mut status = agent.status(&["sharing", "--fresh"]);
    status["tools"][0].take()
}

fn memory(tool: &Value) -> u64 {
    number(&tool["usage"]["memory_bytes"])
}

fn kib(text: &str, kind: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(kind));
    let line = line.unwrap_or_else(|| panic!("{kind} in {text}"));
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// What the kernel says that a tool's processes use together: charged to its leaf, or divided by those who map it.
fn truth(tool: &Value, pids: &[u32]) -> u64 {
    let leaf = tool["cgroup"].as_str().map(Path::new);
    if let Some(current) = leaf.and_then(|leaf| fs::read_to_string(leaf.join("memory.current")).ok()) {
        let stat = fs::read_to_string(leaf.unwrap().join("memory.stat")).unwrap();
        let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
        return current.trim().parse::<u64>().unwrap() - inactive.unwrap().trim().parse::<u64>().unwrap();
    }
    let of = |pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        ["Pss_Anon:", "Pss_Shmem:", "SwapPss:"].map(|kind| kib(&text, kind))
    };
    pids.iter().flat_map(of).sum()
}

#[test]
fn pages_that_a_tools_processes_share_count_once() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut exec = agent.client(&["exec", "--require", "--tool", "sharing", "--"]);
    let mut workload = Workload::over(exec.arg(binary("workload")));
    workload.order("touch 67108864");
    let mut pids = vec![workload.pid()];
    for _ in 0..4 {
        pids.push(workload.order("fork-idle").parse().unwrap());
        let shown = memory(&tool(&agent));
        assert!((64 * MIB..80 * MIB).contains(&shown), "{shown}");
    }
    assert_eq!(number(&tool(&agent)["process_count"]), 5);
    assert_eq!(tool(&agent)["crossings"], Value::Array(Vec::new()));

    // The children keep the old pages together, and the parent has new ones.
    workload.order("rewrite");
    // Until the kernel is asked again, what is new counts on top of what was shared.
    let tool_now = until("pages that are no longer shared, and no others", || {
        let tool_now = tool(&agent);
        let (shown, truth) = (memory(&tool_now), truth(&tool_now, &pids));
        (shown >= 126 * MIB && shown.abs_diff(truth) < 2 * MIB).then_some(tool_now)
    });
    let alone = number(&tool_now["usage"]["memory"]["anon_bytes"]);
    assert!(alone > 5 * 64 * MIB, "{alone}: the kinds are sums over processes");

    workload.order("end-idle");
    until("its children's pages gone", || {
        (memory(&tool(&agent)) < 80 * MIB).then_some(())
    });
}

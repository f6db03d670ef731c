//! Lists of processes, as hosts have them.
use super::*;

/// A process that began when its number says.
fn process(pid: u32, ppid: u32, command: &str) -> ProcessStatus {
    let program = command.split(' ').next().unwrap().rsplit('/').next().unwrap();
    ProcessStatus {
        pid,
        ppid,
        uid: 1000,
        start_time_ns: u64::from(pid),
        comm: program.chars().take(15).collect(),
        command: Some(command.to_owned()),
        tool: None,
        tool_instance: None,
        threads: 1,
        kernel_thread: false,
        zombie: false,
        cpu_time_ns: 0,
        cpu_share: None,
        memory_bytes: None,
        memory: None,
        virtual_bytes: 0,
        peak_rss_bytes: None,
        open_fds: 3,
        connections: 0,
        events: None,
        usage: None,
        descriptors: None,
    }
}

fn of_tool(instance: u64, process: ProcessStatus) -> ProcessStatus {
    ProcessStatus {
        tool: Some("managed".parse().unwrap()),
        tool_instance: Some(instance),
        ..process
    }
}

/// Host, kind and process ids of what is found.
fn found(processes: &[ProcessStatus]) -> Vec<(Option<&'static str>, bool, Vec<u32>)> {
    find(processes, 9999)
        .iter()
        .map(|found| {
            let pids = found.processes.iter().map(|(process, _)| process.pid).collect();
            (found.host.map(|(host, _)| host.name), found.is_server, pids)
        })
        .collect()
}

#[test]
fn a_launcher_and_all_that_it_started_are_one_tool_of_the_nearest_host() {
    let processes = [
        process(1, 0, "/sbin/init"),
        process(10, 1, "/usr/share/code/code --type=renderer"),
        process(11, 10, "bash"),
        process(12, 11, "claude"),
        process(13, 12, "npm exec @modelcontextprotocol/server-everything"),
        process(14, 13, "sh -c mcp-server-everything"),
        process(
            15,
            14,
            "node /srv/u/.npm/_npx/1/node_modules/.bin/mcp-server-everything",
        ),
        process(16, 13, "other"),
        process(17, 10, "/usr/share/code/code --type=gpu"),
        process(18, 10, "node /srv/u/.vscode/extensions/x/server.js"),
        process(19, 10, "node /srv/u/notes-mcp/dist/index.js"),
    ];
    assert_eq!(
        found(&processes),
        [
            (Some("Claude Code"), true, vec![13, 14, 15, 16]),
            (Some("VS Code"), true, vec![19]),
        ]
    );
}

#[test]
fn what_an_agent_runs_is_found_and_not_the_agents_own_processes() {
    let processes = [
        process(10, 1, "node /usr/bin/codex"),
        process(11, 10, "/usr/lib/node_modules/@openai/codex/vendor/x/codex/codex"),
        process(12, 11, "bash -lc cargo test"),
        process(13, 12, "cargo test"),
        process(20, 1, "bash"),
        process(21, 20, "cargo test"),
    ];
    assert_eq!(found(&processes), [(Some("Codex CLI"), false, vec![12, 13])]);
}

#[test]
fn servers_without_a_host_are_found() {
    // Their host has gone, or there never was one.
    let processes = [
        process(1, 0, "systemd"),
        process(10, 1, "uvx mcp-server-fetch"),
        process(11, 1, "gopls mcp"),
    ];
    assert_eq!(found(&processes), [(None, true, vec![10])]);
}

#[test]
fn subcommands_are_servers_below_a_host() {
    let processes = [
        process(10, 1, "windsurf"),
        process(11, 10, "gopls mcp"),
        process(12, 10, "gopls serve"),
        process(13, 10, "codex mcp-server"),
    ];
    assert_eq!(
        found(&processes),
        [(Some("Windsurf"), true, vec![11]), (Some("Windsurf"), true, vec![13]),]
    );
}

#[test]
fn whoever_asks_is_no_tool_nor_is_resmgr() {
    let processes = [
        process(10, 1, "claude"),
        process(11, 10, "bash -c resmgr discover"),
        process(9999, 11, "resmgr discover"),
        process(13, 10, "/usr/bin/resmgr mcp"),
        process(
            14,
            10,
            "resmgr exec --operations mcp --tool fetch -- uvx mcp-server-fetch",
        ),
        of_tool(3, process(15, 14, "uvx mcp-server-fetch")),
        of_tool(3, process(16, 15, "python3 mcp-server-fetch")),
    ];
    assert_eq!(found(&processes), [(Some("Claude Code"), true, vec![15, 16])]);
}

#[test]
fn a_tool_within_what_is_found_is_apart() {
    let processes = [
        process(10, 1, "claude"),
        process(11, 10, "bash -c ./all.sh"),
        of_tool(1, process(12, 11, "mcp-server-notes")),
        of_tool(2, process(13, 11, "make")),
        of_tool(2, process(14, 13, "cc")),
        process(15, 11, "sleep 1"),
    ];
    assert_eq!(
        found(&processes),
        [
            (Some("Claude Code"), false, vec![11, 15]),
            (Some("Claude Code"), true, vec![12]),
        ]
    );
}

#[test]
fn odd_lists_are_survived() {
    let mut orphan = process(5, 77, "mcp-server-x");
    orphan.start_time_ns = 0;
    let mut silent = process(6, 5, "x");
    silent.command = None;
    let processes = [
        process(3, 4, "mcp-server-a"),
        process(4, 3, "mcp-server-b"),
        orphan,
        silent,
        ProcessStatus {
            zombie: true,
            ..process(7, 5, "mcp-server-z")
        },
    ];
    assert_eq!(found(&processes), [(None, true, vec![5, 6]), (None, true, vec![3, 4])]);
    assert!(line_of(&processes, 3).len() == 2);
    assert_eq!(found(&[]), []);
}

#[test]
fn hundreds_are_found_in_a_moment() {
    let mut processes = vec![process(1, 0, "claude")];
    for n in 0..5000 {
        let parent = if n % 5 == 0 { 1 } else { 2 + n - n % 5 };
        processes.push(process(
            2 + n,
            parent,
            "npm exec @modelcontextprotocol/server-everything",
        ));
    }
    let found = found(&processes);
    assert_eq!(found.len(), 1000);
    assert!(found.iter().all(|(_, _, pids)| pids.len() == 5));
}

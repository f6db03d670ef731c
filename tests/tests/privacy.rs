//! Command lines and connections are shown to root and to their owner, where processes are listed, and nowhere else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use resmgr_tests::{Agent, Workload, binary, run, unprivileged, wait_until};
use serde_json::{Value, json};

/// What stands in command lines, of root's and of an ordinary user's tool, and is whom they are connected with.
const ROOTS: [&str; 2] = ["roots-3f9a2c", "127.77.13.9"];
const USERS: [&str; 2] = ["users-8d41e7", "127.77.13.10"];

/// A tool whose command line and whose peer are marked, and that came near a limit; and its peer.
fn start(
    agent: &Agent,
    tool: &str,
    [word, address]: [&str; 2],
    user: fn(&mut Command) -> &mut Command,
) -> (Workload, Workload) {
    let mut listener = Workload::start();
    let peer = listener.order(format!("listen {address}:0"));
    let mut exec = agent.exec(tool, &["--fds", "10:40", "--mode", "throttle"]);
    exec.arg(binary("workload")).args(["--note", word]);
    let mut workload = Workload::over(user(&mut exec));
    workload.order(format!("connect {peer} 2"));
    workload.order("open 33");
    workload.order("zombie");
    (workload, listener)
}

/// What is asked of a tool, and tells of no command line and no peer: with what it tells instead.
fn reserved(tool: &str, page: &Path) -> Vec<String> {
    let asked = format!(
        "status --fresh --top 0|explain {tool}|history {tool}|\
         history {tool} --format json|history {tool} --format csv|alerts|alerts {tool} --json|limits show|\
         limits show {tool} --json|limits suggest {tool}|report {tool} -o {}",
        page.display()
    );
    asked.split('|').map(|line| line.trim().to_owned()).collect()
}

/// What a command says to root, or to an ordinary user.
fn told(agent: &Agent, line: &str, to_user: bool) -> String {
    let mut command = agent.client(&line.split(' ').collect::<Vec<_>>());
    let output = run(if to_user {
        unprivileged(&mut command)
    } else {
        &mut command
    });
    output.stdout + &output.stderr
}

/// All that a client of `resmgr mcp` is told.
fn asked_by_mcp(command: &mut Command, tool: &str) -> String {
    let mut lines = vec![
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params":
            {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a test", "version": "0"}}}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    ];
    for (id, name) in (1..).zip(["status", "explain", "history", "alerts", "top"]) {
        let arguments = if name == "alerts" {
            json!({})
        } else {
            json!({"tool": tool})
        };
        lines.push(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": name, "arguments": arguments}}));
    }
    lines.push(json!({"jsonrpc": "2.0", "id": 6, "method": "resources/read",
        "params": {"uri": format!("resmgr://tools/{tool}")}}));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    for line in &lines {
        writeln!(to, "{line}").unwrap();
    }
    let mut told = String::new();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    // Every request has its answer before the end is told.
    for _ in 0..7 {
        assert!(from.read_line(&mut told).unwrap() > 0, "{told}");
    }
    drop(to);
    assert!(child.wait().unwrap().success());
    told
}

fn contains(text: &str, marks: [&str; 2]) -> bool {
    marks.iter().any(|mark| text.contains(mark))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn command_lines_and_peers_are_shown_to_root_and_their_owner_alone() {
    let folder = Agent::folder();
    let log = folder.path().join("log");
    let shell = ["sh", "-c", "exec \"$@\" 2>\"$0\"", log.to_str().unwrap()];
    let agent = Agent::start_by(&shell, &["--log", "info", "--sweep-interval", "100ms"]);
    let (roots, _peer_of_roots) = start(&agent, "roots", ROOTS, |command| command);
    let (users, _peer_of_users) = start(&agent, "users", USERS, unprivileged);
    for tool in ["roots", "users"] {
        agent.alert(tool, |alert| alert["kind"] == json!({"limit": "fds"}));
        wait_until("it is remembered", 30, || agent.remembered(tool) > 3);
    }
    let (as_user, as_root) = (
        |line: &str| told(&agent, line, true),
        |line: &str| told(&agent, line, false),
    );

    // Where processes are listed, root and the owner are shown them: the marks are there to be found.
    for list in ["status --processes", "status --processes --json"] {
        let (root, user) = (as_root(list), as_user(list));
        assert!(root.contains(ROOTS[0]) && root.contains(USERS[0]), "{root}");
        assert!(user.contains(USERS[0]) && !contains(&user, ROOTS), "{user}");
    }
    for one in ["status --pid", "status --json --pid"] {
        let (of_root, of_user) = (format!("{one} {}", roots.pid()), format!("{one} {}", users.pid()));
        assert!(as_root(&of_root).contains(ROOTS[1]) && as_root(&of_user).contains(USERS[1]));
        assert!(as_user(&of_user).contains(USERS[1]));
        let refused = as_user(&of_root);
        assert!(
            refused.contains("or it is not yours") && !contains(&refused, ROOTS),
            "{refused}"
        );
    }

    // Everywhere else nobody is.
    let page = folder.path().join("page.html");
    for (tool, marks) in [("roots", ROOTS), ("users", USERS)] {
        for asked in reserved(tool, &page) {
            let told = as_root(&asked);
            assert!(!contains(&told, marks), "{asked}: {told}");
            let told = as_user(&asked);
            assert!(!contains(&told, ROOTS), "{asked}: {told}");
        }
        // Whom a tool is connected with, by address, is in its owner's and root's JSON.
        let json = format!("status {tool} --json");
        let (root, user) = (as_root(&json), as_user(&json));
        assert!(root.contains(marks[1]) && !root.contains(marks[0]), "{root}");
        assert_eq!(user.contains(marks[1]), tool == "users", "{user}");
        assert!(!contains(&user, ROOTS) && !user.contains(USERS[0]), "{user}");
        let table = format!("status {tool} --top 0");
        assert!(!contains(&as_root(&table), marks) && !contains(&as_user(&table), marks));
        let page = fs::read_to_string(&page).unwrap();
        assert!(page.contains(tool) && !contains(&page, marks));
    }
    let told = asked_by_mcp(&mut agent.client(&["mcp"]), "users");
    assert!(
        told.contains(&users.pid().to_string()) && !contains(&told, USERS),
        "{told}"
    );
    let told = asked_by_mcp(unprivileged(&mut agent.client(&["mcp"])), "users");
    assert!(told.contains(USERS[0]) && !contains(&told, ROOTS), "{told}");
    let told = asked_by_mcp(unprivileged(&mut agent.client(&["mcp"])), "roots");
    assert!(
        told.contains("No tool roots of yours") && !contains(&told, ROOTS),
        "{told}"
    );
    let told = as_user("discover") + &as_user("discover --json");
    assert!(!contains(&told, ROOTS), "{told}");
    let watched = run(unprivileged(
        Command::new("sh")
            .args([
                "-c",
                "\"$0\" --socket \"$1\" status --processes --watch 100ms | head -200",
            ])
            .arg(binary("resmgr"))
            .arg(agent.socket()),
    ));
    assert!(watched.stdout.contains(USERS[0]) && !contains(&watched.stdout, ROOTS));

    // Nor does the agent write them anywhere.
    drop((roots, users));
    agent.ended("roots");
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("ready") && log.contains("roots"), "{log}");
    assert!(!contains(&log, ROOTS) && !contains(&log, USERS), "{log}");
    let state = folder_of(&agent).join("state");
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    for file in files(&state) {
        let bytes = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!contains(&text, ROOTS) && !contains(&text, USERS), "{}", file.display());
    }
}

fn folder_of(agent: &Agent) -> PathBuf {
    agent.socket().parent().unwrap().to_owned()
}

#[test]
fn a_process_that_became_another_users_since_the_last_sweep_is_not_shown() {
    // No sweep comes in the time of this test but those that are asked for.
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let folder = Agent::folder();
    let program = folder.path().join("program");
    fs::copy(binary("workload"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let mut exec = agent.exec("became", &["--mode", "observe"]);
    exec.args(["bash", "-c", "read -r; echo ok; read -r; exec \"$0\" \"$1\""])
        .arg(&program)
        .arg(ROOTS[0]);
    // The first order is answered by the shell.
    let mut process = Workload::over(unprivileged(&mut exec));
    agent.status(&["--fresh"]);
    let one = format!("status --json --pid {}", process.pid());
    let seen = told(&agent, &one, true);
    assert!(seen.contains("\"descriptors\"") && seen.contains(ROOTS[0]), "{seen}");

    // The second makes it the program, which answers the third.
    process.order("go\nnumbers");
    let mut listener = Workload::start();
    let peer = listener.order(format!("listen {}:0", ROOTS[1]));
    process.order(format!("connect {peer} 2"));
    let seen = told(&agent, &one, true);
    assert!(seen.contains("or it is not yours"), "{seen}");
    let listed = told(&agent, "status --processes --json", true);
    assert!(!contains(&listed, ROOTS), "{listed}");
    assert!(told(&agent, &one, false).contains(ROOTS[0]), "root sees it");

    // It still is of the user's tool, and counts there; whom it is connected with is not theirs to know.
    let tool = |to_user| told(&agent, "status became --json --fresh", to_user);
    let (root, user) = (tool(false), tool(true));
    assert!(root.contains(ROOTS[1]), "{root}");
    assert!(!contains(&user, ROOTS), "{user}");
    let user: Value = serde_json::from_str(&user).unwrap();
    let usage = &user["tools"][0]["usage"];
    assert_eq!(usage["network_connections"].as_array().unwrap().len(), 2, "{usage}");
}

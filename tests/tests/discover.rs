//! `resmgr discover`: what runs already is found, is shown with what it uses, and becomes a tool by what is suggested.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use resmgr_tests::{Agent, Workload, binary, number, open_fds, run, unprivileged, until};
use serde_json::Value;

/// Never to be printed.
const SECRET: &str = "hush3f9a";

/// A program under a host's name, with children that end with it.
struct Host(Child);

impl Host {
    /// Starts one that runs a script, in which `child NAME ARGUMENTS` starts a child of that name.
    fn start(name: &str, script: &str, user: fn(&mut Command) -> &mut Command, home: &Path) -> Self {
        let child = "child() { (exec -a \"$1\" bash -c 'cat; true' \"${@:2}\") <&3 & }; exec 3<&0";
        let mut bash = Command::new("bash");
        bash.args(["-c", "exec -a \"$0\" bash -c \"$1\"", name])
            .arg(format!("{child}; {script}; wait; true"))
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Self(user(&mut bash).spawn().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // All of them read from the pipe that this was the only writer of.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn as_root(command: &mut Command) -> &mut Command {
    command
}

/// What is found below a process, by the names of tools.
fn found(report: &Value, host: u32) -> BTreeMap<String, Value> {
    let all = report["found"].as_array().unwrap().iter();
    let of_host = all.filter(|found| found["host"]["pid"] == host || (host == 0 && found["host"].is_null()));
    of_host
        .map(|found| (found["name"].as_str().unwrap().to_owned(), found.clone()))
        .collect()
}

fn discover(command: &mut Command) -> Value {
    let output = run(command);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(!output.stdout.contains(SECRET), "{}", output.stdout);
    serde_json::from_str(&output.stdout).unwrap()
}

/// A workload under a name of its own.
fn named(folder: &Path, name: &str) -> Command {
    let path = folder.join(name);
    fs::copy(binary("workload"), &path).unwrap();
    Command::new(path)
}

#[test]
fn what_runs_is_found_and_becomes_a_tool_by_what_is_suggested() {
    let folder = Agent::folder();
    let agent = Agent::start(&[]);
    let script = format!(
        "child 'npm exec @modelcontextprotocol/server-everything' --api-key {SECRET}; \
         child mcp-server-notes TOKEN={SECRET}; child vim mcp-server-notes.py"
    );
    let claude = Host::start("claude", &script, as_root, folder.path());
    let code = Host::start("/usr/share/code/code", &script, as_root, folder.path());
    let mut github = Workload::over(named(folder.path(), "github-mcp-server").args(["stdio", "--token", SECRET]));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    github.order("open 20");
    github.order(format!("connect {} 3", listener.local_addr().unwrap()));
    github.order("fork-idle");
    let report = until("all are there", || {
        let report = discover(&mut agent.client(&["discover", "--json"]));
        let (claude, code) = (found(&report, claude.0.id()), found(&report, code.0.id()));
        let trees = claude.values().chain(code.values());
        let is_whole = trees.clone().count() == 5 && trees.clone().all(|found| found["processes"][1].is_object());
        is_whole.then_some(report)
    });

    // Of an agent's children all; of an editor's the servers alone.
    let of_claude = found(&report, claude.0.id());
    let names: Vec<&str> = of_claude.keys().map(String::as_str).collect();
    assert_eq!(names, ["claude-vim", "everything", "notes"]);
    assert_eq!(of_claude["claude-vim"]["kind"], "command");
    assert_eq!(of_claude["everything"]["kind"], "mcp_server");
    assert_eq!(of_claude["everything"]["host"]["name"], "Claude Code");
    let of_code = found(&report, code.0.id());
    let names: Vec<&str> = of_code.keys().map(String::as_str).collect();
    assert_eq!(names, ["everything", "notes"]);

    // What they use, as the kernel has it.
    let without = report["found"].as_array().unwrap().iter();
    let alone = without.clone().find(|found| found["pid"] == github.pid()).unwrap();
    assert_eq!((&alone["name"], &alone["host"]), (&"github".into(), &Value::Null));
    assert_eq!(alone["processes"].as_array().unwrap().len(), 2);
    assert_eq!(
        number(&alone["usage"]["open_fds"]),
        2 * open_fds(github.pid()).len() as u64
    );
    assert_eq!(number(&alone["usage"]["connections"]), 6);
    assert!(number(&alone["usage"]["memory_bytes"]) > 0);

    // Its shape is the one that it says.
    let schema = run(&mut agent.client(&["discover", "--schema"])).stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    if let Err(error) = jsonschema::validate(&schema, &report) {
        panic!("{error}");
    }
    assert!(!jsonschema::is_valid(&schema, &serde_json::json!({"version": 1})));

    // A person reads the same, and no secret.
    let told = run(&mut agent.client(&["discover"])).stdout;
    assert!(told.contains("everything  MCP server of Claude Code"), "{told}");
    assert!(told.contains("--api-key ***") && !told.contains(SECRET), "{told}");

    // Nothing was managed unasked; what is suggested manages it, and then it is told so.
    assert_eq!(agent.status(&[])["tools"], serde_json::json!([]));
    let typed = alone["attach"].as_str().unwrap().strip_prefix("resmgr").unwrap();
    let attached = run(Command::new("sh")
        .args(["-c", &format!("exec \"$0\"{typed}")])
        .arg(binary("resmgr")));
    assert_eq!(attached.code, Some(0), "{}", attached.stderr);
    let report = discover(&mut agent.client(&["discover", "--json"]));
    let again = report["found"].as_array().unwrap().iter();
    let managed = again.clone().find(|found| found["pid"] == github.pid()).unwrap();
    assert_eq!(managed["managed"]["tool"], "github");
    assert_eq!(managed["processes"].as_array().unwrap().len(), 2);
    assert!(
        managed["attach"].is_null() && managed["next_time"].is_null(),
        "{managed}"
    );
    let tools = agent.status(&["--fresh"])["tools"].take();
    assert_eq!(tools.as_array().unwrap().len(), 1, "{tools}");

    // And so does the rule, for another agent that begins with it.
    assert_eq!(alone["next_time"]["how"], "rule");
    let config = folder.path().join("resmgr.toml");
    fs::write(&config, alone["next_time"]["text"].as_str().unwrap()).unwrap();
    let other = Agent::start(&["--config", config.to_str().unwrap()]);
    let tool = other.tool("github");
    assert_eq!(
        (&tool["root_pid"], number(&tool["process_count"])),
        (&github.pid().into(), 2)
    );
}

#[test]
fn an_ordinary_user_finds_their_own_alone_and_is_told_of_their_hosts_file() {
    let folder = Agent::folder();
    let agent = Agent::start(&[]);
    fs::write(folder.path().join(".claude.json"), "{\"mcpServers\":{}}").unwrap();
    let mut others = named(folder.path(), "others-mcp-server");
    fs::set_permissions(
        folder.path().join("others-mcp-server"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let others = Workload::over(&mut others);
    let own = Host::start("claude", "child mcp-server-own", unprivileged, folder.path());
    let ask = || {
        let mut command = agent.client(&["discover", "--json"]);
        discover(unprivileged(&mut command).env("HOME", folder.path()))
    };
    let report = until("it is there", || {
        let report = ask();
        found(&report, own.0.id()).contains_key("own").then_some(report)
    });
    let all = report["found"].as_array().unwrap();
    assert!(all.iter().all(|found| found["uid"] == 65_534), "{report}");
    assert!(all.iter().all(|found| found["pid"] != others.pid()));
    let wrap = format!("resmgr --socket {} mcp wrap ~/.claude.json", agent.socket().display());
    assert_eq!(found(&report, own.0.id())["own"]["next_time"]["text"], wrap);
    // Root has no such file, and is told of a rule.
    let report = discover(agent.client(&["discover", "--json"]).env("HOME", folder.path()));
    assert_eq!(found(&report, own.0.id())["own"]["next_time"]["how"], "rule");
    assert!(
        report["found"]
            .as_array()
            .unwrap()
            .iter()
            .any(|found| found["pid"] == others.pid())
    );
}

#[test]
fn whoever_asks_below_an_agent_is_not_found_and_without_resmgrs_agent_it_is_said_what_to_do() {
    let agent = Agent::start(&[]);
    let mut command = Command::new("bash");
    command
        .arg0("claude")
        .args(["-c", "bash -c '\"$0\" \"$@\"; true' \"$@\"; true", "sh"]);
    command
        .arg(binary("resmgr"))
        .arg("--socket")
        .arg(agent.socket())
        .args(["discover", "--json"]);
    let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let asked = child.id();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found(&report, asked).len(), 0, "{report}");

    let nowhere = run(Command::new(binary("resmgr")).args(["--socket", "/nowhere/sock", "discover"]));
    assert_eq!(nowhere.code, Some(3));
    assert!(nowhere.stderr.contains("resmgr agent"), "{}", nowhere.stderr);
}

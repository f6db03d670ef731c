//! `resmgr mcp` on the live agent: raw JSON-RPC over its standard streams, as any client of MCP speaks it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use resmgr_tests::{Agent, Workload, binary, number, patience, run, unprivileged, until, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The tools that change nothing.
const READ_ONLY: [&str; 5] = ["status", "explain", "history", "alerts", "top"];

/// A client and its server.
struct Mcp {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    asked: u64,
}

impl Mcp {
    /// Starts a server by a command, and says who it is talking to.
    fn start(command: &mut Command) -> Self {
        let mut mcp = Self::silent(command);
        let welcome = mcp.initialize();
        assert_eq!(welcome["serverInfo"]["name"], "resmgr", "{welcome}");
        mcp.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        mcp
    }

    /// Starts a server, and says nothing.
    fn silent(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            answers,
            asked: 0,
        }
    }

    fn initialize(&mut self) -> Value {
        let params = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "a test", "version": "0"},
        });
        self.ask("initialize", &params)["result"].take()
    }

    fn say(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    /// Asks, and waits for the answer.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.asked += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params});
        self.say(&request.to_string());
        self.next()
    }

    fn next(&mut self) -> Value {
        let line = self.answers.recv_timeout(patience(30)).expect("the server answers");
        let answer: Value = serde_json::from_str(&line).expect("nothing but JSON is on standard output");
        assert_eq!(answer["jsonrpc"], "2.0");
        assert_eq!(answer["id"], self.asked, "{answer}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let mut answer = self.ask("tools/call", &json!({"name": tool, "arguments": arguments}));
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].take()
    }

    /// The structure that a tool answers with, and its words.
    fn answer(&mut self, tool: &str, arguments: &Value) -> (Value, String) {
        let mut result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result}");
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        (result["structuredContent"].take(), text)
    }

    /// Why a tool has no answer.
    fn trouble(&mut self, tool: &str, arguments: &Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    fn tools(&mut self) -> Vec<Value> {
        let mut answer = self.ask("tools/list", &json!({}));
        serde_json::from_value(answer["result"]["tools"].take()).unwrap()
    }

    /// Leaves; returns the server's exit code.
    fn leave(mut self) -> Option<i32> {
        drop(self.input.take());
        self.ended()
    }

    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the server's end", 30, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(agent: &Agent, flags: &[&str]) -> Mcp {
    Mcp::start(agent.client(&["mcp"]).args(flags))
}

fn names(of: &[Value]) -> Vec<&str> {
    of.iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// Asserts that a schema says what a value is.
fn assert_valid(schema: &Value, value: &Value, what: &str) {
    let validator = jsonschema::validator_for(schema).unwrap_or_else(|error| panic!("{what}: no schema: {error}"));
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:?}");
}

#[test]
fn every_tool_answers_what_its_schema_says_and_the_agent_knows() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut shown = agent.workload("shown", &["--fds", "50:200", "--mode", "throttle"]);
    shown.order("open 60");
    agent.alert("shown", |alert| alert["kind"] == json!({"limit": "fds"}));
    wait_until("it is remembered", 30, || agent.remembered("shown") > 2);

    let mut mcp = serve(&agent, &["--allow-changes"]);
    let tools = mcp.tools();
    assert_eq!(names(&tools), [&READ_ONLY[..], &["set_limits"]].concat());
    for tool in &tools {
        let name = tool["name"].as_str().unwrap();
        let reads = READ_ONLY.contains(&name);
        assert_eq!(tool["annotations"]["readOnlyHint"], reads, "{name}");
        assert!(tool["description"].as_str().unwrap().len() > 80, "{name}");
        let arguments = match name {
            "status" => json!({}),
            "alerts" => json!({"tool": "shown", "after": 0}),
            "top" => json!({"sort": "fds", "limit": 5}),
            "set_limits" => json!({"tool": "shown", "fds": "50:300"}),
            _ => json!({"tool": "shown"}),
        };
        assert_valid(&tool["inputSchema"], &arguments, name);
        let (answer, text) = mcp.answer(name, &arguments);
        assert_valid(&tool["outputSchema"], &answer, name);
        assert!(!text.is_empty());
        // What is not there is not valid either.
        let validator = jsonschema::validator_for(&tool["outputSchema"]).unwrap();
        assert!(!validator.is_valid(&json!({})), "{name}");
        assert!(
            !jsonschema::is_valid(&tool["inputSchema"], &json!({"tol": "shown"})),
            "{name}"
        );
    }

    // The workload's three streams, and the sixty that it opened.
    let (status, text) = mcp.answer("status", &json!({"tool": "shown", "fresh": true}));
    assert_eq!(
        status["tools"][0]["usage"]["file_handles"].as_array().unwrap().len(),
        63
    );
    assert!(text.contains("shown") && text.contains("63"), "{text}");
    let (explained, text) = mcp.answer(
        "explain",
        &json!({"tool": "shown", "instance": status["tools"][0]["instance"]}),
    );
    assert_eq!(explained["tools"][0]["limits"]["fds"]["max"], 300);
    // The limit in force may have been raised before more was reached.
    assert!(text.contains("fds: reached Warning"), "{text}");
    let (alerts, text) = mcp.answer("alerts", &json!({"tool": "shown"}));
    assert_eq!(alerts["alerts"][0]["kind"], json!({"limit": "fds"}), "{alerts}");
    assert!(text.contains("shown"), "{text}");
    let (history, text) = mcp.answer(
        "history",
        &json!({"tool": "shown", "since": "1h", "of": "fds", "rows": 2}),
    );
    assert_eq!(history["rows"].as_array().unwrap().len(), 2);
    assert_eq!(history["rows"][1]["use"]["fds"]["max"], 63);
    assert!(text.contains("rows before these"), "{text}");
    let (top, _) = mcp.answer("top", &json!({"tool": "shown", "sort": "fds"}));
    assert_eq!(top["processes"][0]["pid"], shown.pid());
    assert_eq!(top["processes"][0]["open_fds"], 63);
    assert_eq!(mcp.leave(), Some(0));
}

#[test]
fn each_tool_that_runs_is_a_resource() {
    let agent = Agent::start(&[]);
    let _one = agent.workload("one", &[]);
    let _other = agent.workload("other", &[]);
    let _other_too = agent.workload("other", &[]);
    let mut mcp = serve(&agent, &[]);
    let listed = mcp.ask("resources/list", &json!({}))["result"].take();
    let uris: Vec<&Value> = listed["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["uri"])
        .collect();
    assert_eq!(uris, ["resmgr://tools/one", "resmgr://tools/other"]);
    let templates = mcp.ask("resources/templates/list", &json!({}))["result"].take();
    assert_eq!(
        templates["resourceTemplates"][0]["uriTemplate"],
        "resmgr://tools/{name}"
    );
    let read = mcp.ask("resources/read", &json!({"uri": "resmgr://tools/other"}))["result"].take();
    let contents = &read["contents"][0];
    assert_eq!(
        (&contents["uri"], &contents["mimeType"]),
        (&json!("resmgr://tools/other"), &json!("application/json"))
    );
    let status: Value = serde_json::from_str(contents["text"].as_str().unwrap()).unwrap();
    assert_eq!(names(status["tools"].as_array().unwrap()), ["other", "other"]);
    assert_eq!(status["tools_by_name"]["other"]["instances"], 2);
    for (uri, said) in [
        ("resmgr://tools/nobody", "No tool nobody of yours runs"),
        ("resmgr://tools/no%20body", "cannot be a tool's name"),
        ("file:///etc/passwd", "resmgr://tools/NAME"),
    ] {
        let error = mcp.ask("resources/read", &json!({"uri": uri}))["error"].take();
        assert_eq!(error["code"], -32002, "{error}");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
}

#[test]
fn an_agent_is_told_why_its_tool_was_refused() {
    let agent = Agent::start(&[]);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut crowd = agent.workload("crowd", &["--connections", "10:10"]);
    let connected = crowd.order(format!("connect-at-once {address} 50"));
    assert_eq!(connected, "10 40 0");
    let mut mcp = serve(&agent, &[]);
    let (explained, text) = mcp.answer("explain", &json!({"tool": "crowd"}));
    assert_eq!(number(&explained["tools"][0]["events"]["connections_refused"]), 40);
    assert!(
        text.contains("40 connections (EPERM)") && text.contains("flag"),
        "{text}"
    );
}

#[test]
fn nothing_is_changed_unless_the_operator_allows_it_and_then_within_the_rules() {
    let folder = Agent::folder();
    let config = folder.path().join("resmgr.toml");
    fs::write(&config, "[ceiling]\nfds = 400\n").unwrap();
    let agent = Agent::start(&["--config", config.to_str().unwrap()]);
    let _held = agent.workload("held", &[]);
    let fds = || number(&agent.tool("held")["limits"]["fds"]["max"]);
    assert_eq!(fds(), 200);

    let change = json!({"tool": "held", "fds": "60:300", "mode": "enforce", "grace": "2s"});
    let mut mcp = serve(&agent, &[]);
    assert_eq!(names(&mcp.tools()), READ_ONLY);
    let error = mcp.ask("tools/call", &json!({"name": "set_limits", "arguments": change}))["error"].take();
    assert_eq!(error["code"], -32602);
    assert!(
        error["message"].as_str().unwrap().contains("--allow-changes"),
        "{error}"
    );
    assert_eq!(fds(), 200);

    let mut mcp = serve(&agent, &["--allow-changes"]);
    let (set, _) = mcp.answer("set_limits", &change);
    assert_eq!((&set["tools"][0]["limits"]["fds"]["base"], fds()), (&json!(60), 300));
    assert_eq!(agent.tool("held")["enforcement"]["mode"], "enforce");
    assert_eq!(agent.tool("held")["enforcement"]["grace_ms"], 2000);
    for (wrong, said) in [
        (
            json!({"tool": "held", "fds": "5000"}),
            "above the operator's ceiling of 400",
        ),
        (json!({"tool": "held"}), "no limit is given"),
        (json!({"tool": "held", "memory": "lots"}), "`memory`"),
        (json!({"tool": "held", "grace": "2h"}), "`grace`"),
        (json!({"tool": "held", "memroy": "1G"}), "memroy"),
        (json!({"tool": "held", "mode": "kill"}), "enforce"),
        (json!({"tool": "nobody", "fds": "9"}), "nobody"),
        (json!({"tool": "held", "fds": "300:10"}), "10:300"),
    ] {
        let trouble = mcp.trouble("set_limits", &wrong);
        assert!(trouble.contains(said), "{wrong}: {trouble}");
    }
    assert_eq!(fds(), 300);

    // Somebody else, whose tool it is not.
    let mut mcp = Mcp::start(unprivileged(&mut agent.client(&["mcp", "--allow-changes"])));
    let (status, _) = mcp.answer("status", &json!({}));
    assert_eq!(status["tools"], json!([]));
    mcp.trouble("set_limits", &json!({"tool": "held", "fds": "9"}));
    mcp.trouble("explain", &json!({"tool": "held"}));
    assert_eq!(mcp.ask("resources/list", &json!({}))["result"]["resources"], json!([]));
    assert_eq!(fds(), 300);
}

#[test]
fn what_is_asked_wrongly_is_said_and_what_is_no_request_is_passed_over() {
    let agent = Agent::start(&[]);
    let _there = agent.workload("there", &[]);
    let mut mcp = serve(&agent, &[]);
    let error = mcp.ask("tools/call", &json!({"name": "reboot", "arguments": {}}))["error"].take();
    assert_eq!(error["code"], -32602);
    assert!(
        error["message"].as_str().unwrap().contains("there are status, explain"),
        "{error}"
    );
    assert_eq!(mcp.ask("no/such/method", &json!({}))["error"]["code"], -32601);
    for (tool, wrong, said) in [
        ("status", json!({"tool": "nobody"}), "Those that do: there."),
        ("explain", json!({"tool": "nobody"}), "Those that do: there."),
        (
            "explain",
            json!({"tool": "there", "instance": 99}),
            "no tool there of yours",
        ),
        ("explain", json!({}), "missing field `tool`"),
        ("explain", json!({"tool": "../etc"}), "cannot be a tool's name"),
        ("top", json!({"sort": "size"}), "memory"),
        (
            "history",
            json!({"tool": "there", "since": "yesterday"}),
            "`since`: write a time ago",
        ),
        (
            "history",
            json!({"tool": "there", "since": "1m", "until": "1h"}),
            "after",
        ),
    ] {
        let trouble = mcp.trouble(tool, &wrong);
        assert!(trouble.contains(said), "{tool} {wrong}: {trouble}");
    }
    // None of these has an answer, and the next request has its own.
    mcp.say("garbage");
    mcp.send(b"\xff\xfe{\n\n\r\n");
    mcp.send(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"meth\n");
    let mut long = vec![b'x'; 1 << 20];
    long.push(b'\n');
    mcp.send(&long);
    let (status, _) = mcp.answer("status", &json!({}));
    assert_eq!(names(status["tools"].as_array().unwrap()), ["there"]);
    // A request in two halves.
    mcp.asked += 1;
    let request = json!({"jsonrpc": "2.0", "id": mcp.asked, "method": "ping"}).to_string();
    let (one, other) = request.split_at(20);
    mcp.send(one.as_bytes());
    mcp.say(other);
    assert_eq!(mcp.next()["result"], json!({}));
    assert_eq!(mcp.leave(), Some(0));
}

#[test]
fn without_an_agent_it_says_what_to_do_and_answers_once_there_is_one() {
    let folder = Agent::folder();
    let socket = folder.path().join("resmgr.sock");
    let mut mcp = Mcp::start(Command::new(binary("resmgr")).arg("--socket").arg(&socket).arg("mcp"));
    assert_eq!(names(&mcp.tools()), READ_ONLY);
    for tool in READ_ONLY {
        let trouble = mcp.trouble(tool, &json!({"tool": "x"}));
        assert!(trouble.contains("sudo resmgr agent"), "{tool}: {trouble}");
    }
    let error = mcp.ask("resources/read", &json!({"uri": "resmgr://tools/x"}))["error"].take();
    assert_eq!(error["code"], -32603);
    assert!(
        error["message"].as_str().unwrap().contains("sudo resmgr agent"),
        "{error}"
    );
    let _agent = Agent::start_pinned_in(folder, &[]);
    let (status, text) = mcp.answer("status", &json!({}));
    assert_eq!(status["tools"], json!([]));
    assert!(text.contains("resmgr exec --tool NAME"), "{text}");
}

#[test]
fn it_ends_with_its_client_and_by_a_signal() {
    let nowhere = |command: &mut Command| Mcp::silent(command.args(["--socket", "/nowhere/resmgr.sock", "mcp"]));
    let resmgr = || Command::new(binary("resmgr"));
    assert_eq!(nowhere(&mut resmgr()).leave(), Some(0), "before it was told who asks");
    for signal in [Signal::TERM, Signal::INT] {
        let mut early = nowhere(&mut resmgr());
        // It listens to signals once it listens to its client.
        early.asked = 1;
        early.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string());
        early.next();
        kill_process(Pid::from_child(&early.child), signal).unwrap();
        assert_eq!(early.ended(), Some(0), "{signal:?}");
        let mut late = nowhere(&mut resmgr());
        late.initialize();
        kill_process(Pid::from_child(&late.child), signal).unwrap();
        assert_eq!(late.ended(), Some(0), "{signal:?}");
    }
    // What was asked before the client left is answered.
    let mut hasty = nowhere(&mut resmgr());
    hasty.initialize();
    hasty.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
    hasty.asked += 1;
    hasty.say(&json!({"jsonrpc": "2.0", "id": hasty.asked, "method": "tools/list"}).to_string());
    drop(hasty.input.take());
    assert_eq!(hasty.next()["result"]["tools"].as_array().unwrap().len(), 5);
    assert_eq!(hasty.ended(), Some(0));
}

#[test]
fn a_server_of_a_host_that_was_wrapped_answers_as_before_and_is_a_tool() {
    let agent = Agent::start(&[]);
    let config = agent.folder_path().join("mcp.json");
    // A server that happens to be resmgr's own, started as a host starts any.
    let line = format!("exec {} mcp", binary("resmgr").display());
    let plain = json!({"mcpServers": {"my server": {"command": "sh", "args": ["-c", line]}}});
    fs::write(&config, plain.to_string()).unwrap();
    let output = run(agent.client(&["mcp", "wrap", "--yes"]).arg(&config));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let wrapped: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    let server = &wrapped["mcpServers"]["my server"];
    let arguments = server["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap());
    let mut command = Command::new(server["command"].as_str().unwrap());
    let mut mcp = Mcp::start(command.args(arguments).env("RESMGR_SOCKET", agent.socket()));
    let (status, _) = mcp.answer("status", &json!({"fresh": true}));
    assert_eq!(names(status["tools"].as_array().unwrap()), ["my-server"]);
    assert_eq!(status["tools"][0]["operation"], "mcp");
    assert_eq!(mcp.leave(), Some(0));
}

#[test]
fn command_lines_of_other_users_are_not_told() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let secret = "token-of-somebody-else";
    let mut theirs = Command::new(binary("workload"));
    let _theirs = Workload::over(unprivileged(theirs.arg(secret)));
    let mut own = agent.exec("own", &[]);
    let own = Workload::over(own.arg(binary("workload")).arg("token-of-mine"));
    let mut mcp = serve(&agent, &[]);
    let (top, text) = until("both are seen", || {
        let (top, text) = mcp.answer("top", &json!({"limit": 200}));
        let seen = |uid: u64| {
            let processes = top["processes"].as_array().unwrap();
            processes
                .iter()
                .any(|one| one["uid"] == uid && one["comm"] == "workload")
        };
        (seen(65_534) && seen(0)).then_some((top, text))
    });
    assert!(!top.to_string().contains(secret) && !text.contains(secret), "{text}");
    assert!(text.contains("token-of-mine"), "{text}");
    let (top, _) = mcp.answer("top", &json!({"tool": "own"}));
    assert_eq!(top["processes"][0]["pid"], own.pid());
}

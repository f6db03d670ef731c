//! `resmgr mcp`, and official servers behind `resmgr exec --operations mcp`, asked by the official clients of MCP, in Python
//! and in TypeScript. They hold each answer against the schema that was listed; what is said is written down on both sides
//! of the proxy. Runs with `--full`, which fetches them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use resmgr_tests::{Agent, binary, run, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where `cargo xtask test --full` has fetched them.
fn fetched() -> Option<PathBuf> {
    let folder = std::env::var_os("RESMGR_TEST_CLIENTS").map(PathBuf::from);
    if folder.is_none() {
        println!("the official clients ask with --full alone");
    }
    folder
}

/// A client, and how it says hello.
#[derive(Clone, Copy, Debug)]
enum Client {
    /// By `server/discover`, as the protocol has it since 2026-07-28.
    Python,
    /// By `initialize`.
    PythonLegacy,
    TypeScript,
}

impl Client {
    const ALL: [Self; 3] = [Self::Python, Self::PythonLegacy, Self::TypeScript];

    /// What it says came of an order to a server.
    fn asked(self, fetched: &Path, server: &[String], order: Value) -> Value {
        let mode = if matches!(self, Self::Python) { "auto" } else { "legacy" };
        let mut order = order;
        order["command"] = json!(server[0]);
        order["args"] = json!(server[1..]);
        order["mode"] = json!(mode);
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mcp");
        let mut command = match self {
            Self::Python | Self::PythonLegacy => {
                let mut command = Command::new(python(fetched));
                command.arg(format!("{data}/client.py"));
                command
            }
            Self::TypeScript => {
                let mut command = Command::new("node");
                command
                    .arg(format!("{data}/client.mjs"))
                    .current_dir(fetched.join("node"));
                command
            }
        };
        let output = run(command.arg(order.to_string()));
        assert_eq!(output.code, Some(0), "{self:?}: {}", output.stderr);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{self:?}: {error}: {}", output.stdout))
    }
}

fn python(fetched: &Path) -> PathBuf {
    fetched.join("python/bin/python")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn names(of: &Value) -> Vec<&str> {
    of.as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect()
}

/// Numbers, which Python tells as fractions.
fn numbers(of: &Value) -> Vec<u64> {
    let numbers = of.as_array().unwrap_or_else(|| panic!("{of} is no list"));
    numbers
        .iter()
        .filter_map(|one| one.to_string().trim_end_matches(".0").parse().ok())
        .collect()
}

#[test]
fn official_clients_ask_resmgr() {
    let Some(fetched) = fetched() else {
        return;
    };
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut shown = agent.workload("shown", &["--fds", "50:200", "--mode", "throttle"]);
    shown.order("open 60");
    agent.alert("shown", |alert| alert["kind"] == json!({"limit": "fds"}));
    wait_until("it is remembered", 30, || agent.remembered("shown") > 2);
    let socket = agent.socket();
    let resmgr = binary("resmgr");
    let server = [
        resmgr.to_str().unwrap(),
        "--socket",
        socket.to_str().unwrap(),
        "mcp",
        "--allow-changes",
    ];
    let calls = json!([
        ["status", {"tool": "shown", "fresh": true}],
        ["explain", {"tool": "shown"}],
        ["history", {"tool": "shown"}],
        ["alerts", {}],
        ["top", {"sort": "fds", "tool": "shown"}],
        ["set_limits", {"tool": "shown", "fds": "60:300"}],
        ["status", {"tool": "nobody"}],
        ["no-such-tool", {}],
    ]);
    for client in Client::ALL {
        let order = json!({"calls": calls, "read": ["resmgr://tools/shown"]});
        let said = client.asked(&fetched, &words(&server), order);
        assert_eq!(said["server"]["name"], "resmgr", "{client:?}: {said}");
        let tools = ["status", "explain", "history", "alerts", "top", "set_limits"];
        assert_eq!(names(&said["tools"]), tools, "{client:?}");
        let (answers, wrong) = said["calls"].as_array().unwrap().split_at(tools.len());
        for (tool, answer) in tools.iter().zip(answers) {
            assert!(
                answer["isError"] != true && answer["structuredContent"].is_object(),
                "{client:?} {tool}: {answer}"
            );
            assert!(!answer["content"][0]["text"].as_str().unwrap().is_empty());
        }
        let handles = &answers[0]["structuredContent"]["tools"][0]["usage"]["file_handles"];
        assert_eq!(handles.as_array().unwrap().len(), 63, "{client:?}");
        assert_eq!(
            answers[5]["structuredContent"]["tools"][0]["limits"]["fds"]["max"], 300,
            "{client:?}"
        );
        assert_eq!(wrong[0]["isError"], true, "{client:?}: {}", wrong[0]);
        assert_eq!(wrong[1]["error"]["code"], -32602, "{client:?}: {}", wrong[1]);
        assert_eq!(said["resources"][0]["uri"], "resmgr://tools/shown", "{client:?}");
        assert_eq!(
            said["templates"][0]["uriTemplate"], "resmgr://tools/{name}",
            "{client:?}"
        );
        let status: Value = serde_json::from_str(said["read"][0]["contents"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(status["tools"][0]["name"], "shown", "{client:?}");
    }
}

/// A server behind the proxy, with somebody on either side of that who writes down what is said.
struct Between {
    agent: Agent,
    tool: String,
    folder: TempDir,
}

impl Between {
    fn new(tool: &str) -> Self {
        let (agent, folder) = (Agent::start(&[]), TempDir::new().unwrap());
        for side in ["client", "server"] {
            fs::create_dir(folder.path().join(side)).unwrap();
        }
        let tool = tool.to_owned();
        Self { agent, tool, folder }
    }

    /// What the client starts.
    fn command(&self, server: &[&str]) -> Vec<String> {
        let [tee, resmgr] = ["tee", "resmgr"].map(|name| binary(name).display().to_string());
        let side = |side: &str| self.folder.path().join(side).display().to_string();
        let (client, served, socket) = (side("client"), side("server"), self.agent.socket());
        let (tee, resmgr) = (tee.as_str(), resmgr.as_str());
        let proxied = ["exec", "--require", "--operations", "mcp", "--tool", &self.tool, "--"];
        let proxy = [&[resmgr, "--socket", socket.to_str().unwrap()], &proxied[..]].concat();
        words(&[&[tee, &client], &proxy[..], &[tee, &served], server].concat())
    }

    /// Waits for its end; what was asked and what was answered, the same on both sides.
    fn said(&self) -> [Vec<u8>; 2] {
        self.agent.ended(&self.tool);
        ["asked", "answered"].map(|way| {
            let [client, server] = ["client", "server"].map(|side| fs::read(self.folder.path().join(side).join(way)));
            let (client, server) = (client.unwrap(), server.unwrap());
            let differ = client.iter().zip(&server).position(|(one, other)| one != other);
            assert!(
                client == server && !client.is_empty(),
                "{way}: {} bytes at the client, {} at the server, the first that differs is {differ:?}",
                client.len(),
                server.len()
            );
            client
        })
    }

    /// Names of the last operations that the agent tells of; each request was one, and all have ended.
    fn operations(&self, asked: &[u8]) -> BTreeSet<String> {
        let operations = self.agent.ended(&self.tool)["operations"].take();
        let requests = messages(asked).filter(|message| message.get("id").is_some() && message.get("method").is_some());
        assert_eq!(operations["ended_total"], requests.count(), "{operations}");
        assert_eq!(operations["under_way"], json!([]));
        names(&operations["ended"]).iter().map(ToString::to_string).collect()
    }
}

fn messages(said: &[u8]) -> impl Iterator<Item = Value> {
    let lines = said.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap())
}

/// The methods of what was said, of requests and of notifications.
fn methods(said: &[u8]) -> BTreeSet<String> {
    messages(said)
        .filter_map(|message| Some(message["method"].as_str()?.to_owned()))
        .collect()
}

fn assert_has(all: &BTreeSet<String>, expected: &[&str]) {
    for one in expected {
        assert!(all.contains(*one), "{one} in {all:?}");
    }
}

/// The text that a call answered.
fn text(answer: &Value) -> &str {
    answer["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer} has no text"))
}

const LISTS: [&str; 4] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];
const ASKS: [&str; 3] = ["elicitation/create", "roots/list", "sampling/createMessage"];

#[test]
fn official_clients_and_the_official_server_do_not_see_resmgr_between_them() {
    let Some(fetched) = fetched() else {
        return;
    };
    let everything = fetched.join("node/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let long = "trigger-long-running-operation";
    for client in Client::ALL {
        let between = Between::new("everything");
        let order = json!({
            "calls": [
                ["echo", {"message": {"mib": 4}}],
                ["get-structured-content", {"location": "Chicago"}],
                [long, {"duration": 0.3, "steps": 3}],
                ["trigger-sampling-request", {"prompt": "x"}],
                ["trigger-elicitation-request", {}],
                ["get-roots-list", {}],
                ["toggle-simulated-logging", {}],
                ["toggle-simulated-logging", {}],
                ["get-sum", {"a": "two"}],
                ["no-such-tool", {}],
            ],
            // The server ends once it has done even what was given up; clients wait two seconds for that.
            "cancelled": [[long, {"duration": 1, "steps": 10}]],
            "prompts": [["args-prompt", {"city": "Chicago"}]],
            "read": ["demo://resource/static/document/features.md"],
        });
        let server = between.command(&["node", everything.to_str().unwrap()]);
        let said = client.asked(&fetched, &server, order);
        let calls = said["calls"].as_array().unwrap();
        assert_eq!(calls[0]["content"][0]["text"], "Echo: ".len() + (4 << 20), "{client:?}");
        assert!(calls[1]["structuredContent"].is_object(), "{client:?}: {}", calls[1]);
        // What comes together with the answer, the SDK for TypeScript does not tell.
        assert!(
            numbers(&calls[2]["progress"]).starts_with(&[1, 2]),
            "{client:?}: {}",
            calls[2]
        );
        assert!(text(&calls[3]).contains("sampled"), "{client:?}: {}", calls[3]);
        assert_eq!(
            calls[4]["content"][1]["text"], "User inputs:\n- Name: nobody",
            "{client:?}"
        );
        assert!(text(&calls[5]).contains("file:///root"), "{client:?}: {}", calls[5]);
        assert!(
            text(&calls[8]).contains("Invalid arguments for tool get-sum"),
            "{client:?}"
        );
        assert!(text(&calls[9]).contains("no-such-tool not found"), "{client:?}");
        assert_eq!(said["cancelled"], json!([true]), "{client:?}");
        assert_eq!(
            said["prompted"][0]["messages"][0]["content"]["text"], "What's weather in Chicago?",
            "{client:?}"
        );
        assert!(
            !text(&json!({"content": said["read"][0]["contents"]})).is_empty(),
            "{client:?}"
        );
        assert_eq!(said["asked"], json!(ASKS), "{client:?}");
        assert!(said["logged"] != 0, "{client:?}");

        let [asked, answered] = between.said();
        assert!(asked.len() > 4 << 20 && answered.len() > 4 << 20, "{client:?}");
        assert_has(&methods(&asked), &LISTS);
        assert_has(
            &methods(&asked),
            &[
                "initialize",
                "notifications/initialized",
                "notifications/cancelled",
                "prompts/get",
                "resources/read",
                "tools/call",
            ],
        );
        assert_has(&methods(&answered), &ASKS);
        assert_has(
            &methods(&answered),
            &["notifications/progress", "notifications/message"],
        );
        assert_has(
            &between.operations(&asked),
            &["echo", long, "trigger-sampling-request", "get-sum", "no-such-tool"],
        );
    }
}

#[test]
fn official_clients_and_a_server_by_the_official_python_do_not_see_resmgr_between_them() {
    let Some(fetched) = fetched() else {
        return;
    };
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mcp/server.py");
    for client in Client::ALL {
        let between = Between::new("python");
        // More than that the SDK for TypeScript takes for an attack, and that for Python reads for a quarter of a minute.
        let mib = if matches!(client, Client::PythonLegacy) { 50 } else { 8 };
        let order = json!({
            "calls": [
                ["large", {"mib": mib}],
                ["length", {"text": {"mib": 4}}],
                ["slow", {"steps": 3}],
                ["ask", {}],
                ["fail", {}],
                ["length", {}],
                ["no-such-tool", {}],
            ],
            "cancelled": [["slow", {"steps": 12_000}]],
            "prompts": [["prompt", {"word": "hello"}]],
            "read": ["test://resource"],
        });
        let server = between.command(&[python(&fetched).to_str().unwrap(), program]);
        let said = client.asked(&fetched, &server, order);
        let calls = said["calls"].as_array().unwrap();
        assert_eq!(calls[0]["content"][0]["text"], mib << 20, "{client:?}");
        assert_eq!(text(&calls[1]), (4 << 20).to_string(), "{client:?}");
        assert!(
            numbers(&calls[2]["progress"]).starts_with(&[1, 2]),
            "{client:?}: {}",
            calls[2]
        );
        assert_eq!(text(&calls[3]), "nobody sampled file:///root", "{client:?}");
        assert_eq!(text(&calls[4]), "Error executing tool fail", "{client:?}");
        assert!(
            text(&calls[5]).contains("1 validation error"),
            "{client:?}: {}",
            calls[5]
        );
        assert_eq!(text(&calls[6]), "Unknown tool: no-such-tool", "{client:?}");
        assert_eq!(said["cancelled"], json!([true]), "{client:?}");
        assert_eq!(
            said["prompted"][0]["messages"][0]["content"]["text"], "a prompt: hello",
            "{client:?}"
        );
        assert_eq!(said["read"][0]["contents"][0]["text"], "a resource", "{client:?}");
        assert_eq!(said["asked"], json!(ASKS), "{client:?}");

        let [asked, answered] = between.said();
        assert!(asked.len() > 4 << 20 && answered.len() > mib << 20, "{client:?}");
        assert_has(&methods(&asked), &LISTS);
        assert_has(&methods(&asked), &["notifications/cancelled", "tools/call"]);
        assert_has(&methods(&answered), &["notifications/progress"]);
        // Before it came to be said with each request, who talks was said at first, and a server asked its client in requests.
        if matches!(client, Client::Python) {
            assert_has(&methods(&asked), &["server/discover"]);
        } else {
            assert_has(&methods(&asked), &["initialize", "notifications/initialized"]);
            assert_has(&methods(&answered), &ASKS);
        }
        assert_has(
            &between.operations(&asked),
            &["large", "length", "slow", "ask", "fail", "no-such-tool"],
        );
    }
}

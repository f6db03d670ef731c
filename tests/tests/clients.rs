//! `resmgr mcp`, and a server behind `resmgr exec --operations mcp`, asked by the official clients of MCP, in Python and in
//! TypeScript. They hold each answer against the schema that was listed. Runs with `--full`, which fetches them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use resmgr_tests::{Agent, binary, run, wait_until};
use serde_json::{Value, json};

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

    /// What it says came of its orders.
    fn asked(self, fetched: &Path, server: &[String], calls: &Value, read: &Value) -> Value {
        let mode = if matches!(self, Self::Python) { "auto" } else { "legacy" };
        let order = json!({"command": server[0], "args": server[1..], "mode": mode, "calls": calls, "read": read});
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mcp");
        let mut command = match self {
            Self::Python | Self::PythonLegacy => {
                let mut command = Command::new(fetched.join("python/bin/python"));
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
        let said = client.asked(&fetched, &words(&server), &calls, &json!(["resmgr://tools/shown"]));
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

#[test]
fn official_clients_and_an_official_server_do_not_see_resmgr_between_them() {
    let Some(fetched) = fetched() else {
        return;
    };
    let agent = Agent::start(&[]);
    let socket = agent.socket();
    let everything = fetched.join("node/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let direct = ["node", everything.to_str().unwrap()];
    let resmgr = binary("resmgr");
    let before = [
        resmgr.to_str().unwrap(),
        "--socket",
        socket.to_str().unwrap(),
        "exec",
        "--require",
    ];
    let between = [
        &before[..],
        &["--operations", "mcp", "--tool", "everything", "--"],
        &direct[..],
    ]
    .concat();
    let calls = json!([
        ["echo", {"message": "hello"}],
        ["get-sum", {"a": 2, "b": 3}],
        ["get-structured-content", {"location": "Chicago"}],
        ["get-sum", {"a": "two"}],
        ["no-such-tool", {}],
    ]);
    for client in Client::ALL {
        let plain = client.asked(&fetched, &words(&direct), &calls, &json!([]));
        let said = client.asked(&fetched, &words(&between), &calls, &json!([]));
        assert_eq!(said, plain, "{client:?}");
        assert!(
            said["calls"][0]["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("hello"),
            "{client:?}: {said}"
        );
    }
    // What has ended is told of for a while.
    let instances = agent.status(&["everything"])["tools"].take();
    assert_eq!(names(&instances), ["everything"; 3]);
}

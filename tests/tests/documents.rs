//! What is documented is there, and what is there is documented.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    process::Command,
};

use resmgr_tests::{Agent, Conversation, Workload, binary, run, until};
use serde_json::Value;

fn document(name: &str) -> String {
    fs::read_to_string(format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The paths of all keys of a value: `a.b`, with `[]` for an array's elements. Maps with free keys are given by name.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = match path {
                    "tools_by_name" => "NAME",
                    path if path.ends_with("file_handles_by_kind") => "KIND",
                    path if path.ends_with("budgets") || path.ends_with("learned") => "RESOURCE",
                    path if path.ends_with("rows[].use") => "MEASURE",
                    path if path.starts_with("rows[].") && (path.ends_with("limits") || path.ends_with("needs")) => {
                        continue;
                    }
                    _ => key,
                };
                let path = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                paths(element, &format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}

/// The first column of the tables of a page, without its backquotes.
fn documented(page: &str) -> BTreeSet<String> {
    let first = |line: &str| {
        line.strip_prefix("| `")?
            .split_once('`')
            .map(|(name, _)| name.to_owned())
    };
    page.lines().filter_map(first).collect()
}

#[test]
fn every_field_of_the_status_report_is_documented_and_no_other() {
    let folder = Agent::folder();
    let config = folder.path().join("resmgr.toml");
    fs::write(&config, "[tool.documented.budget]\nfds = 1000\n").unwrap();
    let agent = Agent::start(&["--config", config.to_str().unwrap(), "--sweep-interval", "100ms"]);
    // One that cannot be used.
    fs::write(&config, "[agnet]\n").unwrap();
    assert_eq!(run(&mut agent.client(&["reload"])).code, Some(2));
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    // A tool with all that a tool can have.
    let mut command = agent.exec("documented", &["--fds", "50:4000", "--mode", "throttle"]);
    let mut workload = Workload::over(command.arg(binary("workload")));
    workload.order(format!("connect {address} 1"));
    workload.order("open 60");
    workload.order("zombie");
    // One that is told of operations, with one that has ended and one under way.
    let mut server = agent.client(&["exec", "--require", "--operations", "mcp", "--tool", "server", "--"]);
    let mut server = Conversation::start(server.arg(binary("mcp_server")));
    server.initialize();
    server.call("sleep", 600_000);
    until("its operations are told", || {
        let operations = agent.status(&["server"])["tools"][0]["operations"].take();
        let is_told = operations["ended_total"] == 1 && operations["under_way"][0].is_object();
        is_told.then_some(())
    });
    // And one that has ended.
    let mut command = agent.client(&["exec", "--require", "--tool", "ended", "--", "true"]);
    assert_eq!(run(&mut command).code, Some(0));
    until("the end is told", || {
        agent.status(&["ended", "--fresh"])["tools"][0]["root_exit"]
            .is_object()
            .then_some(())
    });
    until("its budget is known", || {
        let budgets = agent.status(&["documented", "--fresh"])["tools"][0]["budgets"].take();
        budgets["fds"].is_object().then_some(())
    });
    let mut found = BTreeSet::new();
    paths(&agent.status(&["--fresh", "--processes"]), "", &mut found);
    paths(&agent.status(&["--pid", &workload.pid().to_string()]), "", &mut found);
    // What it uses grows, until that is told.
    until("growth is found", || {
        workload.order("open 1");
        agent.status(&["documented"])["tools"][0]["growth"]
            .is_object()
            .then_some(())
    });
    paths(
        &asked(&agent, r#"{"v":1,"method":"status","params":{"forecast":true}}"#),
        "",
        &mut found,
    );
    let page = documented(&document("status.md"));
    let missing: Vec<_> = found.difference(&page).collect();
    assert!(missing.is_empty(), "not in docs/status.md: {missing:?}");
    // A hook is missing on some hosts only.
    let elsewhere = |path: &String| path.starts_with("agent.hooks_missing[]");
    let invented: Vec<_> = page.difference(&found).filter(|path| !elsewhere(path)).collect();
    assert!(
        invented.is_empty(),
        "in docs/status.md, but never reported: {invented:?}"
    );
}

/// What the agent answers to a line.
fn asked(agent: &Agent, line: &str) -> Value {
    let mut socket = UnixStream::connect(agent.socket()).unwrap();
    writeln!(socket, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    serde_json::from_str::<Value>(&answer).unwrap()["ok"].take()
}

#[test]
fn every_field_of_the_history_is_documented_and_no_other() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    // An operation that ends.
    let mut workload = agent.workload("documented", &["--mode", "observe"]);
    workload.order("spin 300");
    let history = until("an operation is in its history", || {
        let output = run(&mut agent.client(&["history", "documented", "--format", "json", "--resolution", "1s"]));
        let history: Value = serde_json::from_str(&output.stdout).ok()?;
        let has_ended = history["rows"]
            .as_array()?
            .iter()
            .any(|row| row["use"]["operations"].is_object());
        std::thread::sleep(std::time::Duration::from_millis(1200));
        workload.order("spin 50");
        has_ended.then_some(history)
    });
    let mut found = BTreeSet::new();
    paths(&history, "", &mut found);
    let page = documented(&document("history.md"));
    let resolutions = ["1s", "1m", "1h"];
    let page: BTreeSet<String> = page
        .into_iter()
        .filter(|name| !resolutions.contains(&name.as_str()))
        .collect();
    assert_eq!(found, page);
    let measures: BTreeSet<&String> = history["rows"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row["use"].as_object().unwrap().keys())
        .collect();
    assert_eq!(measures.len(), 6, "{measures:?}");
    for measure in measures {
        assert!(document("history.md").contains(&format!("`{measure}`")), "{measure}");
    }
}

#[test]
fn the_report_is_json_that_others_can_read() {
    let agent = Agent::start(&[]);
    let script = "\"$1\" status --json --processes --socket \"$2\" | python3 -m json.tool > /dev/null";
    let output = run(Command::new("bash")
        .args(["-o", "pipefail", "-c", script, "sh"])
        .arg(binary("resmgr"))
        .arg(agent.socket()));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

/// The paths that a JSON schema allows, as [`paths`] has them.
fn schema_paths(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        schema_paths(&root["$defs"][name], root, path, found);
    }
    for either in schema["anyOf"].as_array().into_iter().flatten() {
        schema_paths(either, root, path, found);
    }
    if schema["items"].is_object() {
        let path = format!("{path}[]");
        schema_paths(&schema["items"], root, &path, found);
        found.insert(path);
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        schema_paths(value, root, &path, found);
        if value["items"].is_null() {
            found.insert(path);
        }
    }
}

#[test]
fn every_field_of_what_is_discovered_is_documented_and_no_other() {
    let schema = run(Command::new(binary("resmgr")).args(["discover", "--schema"])).stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut found = BTreeSet::new();
    schema_paths(&schema, &schema, "", &mut found);
    assert_eq!(found, documented(&document("discover.md")));
}

#[test]
fn every_flag_is_documented() {
    let page = document("cli.md");
    for subcommand in [
        "agent",
        "exec",
        "attach",
        "discover",
        "status",
        "top",
        "limits show",
        "limits set",
        "limits suggest",
        "history",
        "report",
        "backtest limits",
        "backtest forecast",
        "explain",
        "alerts",
        "mcp",
        "mcp wrap",
        "cleanup",
        "config check",
        "config show",
        "config default",
        "reload",
        "audit",
        "doctor",
        "completions",
        "man",
    ] {
        let help = run(Command::new(binary("resmgr")).args(subcommand.split(' ')).arg("--help")).stdout;
        let flags: BTreeSet<&str> = help
            .split(|c: char| c.is_whitespace() || c == ',' || c == '[' || c == '=')
            .filter(|word| word.starts_with("--") && word.len() > 2)
            .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
            .collect();
        assert!(flags.len() > 1, "{help}");
        for flag in flags {
            assert!(
                page.contains(&format!("`{flag}")),
                "{subcommand} {flag} is not in docs/cli.md"
            );
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_documented_with_its_default_and_no_other() {
    let page = document("configuration.md");
    let mut there = BTreeSet::new();
    for section in resmgr::config::SECTIONS {
        assert!(
            page.contains(&format!("### {}\n", section.header())),
            "{}",
            section.path
        );
        for key in section.keys {
            let default = key.default.map_or("none".to_owned(), |default| format!("`{default}`"));
            let path = format!("{}.{}", section.path, key.name);
            let row = page.lines().find(|line| line.starts_with(&format!("| `{path}` |")));
            let row = row.unwrap_or_else(|| panic!("{path} is not in docs/configuration.md"));
            assert!(row.contains(&format!("| {default} |")), "{row}: {default}");
            assert_eq!(row.contains("(*start*)"), key.at_start, "{row}");
            there.insert(path);
        }
    }
    assert_eq!(documented(&page), there);
    // And the program prints them.
    let printed = run(Command::new(binary("resmgr")).args(["config", "default"])).stdout;
    for path in &there {
        let name = path.rsplit('.').next().unwrap();
        assert!(printed.contains(&format!("\n#{name} = ")), "{path}");
    }
}

#[test]
fn the_object_holds_the_names_that_both_sides_share() {
    let path = std::env::var("RESMGR_BPF_OBJECT")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../resmgr/bpf/resmgr.bpf.o").to_owned());
    let object = aya_obj::Object::parse(&fs::read(path).unwrap()).unwrap();
    let shared: BTreeSet<&str> = resmgr_common::names::PROGRAMS.into_iter().collect();
    let built: BTreeSet<&str> = object.programs.keys().map(String::as_str).collect();
    assert_eq!(built, shared);
    for map in resmgr_common::names::MAPS {
        assert!(object.maps.contains_key(map), "{map} is not in the object");
    }
}

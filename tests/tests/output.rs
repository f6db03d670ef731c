//! What commands print: within the terminal's width, plain in a pipe, and no trouble where nobody reads it.

use std::process::{Command, Stdio};

use resmgr_tests::{Agent, Workload, binary, run};

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let agent = Agent::start(&[]);
    let _tool = agent.workload("shown", &[]);
    for arguments in [
        &["status", "--processes"][..],
        &["status", "--json", "--processes"],
        &["status", "--watch", "100ms"],
        &["explain", "shown"],
        &["limits", "show"],
        &["history", "shown"],
        &["alerts"],
        &["audit"],
        &["doctor"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let mut child = agent
            .client(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It reads nothing at all.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(
            !said.contains("panicked") && !said.contains("pipe"),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn a_locale_without_utf8_gets_ascii_but_json_is_what_it_is() {
    let agent = Agent::start(&[]);
    // A name that is none of ours to choose.
    let _tool = Workload::over(agent.exec("shown", &[]).arg(binary("workload")).arg("Größe\u{1b}[31m"));
    let status = |arguments: &[&str], locale: &str| {
        let output = run(agent
            .client(&[&["status", "shown", "--fresh"], arguments].concat())
            .env("LC_ALL", locale));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.stdout
    };
    let plain = status(&["--processes"], "C");
    assert!(plain.is_ascii() && plain.contains(" Gr??e"), "{plain}");
    let whole = status(&["--processes"], "C.UTF-8");
    assert!(whole.contains(" Größe") && !whole.contains('\u{1b}'), "{whole}");
    let json = status(&["--json", "--processes"], "C");
    assert!(json.contains("Größe"), "{json}");
}

#[test]
fn what_json_says_is_what_its_schema_allows() {
    let agent = Agent::start(&["--sweep-interval", "200ms"]);
    let mut tool = agent.workload("shown", &["--fds", "50:50", "--mode", "observe"]);
    tool.order("open 60");
    agent.alert("shown", |alert| alert["level"] == "emergency");
    for (arguments, schema) in [
        (&["status", "--json", "--processes"][..], "status"),
        (&["explain", "shown", "--json"], "explain"),
        (&["history", "shown", "--format", "json"], "history"),
        (&["alerts", "--json"], "alerts"),
        (&["limits", "show", "--json"], "limits"),
        (&["audit", "--json"], "audit"),
        (&["cleanup", "shown", "--json"], "cleanup"),
    ] {
        let output = run(&mut agent.client(arguments));
        let path = format!("{}/../docs/schemas/{schema}.json", env!("CARGO_MANIFEST_DIR"));
        let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(!output.stdout.is_empty(), "{arguments:?}: {}", output.stderr);
        for line in output.stdout.lines() {
            let said = serde_json::from_str(line).unwrap();
            let wrong: Vec<String> = validator.iter_errors(&said).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{arguments:?}: {wrong:?}");
        }
        // A schema that allows anything would say nothing.
        assert!(
            !validator.is_valid(&serde_json::json!({"version": "none"})),
            "{arguments:?}"
        );
    }
}

#[test]
fn shells_take_what_completes_commands() {
    let script = "source <(\"$1\" completions bash) && complete -p resmgr && COMP_WORDS=(resmgr sta) COMP_CWORD=1 && \
                  _resmgr resmgr sta resmgr && echo \"${COMPREPLY[@]}\"";
    let output = run(Command::new("bash").args(["-c", script, "sh"]).arg(binary("resmgr")));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stdout.lines().last(), Some("status"), "{}", output.stdout);
}

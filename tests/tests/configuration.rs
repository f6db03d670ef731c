//! The configuration: looked at, taken in while tools run, and refused with the place where it cannot be used.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use resmgr_tests::{Agent, Output, Workload, binary, number, pids, run, unprivileged, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// An agent with a configuration of its own, in a folder of its own.
struct Configured {
    agent: Agent,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Configured {
    fn start(text: &str) -> Self {
        let folder = Agent::folder();
        let file = folder.path().join("resmgr.toml");
        fs::write(&file, text).unwrap();
        let agent = Agent::start(&["--config", file.to_str().unwrap()]);
        Self {
            agent,
            file,
            _folder: folder,
        }
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    /// Has it read again; the answer.
    fn reload(&self, text: &str) -> Value {
        self.write(text);
        let output = run(&mut self.agent.client(&["reload", "--json"]));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        serde_json::from_str(&output.stdout).unwrap()
    }

    fn refused(&self) -> Value {
        self.agent.status(&[])["agent"]["configuration"]["refused"].take()
    }
}

fn max(tool: &Value, resource: &str) -> u64 {
    number(&tool["limits"][resource]["max"])
}

fn resmgr(arguments: &[&str]) -> Output {
    run(Command::new(binary("resmgr")).args(arguments))
}

#[test]
fn a_reload_changes_what_the_configuration_gave_and_loses_nothing() {
    let configured = Configured::start("[limits]\nfds = '50:300'\n[tool.budgeted.budget]\nfds = 500\n");
    let agent = &configured.agent;
    let mut plain = agent.workload("plain", &["--mode", "observe"]);
    plain.order("open 20");
    let _asked = agent.workload("asked", &["--fds", "60:900", "--mode", "observe"]);
    let _budgeted = agent.workload("budgeted", &["--mode", "observe"]);
    let before = agent.status(&["--fresh"]);
    assert_eq!(max(&agent.tool("plain"), "fds"), 300);

    let reloaded = configured.reload(
        "[agent]\nsweep_interval = '250ms'\nring_bytes = 65536\n[limits]\nfds = '70:400'\n[ceiling]\nmemory = '200M'\n",
    );
    assert_eq!(number(&reloaded["tools"]), 3, "{reloaded}");
    assert_eq!(reloaded["after_restart"], serde_json::json!(["agent.ring_bytes"]));
    let changed = reloaded["changed"].as_array().unwrap();
    for key in [
        "agent.sweep_interval",
        "limits.fds",
        "ceiling.memory",
        "tool.budgeted.budget.fds",
    ] {
        assert!(changed.iter().any(|name| name == key), "{key}: {reloaded}");
    }
    let now = agent.status(&["--fresh"]);
    let (plain_now, asked_now) = (agent.tool("plain"), agent.tool("asked"));
    assert_eq!(
        (max(&plain_now, "fds"), number(&plain_now["limits"]["fds"]["base"])),
        (400, 70)
    );
    assert_eq!(max(&asked_now, "fds"), 900, "somebody asked for it");
    for tool in [&plain_now, &asked_now] {
        assert_eq!(max(tool, "memory"), 200 << 20, "the ceiling holds at once");
        assert_eq!(tool["limits"]["memory"]["max_from"], "ceiling");
    }
    assert!(agent.tool("budgeted")["budgets"]["fds"].is_null());
    // Nothing began anew: the agent, its counters, its tools.
    assert_eq!(
        (&now["agent"]["pid"], number(&now["agent"]["sweep_interval_ms"])),
        (&before["agent"]["pid"], 250)
    );
    assert!(number(&now["agent"]["sweeps"]) > number(&before["agent"]["sweeps"]));
    let was = before["tools"].as_array().unwrap();
    for (was, is) in was.iter().zip(now["tools"].as_array().unwrap()) {
        for same in ["name", "instance", "processes_total"] {
            assert_eq!(was[same], is[same]);
        }
        assert!(number(&is["events"]["fds_opened"]) >= number(&was["events"]["fds_opened"]));
    }
    let opened = |status: &Value| number(&status["tools"][0]["events"]["fds_opened"]);
    assert!(opened(&before) >= 20 && opened(&now) >= 20);
    let shown = run(&mut agent.client(&["status"])).stdout;
    assert!(shown.contains("agent.ring_bytes"), "{shown}");
}

#[test]
fn a_reload_that_cannot_be_used_keeps_what_was_and_says_why() {
    let configured = Configured::start("[limits]\nfds = '50:300'\n");
    let agent = &configured.agent;
    let _plain = agent.workload("plain", &[]);
    configured.write("[limits]\nfds = '90:400'\n[agnet]\n");
    let output = run(&mut agent.client(&["reload"]));
    assert_eq!(output.code, Some(2), "{output:?}");
    let file = configured.file.display().to_string();
    for said in [
        &*file,
        "line 3",
        "agnet",
        "did you mean agent?",
        "what was read before holds",
    ] {
        assert!(output.stderr.contains(said), "{said}: {}", output.stderr);
    }
    assert_eq!(max(&agent.tool("plain"), "fds"), 300);
    assert!(configured.refused()["message"].as_str().unwrap().contains("line 3"));
    let shown = run(&mut agent.client(&["status"])).stdout;
    assert!(shown.contains("refused") && shown.contains("line 3"), "{shown}");
    let shown = run(&mut agent.client(&["config", "show", "--effective"])).stdout;
    assert!(
        shown.contains("# refused since") && shown.contains("fds = '50:300'"),
        "{shown}"
    );
    let doctor = run(&mut agent.client(&["doctor", "--config", "/dev/zero"]));
    assert_eq!(doctor.code, Some(5), "{doctor:?}");
    for said in ["this is a device", "a newer configuration was refused", "line 3"] {
        assert!(doctor.stdout.contains(said), "{said}: {}", doctor.stdout);
    }
    // By the signal, and what is good again is taken.
    configured.write("[limits]\nfds = 9\n[limits]\n");
    agent.signal(Signal::HUP);
    wait_until("the signal is heeded", 20, || {
        configured.refused()["message"]
            .as_str()
            .is_some_and(|message| message.contains("no TOML"))
    });
    configured.write("[limits]\nfds = '90:400'\n");
    agent.signal(Signal::HUP);
    wait_until("the signal is heeded", 20, || configured.refused().is_null());
    assert_eq!(max(&agent.tool("plain"), "fds"), 400);
    // Nobody but root.
    let output = run(unprivileged(&mut agent.client(&["reload"])));
    assert!(
        output.code == Some(4) && output.stderr.contains("only root"),
        "{output:?}"
    );
}

#[test]
fn rules_that_are_added_find_what_runs_and_those_that_go_leave_it() {
    let configured = Configured::start("");
    let agent = &configured.agent;
    // A program of its own, that no other test runs.
    let copy = configured.file.with_file_name("ruled-sleep");
    fs::copy(fs::canonicalize("/bin/sleep").unwrap(), &copy).unwrap();
    let mut early = Command::new(&copy).arg("600").spawn().unwrap();
    let rule = format!("[[rule]]\ntool = 'ruled'\nexecutable = '{}'\n", copy.display());
    let reloaded = configured.reload(&rule);
    assert_eq!(reloaded["changed"], serde_json::json!(["rule.executable", "rule.tool"]));
    let mut late = Command::new(&copy).arg("600").spawn().unwrap();
    let pids = || pids(agent, "ruled");
    wait_until("both are tools", 20, || {
        let pids = pids();
        [&early, &late]
            .iter()
            .all(|child| pids.contains(&u64::from(child.id())))
    });
    let shown = agent.status(&["ruled", "--fresh"]);
    assert_eq!(shown["tools"].as_array().unwrap().len(), 2);
    configured.reload("");
    let mut latest = Command::new(&copy).arg("600").spawn().unwrap();
    let latest_process = agent.process(latest.id());
    assert!(latest_process["tool"].is_null(), "{latest_process}");
    assert_eq!(pids().len(), 2, "what is a tool stays one");
    for child in [&mut early, &mut late, &mut latest] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn what_is_no_configuration_file_is_refused_at_once() {
    let folder = Agent::folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("latin1"), b"[alert]\ncommand = 'caf\xe9'\n").unwrap();
    // A hole of 100 MiB, which nobody has to fill.
    fs::File::create(path("large")).unwrap().set_len(100 << 20).unwrap();
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let at = |name: &str| path(name).to_str().unwrap().to_owned();
    for (file, said) in [
        (
            folder.path().to_str().unwrap().to_owned(),
            "this is a folder: name a file",
        ),
        ("/dev/zero".to_owned(), "this is a device"),
        ("/dev/null".to_owned(), "this is a device"),
        (at("pipe"), "this is a pipe"),
        (at("latin1"), "line 2: this is no UTF-8"),
        (at("large"), "more than 1048576 bytes"),
        (at("missing"), "resmgr config default"),
    ] {
        let checked = resmgr(&["config", "check", &file]);
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""), "{checked:?}");
        assert!(
            checked.stderr.contains(said) && checked.stderr.contains(&file),
            "{}",
            checked.stderr
        );
        let agent = run(&mut Agent::command(folder.path(), &["--config", &file]));
        assert_eq!(agent.code, Some(2), "{agent:?}");
        assert!(agent.stderr.contains(&file), "{}", agent.stderr);
    }
}

#[test]
fn what_is_printed_can_be_used() {
    let folder = Agent::folder();
    let file = folder.path().join("resmgr.toml");
    let check = || resmgr(&["config", "check", file.to_str().unwrap()]);
    let default = resmgr(&["config", "default"]);
    fs::write(&file, &default.stdout).unwrap();
    assert!(
        check().stdout.contains("can be used (0 keys, 0 rules)"),
        "{:?}",
        check()
    );
    fs::write(&file, "[tool.'a.b']\nmemory = '1G'\n[[rule]]\ntool = 'x'\nuser = 0\n").unwrap();
    assert!(check().stdout.contains("(3 keys, 1 rules)"), "{:?}", check());
    let shown = resmgr(&["config", "show", file.to_str().unwrap()]);
    assert!(shown.stdout.contains("memory = '1G'  # line 2"), "{}", shown.stdout);
    fs::write(&file, &shown.stdout).unwrap();
    assert_eq!(check().code, Some(0), "{:?}", check());
}

#[test]
fn the_usual_file_is_read_where_it_is_and_no_other_then() {
    let folder = Agent::folder();
    // In a mount namespace of its own, with an /etc of its own.
    let script = "mount --make-rprivate / && mount -t tmpfs none /etc && mkdir /etc/resmgr && \
                  printf '[agnet]\\n' > /etc/resmgr/resmgr.toml && exec \"$@\"";
    let within = |command: &Command| {
        let mut within = Command::new("unshare");
        within.args(["-m", "sh", "-c", script, "sh"]).arg(command.get_program());
        within.args(command.get_args().filter(|argument| *argument != "--no-config"));
        run(within.env("RESMGR_LOG", "warn"))
    };
    let agent = within(&Agent::command(folder.path(), &[]));
    let check = within(Command::new(binary("resmgr")).args(["config", "check"]));
    for output in [agent, check] {
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(
            output.stderr.contains("/etc/resmgr/resmgr.toml: line 1: agnet"),
            "{}",
            output.stderr
        );
    }
    assert!(!Path::new(&folder.path().join("resmgr.sock")).exists());
}

#[test]
fn a_limit_above_the_ceiling_is_refused_and_nothing_runs() {
    let configured = Configured::start("[ceiling]\nfds = 400\n");
    let agent = &configured.agent;
    let exec = |flags: &[&str]| {
        let mut command = agent.client(&["exec", "--tool", "greedy"]);
        run(command.args(flags).args(["--", "echo", "ran"]))
    };
    let refused = exec(&["--fds", "500"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(125), ""), "{refused:?}");
    assert!(
        refused.stderr.contains("above the operator's ceiling of 400"),
        "{}",
        refused.stderr
    );
    assert_eq!(exec(&["--fds", "500", "--best-effort"]).stdout, "ran\n");
    assert_eq!(exec(&["--fds", "400"]).stdout, "ran\n");
    // What a profile has beyond it is cut.
    assert_eq!(exec(&["--profile", "heavy", "--mode", "observe"]).stdout, "ran\n");
    let mut held = Workload::over(
        agent
            .exec("held", &["--profile", "standard", "--mode", "observe"])
            .arg(binary("workload")),
    );
    held.order("open 1");
    assert_eq!(max(&agent.tool("held"), "fds"), 400);
    let set = run(&mut agent.client(&["limits", "set", "held", "--fds", "401"]));
    assert!(set.code == Some(1) && set.stderr.contains("ceiling"), "{set:?}");
}

#[test]
fn the_ceiling_holds_for_tools_that_outlived_an_agent() {
    let folder = Agent::folder();
    let file = folder.path().join("resmgr.toml");
    fs::write(&file, "[ceiling]\nfds = 300\n").unwrap();
    let mut agent = Agent::start_pinned(&[]);
    let _held = agent.workload("held", &["--fds", "50:900", "--mode", "observe"]);
    assert_eq!(max(&agent.tool("held"), "fds"), 900);
    agent.signal(Signal::TERM);
    agent.start_again(&["--config", file.to_str().unwrap()]);
    assert_eq!(max(&agent.tool("held"), "fds"), 300);
}

//! `/metrics` and `/healthz`: well-formed, equal to the status, bounded, and not to be brought down.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "numbers that are the same to the last digit")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use resmgr_tests::{Agent, Answer, Samples, Workload, binary, http, number, patience, run, until};
use serde_json::Value;

/// A tool that uses something of everything.
fn busy(agent: &Agent, name: &str) -> (Workload, Workload) {
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut exec = agent.exec(name, &["--fds", "50:400", "--mode", "throttle"]);
    let mut workload = Workload::over(exec.arg(binary("workload")));
    workload.order(format!("connect {address} 2"));
    workload.order("open 60");
    workload.order("pipe 1");
    workload.order("zombie");
    workload.order("spin 50");
    (listener, workload)
}

/// Whole numbers of a scrape and of the status, which are the same to the last digit.
#[expect(clippy::cast_precision_loss, reason = "they are small enough")]
fn real(value: &Value) -> f64 {
    number(value) as f64
}

#[test]
fn a_scrape_says_what_the_status_says() {
    // Nothing changes but by --fresh.
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    let (_listener, _workload) = busy(&agent, "same");
    let status = agent.status(&["--fresh"]);
    let tool = &status["tools"][0];
    let samples = agent.scrape();
    let of = |name: &str, more: &str| samples.of_tool(name, "same", more);
    let usage = &tool["usage"];
    assert_eq!(
        of("resmgr_tool_memory_bytes", "kind=\"counted\""),
        Some(real(&usage["memory_bytes"]))
    );
    assert_eq!(
        of("resmgr_tool_memory_bytes", "kind=\"anon\""),
        Some(real(&usage["memory"]["anon_bytes"]))
    );
    assert_eq!(
        of("resmgr_tool_cpu_seconds_total", ""),
        Some(real(&tool["cpu_time_ns"]) / 1e9)
    );
    let kinds = usage["file_handles_by_kind"].as_object().unwrap();
    assert!(kinds.len() > 2, "{kinds:?}");
    for (kind, count) in kinds {
        assert_eq!(
            of("resmgr_tool_open_fds", &format!("kind=\"{kind}\"")),
            Some(real(count))
        );
    }
    let handles = usage["file_handles"].as_array().unwrap().len();
    let fds: f64 = samples.family("resmgr_tool_open_fds").values().sum();
    assert!(
        handles >= 67 && fds == f64::from(u32::try_from(handles).unwrap()),
        "{handles} {fds}"
    );
    assert_eq!(of("resmgr_tool_connections", "state=\"established\""), Some(2.0));
    assert_eq!(samples.family("resmgr_tool_connections").len(), 1);
    for (resource, name, per) in [
        ("memory", "resmgr_tool_memory_limit_bytes", 1.0),
        ("cpu", "resmgr_tool_cpu_limit_seconds", 1000.0),
        ("fds", "resmgr_tool_fd_limit", 1.0),
        ("connections", "resmgr_tool_connection_limit", 1.0),
    ] {
        for kind in ["base", "current", "max"] {
            let limit = real(&tool["limits"][resource][kind]) / per;
            assert_eq!(of(name, &format!("kind=\"{kind}\"")), Some(limit), "{resource} {kind}");
        }
    }
    let current = real(&tool["limits"]["fds"]["current"]);
    assert_eq!(
        of("resmgr_tool_limit_used_ratio", "resource=\"fds\""),
        Some(fds / current)
    );
    for (name, field) in [
        ("resmgr_tool_processes", "process_count"),
        ("resmgr_tool_threads", "threads"),
        ("resmgr_tool_processes_started_total", "processes_total"),
        ("resmgr_tool_crossings_total", "crossings_total"),
        ("resmgr_tool_oom_kills_total", "oom_kills"),
        ("resmgr_tool_memory_high_total", "high_events"),
    ] {
        assert_eq!(of(name, ""), Some(real(&tool[field])), "{name}");
    }
    for (name, event) in [
        ("resmgr_tool_fds_opened_total", "fds_opened"),
        ("resmgr_tool_connections_made_total", "connections_made"),
    ] {
        assert_eq!(of(name, ""), Some(real(&tool["events"][event])), "{name}");
    }
    assert_eq!(
        (of("resmgr_tool_zombies", ""), of("resmgr_tool_orphans", "")),
        (Some(1.0), Some(0.0))
    );
    let level = ["normal", "warning", "critical", "emergency"]
        .iter()
        .position(|level| tool["status"] == *level);
    assert_eq!(
        of("resmgr_tool_status", ""),
        level.map(|level| f64::from(u32::try_from(level).unwrap()))
    );
    let actions: f64 = samples.family("resmgr_actions_total").values().sum();
    assert_eq!(actions, real(&tool["actions_total"]));
    let about_fds = |series: &&str| series.contains("kind=\"fds\"");
    assert!(
        samples.family("resmgr_alerts_total").keys().any(about_fds),
        "{samples:?}"
    );
    assert_eq!(samples.0["resmgr_agent_sweeps_total"], real(&status["agent"]["sweeps"]));
    assert_eq!(
        samples.0["resmgr_agent_cpu_seconds_total"],
        real(&status["agent"]["cpu_time_ns"]) / 1e9
    );
}

/// Asserts that a text is one of its format, as strictly as that is defined; returns its families with their types.
fn families(text: &str, is_open: bool) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let (mut name, mut series) = (String::new(), BTreeSet::new());
    let body = if is_open {
        text.strip_suffix("# EOF\n").unwrap()
    } else {
        text
    };
    assert!(body.ends_with('\n') && !body.contains("# EOF") && !body.contains("\n\n"));
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.split_once(' ').unwrap().0.clone_into(&mut name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let kind = kind.strip_prefix(&format!("{name} ")).unwrap();
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert!(all.insert(name.clone(), kind.to_owned()).is_none(), "{line}");
        } else {
            let (one, value) = line.rsplit_once(' ').unwrap();
            assert!(series.insert(one.to_owned()), "twice: {line}");
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
            let (of, labels) = one.split_once('{').unwrap_or((one, ""));
            let end = if is_open && all[&name] == "counter" {
                "_total"
            } else {
                ""
            };
            assert_eq!(of, format!("{name}{end}"), "not below its family");
            for label in labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty())
            {
                let (label, value) = label.split_once('=').unwrap();
                assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
                assert!(
                    value.len() > 2 && value.starts_with('"') && value.ends_with('"'),
                    "{line}"
                );
            }
        }
    }
    all
}

fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    page.lines()
        .filter_map(name)
        .filter(|name| name.starts_with("resmgr_"))
        .collect()
}

#[test]
fn every_metric_is_documented_and_no_other_and_secrets_are_in_none() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let (_listener, workload) = busy(&agent, "shown");
    let mut secret = agent.exec("secret", &["--mode", "observe"]);
    let secret = Workload::over(secret.arg(binary("workload")).arg("TOKEN=hunter2"));
    let plain = agent.get("/metrics", "Accept: text/plain\r\n");
    assert!(
        plain
            .head
            .contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{}",
        plain.head
    );
    let shown = families(&plain.body, false);
    let shown_names: BTreeSet<String> = shown.keys().cloned().collect();
    let page = documented();
    let missing: Vec<_> = shown_names.difference(&page).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    let invented: Vec<_> = page.difference(&shown_names).collect();
    assert!(invented.is_empty(), "in docs/metrics.md, but never shown: {invented:?}");
    for (name, kind) in &shown {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
    }
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let open = agent.get("/metrics", accept);
    assert!(
        open.head
            .contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{}",
        open.head
    );
    assert_eq!(families(&open.body, true).len(), shown.len());

    let labels: BTreeSet<&str> = plain
        .body
        .split(['{', ','])
        .filter_map(|label| Some(label.split_once("=\"")?.0))
        .collect();
    let known = [
        "cause", "kind", "level", "map", "resource", "state", "step", "tool", "user", "version",
    ];
    assert!(labels.is_subset(&BTreeSet::from(known)), "{labels:?}");
    let is_told = until("it is a tool", || {
        let text = agent.get("/metrics", "").body;
        text.contains("tool=\"secret\"").then_some(text)
    });
    for hidden in ["hunter2", "127.0.0.1"] {
        assert!(!is_told.contains(hidden), "{hidden}");
    }
    for pid in [workload.pid(), secret.pid()] {
        assert!(!is_told.contains(&format!("\"{pid}\"")), "{pid}");
    }
}

/// What contrib asks of Prometheus names nothing that there is not.
#[test]
fn rules_and_the_dashboard_ask_for_what_there_is() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib");
    let rules = fs::read_to_string(format!("{folder}/prometheus/rules.yml")).unwrap();
    let dashboard = fs::read_to_string(format!("{folder}/grafana/resmgr.json")).unwrap();
    let documented = documented();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for text in [&rules, &dashboard] {
        let names = text.split(|c| !is_word(c)).filter(|word| word.starts_with("resmgr_"));
        let unknown: Vec<&str> = names.filter(|name| !documented.contains(*name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    assert!(queries().len() > 30);
}

/// The queries of the dashboard, of its variables too, with all that may be chosen chosen.
fn queries() -> Vec<String> {
    let dashboard = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/grafana/resmgr.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let chosen = |query: &str| {
        let all = ["$instance", "$tool", "$user"].iter();
        let query = all.fold(query.to_owned(), |query, variable| query.replace(variable, ".*"));
        query.replace("$__rate_interval", "10s")
    };
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let values = variables.filter_map(|variable| {
        let query = variable["query"]["query"].as_str()?.strip_prefix("label_values(")?;
        let (series, label) = query.strip_suffix(')')?.rsplit_once(", ")?;
        Some(format!("count by ({label}) ({series})"))
    });
    let queries = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    queries.chain(values).map(|query| chosen(&query)).collect()
}

#[test]
fn whoever_asks_badly_is_told_and_the_next_one_is_answered() {
    let agent = Agent::start(&[]);
    let address = agent.metrics();
    let answered = |request: &[u8]| http(address, request).map(|answer| answer.status);
    for (request, status) in [
        (&b"GET /metrics HTTP/1.1\r\n\r\n"[..], 200),
        (b"GET /metrics?x=1 HTTP/1.0\n\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 505),
        (b"hello\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff", 400),
        (b"GET /metrics\r\n\r\n", 400),
    ] {
        assert_eq!(answered(request), Some(status), "{}", request.escape_ascii());
    }
    assert_eq!(agent.get("/healthz", "").body, "ok\n");
    let head = http(address, b"HEAD /metrics HTTP/1.1\r\n\r\n").unwrap();
    assert!(
        head.body.is_empty() && !head.head.contains("Content-Length: 0"),
        "{}",
        head.head
    );

    // Half a request, and gone.
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metr").unwrap();
    }
    // Gone before the answer is read.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    }
    // A head without an end: told that it is too long, however much of a gibibyte was taken.
    let before = resident_kib(&agent);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let line = format!("X: {}\r\n", "x".repeat(4096));
    let sent = (0..(1 << 30) / line.len()).take_while(|_| stream.write_all(line.as_bytes()).is_ok());
    assert!(sent.count() < 8192, "more than 32 MiB were taken");
    let grown = resident_kib(&agent).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");
    let long = [b"GET /metrics HTTP/1.1\r\n", line.repeat(3).as_bytes(), b"\r\n"].concat();
    assert_eq!(
        until("there is room again", || answered(&long)
            .filter(|status| *status != 503)),
        431
    );
    assert!(agent.scrape().0.len() > 20);
}

/// Memory of the agent, in KiB.
fn resident_kib(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn clients_that_are_silent_or_slow_hold_up_nobody_but_scrapes() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let address = agent.metrics();
    let silent: Vec<TcpStream> = (0..15).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let refused = until("all places are taken", || {
        http(address, b"GET /metrics HTTP/1.1\r\n\r\n").filter(|answer| answer.status == 503)
    });
    assert!(refused.body.contains("try again later"), "{}", refused.body);
    // Meanwhile the agent sweeps, and answers at its socket.
    let before = number(&agent.status(&[])["agent"]["sweeps"]);
    until("it sweeps", || {
        (number(&agent.status(&[])["agent"]["sweeps"]) > before + 5).then_some(())
    });
    drop(silent);
    let counted = until("there is room again", || {
        let answer = http(address, b"GET /metrics HTTP/1.1\r\n\r\n").filter(|answer| answer.status == 200)?;
        let samples = Samples::of(&answer.body);
        (samples.0["resmgr_agent_scrapes_refused_total"] >= 1.0).then_some(answer)
    });
    assert_eq!(counted.status, 200);
    // The one that is slow is told that it was.
    slow.set_read_timeout(Some(patience(30))).unwrap();
    let mut told = String::new();
    slow.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
}

/// How an agent that is to fail does.
fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let folder = Agent::folder();
    let output = run(&mut Agent::command(folder.path(), arguments));
    (output.code, output.stderr)
}

#[test]
fn an_address_that_is_asked_for_is_had_or_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, error) = fails(&["--metrics-listen", &address]);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains(&address) && error.contains("--metrics-listen") && error.contains("off"),
        "{error}"
    );
    let (code, error) = fails(&["--metrics-listen", "localhost"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("127.0.0.1:9465"), "{error}");

    // By the configuration; the flag wins.
    let folder = Agent::folder();
    let config = folder.path().join("resmgr.toml");
    fs::write(&config, format!("[metrics]\nlisten = \"{address}\"\n")).unwrap();
    let config = config.to_str().unwrap();
    let mut command = Agent::command(folder.path(), &["--config", config]);
    let error = run(command.env_remove("RESMGR_METRICS_LISTEN")).stderr;
    assert!(error.contains(&address), "{error}");
    let agent = Agent::start(&["--config", config, "--metrics-listen", "off"]);
    assert!(agent.status(&[])["agent"]["metrics"].is_null());
    drop(agent);
    drop(taken);
    let agent = Agent::start(&["--metrics-listen", &address]);
    assert_eq!(agent.metrics().to_string(), address);
    assert_eq!(agent.get("/healthz", "").status, 200);
}

/// Where an agent that was not told answers scrapes, with the usual address taken.
fn untold(command: &mut Command) -> (Option<String>, String) {
    let output = run(command
        .env_remove("RESMGR_METRICS_LISTEN")
        .args(["--status", "once", "--log", "info"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let said = output
        .stderr
        .lines()
        .find_map(|line| line.split_once("metrics=")?.1.split(' ').next());
    (said.map(str::to_owned), output.stderr)
}

#[test]
fn agents_that_were_not_told_where_to_answer_do_not_get_in_each_others_way() {
    // Whoever has it, it is taken.
    let taken = TcpListener::bind("127.0.0.1:9465");
    let folder = Agent::folder();
    let (said, log) = untold(&mut Agent::command(folder.path(), &[]));
    let address: SocketAddr = said.unwrap().parse().unwrap();
    assert!(
        address.ip().is_loopback() && ![0, 9465].contains(&address.port()),
        "{log}"
    );
    let folder = Agent::folder();
    let (said, log) = untold(&mut Agent::pinned_command(folder.path(), &[]));
    assert_eq!(said.as_deref(), Some("off"), "{log}");
    assert!(
        log.contains("127.0.0.1:9465") && log.contains("--metrics-listen"),
        "{log}"
    );
    drop(taken);
    let release = run(&mut Agent::pinned_command(folder.path(), &["--release"]));
    assert_eq!(release.code, Some(0), "{}", release.stderr);
}

#[test]
fn short_tools_leave_few_series_behind() {
    let full = std::env::var_os("RESMGR_TEST_FULL").is_some();
    let tools: u32 = if full { 10_000 } else { 40 };
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let series_of = |samples: &Samples, name: &str| samples.family(name).len();
    let before = agent.scrape().0.len();
    let script = "i=0; while [ $i -lt $1 ]; do \"$2\" --socket \"$3\" exec --require --tool short-$i -- true || exit 1; i=$((i+1)); done";
    let mut all = Command::new("sh");
    all.args(["-c", script, "sh", &tools.to_string()])
        .arg(binary("resmgr"))
        .arg(agent.socket());
    let output = run(&mut all);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let samples = until("all have ended", || {
        let samples = agent.scrape();
        let running: f64 = samples.family("resmgr_tool_instances").values().sum();
        (running == 0.0).then_some(samples)
    });
    assert_eq!(series_of(&samples, "resmgr_tool_processes"), 0);
    let kept = series_of(&samples, "resmgr_tool_cpu_seconds_total");
    // As many as are kept at most, while the first of them have not been over for long.
    let most = if full { 256 } else { 40 };
    assert_eq!(kept, most);
    assert!(samples.0.len() < before + 256 * 16, "{}", samples.0.len());
    let forgotten = samples.0["resmgr_agent_lost_total{cause=\"tools_forgotten\"}"];
    assert_eq!(forgotten, f64::from(tools.saturating_sub(256)));

    // One name, over and over, is one series.
    let script = script.replace("short-$i", "again");
    let mut again = Command::new("sh");
    again
        .args(["-c", &script, "sh", "20"])
        .arg(binary("resmgr"))
        .arg(agent.socket());
    assert_eq!(run(&mut again).code, Some(0));
    until("each has been counted", || {
        let samples = agent.scrape();
        let ended: f64 = samples
            .family("resmgr_tool_ended_total")
            .iter()
            .filter(|(series, _)| series.contains("again"))
            .map(|(_, value)| value)
            .sum();
        let started = samples.of_tool("resmgr_tool_processes_started_total", "again", "");
        (ended == 20.0 && started >= Some(20.0)).then_some(())
    });
}

#[path = "metrics/prometheus.rs"]
mod prometheus;

//! A real Prometheus scrapes a real agent, with the rules of contrib, and is asked all that the dashboard asks. Runs with `--full`,
//! which fetches it.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use resmgr_tests::Process;

use super::*;

const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/prometheus");

/// Where `cargo xtask test --full` has unpacked it.
fn program(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("RESMGR_TEST_PROMETHEUS").map(PathBuf::from);
    if folder.is_none() {
        println!("Prometheus scrapes with --full alone");
    }
    Some(folder?.join("usr/bin").join(name))
}

/// Fails with what a tool said, where it is not content.
fn passes(command: &mut Command) {
    let output = run(command);
    assert_eq!(output.code, Some(0), "{command:?}: {}{}", output.stdout, output.stderr);
}

#[test]
fn promtool_finds_nothing_wrong() {
    let Some(promtool) = program("promtool") else { return };
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let (_listener, _workload) = busy(&agent, "checked");
    let text = Agent::folder();
    let text = text.path().join("scrape");
    fs::write(&text, agent.get("/metrics", "").body).unwrap();
    let check = "\"$1\" check metrics < \"$2\"";
    let output = run(Command::new("sh").args(["-c", check, "sh"]).arg(&promtool).arg(&text));
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (Some(0), "", ""),
        "promtool check metrics"
    );
    passes(
        Command::new(&promtool)
            .args(["check", "config"])
            .arg(format!("{CONTRIB}/prometheus.yml")),
    );
    passes(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(format!("{CONTRIB}/rules.yml")),
    );
    let mut test = Command::new(&promtool);
    passes(test.args(["test", "rules", "rules_test.yml"]).current_dir(CONTRIB));
}

/// Starts Prometheus over an agent; returns where it answers.
fn start(program: &Path, folder: &Path, agent: &Agent) -> (Process, SocketAddr) {
    let config = folder.join("prometheus.yml");
    let text = fs::read_to_string(format!("{CONTRIB}/prometheus.yml")).unwrap();
    let text = text
        .replace("127.0.0.1:9465", &agent.metrics().to_string())
        .replace("15s", "1s");
    fs::write(&config, text).unwrap();
    fs::copy(format!("{CONTRIB}/rules.yml"), folder.join("rules.yml")).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let process = Process::of(child);
    let mut lines = log.lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.split_once("\"Listening on\" address=")?.1.trim().parse().ok());
    // What is not read would stop it once the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    (process, address.unwrap())
}

/// What it answers to a query.
fn asked(address: SocketAddr, query: &str) -> Option<Vec<Value>> {
    let encoded = query
        .bytes()
        .fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"));
    let request = format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n");
    let Answer { status, body, .. } = http(address, request.as_bytes())?;
    // It is not ready at once.
    if status == 503 {
        return None;
    }
    let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{query}: {error}: {body}"));
    assert_eq!(answer["status"], "success", "{query}: {body}");
    answer["data"]["result"].as_array().cloned()
}

#[test]
fn prometheus_scrapes_an_agent_and_answers_the_dashboard() {
    let Some(program) = program("prometheus") else { return };
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let (_listener, mut workload) = busy(&agent, "scraped");
    let folder = Agent::folder();
    let (_prometheus, address) = start(&program, folder.path(), &agent);
    let value = |query: &str| asked(address, query)?.first()?["value"][1].as_str().map(str::to_owned);
    until("it has scraped", || value("up{job=\"resmgr\"}").filter(|up| up == "1"));
    // By both formats it is the same; it asks for OpenMetrics.
    let fds = until("the tool is there", || {
        value("sum(resmgr_tool_open_fds{tool=\"scraped\"})")
    });
    assert_eq!(
        fds,
        until("the rule too", || value(
            "tool:resmgr_tool_open_fds:sum{tool=\"scraped\"}"
        ))
    );
    let status = agent.status(&["scraped"]);
    assert_eq!(
        fds,
        status["tools"][0]["usage"]["file_handles"]
            .as_array()
            .unwrap()
            .len()
            .to_string()
    );
    assert_eq!(
        value("resmgr_tool_connections{state=\"established\"}").as_deref(),
        Some("2")
    );
    workload.order("spin 100");
    until("rates are known", || {
        value("rate(resmgr_tool_cpu_seconds_total[10s]) > 0")
    });
    let mut empty = Vec::new();
    for query in queries() {
        if asked(address, &query).unwrap().is_empty() {
            empty.push(query);
        }
    }
    // Nothing reaches a maximum, and what was not counted yet has no rate.
    println!("no data for {empty:#?}");
    assert!(empty.len() <= 8, "{empty:#?}");
    // Nothing was dropped on the way: each sample of a scrape is one that Prometheus has.
    let text = agent.scrape().0.len();
    let had: usize = value("scrape_samples_scraped{job=\"resmgr\"}")
        .unwrap()
        .parse()
        .unwrap();
    assert!(had + 20 > text && had < text + 20, "{had} {text}");
    assert_eq!(
        value("prometheus_rule_evaluation_failures_total").unwrap_or("0".to_owned()),
        "0"
    );
}

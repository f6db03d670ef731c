//! `resmgr exec --operations mcp`: what goes through it, what it counts, what it answers itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, Stdio},
    thread,
};

use resmgr_tests::{Agent, Conversation, binary, number, until, wait_until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

const LIMITS_EXCEEDED: i64 = -32010;
const SERVER_ENDED: i64 = -32011;

/// A server behind the proxy, with more arguments for `exec`.
fn proxied(agent: &Agent, limits: &[&str], server: &[&str]) -> Command {
    let mut command = agent.client(&["exec", "--require", "--operations", "mcp", "--tool", "server"]);
    command.args(limits).arg("--").args(server);
    command
}

fn program() -> String {
    binary("mcp_server").display().to_string()
}

fn served(agent: &Agent, limits: &[&str]) -> Conversation {
    let mut server = Conversation::start(&mut proxied(agent, limits, &[&program()]));
    server.initialize();
    server
}

/// The instance that runs.
fn running(agent: &Agent) -> Value {
    let status = agent.status(&["server", "--fresh"]);
    let tools = status["tools"].as_array().unwrap().clone();
    let running = tools.into_iter().filter(|tool| tool["ended_s"].is_null());
    running.max_by_key(|tool| number(&tool["instance"])).unwrap_or_default()
}

fn operations(agent: &Agent) -> Value {
    running(agent)["operations"].clone()
}

fn is_alive(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

#[test]
fn bytes_go_through_unchanged_whatever_they_are() {
    let agent = Agent::start(&[]);
    let mut through = proxied(&agent, &[], &["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sent = Vec::new();
    for line in [
        &br#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#[..],
        b"garbage",
        b"",
        b"\xff\xfe\x00 no text {\"id\":",
        br#"[{"id":1,"method":"ping"},{"id":1,"method":"ping"},{"method":"note"}]"#,
        br#"{"id":"\ud800","method":"tools/call","params":{"name":7}}"#,
        b"}}}]]]",
        br#"{"id":99,"result":{}}"#,
    ] {
        sent.extend_from_slice(line);
        sent.push(b'\n');
    }
    // Longer than any buffer, and a last line that is none.
    sent.extend(
        b"{\"id\":5,\"result\":\""
            .iter()
            .copied()
            .chain(std::iter::repeat_n(b'x', 3 << 20)),
    );
    sent.extend_from_slice(b"\"}\nhalf a line");
    let mut to = through.stdin.take().unwrap();
    let mut from = through.stdout.take().unwrap();
    let writing = sent.clone();
    let writer = thread::spawn(move || {
        for piece in writing.chunks(1777) {
            to.write_all(piece).unwrap();
        }
    });
    let mut received = Vec::new();
    from.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received.starts_with(&sent), "{} bytes", received.len());
    // Nobody has answered what was asked.
    let rest = String::from_utf8(received[sent.len()..].to_vec()).unwrap();
    let errors: Vec<Value> = rest
        .trim_start()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<&Value> = errors.iter().map(|error| &error["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(1), &json!(1)], "{rest}");
    assert_eq!(through.wait().unwrap().code(), Some(0));
}

#[test]
fn a_line_of_any_length_streams_through_in_bounded_memory() {
    let mib: u64 = if std::env::var_os("RESMGR_TEST_FULL").is_some() {
        1024
    } else {
        128
    };
    let agent = Agent::start(&[]);
    let script = format!(
        "printf '{{\"id\":1,\"result\":\"'; head -c {mib}M /dev/zero | tr '\\0' x; printf '\"}}\\n'; exec sleep 600"
    );
    let mut through = proxied(&agent, &[], &["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut from = through.stdout.take().unwrap();
    let (mut chunk, mut length, mut is_over) = (vec![0; 1 << 16], 0, false);
    while !is_over {
        let read = from.read(&mut chunk).unwrap();
        assert!(read > 0, "it ended after {length} bytes");
        length += read as u64;
        is_over = chunk[read - 1] == b'\n';
    }
    assert_eq!(length, (mib << 20) + "{\"id\":1,\"result\":\"\"}\n".len() as u64);
    let status = fs::read_to_string(format!("/proc/{}/status", through.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most_kib: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    // With the pages of its own program, which are many where that is not optimised.
    assert!(most_kib < 32 * 1024, "{most_kib} KiB");
    kill_process(Pid::from_child(&through), Signal::TERM).unwrap();
    assert_eq!(through.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn requests_are_operations_named_by_what_they_call_with_what_each_used() {
    let agent = Agent::start(&[]);
    let mut server = served(&agent, &[]);
    let burnt = server.call("burn", 400);
    server.answer(burnt);
    let ended = until("both have ended", || {
        let operations = operations(&agent);
        (operations["ended_total"] == 2).then(|| operations["ended"].as_array().unwrap().clone())
    });
    assert_eq!(ended[0]["name"], "initialize");
    assert_eq!(ended[1]["name"], "burn");
    let used_ms = number(&ended[1]["cpu_time_ns"]) / 1_000_000;
    // That it began is told, and not waited for.
    assert!((390..450).contains(&used_ms), "{used_ms} ms");
    assert!(number(&ended[0]["cpu_time_ns"]) < 100_000_000);
    assert_eq!(ended[1]["overlapped"], false);
    assert!(number(&ended[1]["duration_ns"]) >= 400_000_000);
    assert!(number(&ended[1]["peak_memory_bytes"]) > 0 && number(&ended[1]["peak_open_fds"]) >= 3);

    // Two at a time: what both use is split, and marked.
    let (sleeps, burns) = (server.call("sleep", 60_000), server.call("burn", 300));
    until("both are under way", || {
        (operations(&agent)["under_way"].as_array()?.len() == 2).then_some(())
    });
    server.answer(burns);
    let split = until("one has ended", || {
        let operations = operations(&agent);
        (operations["ended_total"] == 3).then(|| operations["ended"][2].clone())
    });
    assert_eq!((&split["name"], &split["overlapped"]), (&json!("burn"), &json!(true)));
    let half_ms = number(&split["cpu_time_ns"]) / 1_000_000;
    assert!((120..200).contains(&half_ms), "{half_ms} ms");

    // Only one method gives up.
    let pinged = server.ask("ping", &json!({ "requestId": sleeps }));
    server.answer(pinged);
    until("it is an operation like any other", || {
        (operations(&agent)["ended_total"] == 4).then_some(())
    });
    assert_eq!(operations(&agent)["under_way"].as_array().unwrap().len(), 1);

    // What was given up ends without an answer.
    server.send(&json!({ "method": "notifications/cancelled", "params": { "requestId": sleeps } }));
    until("none is under way", || {
        operations(&agent)["under_way"].as_array()?.is_empty().then_some(())
    });
    assert!(server.end().success());
}

#[test]
fn without_an_agent_it_is_a_pipe_unless_one_is_required() {
    let exec = |more: &[&str]| {
        let mut command = Command::new(binary("resmgr"));
        command.args(["--socket", "/nonexistent/resmgr.sock", "exec", "--operations", "mcp"]);
        command.args(more).arg("--").arg(program());
        command
    };
    let mut server = Conversation::start(&mut exec(&[]));
    assert_eq!(server.initialize()["result"]["serverInfo"]["name"], "test");
    let burnt = server.call("burn", 1);
    assert_eq!(server.answer(burnt)["result"]["content"][0]["text"], "burnt");
    assert_eq!(server.end().code(), Some(0));
    let mut none = Conversation::start(&mut exec(&["--require"]));
    assert_eq!(none.end().code(), Some(125));
}

#[test]
fn who_waits_for_a_server_that_dies_is_answered_and_the_end_is_the_servers() {
    let agent = Agent::start(&[]);
    let mut server = served(&agent, &[]);
    let (sleeps, spins) = (server.call("sleep", 600_000), server.call("spin", 0));
    server.send(&json!({ "method": "notifications/cancelled", "params": { "requestId": spins } }));
    let exits = server.call("exit", 7);
    for id in [sleeps, exits] {
        let error = server.answer(id)["error"].clone();
        assert_eq!(error["code"], SERVER_ENDED, "{error}");
        assert!(error["message"].as_str().unwrap().contains("exit status: 7"), "{error}");
    }
    assert_eq!(server.end().code(), Some(7));
    assert_eq!(server.hear(), None, "it does not wait for what it has given up");

    // In the middle of a line: the client's lines stay whole.
    let mut server = served(&agent, &[]);
    let broken = server.call("break", 0);
    assert_eq!(server.answer(broken)["error"]["code"], SERVER_ENDED);
    assert_eq!(server.unasked(), [json!("{\"jsonrpc\":")]);
    assert_eq!(server.end().code(), Some(3));

    // It lives on, and reads no more.
    let deaf = ["sh", "-c", "exec 0<&-; exec sleep 600"];
    let mut server = Conversation::start(&mut proxied(&agent, &["--grace", "300ms"], &deaf));
    until("it has closed its input", || {
        let comm = fs::read_to_string(format!("/proc/{}/comm", running(&agent)["root_pid"]));
        (comm.ok()? == "sleep\n").then_some(())
    });
    for _ in 0..2 {
        let pinged = server.ask("ping", &json!({}));
        assert_eq!(server.answer(pinged)["error"]["code"], SERVER_ENDED);
    }
    assert_eq!(server.end().signal(), Some(Signal::TERM.as_raw()));

    let mut server = served(&agent, &[]);
    let pid = i32::try_from(number(&running(&agent)["root_pid"])).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::ABORT).unwrap();
    assert_eq!(server.wait().signal(), Some(Signal::ABORT.as_raw()));

    let mut none = Conversation::start(&mut proxied(&agent, &[], &["/nonexistent/server"]));
    assert_eq!(none.end().code(), Some(127));
}

#[test]
fn signals_are_the_servers_and_it_ends_with_its_proxy_and_with_its_client() {
    let agent = Agent::start(&[]);
    let mut server = served(&agent, &[]);
    kill_process(Pid::from_raw(server.pid().cast_signed()).unwrap(), Signal::USR1).unwrap();
    assert_eq!(server.wait().signal(), Some(Signal::USR1.as_raw()));

    // The proxy is killed; the server takes no end of input for one, and no SIGTERM.
    let stubborn = [
        "sh",
        "-c",
        "trap '' TERM; \"$0\" --ignore-eof & exec \"$0\" --ignore-eof",
        &program(),
    ];
    let mut server = Conversation::start(&mut proxied(&agent, &["--grace", "1s"], &stubborn));
    server.initialize();
    let pids = until("both run", || {
        let processes = agent.status(&["server", "--processes"]);
        let pids: Vec<i32> = processes["processes"]
            .as_array()?
            .iter()
            .filter(|process| process["tool"] == "server" || process["comm"] == "mcp_server")
            .filter_map(|process| i32::try_from(process["pid"].as_u64()?).ok())
            .collect();
        (pids.len() == 2).then_some(pids)
    });
    kill_process(Pid::from_raw(server.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
    server.end();
    wait_until("the server has ended", 30, || pids.iter().all(|&pid| !is_alive(pid)));

    // The client goes first. What it has given up keeps nobody.
    let ignoring = || proxied(&agent, &["--grace", "500ms"], &[&program(), "--ignore-eof"]);
    let mut server = Conversation::start(&mut ignoring());
    server.initialize();
    let (slept, spins) = (server.call("sleep", 300), server.call("spin", 0));
    server.send(&json!({ "method": "notifications/cancelled", "params": { "requestId": spins } }));
    server.close();
    assert_eq!(server.answer(slept)["result"]["content"][0]["text"], "slept");
    assert_eq!(server.end().signal(), Some(Signal::TERM.as_raw()));

    // It is killed, and nobody reads what it has asked.
    let mut through = ignoring().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let call = json!({ "id": 1, "method": "tools/call", "params": { "name": "sleep", "arguments": { "n": 600_000 } } });
    writeln!(through.stdin.take().unwrap(), "{call}").unwrap();
    drop(through.stdout.take());
    let status = until("the proxy has ended", || through.try_wait().unwrap());
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn who_reads_late_reads_all_that_a_server_said_before_it_ended() {
    let agent = Agent::start(&[]);
    // More than two pipes hold, and little more.
    let length = 135_000;
    let mut through = proxied(&agent, &[], &["head", "-c", &length.to_string(), "/dev/zero"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("it has ended a while ago", || {
        let status = agent.status(&["server", "--fresh"]);
        (status["tools"][0]["ended_s"].as_u64()? >= 2).then_some(())
    });
    let mut all = Vec::new();
    through.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    let (said, rest) = all.split_at(length.min(all.len()));
    assert!(
        said.iter().all(|&byte| byte == 0) && rest == b"\n",
        "{} bytes",
        all.len()
    );
    assert_eq!(through.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_ends_it_whoever_keeps_it_waiting() {
    let agent = Agent::start(&[]);
    let start = |server: &[&str]| {
        let mut command = proxied(&agent, &[], server);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let terminate = |mut through: Child| {
        kill_process(Pid::from_child(&through), Signal::TERM).unwrap();
        let status = until("the proxy has ended", || through.try_wait().unwrap());
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    };
    // A client that does not read.
    let through = start(&["sh", "-c", "head -c 1M /dev/zero; exec sleep 600"]);
    until("it runs", || (running(&agent)["process_count"] == 2).then_some(()));
    terminate(through);

    // An agent that does not answer.
    agent.signal(Signal::STOP);
    let through = start(&["sleep", "600"]);
    let children = format!("/proc/{0}/task/{0}/children", through.id());
    until("it has started the server", || {
        (!fs::read_to_string(&children).ok()?.is_empty()).then_some(())
    });
    terminate(through);
    agent.signal(Signal::CONT);
}

#[test]
fn a_call_that_spins_is_ended_at_its_limit_and_others_wait_until_the_server_rests() {
    let agent = Agent::start(&["--sweep-interval", "200ms"]);
    let mut server = served(&agent, &["--cpu", "1s:1s", "--mode", "throttle"]);
    let spins = server.call("spin", 0);
    let error = server.answer(spins)["error"].clone();
    assert_eq!(error["code"], LIMITS_EXCEEDED, "{error}");
    assert_eq!(
        (&error["data"]["resource"], &error["data"]["limit"]),
        (&json!("cpu"), &json!(1000))
    );
    assert!(number(&error["data"]["value"]) >= 1000, "{error}");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("resmgr limits set server --cpu"),
        "{error}"
    );
    // It has given up when it was asked to: it takes calls again.
    let again = until("it takes calls again", || {
        let id = server.call("sleep", 1);
        let answer = server.answer(id);
        (answer["error"]["code"] != LIMITS_EXCEEDED).then_some(answer)
    });
    assert_eq!(again["result"]["content"][0]["text"], "slept");

    // This one does not: others are refused, the conversation goes on.
    let rages = server.call("rage", 0);
    assert_eq!(server.answer(rages)["error"]["code"], LIMITS_EXCEEDED);
    for _ in 0..3 {
        let refused = server.call("sleep", 1);
        let error = server.answer(refused)["error"].clone();
        assert_eq!(error["code"], LIMITS_EXCEEDED);
        assert!(error["message"].as_str().unwrap().contains("takes no calls"), "{error}");
    }
    let pinged = server.ask("ping", &json!({}));
    assert!(server.answer(pinged).get("result").is_some());
    // Whoever raises the limit lets it take calls.
    let set = agent
        .client(&["limits", "set", "server", "--cpu", "1h:1h"])
        .status()
        .unwrap();
    assert!(set.success());
    until("it takes calls again", || {
        let id = server.call("sleep", 1);
        (server.answer(id)["error"]["code"] != LIMITS_EXCEEDED).then_some(())
    });
    assert!(server.unasked().is_empty(), "{:?}", server.unasked());
}

#[test]
fn a_limit_that_is_changed_is_the_limit_of_what_is_under_way() {
    let agent = Agent::start(&["--sweep-interval", "200ms"]);
    let limit = |limit: &str| {
        let mut set = agent.client(&["limits", "set", "server", "--cpu", limit]);
        assert!(set.status().unwrap().success());
    };
    let mut server = served(&agent, &["--cpu", "1s:1s", "--mode", "throttle"]);
    let burns = server.call("burn", 1500);
    limit("1h:1h");
    assert_eq!(server.answer(burns)["result"]["content"][0]["text"], "burnt");
    let spins = server.call("spin", 0);
    until("it spins", || {
        let spinning = &operations(&agent)["under_way"][0];
        (spinning["name"] == "spin" && number(&spinning["cpu_time_ns"]) > 300_000_000).then_some(())
    });
    limit("200ms:200ms");
    let error = server.answer(spins)["error"].clone();
    assert_eq!(
        (&error["code"], &error["data"]["limit"]),
        (&json!(LIMITS_EXCEEDED), &json!(200))
    );
    assert!(server.unasked().is_empty(), "{:?}", server.unasked());
}

#[test]
fn in_enforce_a_server_that_was_ended_is_started_again_where_it_was() {
    let agent = Agent::start(&["--sweep-interval", "200ms"]);
    let limits = ["--cpu", "1s:1s", "--grace", "500ms"];
    let mut server = Conversation::start(&mut proxied(&agent, &limits, &[&program()]));
    server.initialize();
    let cut = rages_and_goes_on(&agent, &mut server);
    assert_eq!(cut["error"]["code"], SERVER_ENDED, "{cut}");
    assert_eq!(server.end().code(), Some(0));

    // A client that introduces itself with each request.
    let mut server = Conversation::start(&mut proxied(&agent, &limits, &[&program()]));
    rages_and_goes_on(&agent, &mut server);
    assert_eq!(server.end().code(), Some(0));
}

/// Has a server ended in the middle of a line of its client's: what becomes of that line.
fn rages_and_goes_on(agent: &Agent, server: &mut Conversation) -> Value {
    let first = until("it runs", || running(agent)["root_pid"].as_u64());
    let rages = server.call("rage", 0);
    server.write(br#"{"jsonrpc":"2.0","id":"cut","method":"tools/call","params":{"name":"echo""#);
    assert_eq!(server.answer(rages)["error"]["code"], LIMITS_EXCEEDED);
    wait_until("it is another process", 30, || {
        running(agent)["root_pid"].as_u64().is_some_and(|pid| pid != first)
    });
    server.write(b"}}\n");
    let cut = server.answer("cut");
    let echoed = until("it takes calls", || {
        let id = server.call("echo", 0);
        let answer = server.answer(id);
        (answer["error"]["code"] != LIMITS_EXCEEDED).then_some(answer)
    });
    assert_eq!(echoed["result"]["content"][0]["text"], "echo");
    assert!(
        server.unasked().is_empty(),
        "what is said to the server itself is not the client's: {:?}",
        server.unasked()
    );
    cut
}

#[test]
fn an_agent_that_starts_anew_hears_of_what_is_under_way() {
    let mut agent = Agent::start_pinned(&[]);
    let mut server = served(&agent, &[]);
    let sleeps = server.call("sleep", 600_000);
    until("it is under way", || {
        (operations(&agent)["under_way"].as_array()?.len() == 1).then_some(())
    });
    // One that nobody waits for any more is not under way for the next one.
    let spins = server.call("spin", 0);
    until("both are", || {
        (operations(&agent)["under_way"].as_array()?.len() == 2).then_some(())
    });
    server.send(&json!({ "method": "notifications/cancelled", "params": { "requestId": spins } }));
    until("it is ended", || {
        (operations(&agent)["under_way"].as_array()?.len() == 1).then_some(())
    });
    agent.signal(Signal::KILL);
    agent.start_again(&[]);
    let burnt = server.call("burn", 10);
    server.answer(burnt);
    let under_way = until("both are told", || {
        let id = server.call("echo", 0);
        server.answer(id);
        let under_way = operations(&agent)["under_way"].as_array()?.clone();
        (under_way.len() == 1).then(|| under_way[0]["name"].clone())
    });
    assert_eq!(under_way, "sleep");
    server.send(&json!({ "method": "notifications/cancelled", "params": { "requestId": sleeps } }));
    assert!(server.end().success());
}

#[test]
fn an_ordinary_user_runs_one() {
    let agent = Agent::start(&[]);
    let mut command = proxied(&agent, &[], &[&program()]);
    command.uid(65_534).gid(65_534);
    let mut server = Conversation::start(&mut command);
    server.initialize();
    until("it is told", || (operations(&agent)["ended_total"] == 1).then_some(()));
    assert_eq!(running(&agent)["uid"], 65_534);
    assert!(server.end().success());
}

//! Real programs at their limits: what they see, what whoever runs them is told before, and what explains it after.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use resmgr_tests::{Agent, Process, in_machine, number, patience, ramp::now_us, run, until, wall_us};
use rustix::process::Signal;
use serde_json::Value;

/// A program that has ended.
struct Ended {
    status: ExitStatus,
    said: String,
    /// When, in microseconds of the wall clock.
    at_us: i64,
}

/// Runs a tool to its end; what it says goes to one text.
fn to_its_end(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let at_us = now_us();
    let said = [output.stdout, output.stderr].concat();
    Ended {
        status: output.status,
        said: String::from_utf8_lossy(&said).into_owned(),
        at_us,
    }
}

const CRITICAL: &[&str] = &["critical", "emergency"];

/// That Warning of a resource was told, and then what is no better than `worst`, both before something happened.
fn warned(agent: &Agent, tool: &str, resource: &str, worst: &[&str], happened_us: i64) {
    let alerts = agent.alerts(tool);
    let told = |levels: &[&str]| {
        let alert = alerts.iter().find(|alert| {
            alert["kind"] == serde_json::json!({"limit": resource})
                && levels.iter().any(|level| alert["level"] == *level)
        });
        alert.unwrap_or_else(|| panic!("{levels:?} of {resource}: {alerts:?}"))
    };
    let warning = told(&["warning", "critical", "emergency"]);
    let critical = told(worst);
    assert!(wall_us(&warning["at"]) <= wall_us(&critical["at"]), "{alerts:?}");
    assert!(wall_us(&critical["at"]) < happened_us, "{alerts:?}");
    let message = warning["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("resmgr limits set {tool} --{resource} ")),
        "{message}"
    );
}

/// A server outside of any tool: it answers all requests once nobody comes any more, and says how many there were.
fn server() -> (SocketAddr, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        listener.set_nonblocking(true).unwrap();
        let mut held: Vec<TcpStream> = Vec::new();
        let mut quiet = Duration::ZERO;
        while quiet < patience(1) || held.is_empty() {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).unwrap();
                held.push(stream);
                quiet = Duration::ZERO;
            } else {
                thread::sleep(Duration::from_millis(10));
                quiet += Duration::from_millis(10);
            }
        }
        let count = held.len();
        for mut stream in held {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
        }
        let _ = tell.send(count);
    });
    (address, told)
}

/// Requests that are made together: by threads of Python's own client, or by as many of busybox's where that is all there is.
fn clients(address: SocketAddr, count: usize) -> [String; 3] {
    if in_machine() {
        let one = format!("wget -q -O - http://{address}/ && echo answered || echo refused");
        let script = format!("n=0; while [ $n -lt {count} ]; do n=$((n+1)); ({one}) & done; wait");
        return ["sh", "-c", &script].map(str::to_owned);
    }
    let script = format!(
        "import http.client, threading
ready = threading.Barrier({count})
def ask():
    client = http.client.HTTPConnection('{}', {}, timeout=60)
    ready.wait()
    try:
        client.request('GET', '/')
        print(client.getresponse().read() == b'hello' and 'answered\\n' or 'wrong\\n', end='')
    except PermissionError as error:
        print('refused %d\\n' % error.errno, end='')
threads = [threading.Thread(target=ask) for _ in range({count})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]",
        address.ip(),
        address.port()
    );
    ["python3", "-c", &script].map(str::to_owned)
}

#[test]
fn an_http_client_under_load_has_the_connections_that_it_may_have_and_sees_the_others_refused() {
    const CLIENTS: usize = 30;
    let agent = Agent::start(&[]);
    let (address, served) = server();
    let [program, flag, script] = clients(address, CLIENTS);
    let mut exec = agent.exec(
        "client",
        &["--connections", "5:10", "--fds", "500:500", "--memory", "500M:500M"],
    );
    let ended = to_its_end(exec.args([program, flag, script]));
    assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
    assert_eq!(served.recv_timeout(patience(30)).unwrap(), 10);
    // Behind what was answered there is no line's end.
    let answered = ended.said.matches("answered").count();
    let refused = ended.said.lines().filter(|line| line.starts_with("refused")).count();
    assert_eq!((answered, refused), (10, CLIENTS - 10), "{}", ended.said);
    if in_machine() {
        assert!(ended.said.contains("Operation not permitted"), "{}", ended.said);
    } else {
        assert!(
            ended
                .said
                .contains(&format!("refused {}", rustix::io::Errno::PERM.raw_os_error()))
        );
    }
    let tool = agent.ended("client");
    assert_eq!(
        number(&tool["events"]["connections_refused"]),
        CLIENTS as u64 - 10,
        "{tool}"
    );
    warned(&agent, "client", "connections", CRITICAL, ended.at_us);
    let explained = agent.explain("client");
    assert!(explained.contains("connections: reached Emergency"), "{explained}");
    assert!(explained.contains("ended with exit code 0"), "{explained}");
}

/// What takes more memory the longer it works: a compiler's real work, or busybox's awk where there is no compiler.
fn compilation(folder: &std::path::Path) -> Vec<String> {
    if in_machine() {
        let script = "BEGIN { for (n = 0; n < 20000000; n++) held[n] = n \" is held\" }";
        return ["awk", script].map(str::to_owned).to_vec();
    }
    let mut source = String::from("int table[] = {");
    for n in 0..2_000_000 {
        write!(source, "{n},").unwrap();
    }
    source.push_str("};\n");
    let path = folder.join("table.c");
    fs::write(&path, source).unwrap();
    let output = folder.join("table.o").display().to_string();
    ["cc", "-c", "-o", &output, &path.display().to_string()]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn a_compiler_that_takes_more_than_it_may_fails_after_warnings_and_nobody_else_does() {
    let folder = Agent::folder();
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut neighbour = agent.workload("neighbour", &["--memory", "64M:64M"]);
    let command = compilation(folder.path());
    let mut exec = agent.exec("compiler", &["--memory", "32M:96M", "--grace", "1m", "--cpu", "1h"]);
    let ended = to_its_end(exec.args(&command));
    assert!(!ended.status.success(), "{}", ended.said);
    let tool = agent.ended("compiler");
    let explained = agent.explain("compiler");
    let exit = &tool["root_exit"];
    if agent.has_controller("memory") {
        warned(&agent, "compiler", "memory", CRITICAL, ended.at_us);
        assert_eq!(ended.status.signal(), Some(Signal::KILL.as_raw()), "{}", ended.said);
        assert_eq!(exit["cause"], "out_of_memory", "{tool}");
        assert!(
            explained.contains("the kernel killed for want of memory"),
            "{explained}"
        );
    } else {
        // Without a leaf that counts, it is refused what it asks for, not what it uses: one large table more, far from
        // the maximum. Its own word for it, and its own exit code.
        warned(&agent, "compiler", "memory", &["warning"], ended.at_us);
        assert!(
            ended.said.contains("memory exhausted") || ended.said.contains("out of memory"),
            "{}",
            ended.said
        );
        assert_eq!(exit["cause"], "exit", "{tool}");
        assert!(number(&exit["code"]) > 0, "{tool}");
        assert!(explained.contains("ended with exit code"), "{explained}");
    }
    assert!(number(&tool["peak"]["memory_bytes"]) <= 98 << 20, "{tool}");
    assert!(explained.contains("memory: reached Warning"), "{explained}");
    neighbour.order(format!("touch {}", 8 << 20));
    assert_eq!(agent.alerts("neighbour"), Vec::<Value>::new());
}

#[test]
fn find_over_everything_needs_few_descriptors_and_is_left_alone() {
    let agent = Agent::start(&[]);
    // Not into what other tests make and remove meanwhile.
    let mut exec = agent.exec("finder", &["--memory", "500M:500M"]);
    exec.args(["sh", "-c", "find / -xdev 2>/dev/null | wc -l"]);
    let ended = to_its_end(&mut exec);
    assert!(ended.status.success(), "{}", ended.said);
    let found: u64 = ended.said.lines().next().unwrap().trim().parse().unwrap();
    assert!(found > 100, "{}", ended.said);
    let tool = agent.ended("finder");
    let of_fds = |alert: &Value| alert["kind"] == serde_json::json!({"limit": "fds"});
    assert!(
        !agent.alerts("finder").iter().any(of_fds),
        "{:?}",
        agent.alerts("finder")
    );
    assert!(number(&tool["peak"]["open_fds"]) < 40, "{tool}");
    assert_eq!(tool["root_exit"]["code"], 0, "{tool}");
}

#[test]
fn what_holds_open_all_that_find_yields_is_warned_of_before_its_maximum_and_has_no_more() {
    let folder = Agent::folder();
    for n in 0..60 {
        fs::write(folder.path().join(format!("{n}.txt")), "x\n").unwrap();
    }
    let said = folder.path().join("said");
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let script = format!(
        "exec tail -f $(find {} -name '*.txt') >/dev/null 2>{}",
        folder.path().display(),
        said.display()
    );
    let mut exec = agent.exec(
        "follower",
        &["--fds", "20:40", "--grace", "500ms", "--memory", "500M:500M"],
    );
    let mut follower = Process::start(exec.args(["sh", "-c", &script]));
    // It says which files it could not have, and goes on with the others.
    until("it meets its maximum", || {
        let text = fs::read_to_string(&said).ok()?.to_lowercase();
        text.contains("too many open files").then_some(())
    });
    // What is worse is told at once, and of what is better nobody needs to be told then.
    agent.alert("follower", |alert| {
        let is_level = CRITICAL.iter().any(|level| alert["level"] == *level);
        alert["kind"] == serde_json::json!({"limit": "fds"}) && is_level
    });
    // What the kernel refuses beyond is no reason to end what may be there.
    thread::sleep(Duration::from_secs(2));
    let tool = agent.tool("follower");
    assert_eq!(number(&tool["process_count"]), 1, "{tool}");
    assert!(number(&tool["peak"]["open_fds"]) <= 40, "{tool}");
    let explained = agent.explain("follower");
    assert!(explained.contains("fds: reached Critical"), "{explained}");
    assert_eq!(run(&mut agent.client(&["cleanup", "follower"])).code, Some(0));
    follower.wait();
}

#[test]
fn an_interpreter_that_spins_is_warned_of_slowed_where_that_can_be_and_ended() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let spin: &[&str] = if in_machine() {
        &["awk", "BEGIN { while (1); }"]
    } else {
        &["python3", "-c", "while True: pass"]
    };
    let mut exec = agent.exec("spinner", &["--cpu", "200ms:800ms", "--grace", "1s"]);
    let ended = to_its_end(exec.args(spin));
    assert_eq!(ended.status.signal(), Some(Signal::XCPU.as_raw()), "{}", ended.said);
    let tool = agent.ended("spinner");
    assert_eq!(tool["root_exit"]["cause"], "resmgr", "{tool}");
    warned(&agent, "spinner", "cpu", CRITICAL, ended.at_us);
    let explained = agent.explain("spinner");
    for said in [
        "cpu: reached Warning",
        "cpu: reached Critical",
        "cpu: clean-up: the use was",
        "resmgr ended it",
    ] {
        assert!(explained.contains(said), "{said} in {explained}");
    }
    if agent.has_controller("cpu") {
        assert!(explained.contains("% of a core"), "{explained}");
    }
}

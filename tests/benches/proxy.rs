//! What the proxy of `resmgr exec --operations mcp` costs a request, beside the same server at a pipe, and what a large answer
//! costs. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, binary};

/// Turns, and requests of each in a turn: so what disturbs one way disturbs both.
const TURNS: usize = 50;
const REQUESTS: usize = 100;
/// Mebibytes of the large answer.
const LARGE: usize = 50;

/// A server that is asked, whoever stands between.
struct Asked {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    id: usize,
    line: Vec<u8>,
}

impl Asked {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let from = BufReader::with_capacity(1 << 16, from);
        let mut asked = Self {
            child,
            to,
            from,
            id: 0,
            line: Vec::new(),
        };
        asked.ask("\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}");
        asked
    }

    /// Asks, and waits for the answer.
    fn ask(&mut self, what: &str) -> Duration {
        self.id += 1;
        let request = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},{what}}}\n", self.id);
        let began = Instant::now();
        self.to.write_all(request.as_bytes()).unwrap();
        self.line.clear();
        self.from.read_until(b'\n', &mut self.line).unwrap();
        let took = began.elapsed();
        let answer = &self.line[..self.line.len().min(4096)];
        assert!(
            !answer.is_empty() && !String::from_utf8_lossy(answer).contains("\"error\""),
            "{answer:?}"
        );
        took
    }

    /// The most memory that its process had, in MiB.
    fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn micros(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6
}

fn main() {
    let agent = Agent::start(&[]);
    let server = binary("mcp_server");
    let mut direct = Asked::start(&mut Command::new(&server));
    let mut exec = agent.client(&[
        "exec",
        "--require",
        "--tool",
        "bench",
        "--operations",
        "mcp",
        "--memory",
        "2G:4G",
        "--",
    ]);
    let mut proxied = Asked::start(exec.arg(&server));

    println!("{} requests each way, in turns of {REQUESTS}", TURNS * REQUESTS);
    println!(
        "{:<34} {:>10} {:>10} {:>14}",
        "microseconds", "direct", "proxied", "the proxy's"
    );
    for (what, request) in [
        ("ping", "\"method\":\"ping\""),
        (
            "tools/call, an operation",
            "\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"n\":1}}",
        ),
    ] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            without.extend((0..REQUESTS).map(|_| direct.ask(request)));
            with.extend((0..REQUESTS).map(|_| proxied.ask(request)));
        }
        for (percent, of, aim) in [(50, "median", "   (aim 100)"), (99, "99 %", "")] {
            let (without, with) = (micros(&mut without, percent), micros(&mut with, percent));
            println!(
                "{:<34} {without:>10.1} {with:>10.1} {:>14.1}{aim}",
                format!("{what}, {of}"),
                with - without
            );
        }
    }

    let large = format!("\"method\":\"tools/call\",\"params\":{{\"name\":\"big\",\"arguments\":{{\"n\":{LARGE}}}}}");
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        without.push(direct.ask(&large));
        with.push(proxied.ask(&large));
    }
    let (without, with) = (micros(&mut without, 50) / 1000.0, micros(&mut with, 50) / 1000.0);
    println!(
        "an answer of {LARGE} MiB, median of 5: {without:.0} ms direct, {with:.0} ms proxied; the proxy's own memory was {} MiB at most",
        proxied.peak_mib()
    );
}

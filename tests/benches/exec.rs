//! What `resmgr exec` costs beyond the host's own move into a cgroup, and how soon `status --json` answers. Prints; judges
//! nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Process, Workload};

/// How often each is measured.
const RUNS: usize = 50;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn main() {
    let agent = Agent::start(&[]);
    let leaf = agent.cgroup_root().join("bench");
    fs::create_dir_all(&leaf).unwrap();
    let (mut plain, mut moved, mut managed) = (Vec::new(), Vec::new(), Vec::new());
    // In turns, so that what disturbs one disturbs all.
    for _ in 0..RUNS {
        plain.push(timed(|| assert!(Command::new("true").status().unwrap().success())));
        let sleeper = Process::start(Command::new("sleep").arg("60"));
        moved.push(timed(|| {
            fs::write(leaf.join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
        }));
        drop(sleeper);
        let mut exec = agent.client(&["exec", "--require", "--tool", "bench", "--", "true"]);
        managed.push(timed(|| assert!(exec.status().unwrap().success())));
    }
    let (plain, moved, managed) = (median(plain), median(moved), median(managed));
    println!("median of {RUNS}:");
    println!("  true                              {plain:.2} ms");
    println!("  the host's own move into a cgroup {moved:.2} ms");
    println!("  resmgr exec -- true               {managed:.2} ms");
    println!(
        "  exec beyond both                  {:.2} ms   (aim 5)",
        managed - plain - moved
    );
    // A leaf that somebody is still leaving is removed by the next who tries.
    while fs::remove_dir(&leaf).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }

    let mut command = agent.client(&["exec", "--require", "--tool", "twenty", "--"]);
    command.arg(resmgr_tests::binary("workload"));
    let mut workload = Workload::over(&mut command);
    for _ in 0..19 {
        workload.order("fork-idle");
    }
    // So that the agent has seen them all.
    assert_eq!(agent.status(&["twenty", "--fresh"])["tools"][0]["process_count"], 20);
    let whole = (0..RUNS).map(|_| {
        let mut status = agent.client(&["status", "--json", "twenty"]);
        timed(|| assert!(status.stdout(Stdio::null()).status().unwrap().success()))
    });
    let whole = median(whole.collect());
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let asked = (0..RUNS).map(|_| {
        timed(|| {
            stream
                .write_all(b"{\"v\":1,\"method\":\"status\",\"params\":{\"tool\":\"twenty\"}}\n")
                .unwrap();
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            assert!(line.contains("\"process_count\":20"), "{line}");
        })
    });
    let asked = median(asked.collect());
    println!("status --json of a tool with 20 processes, median of {RUNS}:");
    println!("  as a command                      {whole:.2} ms   (aim 5)");
    println!("  as a request                      {asked:.2} ms");
}

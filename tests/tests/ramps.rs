//! Ramps: use of each resource that grows at a rate. Warning and Critical come before the kernel refuses or kills, the line
//! is not passed where this host can hold it, and who has limits of its own notices nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::cast_precision_loss, reason = "ratios and milliseconds are printed")]

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use resmgr_tests::{Agent, Ramped, Workload, in_machine, keyed, number, ramp::now_us, reached_us, wall_us};
use rustix::{io::Errno, process::Signal};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// Memory, tested at a rate: how much a second, and the maximum, in MiB. What is taken at 10 MiB/s takes its seconds.
const RATES: [(u64, u64); 3] = [(10, 40), (100, 96), (1000, 160)];

/// Memory that no process maps.
const FILES: &str = "written /dev/shm";

/// One ramp after the other: each is measured, and memory is not there for two.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who does what it does all the time, with limits that it is far from, beside something else.
struct Neighbour<'a> {
    agent: &'a Agent,
    workload: Workload,
    /// Rounds a second without anything beside it.
    alone: f64,
}

/// How much memory each of its rounds takes and gives back.
const ROUND: u64 = 256 << 10;

fn a_second(answer: &str, ms: u64) -> f64 {
    let rounds = answer.split(' ').next().unwrap();
    rounds.parse::<f64>().unwrap() * 1000.0 / ms as f64
}

impl<'a> Neighbour<'a> {
    fn start(agent: &'a Agent) -> Self {
        // Its time is limited too, and it is no operation's end: the limit is far.
        let flags = [
            "--memory",
            "64M:64M",
            "--cpu",
            "1h:1h",
            "--fds",
            "50:50",
            "--connections",
            "10:10",
        ];
        let mut workload = agent.workload("neighbour", &flags);
        let alone = a_second(&workload.order(format!("rounds 1000 {ROUND}")), 1000);
        Self { agent, workload, alone }
    }

    /// Has something else done, and works meanwhile; then says what became of its own.
    fn beside<T: Send>(&mut self, what: &str, something: impl FnOnce() -> T + Send) -> T {
        let is_over = AtomicBool::new(false);
        let (done, rounds) = thread::scope(|scope| {
            let something = scope.spawn(|| {
                let done = something();
                is_over.store(true, Ordering::Relaxed);
                done
            });
            let mut rounds = Vec::new();
            while !is_over.load(Ordering::Relaxed) && !something.is_finished() {
                rounds.push(a_second(&self.workload.order(format!("rounds 200 {ROUND}")), 200));
            }
            (something.join().unwrap(), rounds)
        });
        if !rounds.is_empty() {
            let mean = rounds.iter().sum::<f64>() / rounds.len() as f64;
            println!(
                "beside {what} a neighbour does {:.0} % of what it does alone",
                100.0 * mean / self.alone
            );
        }
        self.was_not_touched();
        done
    }

    fn was_not_touched(&self) {
        let shown = self.agent.tool("neighbour");
        assert_eq!(shown["ended_s"], Value::Null, "{shown}");
        assert_eq!(self.agent.alerts("neighbour"), Vec::<Value>::new());
        assert_eq!(number(&shown["events"]["connections_refused"]), 0, "{shown}");
        let of_it = shown["actions"].as_array().unwrap();
        assert!(of_it.iter().all(|action| action["reason"] == "asked"), "{shown}");
        if self.agent.has_controller("memory") {
            let events = self.agent.leaf_says("neighbour", "memory.events");
            for event in ["high", "max", "oom", "oom_kill"] {
                assert_eq!(keyed(&events, event), 0, "{event}: {events}");
            }
        }
        if self.agent.has_controller("cpu") {
            let stat = self.agent.leaf_says("neighbour", "cpu.stat");
            assert_eq!(keyed(&stat, "nr_throttled"), 0, "{stat}");
        }
    }
}

/// Asserts that somebody was told before the kernel refused or killed: of Warning, then of Critical, the maximum's own.
/// Returns when, in microseconds of the wall clock. Where it was too quick for any agent, the kernel's own account of when
/// the lines were crossed has to do.
fn told_before(agent: &Agent, tool: &str, resource: &str, happened_us: i64) -> [i64; 2] {
    let shown = agent.tool(tool);
    let max = number(&shown["limits"][resource]["max"]);
    let alert = |levels: &[&str], limit: Option<u64>| {
        let alert = agent.alert(tool, |alert| {
            let is_level = levels.iter().any(|level| alert["level"] == *level);
            let is_limit = limit.is_none_or(|limit| alert["limit"] == limit);
            alert["kind"] == serde_json::json!({"limit": resource}) && is_level && is_limit
        });
        assert_eq!(alert["state"], "raised");
        (number(&alert["id"]), wall_us(&alert["at"]))
    };
    let warning = alert(&["warning", "critical", "emergency"], None);
    let critical = alert(&["critical", "emergency"], Some(max));
    assert!(warning.0 < critical.0 && warning.1 <= critical.1, "{tool}: in order");
    for (level, told) in [("warning", warning.1), ("critical", critical.1)] {
        let reached = reached_us(&shown, resource, level).map_or(told, |reached| reached.min(told));
        assert!(
            reached < happened_us,
            "{tool}: {level} {} us too late: {shown}",
            reached - happened_us
        );
    }
    [warning.1, critical.1]
}

/// Asserts that alerts were made before something happened. On a host that others keep busy, an agent may not get its turn:
/// there it is said, and the kernel's own account is what counts.
fn told_in_time(tool: &str, alerts: [i64; 2], happened_us: i64) {
    let late_ms = alerts.map(|at_us| (at_us - happened_us) / 1000);
    if late_ms.iter().any(|ms| *ms > 0) {
        println!("{tool}: Warning and Critical were told {late_ms:?} ms after it");
        assert!(!in_machine(), "{tool}: {late_ms:?} ms too late");
    }
}

/// What a process has of private memory that the kernel counts against `RLIMIT_DATA`, in bytes.
fn data_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// The most that something says, while something else is done.
fn most_meanwhile<T: Send>(say: impl Fn() -> Option<u64> + Sync, something: impl FnOnce() -> T + Send) -> (T, u64) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(say().unwrap_or(0));
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let done = something();
        is_over.store(true, Ordering::Relaxed);
        (done, watch.join().unwrap())
    })
}

/// One ramp of memory beyond the maximum.
fn memory(agent: &Agent, kind: &str, rate: u64, max: u64) {
    let tool = format!("{}-{rate}", kind.split(' ').next().unwrap());
    let limit = format!("16M:{max}M");
    let mut greedy = agent.workload(&tool, &["--memory", &limit, "--grace", "1m"]);
    let leaf = agent.leaf(&tool);
    let is_held = agent.has_controller("memory");
    if is_held {
        assert_eq!(agent.leaf_says(&tool, "memory.max"), (max * MIB).to_string());
        assert_eq!(agent.leaf_says(&tool, "memory.swap.max"), "0");
        assert_eq!(agent.leaf_says(&tool, "memory.oom.group"), "1");
    }
    let pid = greedy.pid();
    let say = || {
        if is_held {
            fs::read_to_string(leaf.join("memory.current"))
                .ok()?
                .trim()
                .parse()
                .ok()
        } else {
            data_bytes(pid)
        }
    };
    let order = format!("ramp {} {} {kind}", 2 * max * MIB, rate * MIB);
    let (answer, most) = most_meanwhile(say, || greedy.attempt(order));
    // Without a leaf that counts, each process meets its own limit, and may go on.
    let (happened_us, how) = if let Some(answer) = answer {
        let ramped = Ramped::of(&answer);
        assert!(!is_held, "{tool}: it should have been killed: {ramped:?}");
        assert_eq!(ramped.errno, Errno::NOMEM.raw_os_error(), "{tool}: {ramped:?}");
        (ramped.at_us, format!("refused at {} MiB", ramped.had / MIB))
    } else {
        let status = greedy.wait();
        let gone_us = now_us();
        assert!(is_held, "{tool}: {status}");
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{tool}: {status}");
        let ended = agent.ended(&tool);
        assert_eq!(ended["root_exit"]["cause"], "out_of_memory", "{ended}");
        (gone_us, "killed by the kernel".to_owned())
    };
    let [warning, critical] = told_before(agent, &tool, "memory", happened_us);
    told_in_time(&tool, [warning, critical], happened_us);
    let before = |at: i64| (happened_us - at) as f64 / 1000.0;
    println!(
        "{tool} MiB/s to {max} MiB: {how}, at most {} MiB were had; Warning {:.1} ms before, Critical {:.1} ms before",
        most / MIB,
        before(warning),
        before(critical),
    );
    assert!(most <= max * MIB, "{tool}: {} MiB of {max}", most / MIB);
    let explained = agent.explain(&tool);
    assert!(explained.contains("memory: reached Critical"), "{explained}");
}

/// All rates of a kind of memory at the same time, beside a neighbour.
fn memory_at_all_rates(kind: &str) {
    let agent = Agent::start(&[]);
    let mut neighbour = Neighbour::start(&agent);
    neighbour.beside(kind, || {
        thread::scope(|scope| {
            for (rate, max) in RATES {
                let agent = &agent;
                scope.spawn(move || memory(agent, kind, rate, max));
            }
        });
    });
}

#[test]
fn anonymous_memory_is_warned_of_before_it_is_refused_at_any_rate() {
    let _turn = turn();
    memory_at_all_rates("anonymous");
}

#[test]
fn memory_that_no_process_maps_is_warned_of_before_it_is_refused_at_any_rate() {
    let _turn = turn();
    let agent = Agent::start(&[]);
    drop(agent.workload("first", &[]));
    if agent.has_controller("memory") {
        drop(agent);
        memory_at_all_rates(FILES);
        return;
    }
    // It is charged to cgroups alone: without a controller nobody knows whose it is, and doctor says which host this is.
    let mut writing = agent.workload("writing", &["--memory", "16M:32M"]);
    let ramped = Ramped::of(&writing.order(format!("ramp {} {} written /dev/shm", 48 * MIB, 1000 * MIB)));
    assert_eq!((ramped.had, ramped.errno), (48 * MIB, 0));
    assert_eq!(agent.alerts("writing"), Vec::<Value>::new());
}

#[test]
fn page_cache_escalates_nothing_however_much_there_is() {
    let _turn = turn();
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut neighbour = Neighbour::start(&agent);
    for rate in [100, 1000] {
        let tool = format!("reading-{rate}");
        let mut reading = agent.workload(&tool, &["--memory", "64M:64M", "--grace", "500ms"]);
        let (_folder, path) = on_disk(192 * MIB);
        // Half of what it may have is its own.
        reading.order(format!("touch {}", 32 * MIB));
        let order = format!("ramp {} {} read {}", 192 * MIB, rate * MIB, path.display());
        let ramped = neighbour.beside("page cache", || Ramped::of(&reading.order(order)));
        assert_eq!((ramped.had, ramped.errno), (192 * MIB, 0));
        println!("{rate} MiB/s of page cache: 192 MiB in {} ms", ramped.took_ms);
        let shown = agent.tool(&tool);
        assert_eq!(agent.alerts(&tool), Vec::<Value>::new(), "{shown}");
        assert_eq!(shown["levels"]["memory"], "normal");
        assert!(number(&shown["usage"]["memory_bytes"]) < 48 * MIB, "{shown}");
        if agent.has_controller("memory") {
            let events = agent.leaf_says(&tool, "memory.events");
            assert!(keyed(&events, "high") > 0, "the cache met the line: {events}");
            assert_eq!(keyed(&events, "oom_kill"), 0, "{events}");
        }
        // It is there still, after the grace.
        reading.order("rewrite");
    }
}

/// So much on a disk that was not read yet, whose pages can be dropped again: a file with nothing but holes, or the disk
/// of zeros that is all that virtual machines have.
fn on_disk(bytes: u64) -> (tempfile::TempDir, PathBuf) {
    if in_machine() {
        return (tempfile::TempDir::new().unwrap(), PathBuf::from("/dev/nvme0n1"));
    }
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("holes");
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    (folder, path)
}

#[test]
fn an_operation_is_warned_of_before_it_is_slowed_and_slowed_before_it_is_ended() {
    let _turn = turn();
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut neighbour = Neighbour::start(&agent);
    let mut spinning = agent.workload("spinning", &["--cpu", "500ms:2s", "--grace", "1s"]);
    let status = neighbour.beside("a spinning tool", || {
        assert_eq!(spinning.attempt("spin-threads 2 3600000"), None);
        spinning.wait()
    });
    let gone_us = now_us();
    assert_eq!(status.signal(), Some(Signal::XCPU.as_raw()), "{status}");
    let [warning, critical] = told_before(&agent, "spinning", "cpu", gone_us);
    let ended = agent.ended("spinning");
    let actions = ended["actions"].as_array().unwrap().clone();
    let ending = actions.iter().find(|action| action["step"] == "clean_up").unwrap();
    assert!(critical < wall_us(&ending["at"]), "{ended}");
    if agent.has_controller("cpu") {
        let first = actions.iter().find(|action| action["step"] == "quota").unwrap();
        assert!(
            warning < wall_us(&first["at"]) && critical < wall_us(&first["at"]),
            "{ended}"
        );
        let quotas: Vec<u64> = actions
            .iter()
            .filter(|action| action["step"] == "quota")
            .map(|action| number(&action["to"]))
            .collect();
        assert!(quotas.is_sorted_by(|a, b| a > b), "it tightens: {quotas:?}");
        assert!(quotas.iter().all(|quota| *quota >= 5), "{quotas:?}");
    }
    // What it had beyond its maximum is what it had in the grace.
    let used_ms = number(&ending["evidence"]["value"]);
    assert!(used_ms >= 2000, "{ended}");
}

#[test]
fn connections_are_warned_of_before_they_are_refused_at_any_rate() {
    let _turn = turn();
    let agent = Agent::start(&[]);
    let mut neighbour = Neighbour::start(&agent);
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    for rate in [50, 1000, 1_000_000] {
        let tool = format!("calling-{rate}");
        let mut calling = agent.workload(&tool, &["--connections", "10:50"]);
        let order = format!("ramp 80 {rate} connections {address}");
        let ramped = neighbour.beside("connections", || Ramped::of(&calling.order(order)));
        assert_eq!((ramped.had, ramped.errno), (50, Errno::PERM.raw_os_error()));
        let [warning, critical] = told_before(&agent, &tool, "connections", ramped.at_us);
        if rate == 50 {
            told_in_time(&tool, [warning, critical], ramped.at_us);
        }
        assert_eq!(number(&agent.tool(&tool)["events"]["connections_refused"]), 1);
        let explained = agent.explain(&tool);
        assert!(explained.contains("connections: reached Critical"), "{explained}");
        listener.order("accept 50");
    }
}

#[test]
fn descriptors_are_warned_of_before_they_are_refused_at_any_rate() {
    let _turn = turn();
    let agent = Agent::start(&[]);
    let mut neighbour = Neighbour::start(&agent);
    for rate in [200, 10_000, 1_000_000] {
        let tool = format!("opening-{rate}");
        let mut opening = agent.workload(&tool, &["--fds", "50:200", "--grace", "1m"]);
        let before = u64::try_from(resmgr_tests::open_fds(opening.pid()).len()).unwrap();
        let order = format!("ramp 300 {rate} files");
        let ramped = neighbour.beside("descriptors", || Ramped::of(&opening.order(order)));
        // Where the kernel refuses, it does so at the maximum; else it is told, and counted.
        if ramped.errno == 0 {
            assert_eq!(ramped.had, 300);
        } else {
            assert_eq!(ramped.errno, Errno::MFILE.raw_os_error());
            assert_eq!(before + ramped.had, 200);
        }
        let [warning, critical] = told_before(&agent, &tool, "fds", ramped.at_us);
        if rate == 200 {
            told_in_time(&tool, [warning, critical], ramped.at_us);
        }
        let explained = agent.explain(&tool);
        assert!(explained.contains("fds: reached Critical"), "{explained}");
    }
}

#[test]
fn tasks_beyond_what_a_tool_may_have_are_not_born_and_others_are() {
    let _turn = turn();
    let agent = Agent::start(&[]);
    let mut storming = agent.workload("storming", &[]);
    if !agent.has_controller("pids") {
        let doctor = resmgr_tests::run(&mut agent.client(&["doctor"]));
        assert!(doctor.stdout.contains("tasks are not limited"), "{}", doctor.stdout);
        return;
    }
    let most: u64 = agent.leaf_says("storming", "pids.max").parse().unwrap();
    // Less of it than there is: what is written here is what holds until the agent writes again.
    assert_eq!(most, 4096);
    let born: u64 = storming.order("thread-storm 5000").parse().unwrap();
    assert_eq!(born, most - 1, "and the first");
    assert_eq!(agent.leaf_says("storming", "pids.current"), most.to_string());
    assert!(keyed(&agent.leaf_says("storming", "pids.events"), "max") > 0);
    let mut neighbour = agent.workload("neighbour", &[]);
    neighbour.order("fork-many 10");
}

//! Exactness at random: every way of making and ending descriptors and connections, and at every quiet point the agent's
//! numbers, kinds, states and peers against the kernel's own account, difference 0.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, env, time::Instant};

use resmgr_tests::{Account, Agent, Attempts, Churn, Quiet, account_together, accounts, seed};
use rustix::io::Errno;
use serde_json::Value;

/// How much is done.
struct Scale {
    /// Operations in all, at least.
    operations: u64,
    /// Operations between two quiet points.
    round: u32,
}

impl Scale {
    fn chosen() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let (operations, round) = match (is_set("RESMGR_TEST_VM"), is_set("RESMGR_TEST_FULL")) {
            (false, false) => (250_000, 5_000),
            (false, true) => (1_000_000, 5_000),
            // Under emulation everything takes many times as long.
            (true, false) => (20_000, 700),
            (true, true) => (100_000, 2_000),
        };
        Self { operations, round }
    }
}

/// Rounds in which a process is filled beyond what a sweep walks, and beyond what it counts.
const FILLS: [(u32, u32); 4] = [(3, 1_100), (7, 16_500), (11, 1_100), (29, 4_500)];

/// Processes that are looked at in detail at each quiet point.
const DETAILED: usize = 2;

/// Times that the truth may change while the agent is asked, which timers of the network can bring about.
const TRIES: u32 = 20;

#[test]
fn at_every_quiet_point_descriptors_and_connections_are_exact() {
    let seed = seed();
    let scale = Scale::chosen();
    let repeat = Repeat(seed);
    println!("seed {seed}, {} operations", scale.operations);

    // It sweeps when it is asked to, so that its estimate between sweeps is events' alone.
    let agent = Agent::start(&["--sweep-interval", "60s"]);
    // Each connection is reserved, and none is refused.
    let limits = [
        "--profile",
        "heavy",
        "--connections",
        "100000:100000",
        "--fds",
        "1000000:1000000",
        "--mode",
        "throttle",
    ];
    let mut exec = agent.client(&["exec", "--require", "--tool", "churn"]);
    let mut churn = Churn::over(exec.args(limits).arg("--"), seed);
    let (began, mut round, mut drift) = (Instant::now(), 0, Drift::default());
    let mut seen = Seen::default();
    let attempts = loop {
        round += 1;
        let fill = FILLS
            .iter()
            .find(|(when, _)| *when == round)
            .map_or(0, |&(_, many)| many);
        let quiet = churn.round(scale.round, fill);
        compare(&agent, &quiet, round, &mut drift, &mut seen);
        // Chance may leave out what is seldom done: then it goes on for a while.
        let is_whole = quiet.attempts.iter().all(|kind| kind.tried > 0) || quiet.operations >= 3 * scale.operations;
        if is_whole && quiet.operations >= scale.operations && FILLS.iter().all(|(when, _)| *when <= round) {
            println!(
                "{} operations, {round} quiet points, {:.1} s; {seen}\nevents before each sweep: {drift}",
                quiet.operations,
                began.elapsed().as_secs_f64(),
            );
            break quiet.attempts;
        }
    };
    churn.finish();
    assert!(seen.several_tables > 0 && seen.headless > 0, "{seen}");
    show(&attempts);
    for kind in &attempts {
        assert_tried(kind);
    }
    drop(repeat);
}

/// Says how to do it again, where it fails.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to repeat it: RESMGR_TEST_SEED={} cargo xtask test at_every_quiet_point -- --nocapture",
                self.0
            );
        }
    }
}

/// What the quiet points had to show.
#[derive(Default)]
struct Seen {
    processes: usize,
    descriptors: usize,
    connections: usize,
    most_descriptors: usize,
    most_connections: usize,
    several_tables: usize,
    headless: usize,
    kinds: BTreeMap<&'static str, u64>,
    asked_again: u32,
}

impl Seen {
    fn take(&mut self, pid: u32, account: &Account) {
        self.processes += 1;
        self.descriptors += account.descriptors.len();
        self.connections += account.connections.len();
        self.most_descriptors = self.most_descriptors.max(account.descriptors.len());
        self.most_connections = self.most_connections.max(account.connections.len());
        for (&kind, &count) in &account.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.several_tables += usize::from(account.tables > 1);
        let leader = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        self.headless += usize::from(leader.contains(") Z "));
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "compared {} processes, {} of them with several tables and {} without their leader: {} descriptors (up to {} \
             of one), {} connections (up to {} of one); {} times the truth changed meanwhile\nof kinds: {:?}",
            self.processes,
            self.several_tables,
            self.headless,
            self.descriptors,
            self.most_descriptors,
            self.connections,
            self.most_connections,
            self.asked_again,
            self.kinds,
        )
    }
}

/// How far events were off before each sweep: told, not judged.
#[derive(Default)]
struct Drift {
    descriptors: Vec<u64>,
    connections: Vec<u64>,
    /// Of the tool's sums in the kernel, after the sweep: descriptors, connections.
    tool: Vec<(u64, u64)>,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let describe = |values: &[u64]| {
            let (sum, most) = (values.iter().sum::<u64>(), values.iter().max().copied().unwrap_or(0));
            let exact = values.iter().filter(|&&value| value == 0).count();
            #[expect(clippy::cast_precision_loss, reason = "a mean to show")]
            let mean = sum as f64 / values.len().max(1) as f64;
            format!(
                "off by {mean:.2} on average, {most} at most, exact {exact} of {} times",
                values.len()
            )
        };
        let (of_descriptors, of_connections): (Vec<u64>, Vec<u64>) = self.tool.iter().copied().unzip();
        write!(
            formatter,
            "descriptors {}; connections {}\nthe tool's sums in the kernel after it: descriptors {}; connections {}",
            describe(&self.descriptors),
            describe(&self.connections),
            describe(&of_descriptors),
            describe(&of_connections),
        )
    }
}

/// Compares all processes with the kernel's own account, and some in detail.
fn compare(agent: &Agent, quiet: &Quiet, round: u32, drift: &mut Drift, seen: &mut Seen) {
    let mut truth = accounts(&quiet.pids);
    for _ in 0..TRIES {
        let status = agent.status(&["churn", "--fresh", "--processes"]);
        let details: Vec<Value> = chosen(&quiet.pids, round).map(|pid| agent.process(pid)).collect();
        let members: Vec<u32> = pids(&status);
        let together = account_together(&members);
        let after = accounts(&quiet.pids);
        if after != truth {
            // A connect that was under way has come to its end, or a peer's reset has come late.
            seen.asked_again += 1;
            truth = after;
            continue;
        }
        let shown: BTreeMap<u64, &Value> = status["processes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|process| (number(&process["pid"]), process))
            .collect();
        let mut wrong = Vec::new();
        for (&pid, account) in &truth {
            seen.take(pid, account);
            match shown.get(&u64::from(pid)) {
                Some(process) => wrong.extend(difference(process, account, drift)),
                None => wrong.push(format!("process {pid} is not listed")),
            }
        }
        for process in &details {
            let pid = u32::try_from(number(&process["pid"])).unwrap();
            wrong.extend(difference_in_detail(process, &truth[&pid]));
        }
        wrong.extend(difference_of_tool(&status, &together, drift));
        assert!(wrong.is_empty(), "quiet point {round}:\n{}", wrong.join("\n"));
        return;
    }
    panic!("quiet point {round}: the processes do not hold still");
}

/// The processes that a report lists.
fn pids(status: &Value) -> Vec<u32> {
    let listed = status["processes"].as_array().unwrap().iter();
    listed
        .map(|process| u32::try_from(number(&process["pid"])).unwrap())
        .collect()
}

/// How the tool is shown otherwise than its processes are together: each table once, each connection once.
fn difference_of_tool(status: &Value, truth: &Account, drift: &mut Drift) -> Option<String> {
    let tool = &status["tools"][0];
    let usage = &tool["usage"];
    let descriptors = usage["file_handles"].as_array().unwrap().len();
    let (connections, kinds) = (connections(usage), kinds(usage));
    drift.tool.push((
        tool["events"]["fds_open"]
            .as_i64()
            .unwrap()
            .abs_diff(truth.descriptors.len().try_into().unwrap()),
        tool["events"]["connections_open"]
            .as_i64()
            .unwrap()
            .abs_diff(truth.connections.len().try_into().unwrap()),
    ));
    let is_right =
        descriptors == truth.descriptors.len() && kinds == of_kinds(truth) && connections == truth.connections;
    (!is_right).then(|| {
        format!(
            "the tool: {descriptors} descriptors {kinds:?} and connections {connections:?} are shown, and there are {} \
             {:?} and {:?} in {} tables",
            truth.descriptors.len(),
            truth.kinds,
            truth.connections,
            truth.tables
        )
    })
}

/// The descriptors by kind that a report shows.
fn kinds(usage: &Value) -> BTreeMap<String, u64> {
    let kinds = usage["file_handles_by_kind"].as_object().unwrap();
    kinds
        .iter()
        .map(|(kind, count)| (kind.clone(), number(count)))
        .collect()
}

fn of_kinds(truth: &Account) -> BTreeMap<String, u64> {
    let kinds = truth.kinds.iter();
    kinds.map(|(&kind, &count)| (kind.to_owned(), count)).collect()
}

/// The connections that a report shows, with protocol, state and addresses; asserts that both its lists have the same.
fn connections(usage: &Value) -> BTreeMap<u64, String> {
    let one = |connection: &Value| {
        let text = |key: &str| connection[key].as_str().unwrap().to_owned();
        let words = ["protocol", "state", "local", "remote"].map(text);
        (number(&connection["inode"]), words.join(" "))
    };
    let connections: BTreeMap<u64, String> = usage["connections"].as_array().unwrap().iter().map(one).collect();
    let numbers = usage["network_connections"].as_array().unwrap();
    assert!(
        numbers.len() == connections.len() && numbers.iter().all(|inode| connections.contains_key(&number(inode))),
        "{usage}"
    );
    connections
}

/// Some of the processes, others each time.
fn chosen(pids: &[u32], round: u32) -> impl Iterator<Item = u32> {
    let from = round as usize % pids.len();
    pids.iter().cycle().skip(from).take(DETAILED.min(pids.len())).copied()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// How a process is shown otherwise than it is.
fn difference(process: &Value, truth: &Account, drift: &mut Drift) -> Option<String> {
    let descriptors = truth.descriptors.len() as u64;
    let connections = truth.connections.len() as u64;
    let events = &process["events"];
    if !events.is_null() {
        drift
            .descriptors
            .push(number(&events["fds_open"]).abs_diff(descriptors));
        drift
            .connections
            .push(number(&events["connections_open"]).abs_diff(connections));
    }
    let shown = (number(&process["open_fds"]), number(&process["connections"]));
    (shown != (descriptors, connections)).then(|| {
        format!(
            "process {}: {} descriptors and {} connections are shown, and {descriptors} and {connections} there are, in \
             {} tables: {process}",
            process["pid"], shown.0, shown.1, truth.tables
        )
    })
}

/// How a process's descriptors, their kinds, and its connections are shown otherwise than they are.
fn difference_in_detail(process: &Value, truth: &Account) -> Option<String> {
    let usage = &process["usage"];
    let mut descriptors: Vec<u64> = usage["file_handles"].as_array().unwrap().iter().map(number).collect();
    descriptors.sort_unstable();
    let true_descriptors: Vec<u64> = truth.descriptors.iter().copied().map(u64::from).collect();
    let (connections, kinds) = (connections(usage), kinds(usage));
    let is_right = descriptors == true_descriptors && kinds == of_kinds(truth) && connections == truth.connections;
    (!is_right).then(|| {
        format!(
            "process {} in detail: descriptors {descriptors:?} {kinds:?} and connections {connections:?} are shown, and \
             there are {true_descriptors:?} {:?} and {:?}",
            process["pid"], truth.kinds, truth.connections
        )
    })
}

fn show(attempts: &[Attempts]) {
    println!("{:28}{:>10}{:>10}  last refused", "", "tried", "succeeded");
    for kind in attempts {
        let refused = kind.refused.map_or_else(String::new, |error| error.to_string());
        println!(
            "{:28}{:>10}{:>10}  {refused}",
            kind.kind.name(),
            kind.tried,
            kind.succeeded
        );
    }
}

/// Everything that this kernel has was done at least once; what it has not, it refuses.
fn assert_tried(attempts: &Attempts) {
    let kind = attempts.kind;
    let name = kind.name();
    assert!(attempts.tried > 0, "{name} was not tried");
    if attempts.succeeded > 0 {
        return;
    }
    let refusal = Churn::refusal(kind);
    let expected: &[Errno] = if kernel() < kind.since() {
        &[Errno::NOSYS, Errno::INVAL]
    } else {
        // By a rule of this host, or for want of what it is built with.
        &[Errno::PERM, Errno::NOSYS, Errno::AFNOSUPPORT]
    };
    assert!(
        refusal.is_some_and(|error| expected.contains(&error)),
        "{name} never succeeded ({:?}), and by itself ends in {refusal:?}",
        attempts.refused
    );
    println!("{name}: this host refuses it: {refusal:?}");
}

/// The kernel's version.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

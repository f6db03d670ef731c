//! What the hooks cost: by the kernel's own BPF statistics, less what they give a program that does nothing, for a process
//! in no tool and for one in a tool. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Duration,
};

use aya::{
    Btf, Ebpf,
    programs::{Program, loaded_programs},
    sys::{Stats, enable_stats},
};
use resmgr_common::names;
use resmgr_tests::{Agent, Workload};

/// Calls of each kind that are counted.
const CALLS: u64 = 100_000;
/// Connections that are made.
const CONNECTS: u64 = 2_000;
/// Connections that are made at a time: no more than a listener's queue takes.
const TOGETHER: u64 = 100;

/// Run time in nanoseconds and runs, by program.
type Totals = BTreeMap<String, (u64, u64)>;

/// The totals of some programs.
fn totals(programs: &BTreeSet<u32>) -> Totals {
    let mut totals = Totals::new();
    for program in loaded_programs().filter_map(Result::ok) {
        if let (true, Some(name)) = (programs.contains(&program.id()), program.name_as_str()) {
            let sum = totals.entry(name.to_owned()).or_default();
            sum.0 += u64::try_from(program.run_time().as_nanos()).unwrap();
            sum.1 += program.run_count();
        }
    }
    totals
}

/// The programs that a process holds.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let texts = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    texts
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?
                .trim()
                .parse()
                .ok()
        })
        .collect()
}

/// A program that does nothing, on hooks that are measured.
struct Empty {
    program: u32,
    _bpf: Ebpf,
}

impl Empty {
    /// On a tracepoint with types.
    fn typed(hook: &str) -> Self {
        let mut bpf = load();
        let Some(Program::BtfTracePoint(program)) = bpf.program_mut(names::EMPTY_TYPED) else {
            panic!("{} is of another kind", names::EMPTY_TYPED);
        };
        program.load(hook, &Btf::from_sys_fs().unwrap()).unwrap();
        program.attach().unwrap();
        Self {
            program: program.info().unwrap().id(),
            _bpf: bpf,
        }
    }

    /// On the exits of system calls.
    fn syscalls(hooks: &[&str]) -> Self {
        let mut bpf = load();
        let Some(Program::TracePoint(program)) = bpf.program_mut(names::EMPTY_SYSCALL) else {
            panic!("{} is of another kind", names::EMPTY_SYSCALL);
        };
        program.load().unwrap();
        for hook in hooks {
            program.attach("syscalls", hook).unwrap();
        }
        Self {
            program: program.info().unwrap().id(),
            _bpf: bpf,
        }
    }
}

fn load() -> Ebpf {
    let object = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../resmgr/bpf/resmgr.bpf.o")).unwrap();
    Ebpf::load(&object).unwrap()
}

/// What each program cost in nanoseconds, and how often it ran, while `work` was done; added to what is there.
fn measure(programs: &BTreeSet<u32>, costs: &mut Totals, work: impl FnOnce()) {
    let at_first = totals(programs);
    work();
    for (name, (ns, runs)) in totals(programs) {
        let (ns_before, runs_before) = at_first.get(&name).copied().unwrap_or_default();
        let sum = costs.entry(name).or_default();
        sum.0 += ns - ns_before;
        sum.1 += runs - runs_before;
    }
}

/// Prints what programs cost together for each run of the first of them, less what empty ones cost.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds a run")]
fn show(who: &str, what: &str, costs: &Totals, programs: &[(&str, &str)], most: Option<f64>) {
    let of = |name: &str| {
        let short: String = name.chars().take(15).collect();
        let (ns, runs) = costs.get(&short).copied().unwrap_or_default();
        (ns as f64, runs as f64)
    };
    let net = |(program, empty): &(&str, &str)| {
        let ((ns, runs), (empty_ns, empty_runs)) = (of(program), of(empty));
        ns - runs * empty_ns / empty_runs.max(1.0)
    };
    let times = of(programs[0].0).1;
    let cost = programs.iter().map(net).sum::<f64>() / times.max(1.0);
    let hooks = programs.iter().map(|(program, _)| of(program).1).sum::<f64>() / times.max(1.0);
    let aim = most.map(|most| format!("(aim {most:>3.0})")).unwrap_or_default();
    println!("{who:<10} {what:<14} {cost:>6.0} ns   {aim:<9}   {times} times, {hooks:.1} runs each");
}

/// The workload on one CPU, in a tool or in none.
fn on_one_cpu(agent: Option<&Agent>) -> Command {
    let mut command = match agent {
        Some(agent) => {
            let mut command = agent.client(&["exec", "--require", "--tool", "bench"]);
            // A tool that crosses its lines tells of it, which is another cost.
            command.args(["--profile", "heavy", "--"]);
            command.arg("taskset");
            command
        }
        None => Command::new("taskset"),
    };
    command.args(["-c", "0"]).arg(resmgr_tests::binary("workload"));
    command
}

fn main() {
    let _on = enable_stats(Stats::RunTime).unwrap();
    let agent = Agent::start(&[]);
    let own = programs_of(agent.pid());
    // Each on the hook whose cost it is taken off: the same program costs more where it seldom runs.
    let calls = ["openat", "close", "mmap", "munmap", "connect"].map(|call| format!("sys_exit_{call}"));
    let calls = Empty::syscalls(&calls.each_ref().map(String::as_str));
    let [switch, memory, state] = ["sched_switch", "rss_stat", "inet_sock_set_state"].map(Empty::typed);
    let with = |empty: &[&Empty]| {
        let empty = empty.iter().map(|empty| empty.program);
        own.iter().copied().chain(empty).collect::<BTreeSet<u32>>()
    };
    for (who, limits) in [("no tool", [30.0; 4]), ("in a tool", [80.0, 150.0, 150.0, 400.0])] {
        let inside = (who == "in a tool").then_some(&agent);
        let mut workload = Workload::over(&mut on_one_cpu(inside));
        std::thread::sleep(Duration::from_millis(1500));
        let typed = |name| (name, names::EMPTY_TYPED);
        let syscall = |name| (name, names::EMPTY_SYSCALL);
        for (what, order, program, empty, most) in [
            (
                "sched_switch",
                "ping-pong",
                typed(names::SCHED_SWITCH),
                &switch,
                limits[0],
            ),
            ("open", "open-close", syscall(names::FD_OPENED), &calls, limits[1]),
            ("close", "open-close", syscall(names::FD_CLOSED), &calls, limits[1]),
            (
                "mmap, munmap",
                "map-unmap",
                syscall(names::MEMORY_CHANGED),
                &calls,
                limits[2],
            ),
            ("page fault", "fault", typed(names::MEMORY_COUNTED), &memory, limits[1]),
        ] {
            let mut costs = Totals::new();
            measure(&with(&[empty]), &mut costs, || {
                _ = workload.order(format!("{order} {CALLS}"));
            });
            show(who, what, &costs, &[program], Some(most));
        }
        let mut costs = Totals::new();
        let programs = with(&[&calls, &state]);
        let mut listener = Workload::start();
        let address = listener.order("listen 127.0.0.1:0");
        // Together, as the other calls are.
        for _ in 0..CONNECTS / TOGETHER {
            measure(&programs, &mut costs, || {
                _ = workload.order(format!("connect {address} {TOGETHER}"));
            });
            listener.order(format!("accept {TOGETHER}"));
            workload.order(format!("disconnect {TOGETHER}"));
            listener.order(format!("disconnect {TOGETHER}"));
        }
        let all = [syscall(names::CONNECT_LEFT), typed(names::SOCKET_STATE)];
        show(who, "connect's exit", &costs, &all[..1], Some(limits[3]));
        show(who, "socket's state", &costs, &all[1..], Some(limits[3]));
        show(who, "connect, whole", &costs, &all, None);
    }
}

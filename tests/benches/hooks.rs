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

/// Programs that do nothing, on the hooks that are measured.
fn attach_empty() -> Ebpf {
    let object = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../resmgr/bpf/resmgr.bpf.o")).unwrap();
    let btf = Btf::from_sys_fs().unwrap();
    let mut bpf = Ebpf::load(&object).unwrap();
    if let Some(Program::BtfTracePoint(program)) = bpf.program_mut(names::EMPTY_TYPED) {
        program.load("sched_switch", &btf).unwrap();
        program.attach().unwrap();
    }
    if let Some(Program::TracePoint(program)) = bpf.program_mut(names::EMPTY_SYSCALL) {
        program.load().unwrap();
        for hook in [
            "sys_exit_openat",
            "sys_exit_close",
            "sys_exit_mmap",
            "sys_exit_munmap",
            "sys_exit_connect",
        ] {
            program.attach("syscalls", hook).unwrap();
        }
    }
    bpf
}

/// What each program cost a run, in nanoseconds, while `work` was done.
fn measure(programs: &BTreeSet<u32>, work: impl FnOnce()) -> BTreeMap<String, (f64, u64)> {
    let at_first = totals(programs);
    work();
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds a run")]
    totals(programs)
        .into_iter()
        .filter_map(|(name, (ns, runs))| {
            let (ns_before, runs_before) = at_first.get(&name).copied().unwrap_or_default();
            let runs = runs - runs_before;
            (runs > 0).then(|| (name, ((ns - ns_before) as f64 / runs as f64, runs)))
        })
        .collect()
}

fn show(who: &str, what: &str, costs: &BTreeMap<String, (f64, u64)>, programs: &[(&str, &str)], most: f64) {
    let short = |name: &str| name.chars().take(15).collect::<String>();
    let of = |name: &str| costs.get(&short(name)).map_or(0.0, |&(ns, _)| ns);
    let runs = costs.get(&short(programs[0].0)).map_or(0, |&(_, runs)| runs);
    let cost: f64 = programs.iter().map(|(program, empty)| of(program) - of(empty)).sum();
    println!("{who:<10} {what:<14} {cost:>6.0} ns   (aim {most:>3.0})   {runs} runs");
}

/// The workload on one CPU, in a tool or in none.
fn on_one_cpu(agent: Option<&Agent>) -> Command {
    let mut command = match agent {
        Some(agent) => {
            let mut command = agent.client(&["exec", "--require", "--tool", "bench", "--"]);
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
    let mut programs = programs_of(agent.pid());
    let _empty = attach_empty();
    programs.extend(programs_of(std::process::id()));
    for (who, limits) in [("no tool", [30.0; 4]), ("in a tool", [80.0, 150.0, 150.0, 400.0])] {
        let inside = (who == "in a tool").then_some(&agent);
        let mut workload = Workload::over(&mut on_one_cpu(inside));
        std::thread::sleep(Duration::from_millis(1500));
        let costs = measure(&programs, || _ = workload.order(format!("ping-pong {CALLS}")));
        show(
            who,
            "sched_switch",
            &costs,
            &[(names::SCHED_SWITCH, names::EMPTY_TYPED)],
            limits[0],
        );
        let costs = measure(&programs, || _ = workload.order(format!("open-close {CALLS}")));
        show(
            who,
            "open",
            &costs,
            &[(names::FD_OPENED, names::EMPTY_SYSCALL)],
            limits[1],
        );
        show(
            who,
            "close",
            &costs,
            &[(names::FD_CLOSED, names::EMPTY_SYSCALL)],
            limits[1],
        );
        let costs = measure(&programs, || _ = workload.order(format!("map-unmap {CALLS}")));
        show(
            who,
            "mmap, munmap",
            &costs,
            &[(names::MEMORY_CHANGED, names::EMPTY_SYSCALL)],
            limits[2],
        );
        let costs = measure(&programs, || _ = workload.order(format!("fault {CALLS}")));
        show(
            who,
            "page fault",
            &costs,
            &[(names::MEMORY_COUNTED, names::EMPTY_TYPED)],
            limits[1],
        );
        let mut listener = Workload::start();
        let address = listener.order("listen 127.0.0.1:0");
        let costs = measure(&programs, || {
            // Few at a time: a tool that crosses its lines tells of it, which is another cost.
            for _ in 0..CONNECTS / 4 {
                workload.order(format!("connect {address} 4"));
                listener.order("accept 4");
                workload.order("disconnect 4");
                listener.order("disconnect 4");
            }
        });
        let both = [
            (names::CONNECT_ENTERED, names::EMPTY_SYSCALL),
            (names::CONNECT_LEFT, names::EMPTY_SYSCALL),
        ];
        show(who, "connect", &costs, &both, limits[3]);
    }
}

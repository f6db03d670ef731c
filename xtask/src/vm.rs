//! `cargo xtask vm`: the tests of the live kernel on each kernel of the matrix, in virtual machines. Judges none of
//! them: the runners' own lines stand.

mod archive;
mod image;
mod kernels;
mod machine;
mod packages;
mod report;

pub(crate) use image::Wanted;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::{Argument, Arguments},
    test,
    workspace::Workspace,
};
use kernels::Kernel;
use machine::{Boot, Limits, Machine};

/// The whole matrix.
pub(crate) const ALL: Option<&str> = None;

/// Machines that run beside each other; each has two CPUs.
const AT_ONCE: usize = 2;

/// Runs the command.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    let mut kernels = ALL;
    let mut wanted = Wanted::default();
    let mut arguments = Arguments::new("vm", rest);
    while let Some(argument) = arguments.next() {
        match argument {
            Argument::Option("kernel") => kernels = Some(arguments.value("kernel")?),
            Argument::Option("full") => wanted.full = true,
            Argument::Option("object") => wanted.object = Some(test::object(arguments.value("object")?)?),
            Argument::Word(filter) => wanted.arguments.push(filter.to_owned()),
            Argument::Rest(given) => wanted.arguments.extend_from_slice(given),
            other @ Argument::Option(_) => return arguments.unknown(&other),
        }
    }
    let passed = run(workspace, kernels, &wanted)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A kernel's line in the table at the end.
struct Row {
    kernel: &'static str,
    release: String,
    passed: u32,
    failed: u32,
    seconds: u64,
    outcome: Result<(), String>,
}

/// Prometheus, unpacked: its folder.
pub(crate) fn prometheus(workspace: &Workspace) -> Result<PathBuf> {
    packages::unpacked(workspace, &kernels::PROMETHEUS)
}

/// Runs the tests on the kernels that a list names; whether all passed.
pub(crate) fn run(workspace: &Workspace, kernels: Option<&str>, wanted: &Wanted) -> Result<bool> {
    let kernels = kernels::named(kernels)?;
    if !cfg!(target_arch = "x86_64") {
        bail!(
            "the kernels of the matrix are for x86-64, and so are the tests that run on them: run this on such a host"
        );
    }
    machine::prepare()?;
    let logs = workspace.vm_target().join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
    let files = image::build(workspace, wanted)?;

    let mut rows: Vec<Row> = Vec::new();
    let mut machines = Vec::new();
    for kernel in &kernels {
        let left_out = if kernel.is_between() && !wanted.full && wanted.arguments.is_empty() {
            image::ON_THE_ENDS
        } else {
            &[]
        };
        match image_of(workspace, kernel) {
            Ok(image) => machines.push((
                kernel.name,
                Machine {
                    kernel: image,
                    files: files.clone(),
                    log: logs.join(format!("{}.log", kernel.name)),
                    left_out,
                },
            )),
            // The others are still worth their run.
            Err(error) => rows.push(Row {
                kernel: kernel.name,
                release: String::new(),
                passed: 0,
                failed: 0,
                seconds: 0,
                outcome: Err(format!("{error:#}")),
            }),
        }
    }
    // What takes longest begins first.
    machines.sort_by_key(|(_, machine)| machine.left_out.len());
    let names: Vec<&str> = machines.iter().map(|(name, _)| *name).collect();
    if machines.iter().any(|(_, machine)| !machine.left_out.is_empty()) {
        let left_out = image::ON_THE_ENDS.join(", ");
        println!("{left_out} run on the oldest and the newest kernel alone: --full runs them on each");
    }
    println!("booting Linux {}: each tells once it has ended", names.join(", "));
    let started = Instant::now();
    boot_all(machines, limits(wanted), |kernel, machine, boot| {
        let row = row(kernel, boot);
        show(workspace, &row, machine, boot.as_ref().ok());
        rows.push(row);
    });
    rows.sort_by_key(|row| kernels.iter().position(|kernel| kernel.name == row.kernel));
    println!("\n{}", table(&rows, started.elapsed()));
    Ok(rows.iter().all(|row| row.outcome.is_ok()))
}

/// Runs a benchmark on one kernel, and prints what it prints; whether it came to its end.
pub(crate) fn bench(workspace: &Workspace, name: &str, kernel: &str) -> Result<bool> {
    let kernels = kernels::named(Some(kernel))?;
    let [kernel] = kernels[..] else {
        bail!("name one kernel: what two machines do at once is not worth measuring");
    };
    let wanted = Wanted {
        bench: Some(name.to_owned()),
        ..Wanted::default()
    };
    machine::prepare()?;
    let log = workspace.vm_target().join(format!("bench-{name}-{}.log", kernel.name));
    let machine = Machine {
        kernel: image_of(workspace, kernel)?,
        files: image::build(workspace, &wanted)?,
        log,
        left_out: &[],
    };
    println!("booting Linux {}", kernel.name);
    let boot = machine.run(limits(&wanted))?;
    for run in &boot.report.runs {
        run.output().for_each(|line| println!("{line}"));
    }
    let passed = boot.report.runs.iter().all(report::Run::has_ended_well) && !boot.report.runs.is_empty();
    if !passed {
        println!("it did not come to its end: {}", workspace.show(&machine.log));
    }
    Ok(passed)
}

fn limits(wanted: &Wanted) -> Limits {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    Limits {
        boot: minutes(1),
        // Longer than a test waits for something before it fails, and says what for.
        silence: minutes(if wanted.full { 20 } else { 8 }),
        total: minutes(if wanted.full { 90 } else { 35 }),
    }
}

/// A kernel's image, out of its package.
fn image_of(workspace: &Workspace, kernel: &Kernel) -> Result<PathBuf> {
    let folder = packages::unpacked(workspace, &kernel.package)?;
    let below = |inside: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder.join(inside)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz") && path.is_file()
    };
    let mut places = below("boot");
    places.extend(
        below("usr/lib/modules")
            .into_iter()
            .map(|folder| folder.join("vmlinuz")),
    );
    let found = places.into_iter().find(is_image);
    found.with_context(|| {
        format!(
            "{} holds no vmlinuz: pin another in xtask/src/vm/kernels.rs",
            kernel.package.name
        )
    })
}

/// Boots machines, some at a time, and hands over each as it ends.
fn boot_all(
    machines: Vec<(&'static str, Machine)>,
    limits: Limits,
    mut ended: impl FnMut(&'static str, &Machine, &Result<Boot>),
) {
    let queue = Mutex::new(machines.into_iter());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((kernel, machine)) = next else { break };
                    let boot = machine.run(limits);
                    // Nobody listens only where we are ending anyway.
                    _ = sender.send((kernel, machine, boot));
                }
            });
        }
        drop(sender);
        for (kernel, machine, boot) in receiver {
            ended(kernel, &machine, &boot);
        }
    });
}

fn row(kernel: &'static str, boot: &Result<Boot>) -> Row {
    match boot {
        Ok(boot) => Row {
            kernel,
            release: boot.report.release.clone().unwrap_or_default(),
            passed: boot.report.passed(),
            failed: boot.report.failed(),
            seconds: boot.took.as_secs(),
            outcome: boot.report.failure(boot.ended).map_or(Ok(()), Err),
        },
        Err(error) => Row {
            kernel,
            release: String::new(),
            passed: 0,
            failed: 0,
            seconds: 0,
            outcome: Err(format!("{error:#}")),
        },
    }
}

/// Prints what a machine's tests say of themselves, and, where something is wrong, the end of what it wrote.
fn show(workspace: &Workspace, row: &Row, machine: &Machine, boot: Option<&Boot>) {
    println!("\nLinux {} {}", row.kernel, row.release);
    let Some(boot) = boot else { return };
    if let Some(why) = &boot.given_up {
        println!("  booted a second time: at the first, {why}");
    }
    for run in &boot.report.runs {
        println!("  {}: {}", run.name, run.summary.as_deref().unwrap_or("no result"));
    }
    for (name, failed) in &boot.report.again {
        println!("  {name} was run a second time, one test at a time; at the first:");
        for line in failed {
            println!("    {line}");
        }
    }
    if let Err(failure) = &row.outcome {
        for line in boot.report.evidence() {
            println!("  | {line}");
        }
        println!("  {failure}");
        println!("  all of it: {}", workspace.show(Path::new(&machine.log)));
    }
}

/// The table at the end.
fn table(rows: &[Row], took: Duration) -> String {
    let width = rows.iter().map(|row| row.release.len()).max().unwrap_or(0).max(7);
    let line = |kernel: &str, release: &str, [passed, failed, seconds]: [&str; 3], outcome: &str| {
        format!("{kernel:<7} {release:<width$} {passed:>6} {failed:>6} {seconds:>7}  {outcome}")
    };
    let mut lines = vec![line("kernel", "release", ["passed", "failed", "seconds"], "outcome")];
    lines.extend(rows.iter().map(|row| {
        let numbers = [row.passed.into(), row.failed.into(), row.seconds].map(|number: u64| number.to_string());
        let outcome = row.outcome.as_ref().err().map_or("passed", String::as_str);
        line(
            row.kernel,
            &row.release,
            numbers.each_ref().map(String::as_str),
            outcome,
        )
    }));
    let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
    let (count, seconds) = (rows.len(), took.as_secs());
    lines.push(match failed {
        0 => format!("kernels: {count} passed, in {seconds} s"),
        _ => format!("kernels: {failed} of {count} failed, in {seconds} s"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_kernel_and_says_what_failed() {
        let row = |kernel, release: &str, failed, outcome| Row {
            kernel,
            release: release.to_owned(),
            passed: 34,
            failed,
            seconds: 70,
            outcome,
        };
        let rows = [
            row("5.10", "5.10.0-32-cloud-amd64", 0, Ok(())),
            row("7.2", "", 1, Err("failed: numbers".to_owned())),
        ];
        let text = table(&rows, Duration::from_secs(95));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], "kernel  release               passed failed seconds  outcome");
        assert_eq!(lines[1], "5.10    5.10.0-32-cloud-amd64     34      0      70  passed");
        assert!(lines[2].ends_with(" 1      70  failed: numbers"));
        assert_eq!(lines[3], "kernels: 1 of 2 failed, in 95 s");
        assert_eq!(
            table(&rows[..1], Duration::from_secs(95)).lines().last(),
            Some("kernels: 1 passed, in 95 s")
        );
    }
}

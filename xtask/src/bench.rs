//! `cargo xtask bench NAME`: `startup` is how long until the agent answers, and what it weighs; the others are the
//! benchmarks of `resmgr-tests`, here or (`--vm KERNEL`) in a virtual machine. Asserts nothing: a shared machine would make that a coin toss.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::{Argument, Arguments},
    distribution,
    run::{self, Folders},
    shell, vm,
    workspace::Workspace,
};

/// The benchmarks of `resmgr-tests`, a file each in its folder of benchmarks.
const OF_TESTS: [&str; 8] = [
    "agent",
    "estimator",
    "exec",
    "hooks",
    "manager",
    "outside",
    "react",
    "sweep",
];

const RUNS: u32 = 5;
const REQUEST: &str = "{\"v\":1,\"method\":\"status\",\"params\":{}}\n";
/// When memory is read, after the start.
const AT_REST: Duration = Duration::from_secs(3);
/// What an agent that will not come up or go down is given.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the command.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    let mut arguments = Arguments::new("bench", rest);
    let of_tests = match arguments.next() {
        Some(Argument::Word("startup")) => None,
        Some(Argument::Word(name)) if OF_TESTS.contains(&name) => Some(name.to_owned()),
        Some(other) => return arguments.unknown(&other),
        None => bail!("name a benchmark: startup, {}", OF_TESTS.join(", ")),
    };
    let mut kernel = None;
    while let Some(argument) = arguments.next() {
        match argument {
            Argument::Option("vm") if of_tests.is_some() => kernel = Some(arguments.value("vm")?),
            other => return arguments.unknown(&other),
        }
    }
    if let (Some(name), Some(kernel)) = (&of_tests, kernel) {
        let passed = vm::bench(workspace, name, kernel)?;
        return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !shell::is_root()? {
        bail!("the agent needs root, and a start through sudo would be measured with it: run this as root");
    }
    run::build_release(workspace)?;
    if let Some(name) = of_tests {
        if name == "outside" && shell::find_on_path("bpftrace").is_none() {
            let by_hand = "install bpftrace";
            distribution::install(&["bpftrace"], "the hooks are measured beside it", by_hand)?;
        }
        let mut build = shell::cargo(workspace);
        shell::run(build.args(["build", "--release", "--package", "resmgr-tests", "--bins"]))?;
        let mut bench = shell::cargo(workspace);
        bench.args(["bench", "--package", "resmgr-tests", "--bench", &name]);
        shell::run(&mut bench)?;
        return Ok(ExitCode::SUCCESS);
    }
    run::sweep(workspace.target());
    let binary = run::release_binary(workspace);
    let (mut answered, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let folders = Folders::make(workspace.target(), std::process::id())?;
        let measured = measure(&binary, &folders);
        folders.remove();
        let (time, memory) = measured?;
        answered.push(time.as_secs_f64() * 1000.0);
        resident.push(memory);
    }
    println!("{RUNS} starts of {}", workspace.show(&binary));
    println!(
        "  first answer   {}   target under 500 ms",
        summary(&mut answered, "ms")
    );
    println!(
        "  VmRSS at 3 s   {}   target under 20 MiB",
        summary(&mut resident, "MiB")
    );
    Ok(ExitCode::SUCCESS)
}

fn measure(binary: &Path, folders: &Folders) -> Result<(Duration, f64)> {
    let started = Instant::now();
    let child = Command::new(binary)
        .args(["agent", "--ephemeral"])
        .args(folders.arguments())
        .args(["--log", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let mut agent = Agent(child);
    let answered = loop {
        if ask(&folders.socket()).is_some() {
            break started.elapsed();
        }
        if let Some(status) = agent.0.try_wait().context("look after the agent")? {
            bail!("the agent ended before it answered ({status}): its own message stands above");
        }
        if started.elapsed() > PATIENCE {
            bail!(
                "the agent did not answer within {} s: run it by `cargo xtask run` to see why",
                PATIENCE.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(1));
    };
    thread::sleep(AT_REST.saturating_sub(started.elapsed()));
    let status = fs::read_to_string(format!("/proc/{}/status", agent.0.id())).context("read the agent's memory")?;
    let resident = resident_mib(&status).context("the agent's /proc status has no VmRSS: it has ended")?;
    agent.stop()?;
    Ok((answered, resident))
}

/// A status request's answer, where there is an agent that gives one.
fn ask(socket: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(REQUEST.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.ends_with('\n').then_some(line)
}

/// A started agent, killed where it was not stopped in order.
struct Agent(Child);

impl Agent {
    fn stop(&mut self) -> Result<()> {
        shell::run(Command::new("kill").args(["-TERM", &self.0.id().to_string()]))?;
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().context("wait for the agent")? {
                if !status.success() {
                    bail!("the agent ended with {status} on SIGTERM: its own message stands above");
                }
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "the agent did not end within {} s of SIGTERM: it was killed",
            PATIENCE.as_secs()
        )
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail on one that has ended, which is what they are for.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn resident_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn summary(values: &mut [f64], unit: &str) -> String {
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("min {least:.1}  median {median:.1}  max {most:.1} {unit}")
        }
        _ => "nothing measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_binary_units() {
        assert_eq!(
            resident_mib("Name:\tresmgr\nVmRSS:\t   10240 kB\nRssAnon:\t 1 kB\n"),
            Some(10.0)
        );
        assert_eq!(resident_mib("Name:\tresmgr\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn a_summary_is_of_the_sorted_values() {
        assert_eq!(
            summary(&mut [3.0, 1.0, 5.0, 2.0, 4.0], "ms"),
            "min 1.0  median 3.0  max 5.0 ms"
        );
    }
}

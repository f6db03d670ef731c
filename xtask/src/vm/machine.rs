//! Boots a kernel in a virtual machine by software alone, and ends it when it does not end itself. Does not judge what
//! ran in it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::report::Report;
use crate::{distribution, shell};

const QEMU: &str = "qemu-system-x86_64";
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 oops=panic lsm=lockdown,capability,bpf";
/// How often a machine is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long a machine is waited for.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// For a word of it before the first test: a boot takes seconds.
    pub(super) boot: Duration,
    /// For a word of it after that.
    pub(super) silence: Duration,
    /// For all of it.
    pub(super) total: Duration,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// By itself.
    Off,
    /// It wrote nothing for so long, and was ended.
    Silent(Duration),
    /// It took longer than this in all, and was ended.
    TooLong(Duration),
}

/// A machine to boot.
pub(super) struct Machine {
    /// The kernel's image.
    pub(super) kernel: PathBuf,
    /// Its first file system.
    pub(super) files: PathBuf,
    /// Where its serial line goes.
    pub(super) log: PathBuf,
    /// Test binaries that it does not run.
    pub(super) left_out: &'static [&'static str],
}

/// A run of a machine.
pub(super) struct Boot {
    /// What it wrote.
    pub(super) report: Report,
    /// How it ended.
    pub(super) ended: Ended,
    /// How long it took, with a first boot that was given up.
    pub(super) took: Duration,
    /// Why there was a first boot that was given up.
    pub(super) given_up: Option<String>,
}

/// Installs what machines run in, where it is missing.
pub(super) fn prepare() -> Result<()> {
    if shell::find_on_path(QEMU).is_some() {
        return Ok(());
    }
    distribution::install(
        &["qemu-system-x86"],
        "it boots the kernels of the matrix",
        "install QEMU's emulator of x86-64",
    )
}

impl Machine {
    /// Boots it. Where it comes to no test, by no fault of the tests then, once more: software emulation has a panic or a
    /// hang in some dozens of boots.
    pub(super) fn run(&self, limits: Limits) -> Result<Boot> {
        let started = Instant::now();
        let (mut report, mut ended) = self.boot(limits)?;
        let mut given_up = None;
        if !report.has_begun() && !report.is_done() {
            given_up = report.failure(ended);
            (report, ended) = self.boot(limits)?;
        }
        Ok(Boot {
            report,
            ended,
            took: started.elapsed(),
            given_up,
        })
    }

    fn boot(&self, limits: Limits) -> Result<(Report, Ended)> {
        let log = File::create(&self.log).with_context(|| format!("make {}", self.log.display()))?;
        let mut command = self.command();
        let errors = log.try_clone().context("share the log with QEMU")?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let mut running = Running(shell::start(&mut command)?);
        let ended = running.watch(&self.log, limits)?;
        drop(running);
        Ok((Report::read(&read(&self.log)?), ended))
    }

    fn command(&self) -> Command {
        // Ended with us, however we end: one that hangs would use its CPUs for ever.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", QEMU]);
        // By software: where KVM is there, it may hang all the same. With a thread a CPU, one runs what another has just
        // replaced, and a kernel that patches its own code meets its own breakpoint.
        command.args(["-machine", "q35", "-accel", "tcg,thread=single"]);
        // QEMU's largest CPU breaks Linux 6.12.
        command.args(["-cpu", "qemu64", "-smp", "2", "-m", "1024"]);
        command.args(["-nographic", "-no-reboot", "-nic", "none"]);
        // All else that the machine has lies in memory: a disk of zeros is what page cache can be had of.
        command.args(["-drive", "if=none,id=zeros,driver=null-co,size=256M,read-zeroes=on"]);
        command.args(["-device", "nvme,drive=zeros,serial=zeros"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.files);
        // What the kernel does not know goes to the first process, as a variable.
        let left_out = self.left_out.join(",");
        command
            .arg("-append")
            .arg(format!("{COMMAND_LINE} left_out={left_out}"));
        command
    }
}

/// A started machine, ended where it did not end itself.
struct Running(Child);

impl Running {
    fn watch(&mut self, log: &Path, limits: Limits) -> Result<Ended> {
        let started = Instant::now();
        let (mut written, mut last, mut has_begun) = (0, started, false);
        loop {
            if self.0.try_wait().context("look after QEMU")?.is_some() {
                return Ok(Ended::Off);
            }
            let length = fs::metadata(log)
                .with_context(|| format!("look at {}", log.display()))?
                .len();
            if length > written {
                (written, last) = (length, Instant::now());
                let report = Report::read(&read(log)?);
                has_begun = report.has_begun();
                if report.is_done() {
                    return Ok(Ended::Off);
                }
            }
            let silence = if has_begun { limits.silence } else { limits.boot };
            if last.elapsed() > silence {
                return Ok(Ended::Silent(silence));
            }
            if started.elapsed() > limits.total {
                return Ok(Ended::TooLong(limits.total));
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail on one that has ended, which is what they are for.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn read(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

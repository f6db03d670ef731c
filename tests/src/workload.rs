//! A process that does what the test tells it, and ends with the test.

use std::{
    fmt::Display,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// A running workload.
pub struct Workload {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Workload {
    /// Starts one, which uses nothing yet but its three standard descriptors.
    pub fn start() -> Self {
        Self::over(&mut Command::new(crate::binary("workload")))
    }

    /// Starts one by a command that becomes it.
    pub fn over(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = crate::until("nobody has it open to write", || match command.spawn() {
            // A copy that this process made is open in whatever another test forks at that moment.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => None,
            child => Some(child.expect("the workload starts")),
        });
        let mut workload = Self {
            orders: child.stdin.take().expect("its input is a pipe"),
            answers: BufReader::new(child.stdout.take().expect("its output is a pipe")),
            child,
        };
        // Once it answers, the command has become it.
        workload.order("numbers");
        workload
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits for it to be done; `None` where it ended instead.
    pub fn attempt(&mut self, order: impl Display) -> Option<String> {
        writeln!(self.orders, "{order}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        Some(answer.trim_end().strip_prefix("ok")?.trim().to_owned())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is a child")
    }

    /// Blocks until it has ended; returns when that was seen.
    pub fn wait_until_gone(&mut self) -> std::time::SystemTime {
        self.child.wait().expect("it is a child");
        std::time::SystemTime::now()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the workload lives");
    }

    /// Gives an order and waits for it to be done; returns what it answered.
    pub fn order(&mut self, order: impl Display) -> String {
        writeln!(self.orders, "{order}").expect("the workload listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the workload answers");
        let done = answer.trim_end().strip_prefix("ok");
        done.unwrap_or_else(|| panic!("{order}: {answer}")).trim().to_owned()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A tree of processes that open and close at random between quiet points, and end with the test.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::io::Errno;
use serde_json::Value;

use crate::{Kind, agent::run};

/// The running tree.
pub struct Churn {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// A point at which all its processes hold still.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// The processes.
    pub pids: Vec<u32>,
    /// Operations so far.
    pub operations: u64,
    /// What was tried so far, by kind.
    pub attempts: Vec<Attempts>,
}

/// How often something was tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// What.
    pub kind: Kind,
    /// How often.
    pub tried: u64,
    /// How often with success.
    pub succeeded: u64,
    /// How it was refused last, if it was.
    pub refused: Option<Errno>,
}

impl Churn {
    /// Starts one over a command that becomes it, which does nothing yet.
    pub fn over(command: &mut Command, seed: u64) -> Self {
        let mut child = command
            .arg(crate::binary("churn"))
            .args(["conduct", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the churn starts");
        Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().expect("its output is a pipe")),
            child,
        }
    }

    /// Lets it work, about so many operations, and waits until it holds still. One process gets `fill` more descriptors.
    pub fn round(&mut self, operations: u32, fill: u32) -> Quiet {
        let orders = self.orders.as_mut().expect("it has not been ended");
        writeln!(orders, "{operations} {fill}").expect("the churn listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the churn answers");
        let answer: Value = serde_json::from_str(&answer).expect("the churn answers; above it says why not");
        let number = |value: &Value| value.as_u64().expect("the churn answers in numbers");
        let pid = |value: &Value| u32::try_from(number(value)).expect("a process id");
        let attempts = |value: &Value| Attempts {
            kind: Kind::named(value["kind"].as_str().unwrap_or_default()).expect("a kind that is known"),
            tried: number(&value["tried"]),
            succeeded: number(&value["succeeded"]),
            refused: match i32::try_from(number(&value["errno"])) {
                Ok(0) | Err(_) => None,
                Ok(errno) => Some(Errno::from_raw_os_error(errno)),
            },
        };
        Quiet {
            pids: answer["pids"].as_array().expect("pids").iter().map(pid).collect(),
            operations: number(&answer["operations"]),
            attempts: answer["kinds"]
                .as_array()
                .expect("kinds")
                .iter()
                .map(attempts)
                .collect(),
        }
    }

    /// Tries one thing in a process of its own; returns how the kernel refuses it, if it does.
    pub fn refusal(kind: Kind) -> Option<Errno> {
        let output = run(Command::new(crate::binary("churn")).args(["try", kind.name()]));
        let errno = output.stdout.trim().parse().ok();
        let errno = errno.unwrap_or_else(|| panic!("`{}` was not even tried: {output:?}", kind.name()));
        (errno != 0).then(|| Errno::from_raw_os_error(errno))
    }

    /// Ends it; every process of it must end well.
    pub fn finish(mut self) {
        drop(self.orders.take());
        let status = self.child.wait().expect("the churn is a child");
        assert!(status.success(), "the churn ended badly: {status}");
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        // Its processes are bound to it, and end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A process that ends with the test, however that ends.

use std::process::{Child, Command, ExitStatus, Stdio};

/// A running process.
pub struct Process(Child);

impl Process {
    /// Starts one.
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the command starts"))
    }

    /// One that has been started.
    pub fn of(child: Child) -> Self {
        Self(child)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("it is a child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

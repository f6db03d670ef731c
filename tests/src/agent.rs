//! An agent of a test's own: private socket, state, pins and cgroup root; ended and waited for with the test.

use std::{
    ffi::OsStr,
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The user and group of processes that are nobody's.
const NOBODY: u32 = 65_534;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect("the command starts");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Makes a command run as an ordinary user.
pub fn unprivileged(command: &mut Command) -> &mut Command {
    command.uid(NOBODY).gid(NOBODY)
}

/// A path of a test's own under a kernel's file system, named after its folder.
fn private(root: &str, folder: &Path) -> PathBuf {
    // The BPF file system allows no dot in a name.
    let name = folder.file_name().map(|name| name.to_string_lossy().replace('.', ""));
    Path::new(root).join(format!("resmgr-test-{}", name.unwrap_or_default()))
}

/// Where cgroup v2 is mounted.
pub fn cgroup2() -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("/proc is mounted");
    let of_line = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let at = fields.next()?.to_owned();
        (fields.next()? == "cgroup2").then_some(at)
    };
    mounts
        .lines()
        .find_map(of_line)
        .unwrap_or_else(|| "/sys/fs/cgroup".to_owned())
}

/// Keeps from what is started here what whoever started the tests has left open: numbers in use are room that is not limited.
/// Before Linux 5.11 the kernel does not; the virtual machines leave nothing open.
fn keep_descriptors() {
    const CLOSE_ON_EXEC: u32 = 4;
    let _ = crate::raw::close_range(3, u32::MAX, CLOSE_ON_EXEC);
}

/// A running agent.
pub struct Agent {
    child: Child,
    folder: TempDir,
    /// It is not ephemeral: what it leaves is removed with the test.
    pinned: bool,
}

impl Agent {
    /// Starts one with more arguments than it needs to be private, and waits until it answers.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(Self::folder(), false, arguments)
    }

    /// Starts one whose programs go on counting when it ends.
    pub fn start_pinned(arguments: &[&str]) -> Self {
        Self::start_in(Self::folder(), true, arguments)
    }

    /// Starts one like that in a folder that was prepared.
    pub fn start_pinned_in(folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_in(folder, true, arguments)
    }

    /// Starts one by a command that becomes it.
    pub fn start_by(command: &[&str], arguments: &[&str]) -> Self {
        let folder = Self::folder();
        let agent = Self::command(folder.path(), arguments);
        let mut started = Command::new(command[0]);
        started
            .args(&command[1..])
            .arg(agent.get_program())
            .args(agent.get_args());
        started.env("RESMGR_LOG", "warn").stdin(Stdio::null());
        let child = started.spawn().expect("the agent starts");
        let mut agent = Self {
            child,
            folder,
            pinned: false,
        };
        agent.await_answers();
        agent
    }

    fn start_in(folder: TempDir, pinned: bool, arguments: &[&str]) -> Self {
        let child = Self::spawn(folder.path(), pinned, arguments);
        let mut agent = Self { child, folder, pinned };
        agent.await_answers();
        agent
    }

    fn spawn(folder: &Path, pinned: bool, arguments: &[&str]) -> Child {
        let mut command = if pinned {
            Self::pinned_command(folder, arguments)
        } else {
            Self::command(folder, arguments)
        };
        command.spawn().expect("the agent starts")
    }

    fn await_answers(&mut self) {
        let deadline = Instant::now() + crate::patience(30);
        while UnixStream::connect(self.socket()).is_err() || !self.answers() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the agent ended: {status}");
            }
            assert!(Instant::now() < deadline, "the agent does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts another one after it has ended, in the same folder, with the same pins.
    pub fn start_again(&mut self, arguments: &[&str]) {
        let _ = self.child.wait();
        self.child = Self::spawn(self.folder.path(), self.pinned, arguments);
        self.await_answers();
    }

    /// A private folder that an ordinary user may enter.
    pub fn folder() -> TempDir {
        keep_descriptors();
        let folder = TempDir::new().expect("a temporary folder");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("the folder's mode");
        folder
    }

    /// The command that starts an agent in a folder.
    pub fn command(folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Self::pinned_command(folder, arguments);
        command.arg("--ephemeral");
        command
    }

    /// The command that starts an agent in a folder whose programs go on counting when it ends.
    pub fn pinned_command(folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Self::command_with_pins(folder, &private("/sys/fs/bpf", folder));
        if !arguments.contains(&"--config") {
            // That of the host is another agent's.
            command.arg("--no-config");
        }
        command.args(arguments);
        command
    }

    /// The command that starts an agent in a folder, with pins in another.
    pub fn command_with_pins(folder: &Path, pins: &Path) -> Command {
        let mut command = Command::new(crate::binary("resmgr"));
        command
            .arg("agent")
            .arg("--socket")
            .arg(folder.join("resmgr.sock"))
            .arg("--state-dir")
            .arg(folder.join("state"))
            .arg("--pin-dir")
            .arg(pins)
            .arg("--cgroup-root")
            .arg(private(&cgroup2(), folder))
            .env("RESMGR_LOG", "warn")
            // Not where an installed agent answers.
            .env("RESMGR_METRICS_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder.
    pub fn folder_path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("resmgr.sock")
    }

    /// The cgroup under which its tools get leaves.
    pub fn cgroup_root(&self) -> PathBuf {
        private(&cgroup2(), self.folder.path())
    }

    /// Where it pins, unless it is ephemeral.
    pub fn pin_dir(&self) -> PathBuf {
        private("/sys/fs/bpf", self.folder.path())
    }

    /// A command that asks it.
    pub fn client<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(crate::binary("resmgr"));
        command.arg("--socket").arg(self.socket()).args(arguments);
        command
    }

    fn answers(&self) -> bool {
        run(&mut self.client(&["status", "--json"])).code == Some(0)
    }

    /// Its status as JSON.
    pub fn status(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["status", "--json"];
        all.extend(arguments);
        let output = run(&mut self.client(&all));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        serde_json::from_str(&output.stdout).expect("status --json prints JSON")
    }

    /// One process after a sweep (or a look at the counters, where it does not sweep).
    pub fn process(&self, pid: u32) -> Value {
        let mut status = self.status(&["--fresh", "--pid", &pid.to_string()]);
        status["processes"][0].take()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the agent lives");
    }

    /// Waits for its end; returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("the agent is a child").code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // One that a test has stopped must go on to end.
            let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        let _ = self.child.wait();
        if self.pinned {
            let mut release = Self::pinned_command(self.folder.path(), &["--release"]);
            let _ = release.status();
            let _ = std::fs::remove_dir(self.cgroup_root());
        }
    }
}

//! `cargo xtask run`: the agent from this checkout, beside an installed one. Stays out of its way once it runs.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::{Argument, Arguments},
    shell,
    workspace::Workspace,
};

/// What the name of a run's folder begins with; its process id follows.
const PREFIX: &str = "run-";

/// Bytes of a socket's path that the kernel takes, without the NUL.
const SOCKET_PATH_MAX: usize = 107;

/// Runs the command.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    let mut once = false;
    let mut more: &[String] = &[];
    let mut arguments = Arguments::new("run", rest);
    while let Some(argument) = arguments.next() {
        match argument {
            Argument::Option("once") => once = true,
            Argument::Rest(given) => more = given,
            other => return arguments.unknown(&other),
        }
    }
    build_release(workspace)?;
    sweep(workspace.target());
    let folders = Folders::make(workspace.target(), std::process::id())?;
    let mut agent = shell::as_root(&release_binary(workspace), false)?;
    agent
        .arg("agent")
        .args(["--ephemeral", "--status", if once { "once" } else { "live" }]);
    agent.args(folders.arguments()).args(["--log", "warn"]).args(more);
    if !more.iter().any(|argument| argument.starts_with("--config")) {
        // The host's is for the agent that is installed.
        agent.arg("--no-config");
    }
    // The agent takes this process's place: an interrupt reaches it alone, and its exit status is the command's.
    // Its folder is therefore removed by the next run.
    let error = agent.exec();
    folders.remove();
    Err(error).with_context(|| format!("start {}", workspace.show(&release_binary(workspace))))
}

/// Builds what `release_binary` names, as the user who asked.
pub(crate) fn build_release(workspace: &Workspace) -> Result<()> {
    shell::run(shell::cargo(workspace).args(["build", "--release", "--package", "resmgr"]))
}

/// The release build of resmgr.
pub(crate) fn release_binary(workspace: &Workspace) -> PathBuf {
    workspace.target().join("release/resmgr")
}

/// What an agent needs of its own to run beside another.
pub(crate) struct Folders {
    folder: PathBuf,
    pins: String,
}

impl Folders {
    /// Makes the folder, for us alone.
    pub(crate) fn make(target: &Path, id: u32) -> Result<Self> {
        let mut folder = target.join(format!("{PREFIX}{id}"));
        if folder.join("resmgr.sock").as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
            folder = env::temp_dir().join(format!("resmgr-{PREFIX}{id}"));
        }
        // Not a folder that is there already: in a shared place it could be another's.
        if let Err(error) = fs::DirBuilder::new().mode(0o700).create(&folder) {
            bail!(
                "make {}: {error}: remove it, or make its parent writable",
                folder.display()
            );
        }
        Ok(Self {
            folder,
            pins: format!("/sys/fs/bpf/resmgr-{PREFIX}{id}"),
        })
    }

    /// The agent's arguments that name them.
    pub(crate) fn arguments(&self) -> [String; 6] {
        let folder = self.folder.display();
        [
            "--socket".to_owned(),
            format!("{folder}/resmgr.sock"),
            "--state-dir".to_owned(),
            format!("{folder}/state"),
            "--pin-dir".to_owned(),
            self.pins.clone(),
        ]
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("resmgr.sock")
    }

    /// Removes the folder; what cannot be removed is named.
    pub(crate) fn remove(&self) {
        remove(&self.folder);
    }
}

/// Removes the folders of runs that have ended.
pub(crate) fn sweep(target: &Path) {
    let temporary = env::temp_dir();
    for (parent, prefix) in [(target, PREFIX.to_owned()), (&temporary, format!("resmgr-{PREFIX}"))] {
        let Ok(entries) = fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            if ended(&entry.file_name().to_string_lossy(), &prefix, |pid| {
                Path::new("/proc").join(pid).exists()
            }) {
                remove(&entry.path());
            }
        }
    }
}

/// Whether a folder is that of a run whose process is gone.
fn ended(name: &str, prefix: &str, alive: impl Fn(&str) -> bool) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|pid| pid.parse::<u32>().is_ok() && !alive(pid))
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            eprintln!("left {} behind ({error}): remove it as root", folder.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_ended_runs_are_swept() {
        assert!(ended("run-17", PREFIX, |_| false));
        assert!(!ended("run-17", PREFIX, |pid| pid == "17"));
        assert!(!ended("run-", PREFIX, |_| false));
        assert!(!ended("run-17-kept", PREFIX, |_| false));
        assert!(!ended("release", PREFIX, |_| false));
    }

    #[test]
    fn a_runs_folder_is_private_and_its_socket_fits_the_kernel() {
        use std::os::unix::fs::PermissionsExt as _;

        let deep = env::temp_dir().join("d".repeat(SOCKET_PATH_MAX));
        let folders = Folders::make(&deep, std::process::id()).unwrap();
        assert!(folders.socket().as_os_str().len() <= SOCKET_PATH_MAX);
        let mode = fs::metadata(&folders.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(
            Folders::make(&deep, std::process::id()).is_err(),
            "a folder that exists is not taken over"
        );
        folders.remove();
        assert!(!folders.folder.exists());
    }
}

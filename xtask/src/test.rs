//! `cargo xtask test`: every test, those of the live kernel as root, and on other kernels too. Judges none of them: the runners' own lines stand.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::{Argument, Arguments},
    built::{self, Kind},
    clients, distribution, shell,
    vm::{self, Wanted},
    workspace::Workspace,
};

/// The browser that shows reports, by its package and its program.
const BROWSER: &str = "chromium";
/// What the tests drive a terminal by.
const TERMINAL: &str = "tmux";

/// The package whose tests need root.
const LIVE: &str = "resmgr-tests";

/// Runs the command: on this host, then on the kernels of the matrix.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    let mut wanted = Wanted::default();
    let mut in_machines = None;
    let mut arguments = Arguments::new("test", rest);
    while let Some(argument) = arguments.next() {
        match argument {
            Argument::Option("full") => wanted.full = true,
            Argument::Option("object") => wanted.object = Some(object(arguments.value("object")?)?),
            Argument::Option("vm") => in_machines = Some(true),
            Argument::Option("no-vm") => in_machines = Some(false),
            Argument::Word(filter) => wanted.arguments.push(filter.to_owned()),
            Argument::Rest(given) => wanted.arguments.extend_from_slice(given),
            other @ Argument::Option(_) => return arguments.unknown(&other),
        }
    }
    let mut passed = on_the_host(workspace, &wanted)?;
    // One who asks for one test waits for that.
    if in_machines.unwrap_or(wanted.arguments.is_empty()) {
        println!("\nthe live tests on the kernels of the matrix (`--no-vm` leaves them out):");
        passed &= vm::run(workspace, vm::ALL, &wanted)?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn on_the_host(workspace: &Workspace, wanted: &Wanted) -> Result<bool> {
    if shell::find_on_path(TERMINAL).is_none() {
        let by_hand = "install tmux";
        distribution::install(&[TERMINAL], "`resmgr top` is driven on a terminal", by_hand)?;
    }
    if wanted.full && shell::find_on_path(BROWSER).is_none() {
        let by_hand = "install Chromium, or leave out --full";
        distribution::install(
            &[BROWSER, "fonts-dejavu-core"],
            "reports are looked at in a browser",
            by_hand,
        )?;
    }
    let clients = wanted.full.then(|| clients::fetched(workspace)).transpose()?;
    let mut variables: Vec<(&str, &OsStr)> = Vec::new();
    let prometheus = wanted.full.then(|| vm::prometheus(workspace)).transpose()?;
    if let Some(prometheus) = &prometheus {
        variables.push(("RESMGR_TEST_PROMETHEUS", prometheus.as_ref()));
    }
    if let Some(clients) = &clients {
        variables.push(("RESMGR_TEST_CLIENTS", clients.as_ref()));
    }
    if wanted.full {
        variables.push(("RESMGR_TEST_FULL", "1".as_ref()));
    }
    if let Some(object) = &wanted.object {
        variables.push(("RESMGR_BPF_OBJECT", object.as_ref()));
    }
    // The live tests start this binary, and cargo does not know that they need it.
    shell::run(shell::cargo(workspace).args(["build", "--package", "resmgr"]))?;

    let mut all = shell::cargo(workspace);
    all.args(["test", "--workspace", "--exclude", "resmgr-ebpf", "--no-fail-fast"]);
    all.envs(variables.iter().copied());
    if shell::is_root()? {
        return Ok(shell::status(all.arg("--").args(&wanted.arguments))?.success());
    }
    let mut passed = shell::status(all.args(["--exclude", LIVE, "--"]).args(&wanted.arguments))?.success();
    for binary in live_binaries(workspace)? {
        println!("     Running {} as root", workspace.show(&binary));
        let mut test = as_root(workspace, &binary, &variables)?;
        passed &= shell::status(test.args(&wanted.arguments))?.success();
    }
    Ok(passed)
}

/// The object's absolute path: each package's tests run in a folder of their own.
pub(crate) fn object(path: &str) -> Result<PathBuf> {
    Path::new(path)
        .canonicalize()
        .with_context(|| format!("find {path} (`cargo xtask ebpf --check` builds target/bpf/check.o)"))
}

/// Builds the live tests as the user, so that root owns nothing in the target folder.
fn live_binaries(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut build = shell::cargo(workspace);
    build.args([
        "test",
        "--package",
        LIVE,
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    let binaries: Vec<PathBuf> = built::all(&shell::output(&mut build)?)
        .into_iter()
        .filter(|built| built.kind == Kind::Test)
        .map(|built| built.path)
        .collect();
    if binaries.is_empty() {
        bail!("cargo built no tests of {LIVE}: look at its Cargo.toml");
    }
    Ok(binaries)
}

/// A test binary as root, where and with what cargo would start it.
fn as_root(workspace: &Workspace, binary: &Path, variables: &[(&str, &OsStr)]) -> Result<Command> {
    let folder = workspace.root().join("tests");
    let mut test = shell::as_root(binary, true)?;
    test.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder);
    test.envs(variables.iter().copied());
    Ok(test)
}

//! `cargo xtask test`: every test, those of the live kernel as root. Judges none of them: the runners' own lines stand.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::{Argument, Arguments},
    shell,
    workspace::Workspace,
};

/// The package whose tests need root.
const LIVE: &str = "resmgr-tests";

/// Runs the command.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    let mut variables: Vec<(&str, PathBuf)> = Vec::new();
    let mut for_tests: Vec<&str> = Vec::new();
    let mut arguments = Arguments::new("test", rest);
    while let Some(argument) = arguments.next() {
        match argument {
            Argument::Option("full") => variables.push(("RESMGR_TEST_FULL", "1".into())),
            Argument::Option("object") => {
                variables.push(("RESMGR_BPF_OBJECT", object(arguments.value("object")?)?));
            }
            Argument::Word(filter) => for_tests.push(filter),
            Argument::Rest(given) => for_tests.extend(given.iter().map(String::as_str)),
            other @ Argument::Option(_) => return arguments.unknown(&other),
        }
    }
    // The live tests start this binary, and cargo does not know that they need it.
    shell::run(shell::cargo(workspace).args(["build", "--package", "resmgr"]))?;

    let mut all = shell::cargo(workspace);
    all.args(["test", "--workspace", "--exclude", "resmgr-ebpf", "--no-fail-fast"]);
    all.envs(variables.iter().map(|(name, value)| (name, value)));
    if shell::is_root()? {
        return Ok(shell::exit_code(shell::status(all.arg("--").args(&for_tests))?));
    }
    let mut passed = shell::status(all.args(["--exclude", LIVE, "--"]).args(&for_tests))?.success();
    for binary in live_binaries(workspace)? {
        println!("     Running {} as root", workspace.show(&binary));
        let mut test = as_root(workspace, &binary, &variables)?;
        passed &= shell::status(test.args(&for_tests))?.success();
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The object's absolute path: each package's tests run in a folder of their own.
fn object(path: &str) -> Result<PathBuf> {
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
    let binaries: Vec<PathBuf> = shell::output(&mut build)?
        .lines()
        .filter_map(executable)
        .map(PathBuf::from)
        .collect();
    if binaries.is_empty() {
        bail!("cargo built no tests of {LIVE}: look at its Cargo.toml");
    }
    Ok(binaries)
}

/// A test binary as root, where and with what cargo would start it.
fn as_root(workspace: &Workspace, binary: &Path, variables: &[(&str, PathBuf)]) -> Result<Command> {
    let folder = workspace.root().join("tests");
    let mut test = shell::as_root(binary, true)?;
    test.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder);
    test.envs(variables.iter().map(|(name, value)| (name, value)));
    Ok(test)
}

/// The test binary that one of cargo's JSON messages names.
fn executable(message: &str) -> Option<&str> {
    let (_, profile) = message.split_once("\"profile\":{")?;
    let (profile, _) = profile.split_once('}')?;
    // A target that may be tested says so too, outside its profile.
    if !message.contains("\"reason\":\"compiler-artifact\"") || !profile.contains("\"test\":true") {
        return None;
    }
    let (_, rest) = message.split_once("\"executable\":\"")?;
    let (path, _) = rest.split_once('"')?;
    // A path with escapes is not taken apart: nothing here makes one.
    (!path.contains('\\')).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn only_test_binaries_are_taken_from_cargos_messages() {
        let test = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"test":true},"profile":{"opt_level":"0","test":true},"executable":"/t/live-1","fresh":true}"#;
        assert_eq!(executable(test), Some("/t/live-1"));
        let binary = test.replace("\"0\",\"test\":true", "\"0\",\"test\":false");
        assert_eq!(executable(&binary), None);
        let library = test.replace("\"/t/live-1\"", "null");
        assert_eq!(executable(&library), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }
}

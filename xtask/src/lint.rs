//! `cargo xtask lint`: what a change must pass before its tests are worth running. Repairs nothing.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Result, bail};

use crate::{arguments::Arguments, ebpf, shell, tidy, workspace::Workspace};

const OTHER_TARGET: &str = "aarch64-unknown-linux-gnu";

/// Runs the command: every check, whatever the ones before it found.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    Arguments::new("lint", rest).none()?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("lint: {name}: {error:#}");
            failed.push(name);
        }
    };

    check("tidy", tidy::check(workspace));
    check(
        "format",
        shell::run(shell::cargo(workspace).args(["fmt", "--all", "--check"])),
    );
    check(
        "clippy",
        shell::run(
            shell::cargo(workspace)
                .args(["clippy", "--all-targets", "--locked"])
                .args(HOST)
                .args(["--", "-D", "warnings"]),
        ),
    );
    check("clippy of the BPF programs", shell::run(&mut clippy_bpf(workspace)));
    check(
        "documentation",
        shell::run(
            shell::cargo(workspace)
                .args(["doc", "--no-deps", "--locked"])
                .args(HOST)
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
    );
    check(OTHER_TARGET, check_other_target(workspace));

    if !failed.is_empty() {
        bail!("lint failed: {}: what to do stands above", failed.join(", "));
    }
    println!("lint: all passed");
    Ok(ExitCode::SUCCESS)
}

const HOST: [&str; 3] = ["--workspace", "--exclude", "resmgr-ebpf"];

/// Lints that do not fit BPF programs, for a reason that is theirs and not a place's.
const NOT_FOR_BPF: [&str; 2] = [
    // A BPF function takes five arguments and 512 bytes of stack with all its callers: what is small is inlined.
    "clippy::inline_always",
    // aya's macros hand a program its context by value.
    "clippy::needless_pass_by_value",
];

/// The programs are checked as if for the host, so that no BPF toolchain is needed: clippy comes with the toolchain of
/// the host, and the library's source, which their own target needs, often does not. The profile ends panics by abort
/// there too, without which a crate with a panic handler and no library does not compile.
fn clippy_bpf(workspace: &Workspace) -> Command {
    let mut clippy = shell::cargo(workspace);
    clippy
        .args([
            "clippy",
            "--package",
            "resmgr-ebpf",
            "--locked",
            "--profile",
            "bpf",
            "--target-dir",
        ])
        // Flags of its own would make the host's build start afresh each time.
        .arg(workspace.bpf_target().join("clippy"))
        .args(["--", "-D", "warnings"])
        .args(NOT_FOR_BPF.iter().flat_map(|lint| ["-A", lint]))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "--cfg=bpf_target_arch=\"x86_64\"")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    clippy
}

/// Checks that the other architecture compiles: with its library where that is installed, else with the library's
/// source, which the BPF programs need as well.
fn check_other_target(workspace: &Workspace) -> Result<()> {
    let check = ["check", "--locked", "--package", "resmgr", "--target", OTHER_TARGET];
    if has_other_target() {
        return shell::run(shell::cargo(workspace).args(check));
    }
    let Some(compiler) = ebpf::with_library_source() else {
        println!(
            "lint: {OTHER_TARGET} is not checked: install its library (`rustup target add {OTHER_TARGET}`), or what \
             `cargo xtask ebpf` installs"
        );
        return Ok(());
    };
    shell::run(
        compiler
            .cargo_command(&[])?
            .current_dir(workspace.root())
            .args(check)
            .args(["-Z", "build-std", "--target-dir"])
            .arg(workspace.target().join("aarch64")),
    )
}

fn has_other_target() -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", OTHER_TARGET]);
    shell::probe(&mut command).is_some_and(|folder| Path::new(&folder).is_dir())
}

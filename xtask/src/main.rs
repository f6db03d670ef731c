//! The workspace's own commands, a file each. Holds no logic of resmgr and needs no privileges but where it says so.
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod built;
mod clients;
mod distribution;
mod ebpf;
mod lint;
mod run;
mod shell;
#[path = "../../resmgr/build/sources.rs"]
mod sources;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

use crate::workspace::Workspace;

const USAGE: &str = "\
The workspace's own commands.

Usage: cargo xtask COMMAND

  run [--once] [-- ARGS]         build resmgr and run its agent beside an installed one, showing status;
                                 ARGS go to `resmgr agent`
  test [--full] [--object FILE] [--vm | --no-vm] [FILTER] [-- ARGS]
                                 every test, those of the live kernel as root; then, where neither FILTER nor ARGS
                                 is given, `vm`. ARGS go to the test binaries
      --full                     the long ones too (sets RESMGR_TEST_FULL=1)
      --object FILE              test this BPF object instead of the committed one
      --vm, --no-vm              `vm` in any case, or not at all
  vm [--kernel LIST] [--full] [--object FILE] [FILTER] [-- ARGS]
                                 the tests of the live kernel on other kernels, in virtual machines by software
      --kernel LIST              on these alone, such as 5.10,6.12 (default: every kernel of the matrix)
  ebpf [--check] [--out FILE]    build the BPF object and its manifest from source
      --check                    change nothing: compare the rebuilt object with the committed one
      --out FILE                 write the object there, and no manifest
  lint                           formatting, clippy, documentation, tidy
  tidy                           the rules that no compiler checks
  bench NAME [--vm KERNEL]       as root; prints, judges nothing; `--vm` in a virtual machine with that kernel
      agent                      with 1,000 tools of 5,000 processes: `status --json`, a scrape, CPU time beyond the sweeps, memory
      startup                    from start to first answer, and memory at rest
      estimator                  a sample and a series' state, over 4,000 series; scores of the committed series
      exec                       `resmgr exec` beyond the host's own cgroup move; how soon `status --json` answers
      hooks                      each hook by the kernel's BPF statistics, in a tool and in none
      manager                    what the library costs its program: records and statuses a second on a core
      proxy                      what the proxy of MCP costs a request, beside a direct pipe
      outside                    calls timed without an agent, with one, in a tool, and under bpftrace (on PATH)
      react                      from a line crossed to the alert, from `resmgr cleanup` and from the end of a grace to the last process gone;
                                 with `--vm`, that last beside earlyoom
      sweep                      the agent's pass over 5,000 processes beside reading /proc

What needs root goes through sudo where you are not root.
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    let mut arguments: Vec<String> = Vec::new();
    for argument in env::args_os().skip(1) {
        match argument.into_string() {
            Ok(argument) => arguments.push(argument),
            Err(argument) => bail!("{} is not UTF-8: pass UTF-8 arguments", argument.display()),
        }
    }
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    let for_help = |argument: &String| argument == "--help" || argument == "-h";
    if command == "help" || for_help(command) || rest.iter().take_while(|a| *a != "--").any(for_help) {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    match command.as_str() {
        "run" => run::main(&workspace, rest),
        "test" => test::main(&workspace, rest),
        "vm" => vm::main(&workspace, rest),
        "ebpf" => ebpf::main(&workspace, rest),
        "lint" => lint::main(&workspace, rest),
        "tidy" => tidy::main(&workspace, rest),
        "bench" => bench::main(&workspace, rest),
        other => bail!("there is no command `{other}`: `cargo xtask --help` lists them"),
    }
}

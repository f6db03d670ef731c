//! The `resmgr` binary: hands its arguments to the command line, and its answer to the system.

use std::process::ExitCode;

fn main() -> ExitCode {
    resmgr::cli::main()
}

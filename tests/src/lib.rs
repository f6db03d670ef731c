//! What the tests share: an agent of their own, processes with a known use, and the kernel's own account of them.
#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test fails by panicking, with what was expected"
)]

mod account;
mod agent;
mod churn;
mod conversation;
mod kind;
mod patience;
mod process;
pub mod ramp;
mod random;
pub mod raw;
mod scrape;
mod tool;
mod truth;
mod workload;

use std::path::PathBuf;

pub use account::{Account, account_together, accounts};
pub use agent::{Agent, Output, cgroup2, run, unprivileged};
pub use churn::{Attempts, Churn, Quiet};
pub use conversation::Conversation;
pub use kind::Kind;
pub use patience::{patience, until, wait_until};
pub use process::Process;
pub use ramp::Ramped;
pub use random::{Random, seed};
pub use scrape::{Answer, Samples, http};
pub use tool::{keyed, pids, reached_us, tool, tools, wall_us};
pub use truth::{cpu_ns, open_fds, page_sum_kib, process_clock_ns, socket_inodes};
pub use workload::Workload;

/// A binary of this workspace, beside the test that runs.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests run from target/PROFILE/deps");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: run the tests by `cargo xtask test`",
        path.display()
    );
    path
}

/// A number of a report.
pub fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether this is a virtual machine of the matrix.
pub fn in_machine() -> bool {
    std::env::var_os("RESMGR_TEST_VM").is_some()
}

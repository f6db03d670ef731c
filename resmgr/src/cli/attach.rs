//! `resmgr attach`: makes processes that run already a tool.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, failure::Code, limits::LimitFlags, output};
use crate::{
    model::{OperationKind, ToolName},
    protocol::{AttachParams, AttachTarget, Client},
};

/// Flags of `resmgr attach`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tool's name.
    #[arg(long, value_name = "NAME")]
    tool: ToolName,
    #[command(flatten)]
    target: Target,
    /// What its CPU limit counts over: `busy`, from idleness to idleness; `run`, its life; `api`, as the program tells by
    /// the library.
    #[arg(long, value_name = "KIND", default_value_t)]
    operations: OperationKind,
    #[command(flatten)]
    limits: LimitFlags,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// This process and its descendants.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// The processes of this cgroup (v2) and of those below it, now and later; it is only read. Root alone.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
}

/// Attaches, and says to what.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let target = match (&arguments.target.pid, &arguments.target.cgroup) {
        (Some(pid), _) => AttachTarget::Pid(*pid),
        (None, Some(path)) => AttachTarget::Cgroup(path.clone()),
        (None, None) => return Err(Failure::new(Code::Usage, anyhow::anyhow!("give --pid or --cgroup"))),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tool = arguments.tool.clone();
    let registered = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        client
            .attach(AttachParams {
                tool,
                target,
                operation: arguments.operations,
                limits: arguments.limits.asked(),
                best_effort: arguments.limits.best_effort(),
            })
            .await
    })?;
    if arguments.json {
        return output::print_json(&registered);
    }
    let line = format!(
        "{} (instance {}): {} processes",
        registered.tool, registered.instance, registered.processes
    );
    Ok(output::print(&[line])?)
}

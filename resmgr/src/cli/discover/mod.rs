//! `resmgr discover`: MCP servers and commands of AI agents that run already, and how each would become a tool. Asks the agent
//! what runs; makes nothing a tool.

mod find;
mod hosts;
mod launch;
mod report;

use std::path::{Path, PathBuf};

use clap::Args;

use self::report::{Asking, Discovery};
use super::{Failure, SOCKET, failure::Code, output};
use crate::protocol::{Client, ProcessSelection, StatusParams};

/// Flags of `resmgr discover`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print the JSON schema of what `--json` prints, and ask nobody.
    #[arg(long, conflicts_with = "json")]
    schema: bool,
}

/// Asks what runs, and tells which of it could be tools.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    if arguments.schema {
        return Ok(output::print(&[json(&schemars::schema_for!(Discovery))?])?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        let params = StatusParams {
            processes: ProcessSelection::All,
            fresh: true,
            ..StatusParams::default()
        };
        client.status(params).await
    })?;
    let processes = report.processes.unwrap_or_default();
    let found = find::find(&processes, std::process::id());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let file = |below: &str| {
        home.as_ref()?
            .join(below)
            .exists()
            .then(|| typed(&format!("~/{below}")))
    };
    let flags = if socket == Path::new(SOCKET) {
        String::new()
    } else {
        format!(" --socket {}", typed(&socket.display().to_string()))
    };
    let asking = Asking {
        uid: rustix::process::geteuid().as_raw(),
        file: &file,
        flags: &flags,
    };
    let discovery = Discovery::new(report.taken_at, &found, &asking);
    let lines = if arguments.json {
        vec![json(&discovery)?]
    } else {
        discovery.lines(output::width())
    };
    Ok(output::print(&lines)?)
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(Code::Failed, error))
}

/// A path as a shell takes it literally, but for `~`.
fn typed(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-~+@%,:".contains(c);
    if path.chars().all(is_plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

//! `resmgr audit`: asks the agent for all its numbers, and reads the kernel's own files before and after.

use std::{collections::BTreeMap, path::Path, time::Instant};

use clap::Args;

use super::{Failure, failure::Code, output};
use crate::{
    audit::{Audit, Inspect, Quantity, Reader, Shown, compare},
    export::{Align, Column, Table, bytes, duration},
    kernel::{process_clock_ns, share_descriptors},
    protocol::{Client, ProcessSelection, ProcessStatus, SortKey, StatusParams, StatusReport},
};

/// Offenders that are shown for each quantity.
const SHOWN: usize = 5;

/// Flags of `resmgr audit`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Audits, and shows what was found; fails where a number is beyond its bound.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        let error = anyhow::anyhow!("only root may look into every process: run it with sudo");
        return Err(Failure::new(Code::NotPermitted, error));
    }
    let inspect = Inspect {
        clock_ns: process_clock_ns,
        share_descriptors,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut client = runtime.block_on(Client::connect(socket))?;
    let began = Instant::now();
    let mut reader = Reader::new("/proc".into(), inspect);
    let before = reader.read_all();
    let report = runtime.block_on(client.status(StatusParams {
        processes: ProcessSelection::All,
        sort: SortKey::Pid,
        fresh: true,
        ..StatusParams::default()
    }))?;
    let after = reader.read_all();
    let mut audit = compare(&shown(&report), &before, &after, share_descriptors);
    audit.seconds = began.elapsed().as_secs_f64();
    let lines = if arguments.json {
        vec![serde_json::to_string(&audit).map_err(|error| Failure::new(Code::Failed, error))?]
    } else {
        render(&audit)
    };
    output::print(&lines)?;
    if audit.ok {
        return Ok(());
    }
    let beyond: usize = audit.quantities.iter().map(|compared| compared.beyond.len()).sum();
    let error = anyhow::anyhow!("{beyond} numbers are beyond their bounds");
    Err(Failure::new(Code::Failed, error))
}

/// What a report shows, by process and by tool; but for this process, which does the asking, and the agent, which holds
/// one descriptor more while it sweeps.
fn shown(report: &StatusReport) -> Vec<Shown> {
    let processes = report.processes.as_deref().unwrap_or_default();
    let is_asking = |pid| pid == std::process::id() || pid == report.agent.pid;
    let is_compared = |process: &&ProcessStatus| !process.kernel_thread && !process.zombie && !is_asking(process.pid);
    let mut shown: Vec<Shown> = processes.iter().filter(is_compared).map(of_process).collect();
    for tool in report.tools.iter().filter(|tool| tool.ended_s.is_none()) {
        let is_its = |process: &&ProcessStatus| process.tool_instance == Some(tool.instance);
        let members = processes.iter().filter(is_its).filter(is_compared);
        shown.push(Shown {
            name: format!("tool {} ({})", tool.name, tool.instance),
            pids: members.map(|process| process.pid).collect(),
            values: BTreeMap::from([
                (Quantity::ToolFds, tool.usage.file_handles.len() as u64),
                (Quantity::ToolConnections, tool.usage.network_connections.len() as u64),
                (Quantity::ToolCpuTimeNs, tool.cpu_time_ns),
            ]),
        });
    }
    shown
}

fn of_process(process: &ProcessStatus) -> Shown {
    let mut values = BTreeMap::from([
        (Quantity::Fds, process.open_fds),
        (Quantity::Connections, process.connections),
        (Quantity::CpuTimeNs, process.cpu_time_ns),
        (Quantity::VirtualBytes, process.virtual_bytes),
        (Quantity::Threads, u64::from(process.threads)),
    ]);
    if let Some(memory) = process.memory {
        let resident = memory.anon_bytes + memory.file_bytes + memory.shmem_bytes;
        values.extend([
            (Quantity::AnonBytes, memory.anon_bytes),
            (Quantity::ResidentBytes, resident),
        ]);
    }
    Shown {
        name: process.comm.clone(),
        pids: vec![process.pid],
        values,
    }
}

fn render(audit: &Audit) -> Vec<String> {
    let column = |heading, align| Column { heading, align };
    let mut table = Table::new(&[
        column("QUANTITY", Align::Left),
        column("COMPARED", Align::Right),
        column("QUIET", Align::Right),
        column("EQUAL", Align::Right),
        column("LARGEST", Align::Right),
        column("MEAN", Align::Right),
        column("CHANGING", Align::Right),
        column("BOUND", Align::Right),
        column("BEYOND", Align::Right),
    ]);
    for compared in &audit.quantities {
        let unit = |value: u64| in_unit(compared.quantity, value);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of whole numbers, shown as one"
        )]
        let mean = compared.mean.ceil() as u64;
        table.row(vec![
            name(compared.quantity),
            compared.compared.to_string(),
            compared.quiet.to_string(),
            compared.equal.to_string(),
            unit(compared.largest),
            unit(mean),
            unit(compared.largest_changing),
            unit(compared.slack),
            compared.beyond.len().to_string(),
        ]);
    }
    let mut lines = table.lines(output::width());
    lines.push(String::new());
    for compared in &audit.quantities {
        for beyond in compared.beyond.iter().take(SHOWN) {
            let unit = |value: u64| in_unit(compared.quantity, value);
            lines.push(format!(
                "{} of {} {}: {} is shown; it was {} before and {} after",
                name(compared.quantity),
                beyond.name,
                beyond.pid,
                unit(beyond.shown),
                unit(beyond.before),
                unit(beyond.after),
            ));
        }
    }
    lines.push(format!(
        "{} processes and {} tools compared in {:.1} s; {} came or went meanwhile",
        audit.processes, audit.tools, audit.seconds, audit.left_out
    ));
    lines
}

fn in_unit(quantity: Quantity, value: u64) -> String {
    match quantity {
        Quantity::AnonBytes | Quantity::ResidentBytes | Quantity::VirtualBytes => bytes(value),
        Quantity::CpuTimeNs | Quantity::ToolCpuTimeNs => duration(std::time::Duration::from_nanos(value)),
        _ => value.to_string(),
    }
}

fn name(quantity: Quantity) -> String {
    let name = serde_json::to_value(quantity).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    name.trim_end_matches("_ns")
        .trim_end_matches("_bytes")
        .replace('_', " ")
}

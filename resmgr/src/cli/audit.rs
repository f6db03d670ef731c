//! `resmgr audit`: asks the agent for all its numbers, and reads the kernel's own files before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;

use super::{Failure, failure::Code, output, progress::Progress};
use crate::{
    audit::{Audit, Inspect, Look, Quantity, Reader, Round, Shown, Subject, Truths},
    enforce::Leaf,
    export::{Table, count},
    kernel::{process_clock_ns, share_descriptors},
    protocol::{Client, ProcessSelection, ProcessStatus, SortKey, StatusParams, StatusReport, ToolStatus},
};

/// Offenders that are shown for each quantity.
const SHOWN: usize = 5;

/// How often a number that is beyond its bound is looked at before it is called wrong.
const LOOKS: u32 = 8;

/// Time before the second look; it doubles with each, so that none keeps step with what it looks at.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Flags of `resmgr audit`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// How often to compare everything.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Compare one process alone.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// Audits, and shows what was found; fails where a number is beyond its bound.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        let error = anyhow::anyhow!("only root may look into every process: run it with sudo");
        return Err(Failure::new(Code::NotPermitted, error));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let audit = runtime.block_on(audit(arguments, socket))?;
    if arguments.json {
        output::print_json(&audit)?;
    } else {
        output::print(&render(&audit))?;
    }
    if audit.ok {
        return Ok(());
    }
    let error = match audit.beyond() {
        1 => anyhow::anyhow!("one number is beyond its bound"),
        beyond => anyhow::anyhow!("{beyond} numbers are beyond their bounds"),
    };
    Err(Failure::new(Code::Failed, error))
}

async fn audit(arguments: &Arguments, socket: &Path) -> Result<Audit, Failure> {
    let inspect = Inspect {
        clock_ns: process_clock_ns,
        share_descriptors,
    };
    let mut auditor = Auditor {
        client: Client::connect(socket).await?,
        reader: Reader::new("/proc".into(), inspect),
        only: arguments.pid,
        leaves: BTreeMap::new(),
    };
    let fresh = StatusParams {
        fresh: true,
        ..StatusParams::default()
    };
    let report = auditor.client.status(fresh).await?;
    auditor.leaves = leaves(&report);
    let began = Instant::now();
    let mut audit = Audit::default();
    let progress = Progress::begin("rounds of comparing with /proc", Some(arguments.rounds.into()));
    for _ in 0..arguments.rounds {
        let mut round = Round::begin(auditor.look(None).await?.as_look());
        let mut pause = FIRST_PAUSE;
        for _ in 1..LOOKS {
            let doubted = round.doubted_pids();
            if doubted.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            round.look_again(auditor.look(Some(doubted)).await?.as_look());
        }
        round.finish(&mut audit);
        progress.done();
    }
    audit.seconds = began.elapsed().as_secs_f64();
    if let (Some(pid), 0) = (arguments.pid, audit.processes) {
        let error = anyhow::anyhow!("there is no process {pid} to compare, or it went meanwhile");
        return Err(Failure::new(Code::Failed, error));
    }
    Ok(audit)
}

/// Reads and asks.
struct Auditor {
    client: Client,
    reader: Reader,
    only: Option<u32>,
    /// The cgroups of tools that are charged with memory, by instance.
    leaves: BTreeMap<u64, PathBuf>,
}

/// What was shown, with the truth before and after.
struct Looked {
    before: Truths,
    shown: Vec<Shown>,
    after: Truths,
    charged: BTreeMap<u64, (u64, u64)>,
}

impl Looked {
    fn as_look(&self) -> Look<'_> {
        Look {
            shown: &self.shown,
            before: &self.before,
            after: &self.after,
            charged: &self.charged,
            share_descriptors,
        }
    }
}

impl Auditor {
    /// Reads, asks, and reads again; of all processes, or of some.
    async fn look(&mut self, wanted: Option<BTreeSet<u32>>) -> Result<Looked, Failure> {
        let wanted = wanted.or_else(|| self.only.map(|pid| BTreeSet::from([pid])));
        let charged_before = self.charged();
        let mut before = self.reader.read(wanted.as_ref());
        let params = StatusParams {
            processes: ProcessSelection::All,
            sort: SortKey::Pid,
            fresh: true,
            ..StatusParams::default()
        };
        let report = self.client.status(params).await?;
        let mut after = self.reader.read(wanted.as_ref());
        let charged_after = self.charged();
        let both = |(instance, before)| Some((instance, (before, *charged_after.get(&instance)?)));
        let charged = charged_before.into_iter().filter_map(both).collect();
        self.leaves = leaves(&report);
        // This process, which does the asking, and the agent, which holds one descriptor more while it sweeps.
        for asking in [std::process::id(), report.agent.pid] {
            before.remove(&asking);
            after.remove(&asking);
        }
        let mut shown = shown(&report);
        if let Some(only) = self.only {
            shown.retain(|shown| shown.subject == Subject::Process(only));
        }
        Ok(Looked {
            before,
            shown,
            after,
            charged,
        })
    }

    /// What the cgroups of tools are charged with.
    fn charged(&self) -> BTreeMap<u64, u64> {
        let charged = |(&instance, path): (&u64, &PathBuf)| {
            let bytes = Leaf::at(path.clone()).working_set_bytes()?;
            Some((instance, bytes))
        };
        self.leaves.iter().filter_map(charged).collect()
    }
}

/// The cgroups that tools' memory is told by.
fn leaves(report: &StatusReport) -> BTreeMap<u64, PathBuf> {
    let is_charged = |tool: &&ToolStatus| tool.shared_bytes.is_none();
    let leaf = |tool: &ToolStatus| Some((tool.instance, tool.cgroup.clone()?.into()));
    report.tools.iter().filter(is_charged).filter_map(leaf).collect()
}

/// What a report shows, by process and by tool; but for those that ask and answer.
fn shown(report: &StatusReport) -> Vec<Shown> {
    let processes = report.processes.as_deref().unwrap_or_default();
    let is_asking = |pid| pid == std::process::id() || pid == report.agent.pid;
    let is_compared = |process: &&ProcessStatus| !process.kernel_thread && !process.zombie && !is_asking(process.pid);
    let mut shown: Vec<Shown> = processes.iter().filter(is_compared).map(of_process).collect();
    for tool in report.tools.iter().filter(|tool| tool.ended_s.is_none()) {
        let is_its = |process: &&ProcessStatus| process.tool_instance == Some(tool.instance);
        let members = processes.iter().filter(is_its).filter(is_compared);
        let members: Vec<&ProcessStatus> = members.collect();
        shown.push(of_tool(tool, &members));
    }
    shown
}

fn of_process(process: &ProcessStatus) -> Shown {
    let mut values = BTreeMap::from([
        (Quantity::Processes, 1),
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
            (Quantity::FileBytes, memory.file_bytes),
            (Quantity::ShmemBytes, memory.shmem_bytes),
            (Quantity::SwapBytes, memory.swap_bytes),
            (Quantity::ResidentBytes, resident),
        ]);
    }
    Shown {
        subject: Subject::Process(process.pid),
        name: process.comm.clone(),
        pids: vec![process.pid],
        values,
    }
}

fn of_tool(tool: &ToolStatus, members: &[&ProcessStatus]) -> Shown {
    let mut values = BTreeMap::from([
        (Quantity::ToolFds, tool.usage.file_handles.len() as u64),
        (Quantity::ToolConnections, tool.usage.network_connections.len() as u64),
        (Quantity::ToolCpuTimeNs, tool.cpu_time_ns),
        (Quantity::ToolThreads, tool.threads),
    ]);
    if tool.shared_bytes.is_none() {
        values.insert(Quantity::ToolChargedBytes, tool.usage.memory_bytes as u64);
    }
    if let Some(memory) = tool.usage.memory {
        values.insert(Quantity::ToolAnonBytes, memory.anon_bytes);
    }
    Shown {
        subject: Subject::Tool(tool.instance),
        name: format!("tool {} ({})", tool.name, tool.instance),
        pids: members.iter().map(|process| process.pid).collect(),
        values,
    }
}

fn render(audit: &Audit) -> Vec<String> {
    let mut table = Table::of_numbers(&[
        "QUANTITY", "COMPARED", "QUIET", "EQUAL", "LARGEST", "MEAN", "CHANGING", "SLACK", "SETTLED", "BEYOND",
    ]);
    for compared in &audit.quantities {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of whole numbers, shown as one"
        )]
        let mean = compared.mean.ceil() as u64;
        table.row(vec![
            name(compared.quantity),
            count(compared.compared),
            count(compared.quiet),
            count(compared.equal),
            count(compared.largest),
            count(mean),
            count(compared.largest_changing),
            count(compared.slack),
            count(compared.settled),
            compared.beyond.len().to_string(),
        ]);
    }
    let mut lines = output::table(&table, output::width());
    lines.push(String::new());
    for compared in &audit.quantities {
        for beyond in compared.beyond.iter().take(SHOWN) {
            lines.push(format!(
                "{} of {} {}: {} is shown; it was {} before and {} after, at look {}",
                name(compared.quantity),
                beyond.name,
                beyond.pid,
                count(beyond.shown),
                count(beyond.before),
                count(beyond.after),
                beyond.looks,
            ));
        }
    }
    for guarded in &audit.guarded {
        lines.push(format!(
            "{} {} is guarded by this kernel, even from root, and was not compared; the agent {} it",
            guarded.name,
            guarded.pid,
            if guarded.shown { "shows" } else { "does not show" },
        ));
    }
    let unconfirmed: u64 = audit.quantities.iter().map(|compared| compared.unconfirmed).sum();
    lines.push(format!(
        "{} processes and {} tools compared in {:.2} s, {} rounds; {} came or went meanwhile; {} numbers were not confirmed",
        audit.processes, audit.tools, audit.seconds, audit.rounds, audit.left_out, unconfirmed
    ));
    lines
}

/// A quantity's name, its unit last.
fn name(quantity: Quantity) -> String {
    let name = serde_json::to_value(quantity).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    name.replace('_', " ")
}

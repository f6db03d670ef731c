//! `resmgr doctor`: what this host offers, line by line, and what follows from what it lacks.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{Failure, failure::Code, output};
use crate::{
    agent,
    config::{ConfigSource, DEFAULT_FILE},
    enforce::{self, HeldBy, Leaves, Means},
    kernel::{BpfObject, Finding, HostFacts, Kernel, KernelError, LoadOptions, Mounts, Verdict, doctor},
    model::{Capabilities, Mode, Resource, Source as _, ToolOrigin},
    protocol::{Client, ConfigurationStatus, StatusParams},
};

/// How long an agent may take to say how it stands.
const AGENT_WITHIN: Duration = Duration::from_secs(5);

/// Flags of `resmgr doctor`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Look at this configuration file [default: /etc/resmgr/resmgr.toml, where it is there].
    #[arg(long, value_name = "FILE", env = "RESMGR_CONFIG")]
    config: Option<PathBuf>,
    /// Try this BPF object instead of the one built in.
    #[arg(long, value_name = "FILE", env = "RESMGR_BPF_OBJECT")]
    bpf_object: Option<PathBuf>,
    /// Read the kernel's type information from this file.
    #[arg(long, value_name = "FILE", env = "RESMGR_BTF")]
    btf: Option<PathBuf>,
}

/// Looks, tries, and prints.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    // File systems that are mounted to look are unmounted again: doctor changes nothing.
    let mut mounts = Mounts::default();
    let before = HostFacts::look(arguments.btf.as_deref());
    let mounted = if before.privileged { mounts.ensure() } else { Ok(()) };
    let facts = HostFacts::look(arguments.btf.as_deref());
    let tried = match mounted {
        Ok(()) if facts.privileged => Some(load(arguments, &facts)),
        Ok(()) => None,
        Err(error) => Some((Err(error), None)),
    };
    let (loaded, trampolines) = match &tried {
        Some((loaded, trampolines)) => (Some(loaded), trampolines.as_ref()),
        None => (None, None),
    };
    let mut findings = doctor(&facts, loaded, trampolines, enforce::raises_hard_limits());
    findings.extend(limits(&facts, loaded.and_then(|loaded| loaded.as_ref().ok())));
    findings.push(configuration(arguments.config.as_deref()));
    findings.extend(reloaded(socket));
    mounts.undo();
    if arguments.json {
        output::print_json(&json(&findings))?;
    } else {
        output::print(&lines(&findings))?;
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Fatal) {
        let message = "this host lacks what resmgr cannot do without";
        return Err(Failure::new(Code::Unsupported, anyhow::Error::msg(message)));
    }
    Ok(())
}

/// How a tool's limits are held here: what it has in all, by the kernel, or something in place of that.
fn limits(facts: &HostFacts, capabilities: Option<&Capabilities>) -> Vec<Finding> {
    let leaves = agent::leaves(facts.cgroup2.as_deref(), None);
    let means = Means {
        controllers: leaves.as_ref().map(Leaves::controllers).unwrap_or_default(),
        descriptors: capabilities.is_some_and(|capabilities| capabilities.refuses_descriptors),
        connects: capabilities.map_or(facts.cgroup2.is_some(), Capabilities::refuses_connects),
    };
    let finding = |(what, resource)| {
        let (found, consequence) = match means.hold(resource, Mode::Enforce, ToolOrigin::Exec) {
            HeldBy::Kernel(by) => (format!("held: {by}"), None),
            HeldBy::Instead(by) => (
                "not held on the tool as a whole".to_owned(),
                Some(format!("in its place: {by}")),
            ),
            HeldBy::Nothing(why) => (format!("not held: {why}"), Some("they are told of".to_owned())),
        };
        let verdict = if consequence.is_some() {
            Verdict::Degraded
        } else {
            Verdict::Ok
        };
        Finding {
            what,
            verdict,
            found,
            consequence,
        }
    };
    let all = [
        ("limits of memory", Resource::Memory),
        ("limits of CPU time", Resource::Cpu),
        ("limits of descriptors", Resource::Fds),
        ("limits of connections", Resource::Connections),
    ];
    all.into_iter().map(finding).collect()
}

/// Whether the configuration can be used.
fn configuration(file: Option<&Path>) -> Finding {
    let source = ConfigSource {
        file: Some(file.unwrap_or(Path::new(DEFAULT_FILE)).to_owned()),
        optional: file.is_none(),
        ..ConfigSource::default()
    };
    let (verdict, found, consequence) = match source.read() {
        Ok(loaded) => {
            let file = loaded.file.map(|file| file.display().to_string());
            let found = file.unwrap_or_else(|| format!("no {DEFAULT_FILE}: what is built in holds"));
            (Verdict::Ok, found, None)
        }
        Err(error) => {
            let consequence = "the agent does not start with it; one that runs keeps what it has read";
            (
                Verdict::Fatal,
                error.to_string().replace('\n', "; "),
                Some(consequence.to_owned()),
            )
        }
    };
    Finding {
        what: "configuration",
        verdict,
        found,
        consequence,
    }
}

/// How the configuration of the agent that runs stands, where one does and root asks.
fn reloaded(socket: &Path) -> Option<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let status = runtime.block_on(async {
        let asked = async { Client::connect(socket).await?.status(StatusParams::default()).await };
        tokio::time::timeout(AGENT_WITHIN, asked)
            .await
            .ok()?
            .ok()?
            .agent
            .configuration
    });
    let ConfigurationStatus {
        refused, after_restart, ..
    } = status?;
    let found = match &refused {
        Some(refused) => format!(
            "a newer configuration was refused: {}",
            refused.message.replace('\n', "; ")
        ),
        None if after_restart.is_empty() => "goes by what was read".to_owned(),
        None => format!("for its next start: {}", after_restart.join(", ")),
    };
    let consequence = match refused {
        Some(_) => Some("what was read before holds; to try again: resmgr reload".to_owned()),
        None => (!after_restart.is_empty()).then(|| "what it began with holds until then".to_owned()),
    };
    Some(Finding {
        what: "configuration of the agent",
        verdict: if consequence.is_some() {
            Verdict::Degraded
        } else {
            Verdict::Ok
        },
        found,
        consequence,
    })
}

/// Whether the programs load and attach, and whether trampolines are allowed.
type Tried = (Result<Capabilities, KernelError>, Option<Result<(), KernelError>>);

fn load(arguments: &Arguments, facts: &HostFacts) -> Tried {
    let object = match &arguments.bpf_object {
        Some(path) => BpfObject::from_file(path),
        None => Ok(BpfObject::embedded()),
    };
    let started = object.and_then(|object| {
        let options = LoadOptions {
            object,
            ..LoadOptions::default()
        };
        Kernel::start(facts, &options)
    });
    match started {
        Ok(mut kernel) => {
            let trampolines = kernel.try_trampoline(facts);
            (Ok(kernel.capabilities().clone()), Some(trampolines))
        }
        Err(error) => (Err(error), None),
    }
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Degraded => "lacks",
        Verdict::Fatal => "FAILS",
    }
}

fn lines(findings: &[Finding]) -> Vec<String> {
    let room = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for Finding {
        what,
        verdict,
        found,
        consequence,
    } in findings
    {
        lines.push(format!("{:<5}  {what:<room$}  {found}", mark(*verdict)));
        lines.extend(
            consequence
                .iter()
                .map(|text| format!("{:<5}  {:<room$}  so: {text}", "", "")),
        );
    }
    lines
}

fn json(findings: &[Finding]) -> serde_json::Value {
    let findings: Vec<_> = findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "what": finding.what,
                "verdict": mark(finding.verdict).to_lowercase(),
                "found": finding.found,
                "consequence": finding.consequence,
            })
        })
        .collect();
    serde_json::json!({ "version": 1, "findings": findings })
}

//! `resmgr limits`: shows the limits of tools and where each number comes from, and sets them. The flags are those of
//! `exec` and `attach` too.

mod suggest;

pub(super) use suggest::suggestions;

use std::path::Path;

use clap::{Args, Subcommand};

use super::{Failure, failure::Code, output};
use crate::{
    config::{Grace, LimitError, parse_limit},
    export::{Align, Column, Table, amount},
    model::{LimitSource, LimitSpan, LimitsAsked, Mode, Orphans, Profile, Resource, ToolLimits, ToolName},
    protocol::{Client, LimitsSet, SetLimitsParams, StatusParams, ToolLimitsStatus},
};

/// Limits as flags.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct LimitFlags {
    /// All limits at once: light (the built-in ones), standard or heavy.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// Memory, like 500M, which is the maximum, or 100M:500M, base and maximum.
    #[arg(long, value_name = "LIMIT", value_parser = memory)]
    memory: Option<LimitSpan>,
    /// CPU time per operation, like 2m or 30s:2m.
    #[arg(long, value_name = "LIMIT", value_parser = cpu)]
    cpu: Option<LimitSpan>,
    /// Open descriptors, like 200 or 50:200.
    #[arg(long, value_name = "LIMIT", value_parser = fds)]
    fds: Option<LimitSpan>,
    /// Connections, like 50 or 10:50.
    #[arg(long, value_name = "LIMIT", value_parser = connections)]
    connections: Option<LimitSpan>,
    /// What is done about a use that reaches its limit: observe (alert), throttle (refuse and slow what goes beyond the
    /// maximum) or enforce (and end the tool where that does not help).
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// Refuse descriptors and connections at the limit in force, not at the maximum.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    strict: Option<bool>,
    /// Never refuse connections to this host itself.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    exempt_loopback: Option<bool>,
    /// What is done about processes that outlive the tool's first one, or whoever started the tool: keep, alert (say it) or
    /// reap (end the tool).
    #[arg(long, value_name = "POLICY")]
    orphans: Option<Orphans>,
    /// How long processes that are asked to end may take before they are killed.
    #[arg(long, value_name = "TIME")]
    grace: Option<Grace>,
    /// Accept limits that this host cannot hold: they are told of.
    #[arg(long)]
    best_effort: bool,
}

fn memory(text: &str) -> Result<LimitSpan, LimitError> {
    parse_limit(Resource::Memory, text)
}

fn cpu(text: &str) -> Result<LimitSpan, LimitError> {
    parse_limit(Resource::Cpu, text)
}

fn fds(text: &str) -> Result<LimitSpan, LimitError> {
    parse_limit(Resource::Fds, text)
}

fn connections(text: &str) -> Result<LimitSpan, LimitError> {
    parse_limit(Resource::Connections, text)
}

impl LimitFlags {
    /// What they ask for.
    pub(super) fn asked(&self) -> LimitsAsked {
        let Self {
            profile,
            memory,
            cpu,
            fds,
            connections,
            mode,
            strict,
            exempt_loopback,
            orphans,
            grace,
            best_effort: _,
        } = *self;
        LimitsAsked {
            profile,
            memory,
            cpu,
            fds,
            connections,
            mode,
            strict,
            exempt_loopback,
            orphans,
            grace_ms: grace.map(|grace| grace.0),
        }
    }

    /// Whether a limit that this host cannot hold is no reason to refuse.
    pub(super) fn best_effort(&self) -> bool {
        self.best_effort
    }
}

/// Flags of `resmgr limits`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the limits of tools that run, and where each number comes from.
    Show {
        /// The tools of this name alone.
        #[arg(value_name = "TOOL")]
        tool: Option<ToolName>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Suggest limits from what was recorded, as text for the configuration.
    Suggest(suggest::Suggest),
    /// Set limits of tools that run: from now on, until they end.
    Set {
        /// The tools' name.
        #[arg(value_name = "TOOL")]
        tool: ToolName,
        /// One instance alone.
        #[arg(long, value_name = "N")]
        instance: Option<u64>,
        #[command(flatten)]
        limits: LimitFlags,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Shows, suggests or sets.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (set, json) = match &arguments.action {
        Action::Suggest(arguments) => return suggest::run(arguments, socket),
        Action::Show { tool, json } => (runtime.block_on(shown(socket, tool.clone()))?, json),
        Action::Set {
            tool,
            instance,
            limits,
            json,
        } => {
            if limits.asked().is_empty() {
                let message = "no limit is given: say which to set, like --memory 100M:500M";
                return Err(Failure::new(Code::Usage, anyhow::anyhow!(message)));
            }
            let params = SetLimitsParams {
                tool: tool.clone(),
                instance: *instance,
                limits: limits.asked(),
                best_effort: limits.best_effort(),
            };
            let set = runtime.block_on(async { Client::connect(socket).await?.set_limits(params).await })?;
            (set, json)
        }
    };
    if *json {
        return output::print_json(&set);
    }
    Ok(output::print(&told(&set))?)
}

async fn shown(socket: &Path, tool: Option<ToolName>) -> Result<LimitsSet, Failure> {
    let mut client = Client::connect(socket).await?;
    let report = client.status(StatusParams::default()).await?;
    let tools: Vec<ToolLimitsStatus> = report
        .tools
        .into_iter()
        .filter(|status| status.ended_s.is_none() && tool.as_ref().is_none_or(|name| *name == status.name))
        .map(|status| ToolLimitsStatus {
            tool: status.name,
            instance: status.instance,
            limits: status.limits,
            enforcement: status.enforcement,
        })
        .collect();
    match tool {
        Some(name) if tools.is_empty() => Err(Failure::new(Code::Failed, anyhow::anyhow!("no tool {name} runs"))),
        _ => Ok(LimitsSet { tools }),
    }
}

/// Limits in words.
pub(super) fn told(set: &LimitsSet) -> Vec<String> {
    let column = |heading, align| Column { heading, align };
    let mut table = Table::new(&[
        column("TOOL", Align::Left),
        column("#", Align::Right),
        column("MODE", Align::Left),
        column("RESOURCE", Align::Left),
        column("BASE", Align::Right),
        column("CURRENT", Align::Right),
        column("MAX", Align::Right),
        column("FROM", Align::Left),
    ]);
    for tool in &set.tools {
        for resource in Resource::ALL {
            table.row(row(tool, resource, &tool.limits));
        }
    }
    output::table(&table, output::width())
}

fn row(tool: &ToolLimitsStatus, resource: Resource, limits: &ToolLimits) -> Vec<String> {
    let range = limits.range(resource);
    let from = if range.base_from == range.max_from {
        source(range.max_from).to_owned()
    } else {
        format!("base: {}; maximum: {}", source(range.base_from), source(range.max_from))
    };
    vec![
        tool.tool.to_string(),
        tool.instance.to_string(),
        tool.enforcement.mode.to_string(),
        resource.to_string(),
        amount(resource, range.base),
        amount(resource, range.current),
        amount(resource, range.max),
        from,
    ]
}

/// Where a number comes from, in words.
pub(super) fn source(source: LimitSource) -> &'static str {
    match source {
        LimitSource::Default => "built in",
        LimitSource::Config => "configuration [limits]",
        LimitSource::ToolConfig => "configuration [tool.NAME]",
        LimitSource::Flag => "flag",
        LimitSource::Set => "limits set",
        LimitSource::Ceiling => "configuration [ceiling]",
    }
}

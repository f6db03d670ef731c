//! What the tools of `resmgr mcp` are asked: their parameters. The comments are what a client's model reads.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    cli::history::{Part, When},
    config::{Grace, parse_limit},
    model::{LimitsAsked, Measure, Mode, Orphans, Profile, Resource, Tier, ToolName},
    protocol::SortKey,
};

/// Of `status`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Status {
    /// The tools of this name alone; all of the caller's where not given.
    pub(super) tool: Option<ToolName>,
    /// Measure before answering, in place of telling what the last sweep found, which is at most a second old as a rule.
    pub(super) fresh: bool,
}

/// Of `explain`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    /// The tool's name.
    pub(super) tool: ToolName,
    /// One instance alone, by its number.
    #[serde(default)]
    pub(super) instance: Option<u64>,
}

/// Of `history`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    /// The tool's name.
    pub(super) tool: ToolName,
    /// One instance alone, by its number.
    #[serde(default)]
    pub(super) instance: Option<u64>,
    /// From when on: a time ago, like "10m", "2h" or "7d", or a moment in RFC 3339.
    #[serde(default)]
    pub(super) since: Option<String>,
    /// Until when, likewise; until now where not given.
    #[serde(default)]
    pub(super) until: Option<String>,
    /// How finely: "1s", "1m" or "1h"; as finely as is kept of that time where not given.
    #[serde(default)]
    pub(super) resolution: Option<Tier>,
    /// The measure that the text is about; the structured answer has all of them.
    #[serde(default)]
    pub(super) of: Option<Measure>,
    /// How many rows at most, the latest ones: 60 where not given.
    #[serde(default)]
    pub(super) rows: Option<usize>,
}

impl History {
    /// Which part of the history that is; where a time cannot be read, which one and why.
    pub(super) fn part(&self) -> Result<Part, String> {
        Ok(Part {
            instance: self.instance,
            since: read::<When, _>("since", self.since.as_ref())?,
            until: read::<When, _>("until", self.until.as_ref())?,
            resolution: self.resolution,
        })
    }
}

/// Of `alerts`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alerts {
    /// Those of the tools of this name alone.
    pub(super) tool: Option<ToolName>,
    /// Those that came after the one with this id.
    pub(super) after: u64,
    /// Those that nobody has acknowledged alone.
    pub(super) new: bool,
    /// How many at most, the latest ones: 50 where not given.
    pub(super) limit: Option<usize>,
}

/// Of `top`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Top {
    /// What they are ordered by, the largest first; "pid": ascending. "memory" where not given.
    pub(super) sort: SortKey,
    /// How many processes at most, 1 to 200: 20 where not given.
    pub(super) limit: Option<usize>,
    /// Processes of the tools of this name alone.
    pub(super) tool: Option<ToolName>,
}

/// Of `set_limits`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetLimits {
    /// The tool's name.
    pub(super) tool: ToolName,
    /// One instance alone, by its number; all of the caller's where not given.
    #[serde(default)]
    pub(super) instance: Option<u64>,
    /// All limits at once, before those that are named: "light" (built in), "standard" or "heavy".
    #[serde(default)]
    profile: Option<Profile>,
    /// Memory, like "500M", which is the maximum, or "100M:500M", base and maximum, between which the limit in force moves.
    #[serde(default)]
    memory: Option<String>,
    /// CPU time per operation, like "2m" or "30s:2m".
    #[serde(default)]
    cpu: Option<String>,
    /// Open descriptors, like "200" or "50:200".
    #[serde(default)]
    fds: Option<String>,
    /// Connections, like "50" or "10:50".
    #[serde(default)]
    connections: Option<String>,
    /// What is done beyond the maximum: "observe" tells, "throttle" refuses and slows, "enforce" ends the tool where that does
    /// not help.
    #[serde(default)]
    mode: Option<Mode>,
    /// Refuse descriptors and connections at the limit in force, not at the maximum.
    #[serde(default)]
    strict: Option<bool>,
    /// Never refuse connections to this host itself.
    #[serde(default)]
    exempt_loopback: Option<bool>,
    /// What is done about processes that outlive their tool: "keep", "alert" or "reap".
    #[serde(default)]
    orphans: Option<Orphans>,
    /// How long processes that are asked to end may take before they are killed, like "10s"; at most "1h".
    #[serde(default)]
    grace: Option<String>,
    /// Take limits that this host cannot hold: they are told of.
    #[serde(default)]
    pub(super) best_effort: bool,
}

impl SetLimits {
    /// What it asks for; where a limit cannot be read, which one and why.
    pub(super) fn asked(&self) -> Result<LimitsAsked, String> {
        let span = |resource, named: &str, text: Option<&String>| {
            let parsed = text.map(|text| parse_limit(resource, text)).transpose();
            parsed.map_err(|error| format!("`{named}`: {error}"))
        };
        let asked = LimitsAsked {
            profile: self.profile,
            memory: span(Resource::Memory, "memory", self.memory.as_ref())?,
            cpu: span(Resource::Cpu, "cpu", self.cpu.as_ref())?,
            fds: span(Resource::Fds, "fds", self.fds.as_ref())?,
            connections: span(Resource::Connections, "connections", self.connections.as_ref())?,
            mode: self.mode,
            strict: self.strict,
            exempt_loopback: self.exempt_loopback,
            orphans: self.orphans,
            grace_ms: read::<Grace, _>("grace", self.grace.as_ref())?.map(|grace| grace.0),
        };
        if asked.is_empty() {
            return Err("no limit is given: say which to set, like \"memory\": \"100M:500M\"".to_owned());
        }
        Ok(asked)
    }
}

/// Reads a text, where there is one.
fn read<T: FromStr<Err = E>, E: ToString>(named: &str, text: Option<&String>) -> Result<Option<T>, String> {
    let read = text.map(|text| text.parse::<T>()).transpose();
    read.map_err(|error| format!("`{named}`: {}", error.to_string()))
}

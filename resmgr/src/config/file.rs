//! The configuration file as written: every key optional, unknown ones refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    accounts::NameOrId,
    limits::{CeilingTable, LimitsTable},
    rules::RuleTable,
};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// The table `[agent]`.
    pub agent: AgentTable,
    /// The tables `[[rule]]`.
    pub rule: Vec<RuleTable>,
    /// The table `[limits]`: what every tool gets.
    pub limits: LimitsTable,
    /// The tables `[tool.NAME]`: what tools of a name get.
    pub tool: BTreeMap<String, LimitsTable>,
    /// The table `[ceiling]`: what no tool gets more than.
    pub ceiling: CeilingTable,
    /// The table `[alert]`.
    pub alert: AlertTable,
    /// The table `[adapt]`.
    pub adapt: AdaptTable,
    /// The table `[history]`.
    pub history: HistoryTable,
    /// The table `[metrics]`.
    pub metrics: MetricsTable,
}

/// The table `[adapt]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptTable {
    /// `calm`, `balanced` or `safe`.
    pub tuning: Option<String>,
}

/// The table `[history]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryTable {
    /// How long each sample is kept, at least `1h`.
    pub samples: Option<String>,
    /// How long what minutes come to is kept.
    pub minutes: Option<String>,
    /// How long what hours come to is kept.
    pub hours: Option<String>,
    /// How large the file may become, at least `32M`.
    pub max_size: Option<String>,
}

/// The table `[alert]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertTable {
    /// What a shell is to run for each alert.
    pub command: Option<String>,
}

/// The table `[metrics]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsTable {
    /// An address with its port, or `off`.
    pub listen: Option<String>,
}

/// The table `[agent]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentTable {
    /// Time between sweeps, `100ms` to `60s`.
    pub sweep_interval: Option<String>,
    /// Processes that can have event counters at a time.
    pub max_processes: Option<u32>,
    /// Bytes of the event ring, a power of two.
    pub ring_bytes: Option<u32>,
    /// The group whose members see everything: a name or an id.
    pub group: Option<NameOrId>,
}

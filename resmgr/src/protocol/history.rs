//! What was used over time: documented in docs/history.md, and stable.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{HistoryRow, Measure, PastTool, Resource, Summary, Tier, ToolName};

/// The version of the report of history.
pub const HISTORY_VERSION: u32 = 1;

/// What is asked of the history of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryParams {
    /// The tools' name.
    pub tool: ToolName,
    /// One instance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u64>,
    /// From when on; from the first that is kept where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Until before when; until now where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// How finely; as finely as is kept of that time where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Tier>,
}

/// What instances of a name used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HistoryReport {
    /// Version of this report's shape.
    pub version: u32,
    /// The tools' name.
    pub tool: ToolName,
    /// How finely.
    pub resolution: Tier,
    /// Its instances that are remembered, the first one first.
    pub instances: Vec<PastTool>,
    /// What they used: by instance, then by time.
    pub rows: Vec<HistoryEntry>,
}

/// What an instance used in a span of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HistoryEntry {
    /// Which instance.
    pub instance: u64,
    /// When the span begins.
    pub at: DateTime<Utc>,
    /// Whether it is not over.
    pub under_way: bool,
    /// What was used, by what; what there was nothing of is left out.
    #[serde(rename = "use")]
    pub used: BTreeMap<Measure, Summary>,
    /// The last limits in force in it.
    pub limits: BTreeMap<Resource, u64>,
    /// The most that the tool was expected to need in it; what was not known is left out.
    pub needs: BTreeMap<Resource, u64>,
}

impl HistoryEntry {
    /// A row of an instance.
    pub fn new(instance: u64, row: &HistoryRow, under_way: bool) -> Self {
        let measures = Measure::ALL.into_iter().zip(row.measures);
        let needs = Resource::ALL.into_iter().zip(row.needs);
        Self {
            instance,
            at: DateTime::from_timestamp_millis(i64::try_from(row.at_ms).unwrap_or(i64::MAX)).unwrap_or_default(),
            under_way,
            used: measures
                .filter_map(|(measure, summary)| Some((measure, summary?)))
                .collect(),
            limits: Resource::ALL.into_iter().zip(row.limits).collect(),
            needs: needs.filter(|(_, need)| *need > 0).collect(),
        }
    }
}

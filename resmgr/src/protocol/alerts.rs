//! Alerts, asked for and acknowledged.

use serde::{Deserialize, Serialize};

use crate::model::Alert;

/// Which alerts are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsParams {
    /// Those after the one with this id.
    pub after: u64,
    /// Where there are none, how long to wait for one, in milliseconds; at most 20,000.
    pub wait_ms: u64,
    /// Those up to the one with this id have been seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<u64>,
}

/// Alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AlertsReport {
    /// The oldest first; the last 1,024 of all tools are kept while the agent runs.
    pub alerts: Vec<Alert>,
    /// How many have just been acknowledged.
    pub acknowledged: u64,
}

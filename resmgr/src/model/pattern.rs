//! What has been learned of a resource's use over time.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The specification's summary of how a resource is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourcePattern {
    /// Mean use, in the resource's unit.
    pub average_usage: f64,
    /// Growth, in the resource's unit per second.
    pub trend: f64,
    /// Mean use by phase of the period, where there is one.
    pub seasonality: Option<Vec<f64>>,
    /// When it was last brought up to date.
    pub last_update: DateTime<Utc>,
}

//! What has been learned of a resource's use over time, and how careful to be with it.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Resource;

/// The specification's summary of how a resource is used, and what kind of pattern that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ResourcePattern {
    /// Mean use, in the resource's unit.
    pub average_usage: f64,
    /// Growth, in the resource's unit per second.
    pub trend: f64,
    /// Mean use by phase of the period, where there is one.
    pub seasonality: Option<Vec<f64>>,
    /// When it was last brought up to date.
    pub last_update: DateTime<Utc>,
    /// What kind of pattern it is.
    pub kind: PatternKind,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// The normal deviate of the trend, by the test of Mann and Kendall: beyond 4 it is hardly chance.
    pub significance: f64,
    /// The period in seconds, where there is one.
    pub period_s: Option<f64>,
}

/// How a resource is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PatternKind {
    /// About the same all the time.
    #[default]
    Steady,
    /// It grows, or falls, steadily.
    Linear,
    /// It is far above its usual now.
    Burst,
    /// It repeats.
    Seasonal,
    /// More than one of these.
    Mixed,
}

impl fmt::Display for PatternKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::Linear => "linear growth",
            Self::Burst => "burst",
            Self::Seasonal => "seasonal",
            Self::Mixed => "mixed",
        })
    }
}

/// When growth reaches a limit, if it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LimitReached {
    /// The limit, in the resource's unit.
    pub limit: u64,
    /// In how many seconds from now.
    pub after_s: f64,
    /// The earliest, by the 95 % interval of the growth.
    pub earliest_s: f64,
    /// The latest; `None` where there may be no growth.
    pub latest_s: Option<f64>,
}

/// A resource whose use grows steadily.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Growing {
    /// Which.
    pub resource: Resource,
    /// By how much an hour, in the resource's unit.
    pub per_hour: f64,
    /// When it is at its maximum.
    pub reaches_max: Option<LimitReached>,
}

/// Steady growth of a tool that somebody should know of: all resources in one finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Growth {
    /// What grows, what is at its maximum first coming first.
    pub growing: Vec<Growing>,
    /// Memory, descriptors or connections have grown for ten minutes and more, and what the tool does has not: it leaks.
    pub is_leak: bool,
}

/// How good forecasts one sample ahead were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ForecastAccuracy {
    /// Mean absolute error, by that of saying that nothing changes; `None` until both are known.
    pub against_naive: Option<f64>,
    /// The share of samples that were within the 95 % interval; `None` until there is one.
    pub coverage: Option<f64>,
}

/// What is expected of a sample to come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ForecastStep {
    /// In how many seconds from now.
    pub after_s: f64,
    /// The most likely use.
    pub point: f64,
    /// The interval that it is in by 95 %.
    pub low: f64,
    /// Its other end.
    pub high: f64,
}

/// What has been learned of the use of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Learned {
    /// What kind of use it is.
    pub pattern: ResourcePattern,
    /// Samples that it goes by.
    pub samples: u32,
    /// What it is expected to need, in the resource's unit.
    pub need: u64,
    /// By what that goes, in words.
    pub need_by: String,
    /// When the maximum is reached, where use grows steadily.
    pub reaches_max: Option<LimitReached>,
    /// How good the forecasts were.
    pub accuracy: ForecastAccuracy,
    /// The next samples; only where it is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<ForecastStep>,
}

/// The operator's one knob: what a use beyond the need is worth beside limits that are not used, and beside changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tuning {
    /// Few changes and few uses beyond the need.
    #[default]
    Calm,
    /// Tighter, at the price of more of both.
    Balanced,
    /// Hardly a use beyond the need, at the price of more room.
    Safe,
}

/// A text that names no [`Tuning`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tuning: write calm, balanced or safe")]
pub struct TuningError(String);

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calm => "calm",
            Self::Balanced => "balanced",
            Self::Safe => "safe",
        })
    }
}

impl FromStr for Tuning {
    type Err = TuningError;

    fn from_str(text: &str) -> Result<Self, TuningError> {
        match text {
            "calm" => Ok(Self::Calm),
            "balanced" => Ok(Self::Balanced),
            "safe" => Ok(Self::Safe),
            _ => Err(TuningError(text.to_owned())),
        }
    }
}

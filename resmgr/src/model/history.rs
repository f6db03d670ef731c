//! What was used over time, as it is kept: samples, and what minutes and hours of them come to.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Resource, ToolName};

/// How finely something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Tier {
    /// Each sample: one a sweep.
    #[serde(rename = "1s")]
    Second,
    /// What a minute comes to.
    #[serde(rename = "1m")]
    Minute,
    /// What an hour comes to.
    #[serde(rename = "1h")]
    Hour,
}

impl Tier {
    /// All of them, the finest first.
    pub const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    /// How much time a row stands for, in milliseconds; of samples about that.
    pub const fn span_ms(self) -> u64 {
        match self {
            Self::Second => 1000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "1s",
            Self::Minute => "1m",
            Self::Hour => "1h",
        })
    }
}

/// A text that names no [`Tier`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no resolution: write 1s, 1m or 1h")]
pub struct TierError(String);

impl FromStr for Tier {
    type Err = TierError;

    fn from_str(text: &str) -> Result<Self, TierError> {
        let found = Self::ALL.into_iter().find(|tier| tier.to_string() == text);
        found.ok_or_else(|| TierError(text.to_owned()))
    }
}

/// What is kept of a tool's use.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Memory in bytes.
    #[default]
    Memory,
    /// CPU time of the operation under way, in milliseconds.
    Cpu,
    /// Open descriptors.
    Fds,
    /// Connections.
    Connections,
    /// CPU use, in thousandths of a core.
    CpuUse,
    /// CPU time of operations that have ended, in milliseconds.
    Operations,
}

impl Measure {
    /// All of them: the four resources first, in their order.
    pub const ALL: [Self; 6] = [
        Self::Memory,
        Self::Cpu,
        Self::Fds,
        Self::Connections,
        Self::CpuUse,
        Self::Operations,
    ];
    /// How many are taken with each sample: all but that of operations, which end when they end.
    pub const SAMPLED: usize = 5;
}

impl From<Resource> for Measure {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::Memory => Self::Memory,
            Resource::Cpu => Self::Cpu,
            Resource::Fds => Self::Fds,
            Resource::Connections => Self::Connections,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Fds => "fds",
            Self::Connections => "connections",
            Self::CpuUse => "cpu_use",
            Self::Operations => "operations",
        })
    }
}

/// A text that names no [`Measure`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no measure: write memory, cpu, fds, connections, cpu-use or operations")]
pub struct MeasureError(String);

impl FromStr for Measure {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let named = text.replace('-', "_");
        let found = Self::ALL.into_iter().find(|measure| measure.to_string() == named);
        found.ok_or_else(|| MeasureError(text.to_owned()))
    }
}

/// What several values come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// The lowest.
    pub min: u64,
    /// Their mean, rounded.
    pub mean: u64,
    /// The highest.
    pub max: u64,
    /// What half of them are not above, to within a thirty-second part, as are those that follow.
    pub p50: u64,
    /// What 95 % of them are not above.
    pub p95: u64,
    /// What 99 % of them are not above.
    pub p99: u64,
}

impl Summary {
    /// Of one value.
    pub const fn of(value: u64) -> Self {
        Self {
            count: 1,
            min: value,
            mean: value,
            max: value,
            p50: value,
            p95: value,
            p99: value,
        }
    }
}

/// What is known of a tool at one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageSample {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it uses, in the order of [`Measure::ALL`], operations left out.
    pub values: [u64; Measure::SAMPLED],
    /// CPU time in milliseconds of an operation that has ended since the last sample.
    pub ended_operation_ms: Option<u64>,
    /// The limits in force, in the order of [`Resource::ALL`].
    pub limits: [u64; 4],
    /// What it is expected to need; 0 while that is not known.
    pub needs: [u64; 4],
}

/// What a tool used in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// When the span begins, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it used, in the order of [`Measure::ALL`]; `None` where there was nothing of it, such as no operation that ended.
    pub measures: [Option<Summary>; 6],
    /// The last limits in force in it, in the order of [`Resource::ALL`].
    pub limits: [u64; 4],
    /// The most that the tool was expected to need in it; 0 where that was not known.
    pub needs: [u64; 4],
}

impl HistoryRow {
    /// What it used of one measure.
    pub const fn measure(&self, measure: Measure) -> Option<&Summary> {
        self.measures[measure as usize].as_ref()
    }
}

impl From<UsageSample> for HistoryRow {
    fn from(sample: UsageSample) -> Self {
        let mut measures = [None; 6];
        for (measure, value) in measures.iter_mut().zip(sample.values) {
            *measure = Some(Summary::of(value));
        }
        measures[Measure::Operations as usize] = sample.ended_operation_ms.map(Summary::of);
        Self {
            at_ms: sample.at_ms,
            measures,
            limits: sample.limits,
            needs: sample.needs,
        }
    }
}

/// An instance of a tool, as its history remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PastTool {
    /// Which instance.
    pub instance: u64,
    /// Its name.
    pub name: ToolName,
    /// The user whose tool it was.
    pub uid: u32,
    /// When it was registered.
    pub began: DateTime<Utc>,
    /// When it ended; `None` while it goes on, and where no agent saw it end.
    pub ended: Option<DateTime<Utc>>,
    /// The most that it used of each resource, in the order of [`Resource::ALL`].
    pub peaks: [u64; 4],
}

/// How long what is kept of the history, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds, in the order of [`Tier::ALL`].
    pub kept_ms: [u64; 3],
    /// Bytes of the file. Beyond these, the oldest goes before its time.
    pub max_bytes: u64,
}

impl Default for Retention {
    /// Samples for two hours, minutes for two weeks, hours for a year and a month; 256 MiB.
    fn default() -> Self {
        const HOUR_MS: u64 = 3_600_000;
        Self {
            kept_ms: [2 * HOUR_MS, 14 * 24 * HOUR_MS, 400 * 24 * HOUR_MS],
            max_bytes: 256 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Words as people write them.
    use super::*;

    #[test]
    fn what_is_shown_is_read_again_and_a_hyphen_is_as_good() {
        for measure in Measure::ALL {
            assert_eq!(measure.to_string().parse(), Ok(measure));
            assert_eq!(measure.to_string().replace('_', "-").parse(), Ok(measure));
        }
        assert!("disk".parse::<Measure>().unwrap_err().to_string().contains("cpu-use"));
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        assert!("5m".parse::<Tier>().unwrap_err().to_string().contains("1m"));
    }
}

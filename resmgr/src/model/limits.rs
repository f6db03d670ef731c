//! Limits, in the specification's terms and as ranges between which they adapt.

use serde::{Deserialize, Serialize};

use super::{Resource, ResourceStatus};

/// The limits in force for a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Memory in bytes.
    pub max_memory_bytes: usize,
    /// CPU time per operation in milliseconds.
    pub max_cpu_time_ms: u64,
    /// Open descriptors.
    pub max_file_handles: usize,
    /// Connections.
    pub max_network_connections: usize,
}

/// One resource's limit: `base <= current <= max`. `current` adapts; the other two are the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRange {
    /// The lowest that the limit may become.
    pub base: u64,
    /// The limit in force.
    pub current: u64,
    /// The highest that the limit may become.
    pub max: u64,
}

/// A tool's limits per resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolLimits {
    /// Memory in bytes.
    pub memory: LimitRange,
    /// CPU time per operation in milliseconds.
    pub cpu: LimitRange,
    /// Open descriptors.
    pub fds: LimitRange,
    /// Connections.
    pub connections: LimitRange,
}

/// A mebibyte.
const MIB: u64 = 1 << 20;

impl LimitRange {
    /// A limit that begins at its base.
    pub const fn new(base: u64, max: u64) -> Self {
        let current = base;
        Self { base, current, max }
    }
}

impl ToolLimits {
    /// The specification's limits: 100 to 500 MiB of memory, 30 to 120 s of CPU time per operation, 50 to 200
    /// descriptors, 10 to 50 connections.
    pub const LIGHT: Self = Self {
        memory: LimitRange::new(100 * MIB, 500 * MIB),
        cpu: LimitRange::new(30_000, 120_000),
        fds: LimitRange::new(50, 200),
        connections: LimitRange::new(10, 50),
    };

    /// The range of a resource, in its unit.
    pub const fn range(&self, resource: Resource) -> LimitRange {
        match resource {
            Resource::Memory => self.memory,
            Resource::Cpu => self.cpu,
            Resource::Fds => self.fds,
            Resource::Connections => self.connections,
        }
    }
}

/// How far a use has to fall below a line before it counts as fallen back, in percent of the limit.
const HYSTERESIS_PERCENT: u64 = 5;

impl ResourceStatus {
    /// The levels that have a line, in ascending order.
    pub const RISEN: [Self; 3] = [Self::Warning, Self::Critical, Self::Emergency];

    /// Where a level begins, in percent of the limit in force.
    pub const fn percent(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Warning => 80,
            Self::Critical => 95,
            Self::Emergency => 100,
        }
    }

    /// The lowest use that is at this level.
    pub const fn rises_at(self, limit: u64) -> u64 {
        share(limit, self.percent())
    }

    /// The use under which this level is left.
    pub const fn falls_under(self, limit: u64) -> u64 {
        share(limit, self.percent().saturating_sub(HYSTERESIS_PERCENT))
    }

    /// The level of a use.
    pub fn of(value: u64, limit: u64) -> Self {
        let reached = Self::RISEN.into_iter().rev();
        reached
            .into_iter()
            .find(|level| value >= level.rises_at(limit))
            .unwrap_or_default()
    }
}

/// A share of a limit in percent, rounded up.
const fn share(limit: u64, percent: u64) -> u64 {
    // In two parts, so that no limit overflows.
    (limit / 100) * percent + ((limit % 100) * percent).div_ceil(100)
}

#[cfg(test)]
mod tests {
    //! Lines worked out by hand.
    use super::*;

    #[test]
    fn levels_begin_at_80_95_and_100_percent() {
        let level = |value| ResourceStatus::of(value, 50);
        assert_eq!(level(39), ResourceStatus::Normal);
        assert_eq!(level(40), ResourceStatus::Warning);
        assert_eq!(level(47), ResourceStatus::Warning);
        assert_eq!(level(48), ResourceStatus::Critical);
        assert_eq!(level(50), ResourceStatus::Emergency);
        assert_eq!(ResourceStatus::of(u64::MAX, u64::MAX), ResourceStatus::Emergency);
    }

    #[test]
    fn a_line_is_left_five_percent_below_it_and_never_above() {
        assert_eq!(ResourceStatus::Warning.falls_under(200), 150);
        assert_eq!(ResourceStatus::Emergency.falls_under(200), 190);
        for limit in 1..300 {
            for level in ResourceStatus::RISEN {
                assert!(level.falls_under(limit) <= level.rises_at(limit), "{limit} {level:?}");
            }
        }
    }
}

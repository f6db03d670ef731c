//! Limits, in the specification's terms and as ranges between which they adapt.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LimitSpan, LimitsAsked, Resource, ResourceStatus};

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

/// Where a number of a limit comes from; what stands later wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// Built in.
    #[default]
    Default,
    /// The configuration, for every tool.
    Config,
    /// The configuration, for tools of this name.
    ToolConfig,
    /// A flag of `exec` or `attach`.
    Flag,
    /// `resmgr limits set`.
    Set,
    /// The operator's ceiling, which is lower than what was asked for.
    Ceiling,
}

/// One resource's limit: `base <= current <= max`. `current` adapts; the other two are the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LimitRange {
    /// The lowest that the limit may become.
    pub base: u64,
    /// The limit in force.
    pub current: u64,
    /// The highest that the limit may become.
    pub max: u64,
    /// Where the base comes from.
    pub base_from: LimitSource,
    /// Where the maximum comes from.
    pub max_from: LimitSource,
}

/// A tool's limits per resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// A named set of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The specification's.
    #[default]
    Light,
    /// For tools that do more.
    Standard,
    /// For builds, browsers, models.
    Heavy,
}

/// A text that names no [`Profile`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no profile: write light, standard or heavy")]
pub struct ProfileError(String);

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text {
            "light" => Ok(Self::Light),
            "standard" => Ok(Self::Standard),
            "heavy" => Ok(Self::Heavy),
            _ => Err(ProfileError(text.to_owned())),
        }
    }
}

impl ResourceLimits {
    /// A resource's, in its unit.
    pub const fn of(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Memory => self.max_memory_bytes as u64,
            Resource::Cpu => self.max_cpu_time_ms,
            Resource::Fds => self.max_file_handles as u64,
            Resource::Connections => self.max_network_connections as u64,
        }
    }
}

/// What no limit may go beyond, in the resources' units; `None` for no ceiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceiling(pub [Option<u64>; 4]);

impl Resource {
    /// The least that a limit may be, in the resource's unit: nothing could live under less.
    pub const fn least_limit(self) -> u64 {
        match self {
            Self::Memory => MIB,
            Self::Cpu => 10,
            Self::Fds => 4,
            Self::Connections => 1,
        }
    }
}

/// A mebibyte.
const MIB: u64 = 1 << 20;
/// A gibibyte.
const GIB: u64 = 1 << 30;

impl LimitRange {
    /// A limit that begins at its base.
    pub const fn new(base: u64, max: u64) -> Self {
        Self {
            base,
            current: base,
            max,
            base_from: LimitSource::Default,
            max_from: LimitSource::Default,
        }
    }

    /// Whether the operator's numbers are the same, from the same place.
    pub fn is_of_same_numbers(&self, other: Self) -> bool {
        Self {
            current: self.current,
            ..other
        } == *self
    }

    /// This limit as somebody asks for it. What is in force moves no farther than it has to.
    fn asked(self, span: LimitSpan, source: LimitSource) -> Self {
        let (base, base_from) = match span.base {
            Some(base) => (base.min(span.max), source),
            None if self.base > span.max => (span.max, source),
            None => (self.base, self.base_from),
        };
        Self {
            base,
            current: self.current.clamp(base, span.max),
            max: span.max,
            base_from,
            max_from: source,
        }
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
    /// 512 MiB to 2 GiB, 60 to 300 s, 256 to 1,024 descriptors, 50 to 200 connections.
    pub const STANDARD: Self = Self {
        memory: LimitRange::new(512 * MIB, 2 * GIB),
        cpu: LimitRange::new(60_000, 300_000),
        fds: LimitRange::new(256, 1024),
        connections: LimitRange::new(50, 200),
    };
    /// 2 to 8 GiB, 300 to 1,800 s, 1,024 to 8,192 descriptors, 200 to 1,000 connections.
    pub const HEAVY: Self = Self {
        memory: LimitRange::new(2 * GIB, 8 * GIB),
        cpu: LimitRange::new(300_000, 1_800_000),
        fds: LimitRange::new(1024, 8192),
        connections: LimitRange::new(200, 1000),
    };

    /// The limits of a profile.
    pub const fn of(profile: Profile) -> Self {
        match profile {
            Profile::Light => Self::LIGHT,
            Profile::Standard => Self::STANDARD,
            Profile::Heavy => Self::HEAVY,
        }
    }

    /// The range of a resource, in its unit.
    pub const fn range(&self, resource: Resource) -> LimitRange {
        match resource {
            Resource::Memory => self.memory,
            Resource::Cpu => self.cpu,
            Resource::Fds => self.fds,
            Resource::Connections => self.connections,
        }
    }

    /// The limits in force, in the specification's terms.
    pub fn in_force(&self) -> ResourceLimits {
        self.each(|range| range.current)
    }

    /// The bases, in the specification's terms.
    pub fn bases(&self) -> ResourceLimits {
        self.each(|range| range.base)
    }

    /// The maxima, in the specification's terms.
    pub fn maxima(&self) -> ResourceLimits {
        self.each(|range| range.max)
    }

    fn each(&self, of: impl Fn(LimitRange) -> u64) -> ResourceLimits {
        let count = |range| usize::try_from(of(range)).unwrap_or(usize::MAX);
        ResourceLimits {
            max_memory_bytes: count(self.memory),
            max_cpu_time_ms: of(self.cpu),
            max_file_handles: count(self.fds),
            max_network_connections: count(self.connections),
        }
    }

    const fn range_mut(&mut self, resource: Resource) -> &mut LimitRange {
        match resource {
            Resource::Memory => &mut self.memory,
            Resource::Cpu => &mut self.cpu,
            Resource::Fds => &mut self.fds,
            Resource::Connections => &mut self.connections,
        }
    }

    /// These limits with what somebody asks for.
    #[must_use]
    pub fn with(mut self, asked: &LimitsAsked, source: LimitSource) -> Self {
        for resource in Resource::ALL {
            let range = self.range_mut(resource);
            if let Some(profile) = asked.profile {
                let of_profile = Self::of(profile).range(resource);
                let span = LimitSpan {
                    base: Some(of_profile.base),
                    max: of_profile.max,
                };
                *range = range.asked(span, source);
            }
            if let Some(span) = asked.span(resource) {
                *range = range.asked(span, source);
            }
        }
        self
    }

    /// These limits with another one in force, which no number of the operator's is changed for.
    #[must_use]
    pub fn with_current(mut self, resource: Resource, current: u64) -> Self {
        let range = self.range_mut(resource);
        range.current = current.clamp(range.base, range.max);
        self
    }

    /// These limits with a resource's base and maximum of another. What is in force moves no farther than it has to.
    #[must_use]
    pub fn with_range(mut self, resource: Resource, range: LimitRange) -> Self {
        let own = self.range_mut(resource);
        *own = LimitRange {
            current: own.current.clamp(range.base, range.max),
            ..range
        };
        self
    }

    /// These limits, of which no more than that may be had at the moment, by resource.
    #[must_use]
    pub fn within(mut self, most: [Option<u64>; 4]) -> Self {
        for (resource, most) in Resource::ALL.into_iter().zip(most) {
            let range = self.range_mut(resource);
            range.max = range.max.min(most.unwrap_or(u64::MAX));
        }
        self
    }

    /// These limits as a tool begins with them: each at its base.
    #[must_use]
    pub fn at_base(mut self) -> Self {
        for resource in Resource::ALL {
            let range = self.range_mut(resource);
            range.current = range.base;
        }
        self
    }

    /// These limits, cut where they go beyond a ceiling.
    #[must_use]
    pub fn under(mut self, ceiling: &Ceiling) -> Self {
        for (resource, most) in Resource::ALL.into_iter().zip(ceiling.0) {
            let range = self.range_mut(resource);
            if let Some(max) = most.filter(|&most| range.max > most) {
                *range = range.asked(LimitSpan { base: None, max }, LimitSource::Ceiling);
            }
        }
        self
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

    #[test]
    fn one_number_is_the_maximum_and_a_base_above_it_comes_down() {
        let asked = |base, max| LimitsAsked {
            fds: Some(LimitSpan { base, max }),
            ..LimitsAsked::default()
        };
        let fds = |asked: LimitsAsked| ToolLimits::LIGHT.with(&asked, LimitSource::Flag).fds;
        let one = fds(asked(None, 500));
        assert_eq!((one.base, one.current, one.max), (50, 50, 500));
        assert_eq!((one.base_from, one.max_from), (LimitSource::Default, LimitSource::Flag));
        let low = fds(asked(None, 20));
        assert_eq!(
            (low.base, low.current, low.max, low.base_from),
            (20, 20, 20, LimitSource::Flag)
        );
        let both = fds(asked(Some(60), 70));
        assert_eq!((both.base, both.current, both.max), (60, 60, 70));
    }

    #[test]
    fn a_profile_goes_first_and_the_ceiling_last() {
        let asked = LimitsAsked {
            profile: Some(Profile::Standard),
            connections: Some(LimitSpan { base: None, max: 3 }),
            ..LimitsAsked::default()
        };
        let limits =
            ToolLimits::LIGHT
                .with(&asked, LimitSource::Config)
                .under(&Ceiling([Some(GIB), None, None, Some(100)]));
        assert_eq!((limits.memory.base, limits.memory.max), (512 * MIB, GIB));
        assert_eq!(limits.memory.max_from, LimitSource::Ceiling);
        assert_eq!((limits.fds.base, limits.fds.max), (256, 1024));
        assert_eq!((limits.connections.base, limits.connections.max), (3, 3));
        assert_eq!(limits.connections.max_from, LimitSource::Config);
    }

    #[test]
    fn what_is_in_force_moves_no_farther_than_it_has_to() {
        let mut limits = ToolLimits::LIGHT;
        limits.fds.current = 120;
        let set = |max| {
            let fds = Some(LimitSpan { base: None, max });
            let asked = LimitsAsked {
                fds,
                ..LimitsAsked::default()
            };
            limits.with(&asked, LimitSource::Set).fds.current
        };
        assert_eq!((set(150), set(100)), (120, 100));
    }
}

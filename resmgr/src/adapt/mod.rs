//! `AdaptiveResourceManager`: what limits in force are to be, from what tools use. Reads no clock, file or map.
//!
//! Until there are forecasts, what a tool will need is taken to be a quarter more than it uses: `current = need / 0.80`, so
//! that it is at Warning again when it has gone past that. A limit is raised at once, and lowered slowly.

use std::collections::HashMap;

use crate::model::{Decision, Evidence, Mode, Reason, Resource, ResourceStatus, Timestamp, ToolLimits};

/// How long use has to stay low before a limit is lowered, in nanoseconds.
const HOLD_NS: u64 = 300 * 1_000_000_000;
/// A limit is lowered by no more than one part in this many at a time.
const LOWERED_BY: u64 = 10;

/// A tool as decisions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Which instance.
    pub instance: u64,
    /// Its limits.
    pub limits: ToolLimits,
    /// What it uses of each resource, in the order of [`Resource::ALL`].
    pub uses: [u64; 4],
    /// How its limits are held. Those of a tool that is only observed stay.
    pub mode: Mode,
    /// Whether limits may be lowered now: not while what is known has gaps.
    pub may_lower: bool,
}

/// A resource's use since its limit was last looked at for lowering.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    highest: u64,
    since_ns: u64,
}

/// Decides what limits in force are to be.
#[derive(Debug, Default)]
pub struct AdaptiveResourceManager {
    tools: HashMap<u64, [Held; 4]>,
}

/// What a tool that uses this much is given: it needs a quarter more, and that is to be 80 % of its limit.
const fn given(value: u64) -> u64 {
    let quarter_more = value.saturating_add(value.div_ceil(4));
    quarter_more.saturating_add(quarter_more.div_ceil(4))
}

impl AdaptiveResourceManager {
    /// What is to change.
    pub fn decide(&mut self, tool: &Observed, now: Timestamp) -> Vec<Decision> {
        if tool.mode == Mode::Observe {
            self.forget(tool.instance);
            return Vec::new();
        }
        let begins = Held {
            highest: 0,
            since_ns: now.monotonic_ns,
        };
        let held = self.tools.entry(tool.instance).or_insert([begins; 4]);
        let mut decisions = Vec::new();
        for ((resource, value), held) in Resource::ALL.into_iter().zip(tool.uses).zip(held) {
            let limit = tool.limits.range(resource);
            held.highest = held.highest.max(value);
            let decision = if ResourceStatus::of(value, limit.current) >= ResourceStatus::Warning {
                let current = given(value).clamp(limit.base, limit.max);
                (current > limit.current).then_some(Decision {
                    resource,
                    current,
                    reason: Reason::Near,
                    evidence: Evidence {
                        value: Some(value),
                        limit: Some(limit.current),
                        over_s: None,
                    },
                })
            } else {
                held.lowered(resource, tool, now)
            };
            if decision.is_some() {
                *held = Held {
                    highest: value,
                    ..begins
                };
            }
            decisions.extend(decision);
        }
        decisions
    }

    /// A tool is no more.
    pub fn forget(&mut self, instance: u64) {
        self.tools.remove(&instance);
    }
}

impl Held {
    /// A lower limit, where use has stayed low for long enough.
    fn lowered(&mut self, resource: Resource, tool: &Observed, now: Timestamp) -> Option<Decision> {
        let held_ns = now.monotonic_ns.saturating_sub(self.since_ns);
        if !tool.may_lower {
            // What was not seen may have been high.
            self.since_ns = now.monotonic_ns;
            return None;
        }
        if held_ns < HOLD_NS {
            return None;
        }
        let limit = tool.limits.range(resource);
        let slowly = limit.current - limit.current / LOWERED_BY;
        let current = given(self.highest).clamp(limit.base, limit.max).max(slowly);
        let evidence = Evidence {
            value: Some(self.highest),
            limit: Some(limit.current),
            over_s: Some(held_ns / 1_000_000_000),
        };
        *self = Self {
            highest: 0,
            since_ns: now.monotonic_ns,
        };
        (current < limit.current).then_some(Decision {
            resource,
            current,
            reason: Reason::Rest,
            evidence,
        })
    }
}

#[cfg(test)]
mod tests {
    //! Uses as they come, and the limits that follow.
    use chrono::DateTime;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp {
            monotonic_ns: seconds * 1_000_000_000,
            wall: DateTime::UNIX_EPOCH,
        }
    }

    fn fds(value: u64, limits: ToolLimits) -> Observed {
        Observed {
            instance: 1,
            limits,
            uses: [0, 0, value, 0],
            mode: Mode::Throttle,
            may_lower: true,
        }
    }

    fn with_current(current: u64) -> ToolLimits {
        let mut limits = ToolLimits::LIGHT;
        limits.fds.current = current;
        limits
    }

    #[test]
    fn a_limit_is_raised_at_once_by_a_quarter_more_than_is_used_and_never_beyond_the_maximum() {
        let mut manager = AdaptiveResourceManager::default();
        let mut decide = |value, current| {
            let decisions = manager.decide(&fds(value, with_current(current)), at(0));
            decisions.first().map(|decision| decision.current)
        };
        assert_eq!(decide(39, 50), None, "under 80 %");
        // 40 and a quarter of it are 50, which is 80 % of 63.
        assert_eq!(decide(40, 50), Some(63));
        assert_eq!(decide(160, 63), Some(200), "the maximum");
        assert_eq!(decide(199, 200), None, "it is there already");
        assert_eq!(decide(u64::MAX, 50), Some(200));
    }

    #[test]
    fn after_it_was_raised_a_limit_is_not_near() {
        for value in 1..1_000_000_u64 {
            let limit = given(value);
            assert_eq!(ResourceStatus::of(value, limit), ResourceStatus::Normal, "{value}");
        }
    }

    #[test]
    fn a_limit_is_lowered_slowly_after_use_was_low_for_long() {
        let mut manager = AdaptiveResourceManager::default();
        let mut current = 200;
        let mut seen = Vec::new();
        for second in 0..3600 {
            // A moment of more use holds it up.
            let value = if second == 400 { 90 } else { 20 };
            for decision in manager.decide(&fds(value, with_current(current)), at(second)) {
                assert_eq!(decision.reason, Reason::Rest);
                assert!(decision.current >= value * 5 / 4);
                current = decision.current;
                seen.push((second, current));
            }
        }
        assert_eq!(&seen[..3], [(300, 180), (600, 162), (900, 146)]);
        assert_eq!(current, 66, "a tenth a hold, eleven times");
        for second in 3600..36_000 {
            for decision in manager.decide(&fds(20, with_current(current)), at(second)) {
                current = decision.current;
            }
        }
        assert_eq!(current, 50, "the base");
    }

    #[test]
    fn nothing_is_lowered_while_something_was_lost_and_nothing_changed_for_who_is_observed() {
        let mut manager = AdaptiveResourceManager::default();
        let lossy = Observed {
            may_lower: false,
            ..fds(20, with_current(200))
        };
        for second in 0..1000 {
            assert_eq!(manager.decide(&lossy, at(second)), []);
        }
        let whole = fds(20, with_current(200));
        assert_eq!(manager.decide(&whole, at(1100)), [], "the time begins anew");
        assert_eq!(manager.decide(&whole, at(1300)).len(), 1);
        let observed = Observed {
            mode: Mode::Observe,
            ..fds(200, with_current(50))
        };
        assert_eq!(manager.decide(&observed, at(1300)), []);
    }
}

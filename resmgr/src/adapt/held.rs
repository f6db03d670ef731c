//! One resource of one tool: what its limit in force is to be. Knows the time that it is handed.

use super::{Estimator, Observed, Quantity};
use crate::model::{Decision, Evidence, LimitRange, Reason, Resource, ResourceStatus, Timestamp, Tuning};

/// How long use has to stay low before a limit is lowered, in nanoseconds.
const HOLD_NS: u64 = 300 * 1_000_000_000;
/// A limit is lowered by no more than one part in this many at a time.
const LOWERED_BY: u64 = 10;
/// What comes down within this time after a limit was raised for it was a burst, in nanoseconds.
const BURST_NS: u64 = 60 * 1_000_000_000;
/// Once a burst is over, half of what is left of its raise is taken back each time that this has passed, in nanoseconds,
const COOL_NS: u64 = 30 * 1_000_000_000;
/// and all that is left at this one.
const COOLINGS: u64 = 4;
/// Nothing goes by what has been learned of a use until there were so many samples.
const LEARNED: u32 = 120;
/// The time between samples that is taken for theirs until it is known, in nanoseconds.
const INTERVAL_NS: u64 = 1_000_000_000;

/// Below this no need of a resource makes sense, in its unit.
pub const fn floor(resource: Resource) -> f64 {
    match resource {
        Resource::Memory => 1_048_576.0,
        Resource::Cpu => 10.0,
        Resource::Fds => 4.0,
        Resource::Connections => 1.0,
    }
}

/// What a tool that uses this much is given: it needs a quarter more.
pub(super) const fn given(value: u64) -> u64 {
    with_room(value.saturating_add(value.div_ceil(4)))
}

/// The limit of which a need is 80 %.
pub(super) const fn with_room(need: u64) -> u64 {
    need.saturating_add(need.div_ceil(4))
}

/// A need as a number of the resource's unit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps to the bounds"
)]
pub(super) fn whole(need: f64) -> u64 {
    need.ceil() as u64
}

/// An estimator of a resource of which nothing is known. CPU time is that of an operation: it is there until the operation
/// ends, like memory.
pub(super) fn fresh(resource: Resource, tuning: Tuning) -> Estimator {
    Estimator::new(Quantity::Stock, tuning, floor(resource), INTERVAL_NS)
}

/// A lower limit, why, and by what.
type Lower = (u64, Reason, Evidence);

/// A limit that was raised since the use came near it, and may have to come down soon.
#[derive(Clone, Copy, Debug)]
struct Raised {
    /// The limit before, and the one that it was raised to.
    before: u64,
    to: u64,
    at_ns: u64,
    /// Since when the use is low again, and how often the limit was lowered since.
    low: Option<(u64, u64)>,
}

/// A resource's use since its limit was last looked at for lowering, and what has been learned of it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    highest: u64,
    since_ns: u64,
    raised: Option<Raised>,
    pub(super) estimator: Estimator,
}

impl Held {
    pub(super) fn new(estimator: Estimator, now: Timestamp) -> Self {
        Self {
            highest: 0,
            since_ns: now.monotonic_ns,
            raised: None,
            estimator,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
    pub(super) fn observe(&mut self, value: u64, now: Timestamp) {
        self.estimator.observe(now, value as f64);
    }

    /// Nobody holds it: what it is given later goes by what it uses then.
    pub(super) fn let_go(&mut self, now: Timestamp) {
        (self.highest, self.since_ns, self.raised) = (0, now.monotonic_ns, None);
    }

    /// What is expected to be needed; `None` until that is known.
    pub(super) fn need(&self) -> Option<u64> {
        (self.estimator.samples() >= LEARNED).then(|| whole(self.estimator.need().value))
    }

    /// What is to change. `least` is what it needs by what else is known of it.
    pub(super) fn decide(
        &mut self,
        resource: Resource,
        tool: &Observed<'_>,
        least: Option<u64>,
        now: Timestamp,
    ) -> Option<Decision> {
        let value = tool.uses[resource as usize];
        let limit = tool.limits.range(resource);
        self.highest = self.highest.max(value);
        let need = self.need().max(least);
        if let Some(decision) = self.higher(resource, value, limit, need) {
            self.rose(&decision, limit.current, now);
            (self.highest, self.since_ns) = (value, now.monotonic_ns);
            return Some(decision);
        }
        if !tool.is_sample {
            // A look in between tells nothing of rest.
            return None;
        }
        if !tool.may_lower {
            // What was not seen may have been high.
            self.since_ns = now.monotonic_ns;
            return None;
        }
        // Where use is near its maximum nothing can be raised, and nothing is lowered.
        if ResourceStatus::of(value, limit.current) != ResourceStatus::Normal {
            return None;
        }
        let room = need.map_or(0, with_room);
        let lower = self.cooled(value, limit, room, now);
        let (current, reason, evidence) = lower.or_else(|| self.rested(limit, room, now))?;
        (self.highest, self.since_ns) = (value, now.monotonic_ns);
        Some(Decision {
            resource,
            current,
            reason,
            evidence,
        })
    }

    /// A higher limit: at Warning, and ahead of it.
    fn higher(&self, resource: Resource, value: u64, limit: LimitRange, need: Option<u64>) -> Option<Decision> {
        let expected = need.map_or(0, with_room);
        let is_near = ResourceStatus::of(value, limit.current) >= ResourceStatus::Warning;
        let wanted = if is_near { given(value).max(expected) } else { expected };
        let current = wanted.clamp(limit.base, limit.max);
        if current <= limit.current {
            return None;
        }
        let mut evidence = Evidence {
            value: Some(value),
            limit: Some(limit.current),
            over_s: None,
        };
        let reason = if is_near {
            Reason::Near
        } else if let Some(seconds) = self.reaches(limit.current) {
            evidence.over_s = Some(seconds);
            Reason::Grows
        } else {
            evidence.value = need;
            Reason::Expected
        };
        Some(Decision {
            resource,
            current,
            reason,
            evidence,
        })
    }

    /// Remembers what a limit was before the use came near it: that may be a burst.
    fn rose(&mut self, decision: &Decision, before: u64, now: Timestamp) {
        self.raised = match self.raised {
            // Of one burst, the first raise counts.
            Some(raised) => Some(Raised {
                to: decision.current,
                low: None,
                ..raised
            }),
            None => (decision.reason == Reason::Near).then_some(Raised {
                before,
                to: decision.current,
                at_ns: now.monotonic_ns,
                low: None,
            }),
        };
    }

    /// In how many seconds steady growth is at a limit.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time is told in seconds"
    )]
    fn reaches(&self, limit: u64) -> Option<u64> {
        let reached = self.estimator.reaches(limit as f64)?;
        Some(reached.after_s as u64)
    }

    /// A lower limit, where it was raised for a burst that is over.
    fn cooled(&mut self, value: u64, limit: LimitRange, room: u64, now: Timestamp) -> Option<Lower> {
        let raised = self.raised.as_mut()?;
        if limit.current != raised.to {
            // Somebody has set another one.
            self.raised = None;
            return None;
        }
        if ResourceStatus::of(value, raised.before) != ResourceStatus::Normal {
            raised.low = None;
            if now.monotonic_ns.saturating_sub(raised.at_ns) > BURST_NS {
                // It is no burst, but what the tool uses by now.
                self.raised = None;
            }
            return None;
        }
        let (since_ns, times) = *raised.low.get_or_insert((now.monotonic_ns, 0));
        let low_ns = now.monotonic_ns.saturating_sub(since_ns);
        if low_ns < COOL_NS * (times + 1) {
            return None;
        }
        let times = times + 1;
        let least = raised.before.max(room).clamp(limit.base, limit.max);
        let rest = limit.current.saturating_sub(least) / 2;
        let current = if times >= COOLINGS { least } else { least + rest };
        *raised = Raised {
            to: current,
            low: Some((since_ns, times)),
            ..*raised
        };
        if times >= COOLINGS {
            self.raised = None;
        }
        let evidence = Evidence {
            value: Some(value),
            limit: Some(limit.current),
            over_s: Some(low_ns / 1_000_000_000),
        };
        (current < limit.current).then_some((current, Reason::Cooled, evidence))
    }

    /// A lower limit, where use has stayed low for long enough.
    fn rested(&mut self, limit: LimitRange, room: u64, now: Timestamp) -> Option<Lower> {
        let held_ns = now.monotonic_ns.saturating_sub(self.since_ns);
        if held_ns < HOLD_NS || self.raised.is_some() {
            return None;
        }
        let slowly = limit.current - limit.current / LOWERED_BY;
        let wanted = given(self.highest).max(room);
        let current = wanted.clamp(limit.base, limit.max).max(slowly);
        let evidence = Evidence {
            value: Some(self.highest),
            limit: Some(limit.current),
            over_s: Some(held_ns / 1_000_000_000),
        };
        (self.highest, self.since_ns) = (0, now.monotonic_ns);
        (current < limit.current).then_some((current, Reason::Rest, evidence))
    }
}

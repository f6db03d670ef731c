//! The ladder: what a tool is held by, from what it uses, and when it is to end. Reads no clock and no file.

use std::time::Duration;

use super::hold::Hold;
use crate::model::{Enforcement, Evidence, Mode, Resource, ResourceStatus, ToolLimits};

/// Processes and threads that a tool may have.
const MOST_TASKS: u64 = 4096;
/// CPU quotas in percent of one core, from gentle to hard. Less than 5 % would be idleness, which ends an operation.
const QUOTAS: [u64; 5] = [100, 50, 25, 12, 8];

/// How soon a tool whose memory grows towards its maximum is looked at again, in nanoseconds.
const GROWS_NS: u64 = 100_000_000;

/// How long a soft line stays where it is at least, in nanoseconds, while a tool waits at it.
const PATIENCE_NS: u64 = 1_000_000_000;

/// A tool as the ladder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its limits.
    pub limits: ToolLimits,
    /// How they are held.
    pub enforcement: Enforcement,
    /// What it uses of each resource, in the order of [`Resource::ALL`].
    pub uses: [u64; 4],
    /// Whether its soft line of memory makes it wait for longer than passing reclaim does.
    pub stalls: bool,
    /// What the memory of a tool that is throttled does not go beyond, in bytes; unless it may have more.
    pub memory_ceiling: u64,
    /// The time in nanoseconds of `CLOCK_MONOTONIC`.
    pub now_ns: u64,
}

/// A tool is to end: it has been held at its maximum for its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Of which resource.
    pub resource: Resource,
    /// By what.
    pub evidence: Evidence,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What it is held by from now on.
    pub hold: Hold,
    /// Whether it is to end.
    pub end: Option<Ending>,
    /// When to look again at the latest, in nanoseconds of `CLOCK_MONOTONIC`.
    pub look_again_ns: Option<u64>,
}

/// Where a tool stands on the ladder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    /// The soft line of memory in bytes, where it is drawn.
    soft: Option<u64>,
    /// By how many bytes the soft line is beyond the limit in force, because it made the tool wait; and since when.
    room: Option<(u64, u64)>,
    /// Memory in bytes at the last look.
    memory: u64,
    /// Since when each resource has been at its maximum.
    at_max_since_ns: [Option<u64>; 4],
    /// It was told to end.
    ending: bool,
}

/// What the kernel counts memory in, in bytes, at most.
const PAGE: u64 = 64 << 10;

/// From which use on a tool in enforce is at its maximum. What the kernel refuses exactly is no use beyond what it may
/// have: only what passes is.
fn at_max(resource: Resource, max: u64) -> u64 {
    match resource {
        Resource::Memory => ResourceStatus::Critical.rises_at(max),
        Resource::Cpu => max,
        Resource::Fds | Resource::Connections => max.saturating_add(1),
    }
}

/// The quota for an operation that used so much of its limit: a core by the fourth power of limit by use, so that twice the
/// limit leaves a sixteenth.
fn quota(value: u64, limit: u64) -> Option<u64> {
    if value < limit || limit == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share is enough")]
    let share = (limit as f64 / value as f64).powi(4) * 100.0;
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let fits = |quota: &&u64| **quota as f64 <= share;
    QUOTAS.iter().find(fits).or(QUOTAS.last()).copied()
}

impl Ladder {
    /// Takes what is seen, and says what follows.
    pub fn step(&mut self, seen: &Seen) -> Verdict {
        if seen.enforcement.mode == Mode::Observe {
            *self = Self::default();
            return Verdict::default();
        }
        let hold = self.hold(seen);
        let look_again_ns = self.grows(seen).then(|| seen.now_ns.saturating_add(GROWS_NS));
        if seen.enforcement.mode != Mode::Enforce {
            self.at_max_since_ns = [None; 4];
            return Verdict {
                hold,
                look_again_ns,
                ..Verdict::default()
            };
        }
        let grace = Duration::from_millis(seen.enforcement.grace_ms);
        let grace_ns = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        let mut verdict = Verdict {
            hold,
            look_again_ns,
            ..Verdict::default()
        };
        for ((resource, value), since) in Resource::ALL.into_iter().zip(seen.uses).zip(&mut self.at_max_since_ns) {
            let max = seen.limits.range(resource).max;
            if value < at_max(resource, max) {
                *since = None;
                continue;
            }
            let began = *since.get_or_insert(seen.now_ns);
            let due = began.saturating_add(grace_ns);
            if self.ending {
                continue;
            }
            if seen.now_ns < due {
                verdict.look_again_ns = Some(verdict.look_again_ns.map_or(due, |at| at.min(due)));
            } else if verdict.end.is_none() {
                verdict.end = Some(Ending {
                    resource,
                    evidence: Evidence {
                        value: Some(value),
                        limit: Some(max),
                        over_s: Some((seen.now_ns - began) / 1_000_000_000),
                    },
                });
            }
        }
        self.ending |= verdict.end.is_some();
        verdict
    }

    /// Whether its memory comes near the maximum, and goes on to: what no event tells is looked at again soon, so that
    /// Critical is told before the kernel acts.
    fn grows(&mut self, seen: &Seen) -> bool {
        let (memory, max) = (seen.uses[0], seen.limits.memory.max);
        let before = std::mem::replace(&mut self.memory, memory);
        memory >= ResourceStatus::Warning.rises_at(max) && memory > before + max / 64
    }

    /// How far beyond the limit in force the soft line is. A line that a tool that needs its memory waits at, again and again,
    /// costs it everything and frees nothing: it is drawn an eighth higher, each time that it is so for a while.
    fn room(&mut self, seen: &Seen, most: u64) -> u64 {
        let (room, since_ns) = self.room.unwrap_or((0, 0));
        let line = self.soft.unwrap_or(u64::MAX);
        let is_at_line = seen.uses[0] >= ResourceStatus::Critical.rises_at(line);
        let is_due = seen.now_ns.saturating_sub(since_ns) >= PATIENCE_NS;
        if seen.stalls && is_at_line && is_due && line < most {
            self.room = Some((room + seen.limits.memory.current / 8, seen.now_ns));
        }
        self.room.map_or(0, |(room, _)| room)
    }

    fn hold(&mut self, seen: &Seen) -> Hold {
        let [memory, cpu, ..] = seen.uses;
        let limit = seen.limits.memory;
        let hard = match seen.enforcement.mode {
            Mode::Enforce => limit.max,
            Mode::Observe | Mode::Throttle => limit.max.max(seen.memory_ceiling),
        };
        // Where both lines would be one, the tool is slowed a little before it is killed.
        let most = hard - hard / 32;
        let soft = limit.current.saturating_add(self.room(seen, most)).min(most);
        // Always there: files in memory that nobody maps are charged to the leaf, and told by no event. The kernel slows
        // who comes here until a sweep has seen it; of page cache it drops what it would drop at the hard line.
        let brake = ResourceStatus::Critical.rises_at(limit.max).min(hard - hard / 32);
        // As the kernel keeps it: what the next agent reads from the files is the same.
        let brake = brake - brake % PAGE;
        if memory < ResourceStatus::Warning.falls_under(limit.current) {
            self.soft = None;
            self.room = None;
        } else if self.soft.is_some() || memory >= ResourceStatus::Critical.rises_at(limit.current) {
            // Never below what is in use, which would stall it; what is drawn above comes down with the use.
            let lowered = soft.max(memory);
            self.soft = Some(self.soft.map_or(lowered, |drawn| soft.max(drawn.min(lowered))));
        }
        let operation = seen.limits.cpu;
        let cpu_limit = if seen.enforcement.strict {
            operation.current
        } else {
            operation.max
        };
        Hold {
            memory_high: Some(self.soft.unwrap_or(brake.max(memory))),
            memory_max: Some(hard),
            swap_max: Some(0),
            oom_group: true,
            pids_max: Some(MOST_TASKS),
            cpu_percent: quota(cpu, cpu_limit),
        }
    }
}

#[cfg(test)]
mod tests {
    //! A tool on its way up and down.
    use super::*;

    const MIB: u64 = 1 << 20;
    const SECOND: u64 = 1_000_000_000;

    fn seen(mode: Mode, uses: [u64; 4], seconds: u64) -> Seen {
        Seen {
            limits: ToolLimits::LIGHT.with_current(Resource::Memory, 500 * MIB),
            enforcement: Enforcement {
                mode,
                ..Enforcement::default()
            },
            uses,
            stalls: false,
            memory_ceiling: 4096 * MIB,
            now_ns: seconds * SECOND,
        }
    }

    #[test]
    fn who_is_observed_is_held_by_nothing() {
        let everything = [u64::MAX; 4];
        let verdict = Ladder::default().step(&seen(Mode::Observe, everything, 100));
        assert_eq!(verdict, Verdict::default());
    }

    #[test]
    fn the_soft_line_is_drawn_at_critical_and_taken_back_under_warning() {
        let mut ladder = Ladder::default();
        let mut high = |mib: u64| {
            let verdict = ladder.step(&seen(Mode::Throttle, [mib * MIB, 0, 0, 0], 0));
            verdict.hold.memory_high
        };
        // Beyond 95 % of the maximum the kernel slows, whoever looks.
        assert_eq!(high(470), Some(475 * MIB));
        assert_eq!(high(475), Some(500 * MIB));
        assert_eq!(high(400), Some(500 * MIB), "between the two it stays");
        assert_eq!(high(370), Some(475 * MIB));
    }

    #[test]
    fn memory_that_grows_towards_its_maximum_is_looked_at_again_soon_and_what_rests_is_not() {
        let mut ladder = Ladder::default();
        let mut again = |mib: u64| {
            let verdict = ladder.step(&seen(Mode::Throttle, [mib * MIB, 0, 0, 0], 7));
            verdict.look_again_ns
        };
        let soon = Some(7 * SECOND + SECOND / 10);
        assert_eq!(again(390), None, "far from it");
        assert_eq!(again(410), soon);
        assert_eq!(again(420), soon);
        assert_eq!(again(421), None, "it hardly grows");
        assert_eq!(again(400), None);
        assert_eq!(again(470), soon);
    }

    #[test]
    fn the_soft_line_comes_down_with_the_use_and_does_not_go_up_with_it() {
        let mut ladder = Ladder::default();
        let mut high = |mib: u64, limit_mib: u64| {
            let mut seen = seen(Mode::Throttle, [mib * MIB, 0, 0, 0], 0);
            seen.limits = seen.limits.with_current(Resource::Memory, limit_mib * MIB);
            ladder.step(&seen).hold.memory_high.map(|line| line / MIB)
        };
        // The limit was lowered under the use.
        assert_eq!(high(400, 200), Some(400));
        assert_eq!(high(420, 200), Some(400));
        assert_eq!(high(300, 200), Some(300));
        assert_eq!(high(301, 200), Some(300));
        assert_eq!(high(190, 200), Some(200));
        assert_eq!(high(301, 300), Some(300), "and up with the limit");
        assert_eq!(high(100, 300), Some(475), "it is taken back");
    }

    #[test]
    fn a_line_that_a_tool_waits_at_gives_way_as_far_as_the_mode_lets_it() {
        let line = |mode, stalls: &[bool]| {
            let mut ladder = Ladder::default();
            let mut lines = Vec::new();
            for (second, &stalls) in (10..).zip(stalls) {
                // It uses all that it is let.
                let used = ladder.soft.unwrap_or(480 * MIB);
                let seen = Seen {
                    stalls,
                    ..seen(mode, [used, 0, 0, 0], second)
                };
                lines.push(ladder.step(&seen).hold.memory_high.unwrap_or(0) / MIB);
            }
            lines
        };
        assert_eq!(
            line(Mode::Throttle, &[false, true, true, false, true]),
            [500, 562, 625, 625, 687]
        );
        // A maximum is a maximum: there is no more room under it, and the tool is ended after its grace.
        assert_eq!(line(Mode::Enforce, &[true; 4]), [484, 484, 484, 484]);
        // Page cache that is reclaimed at the line, with a working set far below it, moves nothing.
        let mut ladder = Ladder::default();
        ladder.step(&seen(Mode::Throttle, [490 * MIB, 0, 0, 0], 10));
        let reclaimed = Seen {
            stalls: true,
            ..seen(Mode::Throttle, [420 * MIB, 0, 0, 0], 12)
        };
        assert_eq!(ladder.step(&reclaimed).hold.memory_high, Some(500 * MIB));
        // With the use the room goes.
        ladder.step(&seen(Mode::Throttle, [100 * MIB, 0, 0, 0], 13));
        assert!(ladder.room.is_none());
    }

    #[test]
    fn the_hard_line_is_the_maximum_only_where_it_is_enforced() {
        let hold = |mode| Ladder::default().step(&seen(mode, [480 * MIB, 0, 0, 0], 0)).hold;
        assert_eq!(hold(Mode::Throttle).memory_max, Some(4096 * MIB));
        let enforced = hold(Mode::Enforce);
        assert_eq!(enforced.memory_max, Some(500 * MIB));
        assert!(enforced.memory_high < enforced.memory_max, "slowed before it is killed");
    }

    #[test]
    fn the_quota_tightens_with_the_overrun_and_leaves_more_than_idleness() {
        let quotas = [119_999, 120_000, 130_000, 150_000, 180_000, 240_000, 1_000_000];
        let quotas = quotas.map(|ms| {
            let verdict = Ladder::default().step(&seen(Mode::Throttle, [0, ms, 0, 0], 0));
            verdict.hold.cpu_percent
        });
        let expected = [None, Some(100), Some(50), Some(25), Some(12), Some(8), Some(8)];
        assert_eq!(quotas, expected);
        let strict = Seen {
            enforcement: Enforcement {
                strict: true,
                ..Enforcement::default()
            },
            ..seen(Mode::Throttle, [0, 30_000, 0, 0], 0)
        };
        assert_eq!(Ladder::default().step(&strict).hold.cpu_percent, Some(100));
    }

    #[test]
    fn only_who_is_enforced_and_stays_at_the_maximum_for_the_grace_is_ended_and_once() {
        let at_max = [475 * MIB, 0, 0, 0];
        let mut ladder = Ladder::default();
        ladder.step(&seen(Mode::Enforce, at_max, 5));
        assert_eq!(
            ladder.step(&seen(Mode::Enforce, at_max, 5)).look_again_ns,
            Some(15 * SECOND)
        );
        assert_eq!(ladder.step(&seen(Mode::Enforce, [0; 4], 10)).end, None);
        assert_eq!(ladder.step(&seen(Mode::Enforce, at_max, 12)).end, None, "it began anew");
        assert_eq!(ladder.step(&seen(Mode::Enforce, at_max, 21)).end, None);
        let end = ladder.step(&seen(Mode::Enforce, at_max, 22)).end.unwrap();
        assert_eq!(end.resource, Resource::Memory);
        assert_eq!(end.evidence.over_s, Some(10));
        assert_eq!(ladder.step(&seen(Mode::Enforce, at_max, 23)).end, None);

        let mut throttled = Ladder::default();
        for second in 0..100 {
            assert_eq!(throttled.step(&seen(Mode::Throttle, at_max, second)).end, None);
        }
    }

    #[test]
    fn what_is_refused_at_the_maximum_ends_nobody_who_is_there() {
        let mut ladder = Ladder::default();
        for second in 0..100 {
            let full = [0, 0, 200, 50];
            assert_eq!(ladder.step(&seen(Mode::Enforce, full, second)).end, None);
        }
        // Descriptors that no hook refuses, and connections that were accepted, pass the line.
        ladder.step(&seen(Mode::Enforce, [0, 0, 201, 0], 100));
        let end = ladder.step(&seen(Mode::Enforce, [0, 0, 201, 0], 110)).end.unwrap();
        assert_eq!(end.resource, Resource::Fds);
    }
}

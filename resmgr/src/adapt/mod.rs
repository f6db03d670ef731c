//! `AdaptiveResourceManager`: what limits in force are to be, from what tools use. Reads no clock, file or map.
//!
//! At Warning a limit is raised so that a quarter more than is used is 80 % of it. What has been learned of the use raises
//! it ahead of that, to what the tool will need / 0.80, and keeps it from being lowered under it. A limit is raised at once,
//! and lowered slowly; one that was raised for a burst comes down soon after it. What an instance has taught is known of its
//! name: another instance begins with it.

#[cfg(test)]
mod decisions;
mod estimator;
mod experts;
mod growth;
mod held;
mod known;
mod priors;
mod suggest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};

pub use estimator::{Estimator, Need, TimeToLimit, prices};
pub use experts::{Basis, EXPERTS, Prices};
pub use held::floor;
pub use priors::Quantity;
pub use suggest::{Span, Suggestion, cost, round as round_limit, suggest};

use self::{
    held::{Held, fresh, whole, with_room},
    known::Known,
};
use crate::{
    model::{
        Decision, Evidence, ForecastAccuracy, ForecastStep, Growth, Learned, Mode, PastTool, Reason, Resource,
        Timestamp, ToolLimits, ToolName, Tuning,
    },
    pattern::{profile::Season, trend::Trend},
};

/// Names of which something is known, at most.
const NAMES: usize = 1024;
/// How long after the kernel killed for want of memory no limit is lowered, in nanoseconds.
const WANTED_NS: u64 = 600 * 1_000_000_000;
/// Growth that is not seen any more for this long is over, in nanoseconds.
const GROWN_NS: u64 = 60 * 1_000_000_000;

/// A tool as decisions see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed<'a> {
    /// Which instance.
    pub instance: u64,
    /// Its name.
    pub name: &'a ToolName,
    /// The user whose tool it is.
    pub uid: u32,
    /// Its limits.
    pub limits: ToolLimits,
    /// What it uses of each resource, in the order of [`Resource::ALL`].
    pub uses: [u64; 4],
    /// CPU use in cores; `None` where that is not known yet.
    pub cpu_share: Option<f64>,
    /// CPU time in milliseconds of an operation that has ended since the last sample.
    pub ended_operation_ms: Option<u64>,
    /// How often the kernel has killed in it for want of memory.
    pub oom_kills: u64,
    /// How its limits are held. Those of a tool that is only observed stay.
    pub mode: Mode,
    /// Whether this is one of the samples that come at each tick, and not a look in between.
    pub is_sample: bool,
    /// Whether limits may be lowered now: not while what is known has gaps.
    pub may_lower: bool,
}

/// Whose tool it is: instances of one name and user learn together.
type Name = (ToolName, u32);

/// One instance.
#[derive(Clone, Debug)]
struct Adapted {
    name: Name,
    held: [Held; 4],
    /// How its use of CPU goes.
    activity: Trend,
    growth: Option<(Growth, u64)>,
    oom_kills: u64,
    /// When the kernel was last seen to have killed for want of memory.
    wanted_ns: Option<u64>,
}

/// What was learned, to be kept: by whose it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// Of an instance that goes on: its estimators.
    Instance(u64, Vec<u8>),
    /// Of a name.
    Name(ToolName, u32, Vec<u8>),
}

/// Decides what limits in force are to be.
#[derive(Debug, Default)]
pub struct AdaptiveResourceManager {
    tuning: Tuning,
    tools: HashMap<u64, Adapted>,
    names: HashMap<Name, Known>,
    /// Names of which something was learned since it was last kept.
    changed: BTreeSet<Name>,
    /// Estimators of instances that an earlier agent has kept, until these begin.
    kept: HashMap<u64, [Estimator; 4]>,
}

impl AdaptiveResourceManager {
    /// One that pays so much for what.
    pub fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            ..Self::default()
        }
    }

    /// Pays so much from now on; what was learned stays.
    pub fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
        self.names.values_mut().for_each(|known| known.tune(tuning));
        let running = self.tools.values_mut().flat_map(|tool| &mut tool.held);
        let running = running.map(|held| &mut held.estimator);
        let kept = self.kept.values_mut().flatten();
        running.chain(kept).for_each(|estimator| estimator.tune(tuning));
    }

    /// An instance begins, with what is known of its name: what its limits in force are to be.
    pub fn begin(&mut self, tool: &Observed<'_>, now: Timestamp) -> Vec<Decision> {
        let known = self.names.get(&(tool.name.clone(), tool.uid));
        let resumed = self.kept.remove(&tool.instance);
        let goes_on = resumed.is_some();
        let estimators = resumed
            .or_else(|| known.map(Known::successors))
            .unwrap_or_else(|| Resource::ALL.map(|resource| fresh(resource, self.tuning)));
        let expected = |resource: Resource| expecting(known?.need(resource)?, resource, Reason::Learned, &tool.limits);
        // One that goes on has its limits.
        let is_new = !goes_on && tool.mode != Mode::Observe;
        let decisions = Resource::ALL
            .into_iter()
            .filter(|_| is_new)
            .filter_map(expected)
            .collect();
        self.tools.insert(tool.instance, Adapted::new(estimators, tool, now));
        decisions
    }

    /// What is to change.
    pub fn decide(&mut self, tool: &Observed<'_>, now: Timestamp) -> Vec<Decision> {
        if !self.tools.contains_key(&tool.instance) {
            self.begin(tool, now);
        }
        if let (true, Some(cpu_ms)) = (tool.is_sample, tool.ended_operation_ms) {
            self.learn(tool.name, tool.uid).operated(cpu_ms, now);
        }
        let Some(adapted) = self.tools.get_mut(&tool.instance) else {
            return Vec::new();
        };
        let known = self.names.get(&adapted.name);
        let per_operation = known.and_then(|known| known.need(Resource::Cpu));
        if tool.is_sample {
            adapted.observe(tool, now);
        }
        if tool.mode == Mode::Observe {
            for held in &mut adapted.held {
                held.let_go(now);
            }
            return Vec::new();
        }
        let wanted = adapted.wanted_ns;
        let is_over = wanted.is_none_or(|at_ns| now.monotonic_ns.saturating_sub(at_ns) > WANTED_NS);
        let tool = Observed {
            may_lower: tool.may_lower && is_over,
            ..*tool
        };
        let each = Resource::ALL.into_iter().zip(&mut adapted.held);
        let decide = |(resource, held): (Resource, &mut Held)| {
            let least = per_operation.filter(|_| resource == Resource::Cpu);
            held.decide(resource, &tool, least, now)
        };
        each.filter_map(decide).collect()
    }

    /// An operation of a tool begins: what the limit of CPU time is to be, where such ones are known to need more.
    pub fn begin_operation(&self, tool: &Observed<'_>, operation: &str) -> Option<Decision> {
        let known = self.names.get(&(tool.name.clone(), tool.uid))?;
        let need = known.need_of_operation(operation)?;
        expecting(need, Resource::Cpu, Reason::LearnedOfOperation, &tool.limits).filter(|_| tool.mode != Mode::Observe)
    }

    /// An operation of a tool has ended that took so much CPU time, in milliseconds.
    pub fn end_operation(&mut self, tool: &ToolName, uid: u32, operation: &str, cpu_ms: u64, now: Timestamp) {
        let tuning = self.tuning;
        self.learn(tool, uid).operated_as(operation, cpu_ms, tuning, now);
    }

    /// A tool is no more. It used so much at most, and its last operation so much CPU time.
    pub fn end(&mut self, tool: &Observed<'_>, now: Timestamp) {
        let Some(adapted) = self.tools.remove(&tool.instance) else {
            return;
        };
        let known = self.learn(tool.name, tool.uid);
        if let Some(cpu_ms) = tool.ended_operation_ms {
            known.operated(cpu_ms, now);
        }
        let estimators = adapted.held.map(|held| held.estimator);
        known.ended(estimators, tool.uses, tool.oom_kills > 0, now);
    }

    /// What is known of a name, to be added to.
    fn learn(&mut self, name: &ToolName, uid: u32) -> &mut Known {
        let name = (name.clone(), uid);
        if !self.names.contains_key(&name) && self.names.len() >= NAMES {
            // One of the same user's, where there is one: nobody is to make others' tools forget. Of those there is no telling
            // which will come again.
            let runs: HashSet<&Name> = self.tools.values().map(|adapted| &adapted.name).collect();
            let rests = || self.names.keys().filter(|other| !runs.contains(other));
            let other = rests().find(|(_, of)| *of == uid).or_else(|| rests().next()).cloned();
            if let Some(other) = other {
                self.names.remove(&other);
                self.changed.insert(other);
            }
        }
        self.changed.insert(name.clone());
        let tuning = self.tuning;
        self.names.entry(name).or_insert_with(|| Known::new(tuning))
    }

    /// What a season was found to be by a look at an instance's history; that there is none, too.
    pub fn set_season(&mut self, instance: u64, resource: Resource, season: Option<Season>) {
        if let Some(adapted) = self.tools.get_mut(&instance) {
            adapted.held[resource as usize].estimator.set_season(season);
        }
    }

    /// What an instance is expected to need, in the order of [`Resource::ALL`]; 0 where that is not known yet.
    pub fn needs(&self, instance: u64) -> [u64; 4] {
        let adapted = self.tools.get(&instance);
        adapted.map_or([0; 4], |adapted| {
            adapted.held.each_ref().map(|held| held.need().unwrap_or(0))
        })
    }

    /// Steady growth of an instance that somebody should know of.
    pub fn growth(&self, instance: u64) -> Option<&Growth> {
        self.tools.get(&instance)?.growth.as_ref().map(|(growth, _)| growth)
    }

    /// What has been learned of an instance's use of a resource; `None` before there are two samples.
    pub fn learned(
        &self,
        instance: u64,
        resource: Resource,
        limits: &ToolLimits,
        now: Timestamp,
        with_forecast: bool,
    ) -> Option<Learned> {
        let estimator = &self.tools.get(&instance)?.held[resource as usize].estimator;
        let steps = estimator.forecast()?;
        let accuracy = estimator.accuracy();
        let need = estimator.need();
        let interval_s = estimator.interval_s();
        let mut learned = Learned {
            pattern: estimator.pattern(now),
            samples: estimator.samples(),
            need: whole(need.value),
            need_by: need.to_string(),
            reaches_max: growth::reached(estimator, limits.range(resource).max),
            accuracy: ForecastAccuracy {
                against_naive: accuracy.against_naive.map(f64::from),
                coverage: accuracy.coverage.map(f64::from),
            },
            forecast: Vec::new(),
        };
        if with_forecast {
            let step = |(ahead, step): (u32, crate::pattern::forecast::Expected)| ForecastStep {
                after_s: f64::from(ahead) * interval_s,
                point: f64::from(step.point),
                low: f64::from(step.low),
                high: f64::from(step.high),
            };
            learned.forecast = (1..).zip(steps).map(step).collect();
        }
        Some(learned)
    }

    /// What was learned, to be kept: of names that have changed, and of the instances that are due. What is to be forgotten
    /// has no bytes.
    pub fn keep(&mut self, is_due: impl Fn(u64) -> bool) -> Vec<Kept> {
        let names = std::mem::take(&mut self.changed).into_iter().map(|name| {
            let bytes = self.names.get(&name).map(encoded).unwrap_or_default();
            Kept::Name(name.0, name.1, bytes)
        });
        let of_instance = |(instance, adapted): (&u64, &Adapted)| {
            let estimators = adapted.held.each_ref().map(|held| &held.estimator);
            Kept::Instance(*instance, encoded(&estimators))
        };
        let due = self.tools.iter().filter(|(instance, _)| is_due(**instance));
        names.chain(due.map(of_instance)).collect()
    }

    /// Instances that an earlier agent has kept something of, and that have ended since: what they taught is known of their
    /// names.
    pub fn settle(&mut self, gone: &[PastTool], now: Timestamp) {
        for tool in gone {
            if let Some(estimators) = self.kept.remove(&tool.instance) {
                self.learn(&tool.name, tool.uid)
                    .ended(estimators, tool.peaks, false, now);
            }
        }
    }

    /// Takes in what an earlier agent has kept; tells whether it is understood.
    pub fn resume(&mut self, kept: Kept) -> bool {
        match kept {
            Kept::Instance(instance, bytes) => {
                let Ok(mut estimators) = postcard::from_bytes::<[Estimator; 4]>(&bytes) else {
                    return false;
                };
                for estimator in &mut estimators {
                    estimator.tune(self.tuning);
                }
                self.kept.insert(instance, estimators);
            }
            Kept::Name(name, uid, bytes) => {
                let Ok(mut known) = postcard::from_bytes::<Known>(&bytes) else {
                    return false;
                };
                known.tune(self.tuning);
                self.names.insert((name, uid), known);
            }
        }
        true
    }
}

impl Adapted {
    fn new(estimators: [Estimator; 4], tool: &Observed<'_>, now: Timestamp) -> Self {
        Self {
            name: (tool.name.clone(), tool.uid),
            held: estimators.map(|estimator| Held::new(estimator, now)),
            activity: Trend::default(),
            growth: None,
            oom_kills: tool.oom_kills,
            wanted_ns: None,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is learned is learned by seven digits"
    )]
    fn observe(&mut self, tool: &Observed<'_>, now: Timestamp) {
        for (held, value) in self.held.iter_mut().zip(tool.uses) {
            held.observe(value, now);
        }
        if let Some(share) = tool.cpu_share {
            self.activity.observe(share as f32);
        }
        if tool.oom_kills > self.oom_kills {
            self.wanted_ns = Some(now.monotonic_ns);
        }
        self.oom_kills = tool.oom_kills;
        let estimators = self.held.each_ref().map(|held| &held.estimator);
        let found = growth::growth(estimators, &self.activity, &tool.limits);
        let is_over = |(_, seen_ns): &mut (Growth, u64)| now.monotonic_ns.saturating_sub(*seen_ns) > GROWN_NS;
        self.growth.take_if(is_over);
        self.growth = found.map(|growth| (growth, now.monotonic_ns)).or(self.growth.take());
    }
}

/// A limit that leaves room for what is expected to be needed, where the one in force does not.
fn expecting(need: u64, resource: Resource, reason: Reason, limits: &ToolLimits) -> Option<Decision> {
    let limit = limits.range(resource);
    let current = with_room(need).clamp(limit.base, limit.max);
    let evidence = Evidence {
        value: Some(need),
        limit: Some(limit.current),
        over_s: None,
    };
    (current > limit.current).then_some(Decision {
        resource,
        current,
        reason,
        evidence,
    })
}

/// As it is kept. What cannot be written is as what there is nothing of.
fn encoded(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

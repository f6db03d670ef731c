//! What instances of one name have taught: another instance begins with it. Knows the time that it is handed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Estimator,
    held::{fresh, whole},
};
use crate::model::{Resource, Timestamp, Tuning};

/// So many instances, or operations, have to have ended before another one begins by what they used.
const ENOUGH: u32 = 3;
/// An instance that the kernel killed for want of memory would have used this much more, in eighths.
const WANTED_MORE: u64 = 3;

/// Operations by name that are known of one tool's name, at most.
const OPERATIONS: usize = 32;

/// What is known of a name, whichever instance it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The estimators of the last instance that ended, in the order of [`Resource::ALL`]: which rules do well is known.
    estimators: [Estimator; 4],
    /// The most that each instance used; of CPU time, what each operation did.
    most: [Estimator; 4],
    /// The CPU time of operations that have names, by name.
    operations: BTreeMap<String, Estimator>,
}

impl Known {
    pub(super) fn new(tuning: Tuning) -> Self {
        Self {
            estimators: Resource::ALL.map(|resource| fresh(resource, tuning)),
            most: Resource::ALL.map(|resource| fresh(resource, tuning)),
            operations: BTreeMap::new(),
        }
    }

    /// The estimators of another instance.
    pub(super) fn successors(&self) -> [Estimator; 4] {
        self.estimators.each_ref().map(Estimator::successor)
    }

    /// What another instance, or another operation, is expected to need; `None` until enough have ended.
    pub(super) fn need(&self, resource: Resource) -> Option<u64> {
        let most = &self.most[resource as usize];
        (most.samples() >= ENOUGH).then(|| whole(most.need().value))
    }

    /// An operation has ended that took so much CPU time, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
    pub(super) fn operated(&mut self, cpu_ms: u64, now: Timestamp) {
        self.most[Resource::Cpu as usize].observe(now, cpu_ms as f64);
    }

    /// CPU time in milliseconds that an operation of this name is expected to need; `None` until enough have ended.
    pub(super) fn need_of_operation(&self, name: &str) -> Option<u64> {
        let known = self.operations.get(name)?;
        (known.samples() >= ENOUGH).then(|| whole(known.need().value))
    }

    /// The same as [`Known::operated`], of an operation that has a name. Where there are many names, that of which least
    /// is known is forgotten.
    #[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
    pub(super) fn operated_as(&mut self, name: &str, cpu_ms: u64, tuning: Tuning, now: Timestamp) {
        self.operated(cpu_ms, now);
        if !self.operations.contains_key(name) && self.operations.len() >= OPERATIONS {
            let least = self.operations.iter().min_by_key(|(_, known)| known.samples());
            if let Some(least) = least.map(|(name, _)| name.clone()) {
                self.operations.remove(&least);
            }
        }
        let known = self.operations.entry(name.to_owned());
        known
            .or_insert_with(|| fresh(Resource::Cpu, tuning))
            .observe(now, cpu_ms as f64);
    }

    /// An instance has ended, which used so much at most.
    #[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
    pub(super) fn ended(&mut self, estimators: [Estimator; 4], peaks: [u64; 4], wanted_memory: bool, now: Timestamp) {
        self.estimators = estimators;
        for resource in [Resource::Memory, Resource::Fds, Resource::Connections] {
            let mut peak = peaks[resource as usize];
            if wanted_memory && resource == Resource::Memory {
                peak = peak.saturating_add(peak / 8 * WANTED_MORE);
            }
            self.most[resource as usize].observe(now, peak as f64);
        }
    }

    pub(super) fn tune(&mut self, tuning: Tuning) {
        for estimator in self
            .estimators
            .iter_mut()
            .chain(&mut self.most)
            .chain(self.operations.values_mut())
        {
            estimator.tune(tuning);
        }
    }
}

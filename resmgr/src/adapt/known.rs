//! What instances of one name have taught: another instance begins with it. Knows the time that it is handed.

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

/// What is known of a name, whichever instance it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The estimators of the last instance that ended, in the order of [`Resource::ALL`]: which rules do well is known.
    estimators: [Estimator; 4],
    /// The most that each instance used; of CPU time, what each operation did.
    most: [Estimator; 4],
}

impl Known {
    pub(super) fn new(tuning: Tuning) -> Self {
        Self {
            estimators: Resource::ALL.map(|resource| fresh(resource, tuning)),
            most: Resource::ALL.map(|resource| fresh(resource, tuning)),
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
        for estimator in self.estimators.iter_mut().chain(&mut self.most) {
            estimator.tune(tuning);
        }
    }
}

//! Budgets: what all instances of a name may use together.

use serde::{Deserialize, Serialize};

use super::{Resource, ResourceStatus};

/// What the instances of a name that are one user's may use together; `None` for no bound. CPU time counts by operations,
/// and has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// How many of them there may be.
    pub instances: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Connections.
    pub connections: Option<u64>,
}

impl Budget {
    /// The bound of a resource, in its unit.
    pub const fn limit(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::Memory => self.memory,
            Resource::Cpu => None,
            Resource::Fds => self.fds,
            Resource::Connections => self.connections,
        }
    }
}

/// How much of a budget is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BudgetUse {
    /// What all instances use, in the resource's unit.
    pub used: u64,
    /// What they may.
    pub limit: u64,
}

impl BudgetUse {
    /// The most that an instance may have that uses so much of it: that, and what is left.
    pub const fn most(self, own: u64) -> u64 {
        own.saturating_add(self.limit.saturating_sub(self.used))
    }

    /// How close it is to its end.
    pub fn level(self) -> ResourceStatus {
        ResourceStatus::of(self.used, self.limit)
    }
}

#[cfg(test)]
mod tests {
    //! One budget, and who may have what of it.
    use super::*;

    #[test]
    fn an_instance_may_have_what_it_has_and_what_is_left() {
        let half = BudgetUse { used: 50, limit: 100 };
        assert_eq!((half.most(10), half.most(50)), (60, 100));
        assert_eq!(half.level(), ResourceStatus::Normal);
        let over = BudgetUse { used: 120, limit: 100 };
        assert_eq!(over.most(30), 30, "what it has it keeps");
        assert_eq!(over.level(), ResourceStatus::Emergency);
    }
}

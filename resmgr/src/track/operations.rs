//! Operations that have ended between two looks, from what the programs have summed up.

use crate::model::{OperationKind, ToolSums};

/// Operations as they were last seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Operations {
    /// How many had begun.
    begun: u64,
    /// CPU time of all before the one under way, in nanoseconds.
    before_ns: u64,
    /// That of one that had ended since the look before, in milliseconds.
    ended_ms: Option<u64>,
}

impl Operations {
    /// Takes in how things stand.
    pub(super) fn look(&mut self, sums: &ToolSums, kind: OperationKind) {
        let seen = *self;
        let before_ns = sums.cpu_ns.saturating_sub(sums.operation_cpu_ns);
        let ended = sums.operations.saturating_sub(seen.begun);
        // Of the first one that is seen, all that came before is no operation's.
        let is_known = seen.begun > 0 && kind == OperationKind::Busy;
        let cpu_ns = before_ns.saturating_sub(seen.before_ns);
        *self = Self {
            begun: sums.operations,
            before_ns,
            // Where several have, it is not known which took what.
            ended_ms: cpu_ns
                .checked_div(ended)
                .filter(|_| is_known)
                .map(|each_ns| each_ns / 1_000_000),
        };
    }

    /// CPU time in milliseconds of one that had ended at the last look; the mean of several.
    pub(super) const fn ended_ms(&self) -> Option<u64> {
        self.ended_ms
    }
}

#[cfg(test)]
mod tests {
    //! Sums as the programs have them.
    use super::*;

    fn sums(operations: u64, cpu_ms: u64, operation_ms: u64) -> ToolSums {
        ToolSums {
            operations,
            cpu_ns: cpu_ms * 1_000_000,
            operation_cpu_ns: operation_ms * 1_000_000,
            ..ToolSums::default()
        }
    }

    #[test]
    fn an_operation_that_has_ended_is_told_once_and_several_by_their_mean() {
        let mut operations = Operations::default();
        let mut look = |sums: ToolSums| {
            operations.look(&sums, OperationKind::Busy);
            operations.ended_ms()
        };
        assert_eq!(look(sums(3, 900, 100)), None, "what came before is not known");
        assert_eq!(look(sums(3, 1000, 200)), None, "it goes on");
        assert_eq!(look(sums(4, 1150, 50)), Some(300), "it took 300 in all");
        assert_eq!(look(sums(4, 1150, 50)), None);
        assert_eq!(look(sums(6, 1250, 10)), Some(70), "140 in two");
    }

    #[test]
    fn a_life_that_is_one_operation_has_none_that_end() {
        let mut operations = Operations::default();
        for operation in 1..5 {
            operations.look(&sums(operation, 1000 * operation, 10), OperationKind::Run);
            assert_eq!(operations.ended_ms(), None);
        }
    }
}

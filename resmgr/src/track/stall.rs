//! How much a tool is kept waiting for memory, by what its leaf counts. Reads no file and no clock.

/// The time that a rate is measured over at least, in nanoseconds.
const MEASURED_NS: u64 = 1_000_000_000;
/// From how many times a second on being slowed at the soft line is more than a passing reclaim.
const MANY_PER_SECOND: u64 = 10;
/// From which part of the time on waiting for memory is felt, in percent.
const FELT_PERCENT: u64 = 10;

/// What a leaf has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How often the tool was slowed at its soft line (`high` of `memory.events`).
    pub high_events: u64,
    /// How long something of it has waited for memory, in microseconds (`some` of `memory.pressure`); `None` where the
    /// kernel does not tell.
    pub waited_us: Option<u64>,
}

/// How much a tool is kept waiting for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// How often it was slowed at its soft line.
    pub high_events: u64,
    /// How often a second, lately.
    pub high_per_second: u64,
    /// For which part of the time something of it waited, lately, in percent.
    pub waiting_percent: Option<u64>,
    last: Option<(Counted, u64)>,
}

impl Stall {
    /// Takes in what its leaf has counted by now.
    pub fn count(&mut self, now: Counted, now_ns: u64) {
        self.high_events = now.high_events;
        let Some((before, at_ns)) = self.last else {
            self.last = Some((now, now_ns));
            return;
        };
        let elapsed_ns = now_ns.saturating_sub(at_ns);
        if elapsed_ns < MEASURED_NS {
            return;
        }
        let elapsed_ms = elapsed_ns / 1_000_000;
        let events = now.high_events.saturating_sub(before.high_events);
        self.high_per_second = events.saturating_mul(1000) / elapsed_ms;
        let waited_us = now.waited_us.zip(before.waited_us);
        self.waiting_percent = waited_us.map(|(now, before)| now.saturating_sub(before) / 10 / elapsed_ms);
        self.last = Some((now, now_ns));
    }

    /// Whether its soft line costs it more than a reclaim now and then.
    pub fn is_felt(&self) -> bool {
        let waits = self.waiting_percent.is_none_or(|percent| percent >= FELT_PERCENT);
        self.high_per_second >= MANY_PER_SECOND && waits
    }
}

#[cfg(test)]
mod tests {
    //! Counts as a kernel gives them.
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn counted(high_events: u64, waited_ms: Option<u64>) -> Counted {
        Counted {
            high_events,
            waited_us: waited_ms.map(|ms| ms * 1000),
        }
    }

    #[test]
    fn what_is_felt_is_slowed_often_and_waits_for_long() {
        let mut stall = Stall::default();
        stall.count(counted(1000, Some(5000)), SECOND);
        assert!(!stall.is_felt(), "nothing is known of a rate yet");
        stall.count(counted(1900, Some(5250)), SECOND * 3 / 2);
        assert!(!stall.is_felt(), "not for long enough");
        stall.count(counted(2000, Some(5500)), 2 * SECOND);
        assert_eq!((stall.high_per_second, stall.waiting_percent), (1000, Some(50)));
        assert!(stall.is_felt());
        stall.count(counted(3000, Some(5510)), 3 * SECOND);
        assert_eq!(stall.waiting_percent, Some(1));
        assert!(!stall.is_felt(), "reclaim that nobody waits for");
        stall.count(counted(3005, Some(6510)), 4 * SECOND);
        assert!(!stall.is_felt(), "it waits, and not at this line");
        stall.count(counted(3105, None), 5 * SECOND);
        assert_eq!(stall.waiting_percent, None);
        assert!(stall.is_felt(), "a kernel that cannot tell of waiting");
        stall.count(counted(3105, None), 6 * SECOND);
        assert_eq!((stall.high_per_second, stall.high_events), (0, 3105));
    }
}

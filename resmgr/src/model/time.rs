//! Time as a value: read by a clock in one place, handed to everything else.

use chrono::{DateTime, TimeDelta, Utc};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// For differences: nanoseconds of `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// For people and for storage.
    pub wall: DateTime<Utc>,
}

impl Timestamp {
    /// When another moment was, of which only the time for differences is known.
    pub fn back_at(&self, monotonic_ns: u64) -> DateTime<Utc> {
        let ago = i64::try_from(self.monotonic_ns.saturating_sub(monotonic_ns)).unwrap_or(i64::MAX);
        self.wall - TimeDelta::nanoseconds(ago)
    }
}

/// Tells the time.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Timestamp;
}

//! Time as a value: read by a clock in one place, handed to everything else.

use chrono::{DateTime, Utc};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// For differences: nanoseconds of `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// For people and for storage.
    pub wall: DateTime<Utc>,
}

/// Tells the time.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Timestamp;
}

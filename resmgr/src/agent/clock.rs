//! The one place where the clock is read.

use chrono::Utc;
use rustix::time::{ClockId, clock_gettime};

use crate::model::{Clock, Timestamp};

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let monotonic = clock_gettime(ClockId::Monotonic);
        Timestamp {
            monotonic_ns: monotonic.tv_sec.unsigned_abs() * 1_000_000_000 + monotonic.tv_nsec.unsigned_abs(),
            wall: Utc::now(),
        }
    }
}

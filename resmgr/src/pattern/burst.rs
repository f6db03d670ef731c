//! Whether a series is in a burst: a cumulative sum of what goes beyond the usual (Page 1954). Knows no clock.

use serde::{Deserialize, Serialize};

/// What is usual, in standard deviations above the level.
const USUAL: f32 = 1.5;
/// The sum at which it is a burst, and at which it is over.
const BEGINS: f32 = 8.0;
const ENDS: f32 = 2.0;
/// The sum goes no higher, so that a burst is over soon after it is.
const MOST: f32 = 12.0;
/// The mean absolute deviation of a normal distribution is this part of its standard deviation.
const MEAN_ABSOLUTE: f32 = 0.8;
const DEVIATION: f32 = 1.0 / MEAN_ABSOLUTE;
/// Deviations below this share of the level are none.
const LEAST: f32 = 0.02;
/// The share of a new sample in the level and in the deviation.
const SLOWLY: f32 = 1.0 / 64.0;

/// The state of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    level: f32,
    deviation: f32,
    sum: f32,
    seen: u16,
    on: bool,
}

impl Burst {
    /// Takes a sample in; tells whether it is in a burst.
    #[inline]
    pub fn observe(&mut self, value: f32) -> bool {
        self.seen = self.seen.saturating_add(1);
        let share = (1.0 / f32::from(self.seen)).max(SLOWLY);
        let usual = (DEVIATION * self.deviation)
            .max(LEAST * self.level)
            .max(f32::MIN_POSITIVE);
        let beyond = ((value - self.level) / usual).clamp(-MOST, MOST);
        if self.seen > 8 {
            self.sum = (self.sum + beyond - USUAL).clamp(0.0, MOST);
        }
        self.on = self.sum > if self.on { ENDS } else { BEGINS };
        // What is beyond moves the usual by no more than what is barely so.
        let near = value.clamp(self.level - 4.0 * usual, self.level + 4.0 * usual);
        let near = if self.seen > 8 { near } else { value };
        let off = (near - self.level).abs();
        self.level += share * (near - self.level);
        self.deviation += share * (off - self.deviation);
        self.on
    }

    /// How far the sum is, from 0 to 1.
    pub const fn sureness(&self) -> f32 {
        self.sum / MOST
    }

    /// Whether the last sample was in a burst.
    pub const fn is_on(&self) -> bool {
        self.on
    }
}

//! How a season goes: by phase, the mean and the highest. Knows no clock: times are handed in.

use serde::{Deserialize, Serialize};

use super::season::Found;

/// Bins of a profile, over one period.
pub const BINS: usize = 48;
/// Periods that a profile is made of, the last ones.
const PERIODS: f32 = 3.0;

/// A season that goes on: how high its series goes at which time of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Season {
    /// In nanoseconds.
    period_ns: u64,
    /// What a step of the profile is worth.
    unit: f32,
    /// Mean and highest by phase, in steps.
    #[serde(with = "bins")]
    means: [u8; BINS],
    #[serde(with = "bins")]
    highest: [u8; BINS],
}

impl Season {
    /// The profile of a history with a value each interval, the last of them at a time, over the last three periods;
    /// `None` where there is not one whole period.
    pub fn of(history: &[f32], last_ns: u64, interval_ns: u64, found: Found) -> Option<Self> {
        let period_ns = (f64::from(found.period) * interval_ns as f64) as u64;
        let kept = (found.period * PERIODS) as usize;
        if (history.len() as f32) < found.period || period_ns == 0 {
            return None;
        }
        let history = &history[history.len().saturating_sub(kept)..];
        let mut sums = [0.0_f32; BINS];
        let mut counts = [0_u16; BINS];
        let mut most = [0.0_f32; BINS];
        for (ago, value) in history.iter().rev().enumerate() {
            let before = (ago as u64).saturating_mul(interval_ns) % period_ns;
            let bin = bin(last_ns % period_ns + period_ns - before, period_ns);
            sums[bin] += value;
            counts[bin] += 1;
            most[bin] = most[bin].max(*value);
        }
        let unit = most.iter().copied().fold(0.0, f32::max) / 255.0;
        let steps = |value: f32| if unit > 0.0 { (value / unit).ceil() as u8 } else { 0 };
        let mut season = Self {
            period_ns,
            unit,
            means: [0; BINS],
            highest: [0; BINS],
        };
        // A period of fewer samples than bins leaves some empty: they are as the one before.
        let (mut mean, mut high) = (0.0, 0.0);
        for round in 0..2 * BINS {
            let bin = round % BINS;
            if counts[bin] > 0 {
                (mean, high) = (sums[bin] / f32::from(counts[bin]), most[bin]);
            }
            (season.means[bin], season.highest[bin]) = (steps(mean), steps(high));
        }
        Some(season)
    }

    /// The highest at a time, and in the bin that comes next.
    pub fn ahead(&self, at_ns: u64) -> f32 {
        let bin = bin(at_ns, self.period_ns);
        let highest = self.highest[bin].max(self.highest[(bin + 1) % BINS]);
        f32::from(highest) * self.unit
    }

    /// The period in nanoseconds.
    pub const fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// The mean by phase.
    pub fn means(&self) -> impl Iterator<Item = f32> {
        self.means.iter().map(|mean| f32::from(*mean) * self.unit)
    }
}

fn bin(at_ns: u64, period_ns: u64) -> usize {
    let phase = (at_ns % period_ns) as f64 / period_ns as f64;
    ((phase * BINS as f64) as usize).min(BINS - 1)
}

/// Serde has no arrays of this length.
mod bins {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use super::BINS;

    pub(super) fn serialize<S: Serializer>(bins: &[u8; BINS], to: S) -> Result<S::Ok, S::Error> {
        bins.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; BINS], D::Error> {
        let bins = Vec::<u8>::deserialize(from)?;
        bins.try_into()
            .map_err(|_| D::Error::custom("a profile of another number of bins"))
    }
}

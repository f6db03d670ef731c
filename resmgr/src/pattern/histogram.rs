//! What share of samples was below what, with the older ones counting less. Knows no clock.
//!
//! Eight buckets to a doubling, as the bits of a floating-point number have them; 56 of them, which slide with the values,
//! are enough for any unit. A sample's weight halves every 240 samples, as in the Kubernetes recommender's histogram.

use serde::{Deserialize, Serialize};

/// How many shares are asked for.
pub const SHARES: usize = 4;
/// The share of samples above each value that [`Decayed::values`] gives, from the smallest.
pub const ABOVE: [f32; SHARES] = [0.005, 0.02, 0.05, 0.1];

/// After so many samples one counts half.
const HALF_LIFE: f32 = 240.0;
const BUCKETS: usize = 56;
/// Bits of a number below those that name its bucket: of 23 after the point, three are among these.
const BELOW: u32 = 20;
/// Where the highest value is put when the buckets slide.
const PLACE: i32 = 50;
/// Beyond this weight all are scaled down: far from what an `f32` can hold.
const HEAVY: f32 = 1e9;
/// A share at the top that counts no more: a twentieth of the smallest that is asked for.
const NEGLIGIBLE: f32 = 2.5e-4;
/// Values are read every so many samples, and with one that is above all of them.
const EVERY: u8 = 4;

/// A histogram that forgets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decayed {
    #[serde(with = "buckets")]
    weights: [f32; BUCKETS],
    total: f32,
    /// The weight of the next sample.
    weight: f32,
    /// Which step of all that numbers have the lowest bucket is; `None` before the first sample.
    lowest: Option<i32>,
    /// The highest bucket with weight.
    top: u8,
    /// Samples since the values were read.
    since: u8,
    values: [f32; SHARES],
}

impl Default for Decayed {
    fn default() -> Self {
        Self {
            weights: [0.0; BUCKETS],
            total: 0.0,
            weight: 1.0,
            lowest: None,
            top: 0,
            since: 0,
            values: [0.0; SHARES],
        }
    }
}

impl Decayed {
    /// Takes a sample in.
    #[inline]
    pub fn observe(&mut self, value: f32) {
        let step = (value.to_bits() >> BELOW) as i32;
        let lowest = self.lowest.unwrap_or(step - PLACE);
        let mut bucket = step - lowest;
        self.lowest = Some(lowest);
        let last = BUCKETS as i32 - 1;
        if bucket > last {
            self.slide(bucket - PLACE);
            bucket = PLACE;
        } else if bucket < 0 {
            // Room at the top, since what was high has been forgotten, is put to use below.
            let room = (PLACE - i32::from(self.top)).clamp(0, -bucket);
            self.slide(-room);
            bucket = (bucket + room).max(0);
        }
        let bucket = bucket as usize;
        self.weights[bucket] += self.weight;
        self.total += self.weight;
        self.top = self.top.max(bucket as u8);
        self.weight *= 1.0 + std::f32::consts::LN_2 / HALF_LIFE;
        if self.weight > HEAVY {
            self.weights = self.weights.map(|weight| weight / HEAVY);
            self.total = self.weights.iter().sum();
            self.weight /= HEAVY;
        }
        let top = usize::from(self.top);
        if self.weights[top] < NEGLIGIBLE * self.total {
            self.total -= self.weights[top];
            self.weights[top] = 0.0;
            self.top = self.top.saturating_sub(1);
        }
        self.since += 1;
        if self.since >= EVERY || value > self.values[0] {
            self.values = self.read();
            self.since = 0;
        }
    }

    /// Moves the buckets' range up by so many; what falls out below is kept in the lowest.
    fn slide(&mut self, up: i32) {
        let Some(lowest) = self.lowest.as_mut() else {
            return;
        };
        *lowest += up;
        let old = std::mem::replace(&mut self.weights, [0.0; BUCKETS]);
        self.top = 0;
        for (bucket, weight) in old.into_iter().enumerate().filter(|(_, weight)| *weight > 0.0) {
            let to = (bucket as i32 - up).clamp(0, BUCKETS as i32 - 1);
            let to = to as usize;
            self.weights[to] += weight;
            self.top = self.top.max(to as u8);
        }
    }

    /// The value that each share of [`ABOVE`] of the samples was above, as of one of the last samples.
    pub const fn values(&self) -> [f32; SHARES] {
        self.values
    }

    fn read(&self) -> [f32; SHARES] {
        let mut values = [0.0; SHARES];
        let Some(lowest) = self.lowest else {
            return values;
        };
        let mut above = 0.0;
        let mut share = 0;
        let mut bucket = usize::from(self.top);
        loop {
            let here = self.weights[bucket];
            while share < SHARES && above + here >= ABOVE[share] * self.total {
                let into = if here > 0.0 {
                    ((ABOVE[share] * self.total - above) / here).max(0.0)
                } else {
                    0.0
                };
                let step = lowest + bucket as i32 + 1;
                let down = (into * (1_u32 << BELOW) as f32) as u32;
                values[share] = f32::from_bits(((step.max(1) as u32) << BELOW) - down);
                share += 1;
            }
            above += here;
            if share == SHARES || bucket == 0 {
                return values;
            }
            bucket -= 1;
        }
    }
}

/// Serde has no arrays of this length.
mod buckets {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use super::BUCKETS;

    pub(super) fn serialize<S: Serializer>(weights: &[f32; BUCKETS], to: S) -> Result<S::Ok, S::Error> {
        weights.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[f32; BUCKETS], D::Error> {
        let weights = Vec::<f32>::deserialize(from)?;
        weights
            .try_into()
            .map_err(|_| D::Error::custom("a histogram of another number of buckets"))
    }
}

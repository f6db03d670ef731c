//! Whether a series grows steadily, how fast, and when it will be where. Knows no clock: it counts samples.
//!
//! The means of up to 24 blocks of samples; when there are that many, two become one, up to 128 samples a block. Over them
//! the slope of Theil and Sen with its 95 % interval by ranks (Sen 1968), and the test of Mann and Kendall.

use serde::{Deserialize, Serialize};

const BLOCKS: usize = 24;
/// Samples a block at first, and at most.
const NARROW: u32 = 8;
const WIDE: u32 = 128;
/// While blocks are narrow, it is looked at every so many of them.
const LOOKS: u8 = 4;
/// A trend is none unless so many blocks say so.
const FEWEST: usize = 8;
/// What the test's normal deviate has to reach: once in 15,000 by chance.
const SIGNIFICANT: f32 = 4.0;
/// Growth is steady where the blocks are this close to the line, by what they grew.
const STEADY: f32 = 0.15;
/// Growth by less than this share of the level is none.
const LEAST: f32 = 0.01;

/// A slope, in the series' unit a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slope {
    /// The slope.
    pub each: f32,
    /// The interval that it is in by 95 %.
    pub low: f32,
    /// Its other end.
    pub high: f32,
    /// The normal deviate of the test for no trend.
    pub deviate: f32,
    /// Where the line is now.
    pub level: f32,
    /// Whether it is a steady growth, or a steady decline, and no chance.
    pub steady: bool,
}

/// When a line is reached, in samples from now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// The most likely time.
    pub after: f32,
    /// The earliest by the slope's interval.
    pub earliest: f32,
    /// The latest; endless where the slope may be none.
    pub latest: f32,
}

/// The blocks of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    means: [f32; BLOCKS],
    len: u8,
    width: u32,
    sum: f32,
    filled: u32,
    slope: Slope,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            means: [0.0; BLOCKS],
            len: 0,
            width: NARROW,
            sum: 0.0,
            filled: 0,
            slope: Slope::default(),
        }
    }
}

impl Trend {
    /// Takes a sample in. Now and then it looks at all blocks.
    pub fn observe(&mut self, value: f32) {
        self.sum += value / self.width as f32;
        self.filled += 1;
        if self.filled < self.width {
            return;
        }
        let mut len = usize::from(self.len);
        if len == BLOCKS && self.width < WIDE {
            for at in 0..BLOCKS / 2 {
                self.means[at] = f32::midpoint(self.means[2 * at], self.means[2 * at + 1]);
            }
            len = BLOCKS / 2;
            self.len = len as u8;
            self.width *= 2;
            // The block that has just filled is half of one now.
            self.sum /= 2.0;
            self.slope = self.measured();
            return;
        }
        if len == BLOCKS {
            self.means.copy_within(1.., 0);
            len -= 1;
        }
        self.means[len] = self.sum;
        self.len = len as u8 + 1;
        (self.sum, self.filled) = (0.0, 0);
        if self.width == WIDE || self.len.is_multiple_of(LOOKS) {
            self.slope = self.measured();
        }
    }

    /// Forgets what came before a gap.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// The slope when the last block was full.
    pub const fn slope(&self) -> Slope {
        self.slope
    }

    /// How many samples the slope goes by.
    pub const fn span(&self) -> u32 {
        self.len as u32 * self.width
    }

    /// When a level is reached; `None` where nothing grows steadily, or it is passed already.
    pub fn reaches(&self, level: f32) -> Option<Reached> {
        let Slope { each, low, high, .. } = self.slope;
        let to_go = level - self.now();
        if !self.slope.steady || each <= 0.0 || to_go <= 0.0 {
            return None;
        }
        Some(Reached {
            after: to_go / each,
            earliest: to_go / high,
            latest: if low > 0.0 { to_go / low } else { f32::INFINITY },
        })
    }

    /// Where the line is at the last sample.
    fn now(&self) -> f32 {
        self.slope.level + self.slope.each * self.filled as f32
    }

    fn measured(&self) -> Slope {
        let means = &self.means[..usize::from(self.len)];
        let count = means.len();
        if count < FEWEST {
            return Slope::default();
        }
        let mut rising = 0_i32;
        for (at, mean) in means.iter().enumerate() {
            for later in &means[at + 1..] {
                rising += i32::from(later > mean) - i32::from(later < mean);
            }
        }
        let n = count as f32;
        let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        let deviate = (rising - rising.signum()) as f32 / deviation;
        if deviate.abs() <= SIGNIFICANT {
            return Slope {
                deviate,
                ..Slope::default()
            };
        }
        let mut slopes = [0.0_f32; BLOCKS * (BLOCKS - 1) / 2];
        let mut pairs = 0;
        for (at, mean) in means.iter().enumerate() {
            for (after, later) in (1_u8..).zip(&means[at + 1..]) {
                slopes[pairs] = (later - mean) / f32::from(after);
                pairs += 1;
            }
        }
        let slopes = &mut slopes[..pairs];
        let mut rank = |of: f32| {
            let at = of.clamp(0.0, (pairs - 1) as f32) as usize;
            *slopes.select_nth_unstable_by(at, f32::total_cmp).1
        };
        let middle = pairs as f32 / 2.0;
        let each = rank(middle);
        let (low, high) = (rank(middle - 0.98 * deviation), rank(middle + 0.98 * deviation));

        let mut line = [0.0_f32; BLOCKS];
        let residuals = &mut line[..count];
        for (at, residual) in residuals.iter_mut().enumerate() {
            *residual = means[at] - each * at as f32;
        }
        residuals.sort_unstable_by(f32::total_cmp);
        let start = residuals[count / 2];
        for residual in &mut *residuals {
            *residual = (*residual - start).abs();
        }
        residuals.sort_unstable_by(f32::total_cmp);
        // The median absolute deviation of a normal distribution is 1 / 1.48 of its standard deviation.
        let off = 1.48 * residuals[count / 2];
        let grown = (each * (n - 1.0)).abs();
        let end = start + each * (n - 1.0);
        let halves = (means[count / 2] - means[0], means[count - 1] - means[count / 2]);
        let both = halves.0.signum() == halves.1.signum() && halves.0.abs().min(halves.1.abs()) > 0.2 * grown;
        let width = self.width as f32;
        Slope {
            each: each / width,
            low: low / width,
            high: high / width,
            deviate,
            // A block's mean is that of its middle.
            level: end + each / 2.0,
            steady: off < STEADY * grown && both && grown > LEAST * end.abs(),
        }
    }
}

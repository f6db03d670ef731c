//! What comes next: simple forecasters, weighed by how well each did of late, and intervals from how far they were off.
//! Knows no clock: it counts samples.
//!
//! A forecaster that did half as badly as another counts 2^8 times as much, separately for each of four
//! horizons. Half-widths of intervals are quantiles of the errors that were made, tracked by the gradient of the pinball
//! loss (adaptive conformal inference, Gibbs and Candès 2021): a step up where an error was beyond, a smaller one down
//! where it was not, so that in the long run the share beyond is the one asked for, however the errors are distributed.

use serde::{Deserialize, Serialize};

use super::median::Medians;

/// How far ahead forecasts go, in samples.
pub const STEPS: usize = 24;

/// Horizons at which the forecasters are weighed; between them it is interpolated by the logarithm.
const HORIZONS: [u8; 4] = [1, 4, 12, 24];
/// How often a trend counts until then, since it is damped: as [`growth`] says.
const GROWTH: [f32; 4] = [0.96, 3.616, 9.295, 14.99];
/// Every so many samples it is noted what the forecasters say, for the longer horizons.
const EVERY: usize = 4;
/// Notes that are kept: as many as the longest horizon needs.
const NOTES: usize = STEPS / EVERY;

/// Forecasters: the last sample; the median of 5, of 13, of every fourth over 52; a mean that halves in about 3 samples;
/// a level with a damped trend.
const MEMBERS: usize = 6;
/// How sharply the better ones are preferred.
const SHARPNESS: i32 = 8;
/// What is kept of a former cost, each sample.
const KEEP: f32 = 0.99;
/// The mean's share of a new sample.
const MEAN: f32 = 0.25;
/// Damped Holt: share of a new sample in the level, of it in the trend, and what is kept of a trend.
const LEVEL: f32 = 0.25;
const SLOPE: f32 = 0.05;
const DAMPED: f32 = 0.96;
/// Of so many first errors, each counts four times for the interval.
const FIRST: f32 = 12.0;
/// The share of errors beyond each end of an interval of 95 %.
const BEYOND: f32 = 0.03;

/// What is expected of one step ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// The forecast.
    pub point: f32,
    /// The interval that 95 % are in.
    pub low: f32,
    /// Its other end.
    pub high: f32,
}

/// How good the forecasts were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accuracy {
    /// Mean absolute error a step ahead, by that of saying that nothing changes; `None` until both are known.
    pub against_naive: Option<f32>,
    /// The share of samples that were within the interval for one step ahead; `None` until there is one.
    pub coverage: Option<f32>,
}

/// What the forecasters say at one time: all are level, but the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Said {
    levels: [f32; MEMBERS],
    slope: f32,
}

/// How the forecasters do at one horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    costs: [f32; MEMBERS],
    /// Mean absolute error of what was forecast.
    scale: f32,
    /// Half-widths of the interval.
    above: f32,
    below: f32,
    seen: f32,
}

/// The forecasters of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    samples: u32,
    last: Medians,
    sparse: Medians,
    now: Said,
    /// What was said every [`EVERY`] samples.
    notes: [Said; NOTES],
    records: [Record; HORIZONS.len()],
    /// Of one step ahead: mean absolute error, that of no change, and the share within the interval.
    error: f32,
    naive: f32,
    within: f32,
}

impl Said {
    /// The mean of what they say, by weights.
    fn point(&self, weights: &[f32; MEMBERS], growth: f32) -> f32 {
        let mut sum = weights[MEMBERS - 1] * self.slope * growth;
        let mut all = 0.0;
        for (level, weight) in self.levels.iter().zip(weights) {
            sum += level * weight;
            all += weight;
        }
        sum / all
    }
}

impl Record {
    fn weights(&self) -> [f32; MEMBERS] {
        let lower = |least: f32, cost: &f32| if *cost < least { *cost } else { least };
        let least = self.costs.iter().fold(f32::MAX, lower);
        // Nothing is divided by nothing: a series that never changed has no costs.
        let tiny = f32::MIN_POSITIVE.max(self.scale * 1e-6);
        self.costs.map(|cost| ((least + tiny) / (cost + tiny)).powi(SHARPNESS))
    }

    /// Takes in how far off what was said turned out to be; tells how far off what was forecast was.
    #[inline]
    fn learn(&mut self, said: &Said, growth: f32, value: f32, keep: f32) -> f32 {
        let error = value - said.point(&self.weights(), growth);
        let mut levels = said.levels;
        levels[MEMBERS - 1] += said.slope * growth;
        for (cost, level) in self.costs.iter_mut().zip(levels) {
            *cost = *cost * keep + (value - level).abs();
        }
        self.seen += 1.0;
        self.scale += (error.abs() - self.scale) * (1.0 / self.seen).max(0.02);
        if self.seen < 2.0 {
            (self.above, self.below) = (3.0 * error.abs(), 3.0 * error.abs());
        }
        let step = self.scale * if self.seen < FIRST { 4.0 } else { 1.0 };
        let moved = |width: f32, beyond: bool| (width + step * (f32::from(u8::from(beyond)) - BEYOND)).max(0.0);
        self.above = moved(self.above, error > self.above);
        self.below = moved(self.below, -error > self.below);
        error
    }
}

/// How often the trend counts after so many steps, since it is damped.
fn growth(steps: u8) -> f32 {
    DAMPED * (1.0 - DAMPED.powi(i32::from(steps))) / (1.0 - DAMPED)
}

impl Forecaster {
    /// Takes a sample in.
    #[inline]
    pub fn observe(&mut self, value: f32) {
        if self.samples > 0 {
            self.learn(value);
        }
        self.last.observe(value);
        let note = self.samples as usize;
        if note.is_multiple_of(EVERY) {
            self.sparse.observe(value);
        }
        let holt = MEMBERS - 1;
        if self.samples == 0 {
            self.now.levels = [value; MEMBERS];
        } else {
            let levels = &mut self.now.levels;
            levels[0] = value;
            levels[1] = self.last.of_five();
            levels[2] = self.last.median();
            levels[3] = self.sparse.median();
            levels[4] += MEAN * (value - levels[4]);
            let expected = levels[holt] + DAMPED * self.now.slope;
            let error = value - expected;
            levels[holt] = expected + LEVEL * error;
            self.now.slope = DAMPED * self.now.slope + LEVEL * SLOPE * error;
        }
        if note.is_multiple_of(EVERY) {
            self.notes[note / EVERY % NOTES] = self.now;
        }
        self.samples = self.samples.wrapping_add(1).max(1);
    }

    fn learn(&mut self, value: f32) {
        let samples = self.samples as usize;
        if samples % EVERY == EVERY / 2 || samples < FIRST as usize {
            self.learn_next(value);
        }
        if !samples.is_multiple_of(EVERY) {
            return;
        }
        // A note was taken with the last sample of its time: n samples ago, this one was n steps ahead.
        for (at, horizon) in HORIZONS.into_iter().enumerate().skip(1) {
            if let Some(then) = samples.checked_sub(usize::from(horizon)) {
                let said = self.notes[then / EVERY % NOTES];
                self.records[at].learn(&said, GROWTH[at], value, KEEP.powi(EVERY as i32));
            }
        }
    }

    /// Of every fourth sample, which is enough, and of the first ones: the forecast of one step.
    fn learn_next(&mut self, value: f32) {
        let one = self.records[0];
        let error = self.records[0].learn(&self.now, DAMPED, value, KEEP.powi(EVERY as i32));
        if one.seen > 0.0 {
            let within = f32::from(u8::from(error <= one.above && -error <= one.below));
            let share = (1.0 / one.seen).max(0.001);
            self.error += (error.abs() - self.error) * share;
            self.naive += ((value - self.now.levels[0]).abs() - self.naive) * share;
            self.within += (within - self.within) * share;
        }
    }

    /// What is expected of the next samples; `None` before the second one.
    pub fn next(&self) -> Option<[Expected; STEPS]> {
        if self.samples < 2 {
            return None;
        }
        let weights = self.records.map(|record| record.weights());
        let mut expected = [Expected::default(); STEPS];
        for (expected, step) in expected.iter_mut().zip(1_u8..) {
            let upper = HORIZONS.iter().position(|horizon| *horizon >= step).unwrap_or(3);
            let lower = upper.saturating_sub(usize::from(HORIZONS[upper] != step));
            let part = if upper == lower {
                0.0
            } else {
                let [from, to] = [lower, upper].map(|at| f32::from(HORIZONS[at]).ln());
                (f32::from(step).ln() - from) / (to - from)
            };
            let between = |of: &dyn Fn(usize) -> f32| of(lower) + (of(upper) - of(lower)) * part;
            let point = between(&|at| self.now.point(&weights[at], growth(step)));
            let width = |of: &dyn Fn(&Record) -> f32| {
                // A horizon that has not come yet is as wide as its steps make of the one before.
                between(&|at| {
                    let known = (0..=at).rev().find(|at| self.records[*at].seen > 0.0).unwrap_or(0);
                    let steps = f32::from(HORIZONS[at]) / f32::from(HORIZONS[known]);
                    of(&self.records[known]) * steps.sqrt()
                })
            };
            expected.point = point.max(0.0);
            expected.low = (point - width(&|record| record.below)).max(0.0);
            expected.high = (point + width(&|record| record.above)).max(0.0);
        }
        Some(expected)
    }

    /// The mean absolute error a step ahead: what of this series is noise.
    pub const fn noise(&self) -> f32 {
        self.records[0].scale
    }

    /// The level that moves with the last few samples.
    pub const fn level(&self) -> f32 {
        self.now.levels[2]
    }

    /// How good the forecasts of one step were, lately.
    pub fn accuracy(&self) -> Accuracy {
        if self.records[0].seen < 2.0 {
            return Accuracy::default();
        }
        Accuracy {
            against_naive: (self.naive > 0.0).then(|| self.error / self.naive),
            coverage: Some(self.within),
        }
    }
}

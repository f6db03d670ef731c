//! `Estimator`: from the samples of one series to what it will need, and why. Reads no clock, file or map.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    experts::{Basis, EXPERTS, Experts, Prices, SEASON, SOURCES, TREND},
    priors::{self, Quantity},
};
use crate::{
    model::{PatternKind, ResourcePattern, Timestamp, Tuning},
    pattern::{
        burst::Burst,
        forecast::{Accuracy, Expected, Forecaster, STEPS},
        histogram::{Decayed, SHARES},
        maxima::{Maxima, WINDOWS},
        profile::Season,
        trend::Trend,
    },
};

/// How far ahead a need is to be, in samples, where use grows steadily.
const AHEAD: f32 = 24.0;
/// A use beyond the need twice in a row is allowed for by this factor of it, of which so much is left after each further
/// sample: half in three, a hundredth in 21.
const ALLOWED: f32 = 1.1;
const COOLS: f32 = 0.8;
/// No sample is more than this, so that what is made of several is still a number.
const HUGE: f64 = 1e18;
/// Samples that are this many intervals apart are not of one growth or burst.
const GAP: u64 = 60;

/// What the experts pay, by tuning. docs/learning.md says what follows from them.
pub const fn prices(tuning: Tuning) -> Prices {
    let (breach, change) = match tuning {
        Tuning::Calm => (25.0, 1.5),
        Tuning::Balanced => (12.0, 0.5),
        Tuning::Safe => (60.0, 6.0),
    };
    Prices { breach, change }
}

/// What a series needs, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// In the series' unit.
    pub value: f64,
    /// By what it goes.
    pub basis: Basis,
    /// How much more than that, as a share.
    pub margin: f32,
}

/// When a limit is reached if growth goes on, in seconds from the last sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeToLimit {
    /// The most likely time.
    pub after_s: f64,
    /// The earliest, by the 95 % interval of the growth.
    pub earliest_s: f64,
    /// The latest; endless where there may be no growth.
    pub latest_s: f64,
}

/// All that is known of one series. Serialised, it goes on where it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimator {
    experts: Experts,
    maxima: Maxima,
    quantiles: Decayed,
    forecaster: Forecaster,
    trend: Trend,
    burst: Burst,
    season: Option<Season>,
    floor: f32,
    need: f32,
    allowed: f32,
    mean: f32,
    /// Between samples, in nanoseconds, and when the last one was.
    interval_ns: u64,
    last_ns: u64,
    samples: u32,
    /// Samples beyond the need, in a row.
    streak: u8,
    tuning: Tuning,
}

impl Estimator {
    /// Of a series of which nothing is known, with a sample each interval, or about that. Its need is never less than the floor.
    #[expect(clippy::cast_possible_truncation, reason = "needs are kept by seven digits")]
    pub fn new(quantity: Quantity, tuning: Tuning, floor: f64, interval_ns: u64) -> Self {
        // What is no number is no floor.
        let floor = if floor > 0.0 { floor.min(HUGE) as f32 } else { 0.0 }.max(f32::MIN_POSITIVE);
        let experts = Experts::new(priors::costs(quantity, prices(tuning)), floor);
        Self::with(experts, tuning, floor, interval_ns.max(1))
    }

    /// Of another instance of the same tool: which rules do well for it is known, what it uses is not.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self {
            season: self.season.clone(),
            ..Self::with(
                self.experts.learned(self.floor),
                self.tuning,
                self.floor,
                self.interval_ns,
            )
        }
    }

    fn with(experts: Experts, tuning: Tuning, floor: f32, interval_ns: u64) -> Self {
        Self {
            experts,
            maxima: Maxima::default(),
            quantiles: Decayed::default(),
            forecaster: Forecaster::default(),
            trend: Trend::default(),
            burst: Burst::default(),
            season: None,
            floor,
            need: floor,
            allowed: 0.0,
            mean: 0.0,
            interval_ns,
            last_ns: 0,
            samples: 0,
            streak: 0,
            tuning,
        }
    }

    /// Takes a sample in, and tells the need from then on. What is no number, or less than nothing, is no sample.
    pub fn observe(&mut self, now: Timestamp, value: f64) -> f64 {
        if value >= 0.0 && value.is_finite() {
            #[expect(clippy::cast_possible_truncation, reason = "samples are kept by seven digits")]
            self.take(now, value.min(HUGE) as f32);
        }
        f64::from(self.need)
    }

    fn take(&mut self, now: Timestamp, value: f32) {
        let prices = prices(self.tuning);
        if self.samples > 0 {
            self.experts.pay(value, prices);
            self.allow(value);
            // A clock that was set back tells nothing of the time in between.
            let since_ns = now.monotonic_ns.saturating_sub(self.last_ns);
            if since_ns > GAP * self.interval_ns {
                self.trend.restart();
                self.burst = Burst::default();
            } else if since_ns > 0 {
                self.interval_ns = interval(self.interval_ns, since_ns, self.samples);
            }
        }
        self.last_ns = now.monotonic_ns;
        self.samples = self.samples.saturating_add(1);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = (1.0 / self.samples as f32).max(1.0 / 1024.0);
        self.mean += share * (value - self.mean);
        self.maxima.observe(value);
        self.quantiles.observe(value);
        self.forecaster.observe(value);
        self.trend.observe(value);
        self.burst.observe(value);

        let mut sources = [0.0; SOURCES];
        let highest = self.maxima.highest();
        sources[..WINDOWS].copy_from_slice(&highest);
        sources[WINDOWS..WINDOWS + SHARES].copy_from_slice(&self.quantiles.values());
        let slope = self.trend.slope();
        let grows = if slope.steady { slope.each.max(0.0) } else { 0.0 };
        sources[TREND] = highest[1] + AHEAD * grows;
        sources[SEASON] = highest[0];
        self.experts.with_season(self.season.is_some());
        if let Some(season) = &self.season {
            let next_ns = wall_ns(now).saturating_add(self.interval_ns);
            sources[SEASON] = sources[SEASON].max(season.ahead(next_ns));
        }
        self.experts.say(&sources, self.floor, prices);
        self.need = self.experts.need().max(self.allowed);
    }

    fn allow(&mut self, value: f32) {
        self.allowed *= COOLS;
        if value <= self.need {
            self.streak = 0;
            return;
        }
        self.streak = self.streak.saturating_add(1);
        if self.streak > 1 {
            self.allowed = self.allowed.max(ALLOWED * value);
        }
    }

    /// Samples that were taken in.
    pub const fn samples(&self) -> u32 {
        self.samples
    }

    /// What the series needs.
    pub fn need(&self) -> Need {
        let (basis, margin) = if self.allowed >= self.need && self.allowed > 0.0 {
            (Basis::Allowance, ALLOWED - 1.0)
        } else {
            self.experts.basis()
        };
        Need {
            value: f64::from(self.need),
            basis,
            margin,
        }
    }

    /// What each expert says, in their order.
    pub const fn each(&self) -> &[f32; EXPERTS] {
        self.experts.needs()
    }

    /// What is expected of the next samples; `None` before the second one.
    pub fn forecast(&self) -> Option<[Expected; STEPS]> {
        self.forecaster.next()
    }

    /// How good its forecasts were.
    pub fn accuracy(&self) -> Accuracy {
        self.forecaster.accuracy()
    }

    /// When a limit is reached; `None` where use does not grow steadily, or is there already.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "by seven digits"
    )]
    pub fn reaches(&self, limit: f64) -> Option<TimeToLimit> {
        let reached = self.trend.reaches(limit as f32)?;
        let seconds = |samples: f32| f64::from(samples) * self.interval_ns as f64 / 1e9;
        Some(TimeToLimit {
            after_s: seconds(reached.after),
            earliest_s: seconds(reached.earliest),
            latest_s: seconds(reached.latest),
        })
    }

    /// Steady growth: by how much a second, and over how many seconds it was seen; `None` where use does not grow steadily.
    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    pub fn grows(&self) -> Option<(f64, f64)> {
        let slope = self.trend.slope();
        let interval_s = self.interval_ns as f64 / 1e9;
        let is_growth = slope.steady && slope.each > 0.0;
        is_growth.then(|| {
            (
                f64::from(slope.each) / interval_s,
                f64::from(self.trend.span()) * interval_s,
            )
        })
    }

    /// Seconds from a sample to the next.
    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    pub fn interval_s(&self) -> f64 {
        self.interval_ns as f64 / 1e9
    }

    /// From now on what is paid for is another, where it is.
    pub fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// What was found of its season by a look at its history, in wall-clock time.
    pub fn set_season(&mut self, season: Option<Season>) {
        self.season = season;
    }

    /// What kind of use it is.
    #[expect(clippy::cast_precision_loss, reason = "a period in seconds")]
    pub fn pattern(&self, now: Timestamp) -> ResourcePattern {
        let slope = self.trend.slope();
        let level = self.forecaster.level().max(f32::MIN_POSITIVE);
        let spread = (slope.high - slope.low) / (2.0 * slope.each.abs()).max(f32::MIN_POSITIVE);
        let steady = 1.0 - self.forecaster.noise() / level;
        let is = [
            (PatternKind::Linear, slope.steady, 1.0 - spread),
            (PatternKind::Burst, self.burst.is_on(), self.burst.sureness()),
            (PatternKind::Seasonal, self.season.is_some(), 0.9),
        ];
        let mut kind = PatternKind::Steady;
        let mut confidence = steady;
        for (one, ..) in is.iter().filter(|(_, is, _)| *is) {
            kind = if kind == PatternKind::Steady {
                *one
            } else {
                PatternKind::Mixed
            };
        }
        let sure = is.iter().filter(|(_, is, _)| *is).map(|(_, _, sure)| *sure);
        if let Some(least) = sure.reduce(f32::min) {
            confidence = least;
        }
        let interval_s = self.interval_ns as f64 / 1e9;
        ResourcePattern {
            average_usage: f64::from(self.mean),
            trend: f64::from(slope.each) / interval_s,
            seasonality: self
                .season
                .as_ref()
                .map(|season| season.means().map(f64::from).collect()),
            last_update: now.wall,
            kind,
            confidence: f64::from(confidence.clamp(0.0, 1.0)),
            significance: f64::from(slope.deviate),
            period_s: self.season.as_ref().map(|season| season.period_ns() as f64 / 1e9),
        }
    }
}

/// The mean time between samples, of which there are so many, with one more. A pause moves it no more than four of them do:
/// rates go by it.
fn interval(mean_ns: u64, since_ns: u64, samples: u32) -> u64 {
    /// Samples that it is the mean of, at most.
    const LONG: u32 = 256;
    let count = u64::from(samples.clamp(1, LONG));
    // Of the first nothing is known but what was said.
    let since_ns = if samples > 8 {
        since_ns.min(4 * mean_ns)
    } else {
        since_ns
    };
    (mean_ns.saturating_mul(count - 1).saturating_add(since_ns) / count).max(1)
}

/// Wall-clock time, by which seasons go; that before 1970 is none.
fn wall_ns(now: Timestamp) -> u64 {
    now.wall
        .timestamp_nanos_opt()
        .and_then(|ns| u64::try_from(ns).ok())
        .unwrap_or(0)
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.basis {
            Basis::Highest(samples) => write!(f, "the highest of the last {samples} samples")?,
            Basis::Above(share) => write!(f, "what {} % of the samples stay under", 100.0 - 100.0 * share)?,
            Basis::Trend => f.write_str("the steady growth, for the next 24 samples")?,
            Basis::Season => f.write_str("what was used at this time of the season")?,
            Basis::Allowance => f.write_str("two uses in a row beyond what was expected")?,
        }
        write!(f, ", and {:.0} % more", 100.0 * self.margin)
    }
}

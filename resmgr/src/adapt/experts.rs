//! The experts: each says what a series will need by one rule, and pays for what its rule would have cost. The cheapest is
//! followed. Knows no clock.
//!
//! An expert takes a source (the highest of a window, a quantile, a trend, a season) and a margin. It raises its need to
//! `source (1 + margin)` when the source comes within a fifth of the margin, and lowers it to that when it is under 0.7
//! (windows) or 0.85 (quantiles) of what it said: hysteresis, without which a limit would move with every sample.

use serde::{Deserialize, Serialize};

use crate::pattern::{
    histogram::{ABOVE, SHARES},
    maxima::{LENGTHS, WINDOWS},
};

/// Margins over windows, over quantiles, over trends, over seasons.
const OVER_WINDOWS: [f32; 4] = [0.03, 0.15, 0.5, 1.5];
const OVER_QUANTILES: [f32; 3] = [0.03, 0.1, 0.6];
const OVER_TRENDS: [f32; 2] = [0.03, 0.1];
const OVER_SEASONS: [f32; 2] = [0.03, 0.15];

/// Sources: windows, quantiles, the trend, the season.
pub(super) const SOURCES: usize = WINDOWS + SHARES + 2;
pub(super) const TREND: usize = WINDOWS + SHARES;
pub(super) const SEASON: usize = TREND + 1;
/// How many experts there are.
pub const EXPERTS: usize = WINDOWS * OVER_WINDOWS.len() + SHARES * OVER_QUANTILES.len() + 4;
/// From here on they go by the season.
const OF_SEASON: usize = EXPERTS - OVER_SEASONS.len();

/// The share of the margin within which a source may come before the need is raised.
const NEAR: f32 = 0.2;
/// Under this share of what was said, less is said.
const LOW_WINDOW: f32 = 0.7;
const LOW_QUANTILE: f32 = 0.85;
/// What is kept of a former cost, each sample: half of it after some 460.
const KEEP: f32 = 0.9985;
/// Another expert is followed when it is cheaper by so many changes: to follow it is one.
const PAYS: f32 = 2.0;
/// How far behind the cheapest the experts of a season enter, in samples of a limit that is not used at all.
const ENTERS: f32 = 30.0;
/// A step that is smaller than this share of a need is none.
const SAME: f32 = 1e-6;

/// What is paid for, in samples of a limit that is not used at all: the operator's one knob.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// For a use beyond the need.
    pub breach: f32,
    /// For a change of the need.
    pub change: f32,
}

/// By what a need goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Basis {
    /// The highest of so many samples.
    Highest(u16),
    /// What this share of samples, weighed by age, was above.
    Above(f32),
    /// The steady growth.
    Trend,
    /// The time in the season.
    Season,
    /// A use beyond the need, twice in a row.
    Allowance,
}

/// The rule of each expert, by field, so that all are gone through at once.
struct Rules {
    source: [usize; EXPERTS],
    to: [f32; EXPERTS],
    near: [f32; EXPERTS],
    low: [f32; EXPERTS],
}

const RULES: Rules = rules();

const fn rules() -> Rules {
    let mut rules = Rules {
        source: [0; EXPERTS],
        to: [0.0; EXPERTS],
        near: [0.0; EXPERTS],
        low: [0.0; EXPERTS],
    };
    let (mut expert, mut source) = (0, 0);
    while source < SOURCES {
        let (margins, low): (&[f32], f32) = if source < WINDOWS {
            (&OVER_WINDOWS, LOW_WINDOW)
        } else if source < TREND {
            (&OVER_QUANTILES, LOW_QUANTILE)
        } else if source == TREND {
            (&OVER_TRENDS, LOW_WINDOW)
        } else {
            (&OVER_SEASONS, LOW_WINDOW)
        };
        let mut margin = 0;
        while margin < margins.len() {
            rules.source[expert] = source;
            rules.to[expert] = 1.0 + margins[margin];
            rules.near[expert] = 1.0 + NEAR * margins[margin];
            rules.low[expert] = low;
            margin += 1;
            expert += 1;
        }
        source += 1;
    }
    rules
}

/// The source of each expert.
#[inline]
fn of_each(sources: &[f32; SOURCES]) -> [f32; EXPERTS] {
    let mut each = [0.0; EXPERTS];
    // Not by the rules' own numbers: copies of one number are done at once.
    let (windows, rest) = each.split_at_mut(WINDOWS * OVER_WINDOWS.len());
    for (each, source) in windows.chunks_exact_mut(OVER_WINDOWS.len()).zip(sources) {
        each.fill(*source);
    }
    let (quantiles, rest) = rest.split_at_mut(SHARES * OVER_QUANTILES.len());
    for (each, source) in quantiles
        .chunks_exact_mut(OVER_QUANTILES.len())
        .zip(&sources[WINDOWS..])
    {
        each.fill(*source);
    }
    let (trends, seasons) = rest.split_at_mut(OVER_TRENDS.len());
    trends.fill(sources[TREND]);
    seasons.fill(sources[SEASON]);
    each
}

/// The experts of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Experts {
    #[serde(with = "each")]
    costs: [f32; EXPERTS],
    #[serde(with = "each")]
    needs: [f32; EXPERTS],
    followed: u8,
}

impl Experts {
    /// Experts that have said nothing yet, with what they are taken to cost.
    pub(super) fn new(costs: [f32; EXPERTS], floor: f32) -> Self {
        let mut experts = Self {
            costs,
            needs: [floor; EXPERTS],
            followed: 0,
        };
        experts.costs[OF_SEASON..].fill(f32::INFINITY);
        experts.followed = experts.cheapest();
        experts
    }

    /// What the expert that is followed says.
    pub(super) const fn need(&self) -> f32 {
        self.needs[self.followed as usize]
    }

    /// Experts that have said nothing yet, but have learned.
    pub(super) fn learned(&self, floor: f32) -> Self {
        Self::new(self.costs, floor)
    }

    /// By what the need that is followed goes, and the margin on top.
    pub(super) fn basis(&self) -> (Basis, f32) {
        let expert = usize::from(self.followed);
        let source = RULES.source[expert];
        let basis = if source < WINDOWS {
            Basis::Highest(LENGTHS[source])
        } else if source < TREND {
            Basis::Above(ABOVE[source - WINDOWS])
        } else if source == TREND {
            Basis::Trend
        } else {
            Basis::Season
        };
        (basis, RULES.to[expert] - 1.0)
    }

    /// What each says, in their order.
    pub(super) const fn needs(&self) -> &[f32; EXPERTS] {
        &self.needs
    }

    /// Lets all pay for a use.
    #[inline]
    pub(super) fn pay(&mut self, used: f32, prices: Prices) {
        for (cost, need) in self.costs.iter_mut().zip(&self.needs) {
            let idle = 1.0 - used / need;
            let idle = if idle > 0.0 { idle } else { 0.0 };
            let beyond = if used > *need { prices.breach } else { 0.0 };
            *cost = *cost * KEEP + idle + beyond;
        }
    }

    /// Lets all say what they say now, and follows the cheapest.
    #[inline]
    pub(super) fn say(&mut self, sources: &[f32; SOURCES], floor: f32, prices: Prices) {
        let of_each = of_each(sources);
        // Without branches, so that several are done at once.
        for (expert, source) in of_each.into_iter().enumerate() {
            let need = self.needs[expert];
            let wanted = source * RULES.to[expert];
            let wanted = if wanted > floor { wanted } else { floor };
            let (near, low) = (source * RULES.near[expert] > need, wanted < RULES.low[expert] * need);
            let moves = near | low;
            let next = if moves { wanted } else { need };
            let changed = (next - need).abs() > SAME * need;
            self.costs[expert] += if changed { prices.change } else { 0.0 };
            self.needs[expert] = next;
        }
        let least = self.least();
        let followed = self.costs[usize::from(self.followed)];
        if least + PAYS * prices.change < followed || !followed.is_finite() {
            self.followed = self.cheapest();
        }
    }

    /// Whether the experts of the season are among them: they enter a little behind the cheapest.
    pub(super) fn with_season(&mut self, known: bool) {
        let enters = if !known {
            f32::INFINITY
        } else if self.costs[OF_SEASON].is_finite() {
            return;
        } else {
            self.least() + ENTERS
        };
        self.costs[OF_SEASON..].fill(enters);
    }

    #[inline]
    fn least(&self) -> f32 {
        let (fours, _) = self.costs.as_chunks::<4>();
        let mut least = [f32::INFINITY; 4];
        for four in fours {
            for (least, cost) in least.iter_mut().zip(four) {
                *least = if cost < least { *cost } else { *least };
            }
        }
        least.into_iter().fold(f32::INFINITY, f32::min)
    }

    fn cheapest(&self) -> u8 {
        let least = self.least();
        let place = (0_u8..).zip(&self.costs).find(|(_, cost)| **cost <= least);
        place.map_or(0, |(place, _)| place)
    }
}

const _: () = assert!(EXPERTS.is_multiple_of(4));

/// Serde has no arrays of this length.
mod each {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use super::EXPERTS;

    pub(super) fn serialize<S: Serializer>(each: &[f32; EXPERTS], to: S) -> Result<S::Ok, S::Error> {
        // What is endless is written as nothing: text has no word for it.
        let each: Vec<Option<f32>> = each.iter().map(|value| value.is_finite().then_some(*value)).collect();
        each.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[f32; EXPERTS], D::Error> {
        let each = Vec::<Option<f32>>::deserialize(from)?;
        let each: Vec<f32> = each.into_iter().map(|value| value.unwrap_or(f32::INFINITY)).collect();
        each.try_into()
            .map_err(|_| D::Error::custom("costs of another set of experts"))
    }
}

//! Seasons: whether a history repeats, after how many samples, and how it goes in between. Knows no clock; reads a history
//! that it is handed, in the background.
//!
//! The period is the first peak of the autocorrelation that is within a tenth of the highest, refined by a parabola.

/// No history is looked at beyond this; six days of five minutes are 1,728.
pub const LONGEST: usize = 4096;

/// The shortest period, in samples.
const SHORTEST: usize = 8;
/// Periods that a history has to hold.
const PERIODS: usize = 3;
/// The least correlation with what was a period ago, and how far it has to rise from the lowest before.
const CORRELATED: f32 = 0.3;
const RISEN: f32 = 0.15;
/// The first peak within this share of the highest is the period.
const AS_HIGH: f32 = 0.9;

/// A period that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// In samples.
    pub period: f32,
    /// The autocorrelation at it.
    pub correlation: f32,
}

/// The period of a history, oldest first; `None` where nothing repeats.
pub fn find(history: &[f32]) -> Option<Found> {
    let history = &history[history.len().saturating_sub(LONGEST)..];
    let longest = history.len() / PERIODS;
    if longest <= SHORTEST {
        return None;
    }
    let correlations = autocorrelation(history, longest + 1)?;
    let mut lowest = f32::MAX;
    let mut peaks = Vec::new();
    for lag in 1..=longest {
        let [before, here, after] = [lag - 1, lag, lag + 1].map(|lag| correlations[lag]);
        lowest = lowest.min(here);
        if lag >= SHORTEST && here >= before && here > after && here > lowest + RISEN {
            peaks.push(lag);
        }
    }
    let highest = peaks.iter().map(|lag| correlations[*lag]).fold(0.0, f32::max);
    if highest < CORRELATED {
        return None;
    }
    let first = *peaks.iter().find(|lag| correlations[**lag] >= AS_HIGH * highest)?;
    // Noise makes peaks beside the peak.
    let beside = first..=(first + first / 8).min(longest);
    let peak = beside
        .max_by(|a, b| correlations[*a].total_cmp(&correlations[*b]))
        .unwrap_or(first);
    Some(Found {
        period: top(&correlations, peak),
        correlation: correlations[peak],
    })
}

/// Correlations of a history with itself by lag; `None` where it is constant.
fn autocorrelation(history: &[f32], lags: usize) -> Option<Vec<f32>> {
    let count = history.len() as f32;
    let mean = history.iter().map(|value| value / count).sum::<f32>();
    let mut centred: Vec<f32> = history.iter().map(|value| value - mean).collect();
    let highest = centred.iter().fold(0.0_f32, |highest, value| highest.max(value.abs()));
    if highest <= mean.abs() * 1e-6 || !highest.is_finite() {
        return None;
    }
    for value in &mut centred {
        *value /= highest;
    }
    let product = |lag: usize| -> f32 {
        // In lanes, since a sum in order cannot be done several at a time.
        let mut lanes = [0.0_f32; 8];
        let (left, right) = (&centred[..centred.len() - lag], &centred[lag..]);
        let (left_eights, left_rest) = left.as_chunks::<8>();
        let (right_eights, right_rest) = right.as_chunks::<8>();
        for (left, right) in left_eights.iter().zip(right_eights) {
            for (lane, (left, right)) in lanes.iter_mut().zip(left.iter().zip(right)) {
                *lane += left * right;
            }
        }
        let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
        lanes.iter().sum::<f32>() + rest
    };
    let own = product(0);
    let of = |lag: usize| product(lag) / own * count / (count - lag as f32);
    Some((0..=lags).map(of).collect())
}

/// Where the parabola through a peak and its neighbours is highest.
fn top(correlations: &[f32], peak: usize) -> f32 {
    let [before, here, after] = [peak - 1, peak, peak + 1].map(|lag| correlations[lag]);
    let bend = before - 2.0 * here + after;
    let off = if bend < 0.0 {
        (before - after) / (2.0 * bend)
    } else {
        0.0
    };
    peak as f32 + off.clamp(-0.5, 0.5)
}

/// A history with a value each interval, as [`find`] wants it: rows of (time, value), oldest first. An interval without a
/// row has the value before; one that is far off ends what came before.
pub fn regular(rows: impl IntoIterator<Item = (f64, f32)>, interval: f64) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::new();
    let mut start: Option<f64> = None;
    for (time, value) in rows {
        let begin = *start.get_or_insert(time);
        let place = ((time - begin) / interval).round();
        let missing = place - values.len() as f64;
        if missing >= LONGEST as f64 || missing < -1.0 {
            // A gap longer than all that is looked at, or a clock that was set back.
            values.clear();
            start = Some(time);
        } else if missing > 0.0 {
            let before = values.last().copied().unwrap_or(value);
            values.resize(values.len() + missing as usize, before);
        } else if missing < 0.0 {
            // Two in one interval.
            if let Some(last) = values.last_mut() {
                *last = value;
            }
            continue;
        }
        values.push(value);
    }
    values
}

/// Confirms periods: one is taken for one when it was found twice in a row, and for gone when it was not, twice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Confirmed {
    before: Option<f32>,
    now: Option<f32>,
}

impl Confirmed {
    /// Takes in what was found; tells the period that is certain.
    pub fn look(&mut self, found: Option<Found>) -> Option<Found> {
        let period = found.map(|found| found.period);
        match (self.before, period) {
            (Some(before), Some(period)) if (before - period).abs() <= 1.0 + 0.02 * period => self.now = Some(period),
            (None, None) => self.now = None,
            _ => {}
        }
        self.before = period;
        found.filter(|_| self.now == period)
    }
}

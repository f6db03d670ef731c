//! Steady growth of a tool that somebody should know of: all of its resources looked at together, and beside what it does.
//! Pure.

use super::{Estimator, TimeToLimit};
use crate::{
    model::{Growing, Growth, LimitReached, Resource, ToolLimits},
    pattern::trend::Trend,
};

/// Growth is believed to go on for so many times as long as it was seen.
const GOES_ON: f64 = 4.0;
/// Growth that was seen for so many seconds, and that nothing explains, is a leak.
const LEAKS_S: f64 = 600.0;

/// What grows of a tool, whose activity is its use of CPU; `None` where nobody needs to know.
pub(super) fn growth(estimators: [&Estimator; 4], activity: &Trend, limits: &ToolLimits) -> Option<Growth> {
    let mut growing = Vec::new();
    let (mut is_soon, mut unexplained) = (false, false);
    let does_more = activity.slope().steady && activity.slope().each > 0.0;
    for (resource, estimator) in Resource::ALL.into_iter().zip(estimators) {
        let Some((per_second, seen_s)) = estimator.grows() else {
            continue;
        };
        let reaches_max = reached(estimator, limits.range(resource).max);
        is_soon |= reaches_max.is_some_and(|reached| reached.after_s <= GOES_ON * seen_s);
        // CPU time of an operation always grows.
        unexplained |= resource != Resource::Cpu && seen_s >= LEAKS_S && !does_more;
        growing.push(Growing {
            resource,
            per_hour: per_second * 3600.0,
            reaches_max,
        });
    }
    let after_s = |growing: &Growing| growing.reaches_max.map_or(f64::INFINITY, |reached| reached.after_s);
    growing.sort_by(|a, b| after_s(a).total_cmp(&after_s(b)));
    (is_soon || unexplained).then_some(Growth {
        growing,
        is_leak: unexplained,
    })
}

/// When a limit is reached, in the report's terms.
#[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
pub(super) fn reached(estimator: &Estimator, limit: u64) -> Option<LimitReached> {
    let TimeToLimit {
        after_s,
        earliest_s,
        latest_s,
    } = estimator.reaches(limit as f64)?;
    Some(LimitReached {
        limit,
        after_s,
        earliest_s,
        latest_s: latest_s.is_finite().then_some(latest_s),
    })
}

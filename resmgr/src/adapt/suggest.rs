//! Limits that a recorded use would have been content with, and what they would have cost. Pure.

use serde::Serialize;

use crate::model::{Resource, Tuning};

/// What was used in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// On the average.
    pub mean: u64,
    /// At most.
    pub max: u64,
}

/// A base and a maximum, in the resource's unit, and what is to be expected of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// The base.
    pub base: u64,
    /// The maximum.
    pub max: u64,
    /// The part of the base that was not used, on the average.
    pub slack: f64,
    /// The share of spans that would have been a Warning at the base.
    pub warned: f64,
}

/// Of so many spans one may be a Warning at the base, by tuning.
const fn allowed(tuning: Tuning) -> usize {
    match tuning {
        Tuning::Balanced => 50,
        Tuning::Calm => 100,
        Tuning::Safe => 500,
    }
}

/// What a recorded use suggests: a base of which all spans but a few use less than 80 %, and a maximum of one and a half times
/// the most that was used. `None` where nothing was recorded.
pub fn suggest(resource: Resource, spans: &[Span], tuning: Tuning) -> Option<Suggestion> {
    let mut highest: Vec<u64> = spans.iter().map(|span| span.max).collect();
    highest.sort_unstable();
    let most = *highest.last()?;
    let beyond = spans.len() / allowed(tuning);
    let need = highest[highest.len() - 1 - beyond];
    // More than 1.25 times: at 80 % it is a Warning already.
    let base = round(resource, need.saturating_add(need / 4).saturating_add(1));
    let base = base.max(least(resource).0);
    // Where one is used, two are to be had.
    let more = most.saturating_add(most.div_ceil(2)).max(most.saturating_add(1));
    let max = round(resource, more).max(base).max(least(resource).1);
    Some(cost(spans, base, max))
}

/// What a base would have cost.
#[expect(clippy::cast_precision_loss, reason = "shares are told by three digits")]
pub fn cost(spans: &[Span], base: u64, max: u64) -> Suggestion {
    let count = spans.len().max(1) as f64;
    let unused = |span: &Span| (1.0 - span.mean as f64 / base.max(1) as f64).max(0.0);
    let is_warned = |span: &&Span| u128::from(span.max) * 5 >= u128::from(base) * 4;
    Suggestion {
        base,
        max,
        slack: spans.iter().map(unused).sum::<f64>() / count,
        warned: spans.iter().filter(is_warned).count() as f64 / count,
    }
}

/// A base and a maximum that nothing less is suggested than: what an operation takes differs with what it is asked.
const fn least(resource: Resource) -> (u64, u64) {
    match resource {
        Resource::Cpu => (10_000, 30_000),
        Resource::Memory | Resource::Fds | Resource::Connections => (0, 0),
    }
}

/// Up to two digits of the unit that it is written in.
pub fn round(resource: Resource, value: u64) -> u64 {
    let unit = match resource {
        Resource::Memory => 1 << 20,
        Resource::Cpu => 1000,
        Resource::Fds | Resource::Connections => 1,
    };
    let in_units = value.div_ceil(unit).max(resource.least_limit().div_ceil(unit));
    let mut step = 1_u64;
    while in_units / step >= 100 {
        step *= 10;
    }
    in_units.div_ceil(step).saturating_mul(step).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    //! Uses by hand.
    use super::*;
    use crate::model::ResourceStatus;

    fn spans(uses: impl Iterator<Item = u64>) -> Vec<Span> {
        uses.map(|max| Span { mean: max / 2, max }).collect()
    }

    #[test]
    fn a_base_has_room_for_all_but_a_few_and_the_maximum_for_more_than_the_most() {
        // Of a thousand minutes, nine of 300 MiB, and 100 MiB in the others.
        let uses = spans((0..1000).map(|n| if n % 111 == 5 { 300 << 20 } else { 100 << 20 }));
        let calm = suggest(Resource::Memory, &uses, Tuning::Calm).unwrap();
        assert_eq!((calm.base >> 20, calm.max >> 20), (130, 450));
        assert!((calm.warned - 0.009).abs() < 1e-9);
        let safe = suggest(Resource::Memory, &uses, Tuning::Safe).unwrap();
        assert_eq!((safe.base >> 20, safe.max >> 20), (380, 450));
        assert!(safe.warned < 1e-9);
        assert!(safe.slack > calm.slack);
        assert_eq!(suggest(Resource::Memory, &[], Tuning::Calm), None);
    }

    #[test]
    fn what_is_suggested_is_no_warning_for_what_it_is_for() {
        for use_ in (0..100_000).step_by(37) {
            for resource in Resource::ALL {
                let suggested = suggest(resource, &spans(std::iter::once(use_)), Tuning::Safe).unwrap();
                assert_eq!(ResourceStatus::of(use_, suggested.base), ResourceStatus::Normal);
                assert!(suggested.base >= resource.least_limit() && suggested.max >= suggested.base);
                assert!(suggested.max > use_, "one more is to be had");
            }
        }
        let huge = suggest(Resource::Fds, &spans(std::iter::once(u64::MAX)), Tuning::Calm).unwrap();
        assert!(huge.max >= huge.base);
    }
}

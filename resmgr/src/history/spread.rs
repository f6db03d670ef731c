//! What values come to: how many, their sum, and counts by size, from which percentiles are read. Holds no value itself.

use crate::model::Summary;

/// Bits of a value that its count is known by: there are 32 counts to a doubling, and one for each value under 64.
const BITS: u32 = 6;
/// Counts to a doubling.
const STEPS: u64 = 1 << (BITS - 1);

/// Values that were gathered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// How many values are of which size, in ascending order.
    counts: Vec<(u16, u32)>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

/// The count that a value belongs to.
fn place(value: u64) -> u16 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
    let place = u64::from(shift) * STEPS + (value >> shift);
    u16::try_from(place).unwrap_or(u16::MAX)
}

/// The highest value that belongs to a count.
fn highest(place: u16) -> u64 {
    let place = u64::from(place);
    if place < 2 * STEPS {
        return place;
    }
    let shift = place / STEPS - 1;
    let above = u128::from(place - shift * STEPS + 1) << shift;
    u64::try_from(above - 1).unwrap_or(u64::MAX)
}

impl Spread {
    /// Takes a value in.
    pub(super) fn take(&mut self, value: u64) {
        let place = place(value);
        match self.counts.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(1),
            Err(at) => self.counts.insert(at, (place, 1)),
        }
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
    }

    /// What they come to; `None` of none.
    pub(super) fn summary(&self) -> Option<Summary> {
        let count = u128::from(self.count);
        let mean = (self.sum + count / 2).checked_div(count)?;
        Some(Summary {
            count: self.count,
            min: self.min,
            mean: u64::try_from(mean).unwrap_or(u64::MAX),
            max: self.max,
            p50: self.not_above(50),
            p95: self.not_above(95),
            p99: self.not_above(99),
        })
    }

    /// What so many percent of them are not above.
    fn not_above(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (place, count) in &self.counts {
            seen += u64::from(*count);
            if seen >= wanted {
                return highest(*place).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    //! Values whose percentiles are known by sorting them.
    use super::*;

    #[test]
    fn each_value_lies_in_its_place_and_places_touch() {
        for shift in 0..64 {
            for off in [0, 1, 5, 17, 31] {
                let value = (1_u64 << shift).saturating_add((off << shift) / 32);
                let top = highest(place(value));
                assert!(top >= value && top - value <= value / 32, "{value}: {top}");
            }
        }
        assert_eq!(highest(place(u64::MAX)), u64::MAX);
        for place in 0..500 {
            assert_eq!(super::place(highest(place)), place);
            assert_eq!(super::place(highest(place) + 1), place + 1);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values_to_a_thirty_second_part() {
        let mut values: Vec<u64> = (0..3600_u64).map(|n| (n * n * 7919 + n) % 1_000_003 * 1000).collect();
        let mut spread = Spread::default();
        for value in &values {
            spread.take(*value);
        }
        values.sort_unstable();
        let summary = spread.summary().unwrap();
        for (percent, found) in [(50, summary.p50), (95, summary.p95), (99, summary.p99)] {
            let exact = values[(values.len() * percent).div_ceil(100) - 1];
            assert!(
                found >= exact && found - exact <= exact / 32,
                "{percent}: {exact}, {found}"
            );
        }
        assert_eq!(
            (summary.count, summary.min, summary.max),
            (3600, values[0], values[3599])
        );
        let sum: u64 = values.iter().sum();
        assert_eq!(summary.mean, (sum + 1800) / 3600);
    }

    #[test]
    fn one_value_is_all_that_it_comes_to_and_none_come_to_nothing() {
        let mut spread = Spread::default();
        assert_eq!(spread.summary(), None);
        spread.take(123_456_789);
        assert_eq!(spread.summary(), Some(Summary::of(123_456_789)));
        spread.take(u64::MAX);
        spread.take(u64::MAX);
        let summary = spread.summary().unwrap();
        assert_eq!(
            (summary.min, summary.p50, summary.max),
            (123_456_789, u64::MAX, u64::MAX)
        );
    }
}

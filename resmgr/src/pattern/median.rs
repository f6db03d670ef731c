//! The median of the last samples, kept in order as they come. Knows no clock.

use serde::{Deserialize, Serialize};

/// Samples that are kept.
pub const KEPT: usize = 13;

/// The last samples and their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Medians {
    values: [f32; KEPT],
    /// Places in `values`, by value.
    order: [u8; KEPT],
    len: u8,
    next: u8,
}

impl Medians {
    /// Takes a sample in, and lets go of the oldest.
    #[inline]
    pub fn observe(&mut self, value: f32) {
        let place = self.next;
        self.next = if usize::from(place) + 1 == KEPT { 0 } else { place + 1 };
        let mut at = usize::from(self.len);
        if at == KEPT {
            at = self.order.iter().position(|at| *at == place).unwrap_or(0);
        } else {
            self.len += 1;
        }
        self.order[at] = place;
        self.values[usize::from(place)] = value;
        let len = usize::from(self.len);
        let by_order = |order: &[u8; KEPT], at: usize| self.values[usize::from(order[at])];
        while at > 0 && by_order(&self.order, at - 1) > value {
            self.order.swap(at - 1, at);
            at -= 1;
        }
        while at + 1 < len && by_order(&self.order, at + 1) < value {
            self.order.swap(at, at + 1);
            at += 1;
        }
    }

    /// The median of all that is kept, the upper one of two; nothing before the first sample.
    pub fn median(&self) -> f32 {
        match self.len {
            0 => 0.0,
            len => self.values[usize::from(self.order[usize::from(len / 2)])],
        }
    }

    /// The median of the last five.
    #[inline]
    pub fn of_five(&self) -> f32 {
        let len = usize::from(self.len).min(5);
        let mut last = [0.0; 5];
        let mut place = usize::from(self.next);
        for value in &mut last[..len] {
            place = if place == 0 { KEPT } else { place } - 1;
            *value = self.values[place];
        }
        if len < 5 {
            last[..len].sort_unstable_by(f32::total_cmp);
            return last[len / 2];
        }
        // The lowest of two pairs' lower ones and the highest of their upper ones are not the middle: three are left.
        let lower = most(least(last[0], last[1]), least(last[2], last[3]));
        let upper = least(most(last[0], last[1]), most(last[2], last[3]));
        most(least(lower, upper), least(most(lower, upper), last[4]))
    }
}

const fn least(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

const fn most(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn the_median_is_that_of_the_sorted_last_samples() {
        let mut medians = Medians::default();
        let mut all = Vec::new();
        let mut state = 1_u32;
        for _ in 0..500 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from((state >> 24) as u8 / 8);
            medians.observe(value);
            all.push(value);
            let sorted = |count: usize| {
                let mut last = all[all.len().saturating_sub(count)..].to_vec();
                last.sort_by(f32::total_cmp);
                last[last.len() / 2]
            };
            assert_eq!(medians.median().total_cmp(&sorted(KEPT)), Ordering::Equal);
            assert_eq!(medians.of_five().total_cmp(&sorted(5)), Ordering::Equal);
        }
    }
}

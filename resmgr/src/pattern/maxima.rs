//! The highest of the last samples, over windows of several lengths, in a few blocks each. Knows no clock.

use serde::{Deserialize, Serialize};

/// How many lengths there are.
pub const WINDOWS: usize = 5;
/// The lengths in samples. Each is kept to within a quarter: the oldest of four blocks goes as a whole.
pub const LENGTHS: [u16; WINDOWS] = [4, 16, 64, 256, 1024];
/// Blocks of a window that are whole. A block of one window is as long as the whole window before.
const BLOCKS: usize = 4;

/// The maxima of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Maxima {
    blocks: [[f32; BLOCKS]; WINDOWS],
    /// Of the block that fills, without what the window before has of it, and of the whole window.
    filling: [f32; WINDOWS],
    highest: [f32; WINDOWS],
    samples: u32,
}

impl Maxima {
    /// Takes a sample in.
    #[inline]
    pub fn observe(&mut self, value: f32) {
        for highest in &mut self.highest {
            *highest = if value > *highest { value } else { *highest };
        }
        self.samples = self.samples.wrapping_add(1);
        let mut whole = value;
        let mut count = self.samples as usize;
        for window in 0..WINDOWS {
            self.filling[window] = self.filling[window].max(whole);
            // The block of this window is full with the last one of the window before.
            if window > 0 {
                if !count.is_multiple_of(BLOCKS) {
                    return;
                }
                count /= BLOCKS;
            }
            whole = std::mem::take(&mut self.filling[window]);
            self.blocks[window][count % BLOCKS] = whole;
            self.highest[window] = self.blocks[window].iter().copied().fold(0.0, f32::max);
        }
    }

    /// The highest of each window, in the order of [`LENGTHS`].
    pub const fn highest(&self) -> [f32; WINDOWS] {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_remembered_for_the_window_and_at_most_a_quarter_more() {
        for (window, length) in LENGTHS.into_iter().enumerate() {
            for before in 0..length {
                let mut maxima = Maxima::default();
                for _ in 0..before {
                    maxima.observe(1.0);
                }
                maxima.observe(9.0);
                let mut kept = 1;
                while maxima.highest()[window] > 8.0 {
                    maxima.observe(1.0);
                    kept += 1;
                }
                // What a window of this length holds is the last `length` samples.
                assert!(
                    kept > length - length / 4 && kept <= length + length / 4 + 1,
                    "{kept} of {length}, {before} before"
                );
            }
        }
    }
}

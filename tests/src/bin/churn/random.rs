//! Numbers that look random and follow from a seed: splitmix64.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed, for one of many users of it.
    pub(crate) fn new(seed: u64, user: [u32; 3]) -> Self {
        let mut stream = Self(seed);
        for part in user {
            stream.0 = stream.next() ^ u64::from(part);
        }
        stream
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // The high half of a product is below the bound, and needs no division.
        let high = (u64::from(bound) * (self.next() >> 32)) >> 32;
        u32::try_from(high).unwrap_or(0)
    }

    /// A place in something of that length.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}

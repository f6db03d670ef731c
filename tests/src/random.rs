//! Numbers that look random and follow from a seed: splitmix64.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// The seed that `RESMGR_TEST_SEED` gives, else any; a test says which.
pub fn seed() -> u64 {
    let any = || RandomState::new().build_hasher().finish();
    std::env::var("RESMGR_TEST_SEED").map_or_else(|_| any(), |seed| seed.parse().expect("a seed is a number"))
}

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed, for one of many users of it.
    pub fn new(seed: u64, user: [u32; 3]) -> Self {
        let mut stream = Self(seed);
        for part in user {
            stream.0 = stream.number() ^ u64::from(part);
        }
        stream
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u32) -> u32 {
        // The high half of a product is below the bound, and needs no division.
        let high = (u64::from(bound) * (self.number() >> 32)) >> 32;
        u32::try_from(high).unwrap_or(0)
    }

    /// A place in something of that length.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}

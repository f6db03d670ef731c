//! Which programs are to count: those that an earlier agent left, or a new generation that takes over from them.

use super::{
    KernelError,
    pins::{Generation, Pins},
};

/// What is adopted of an earlier agent's programs.
pub(super) struct Adoption {
    /// The generation that is to count: an earlier agent's, or a new one.
    pub(super) generation: Generation,
    /// Those that are to go.
    pub(super) others: Vec<Generation>,
    /// The one of them that has counted so far, 0 where there is none.
    pub(super) former: u32,
}

impl Adoption {
    /// The generation that counts is adopted where its programs are these; else a new one takes over from it.
    pub(super) fn decide(pins: &Pins, fingerprint: u64) -> Result<Self, KernelError> {
        let active = pins.active()?;
        let (mut same, mut others): (Vec<_>, Vec<_>) = pins
            .generations()?
            .into_iter()
            .partition(|generation| (generation.number, generation.fingerprint) == (active, fingerprint));
        let generation = if let Some(generation) = same.pop() {
            generation
        } else {
            let highest = others.iter().map(|generation| generation.number).max().unwrap_or(0);
            pins.begin(highest.max(active) + 1, fingerprint)?
        };
        others.append(&mut same);
        let former = others.iter().map(|other| other.number).find(|&number| number == active);
        Ok(Self {
            generation,
            others,
            former: former.unwrap_or(0),
        })
    }
}

/// A number that tells byte strings apart (FNV-1a, 64 bits): which programs a generation's folder holds.
pub(super) fn fingerprint(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    //! Fingerprints.
    use super::fingerprint;

    #[test]
    fn a_fingerprint_tells_every_byte() {
        let whole = fingerprint(&[b"programs", b"layout", &[0]]);
        assert_eq!(whole, fingerprint(&[b"programs", b"layout", &[0]]));
        assert_ne!(whole, fingerprint(&[b"programs", b"layout", &[1]]));
        assert_ne!(whole, fingerprint(&[b"Programs", b"layout", &[0]]));
    }
}

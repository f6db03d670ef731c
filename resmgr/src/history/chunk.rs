//! Samples as they are stored: several in one value, each by what changed since the one before. A steady tool's sample takes
//! some twenty bytes.

use serde::{Deserialize, Serialize};

use crate::model::{Measure, UsageSample};

/// A sample less the one before.
#[derive(Serialize, Deserialize)]
struct Step {
    at_ms: i64,
    values: [i64; Measure::SAMPLED],
    limits: [i64; 4],
    needs: [i64; 4],
    ended_operation_ms: Option<u64>,
}

/// What is stored is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is stored is not what was written: {0}")]
pub struct DecodeError(pub(super) postcard::Error);

fn less<const N: usize>(now: [u64; N], before: [u64; N]) -> [i64; N] {
    std::array::from_fn(|at| now[at].wrapping_sub(before[at]).cast_signed())
}

fn more<const N: usize>(before: [u64; N], step: [i64; N]) -> [u64; N] {
    std::array::from_fn(|at| before[at].wrapping_add_signed(step[at]))
}

/// Samples as bytes.
pub(super) fn encode(samples: &[UsageSample]) -> Result<Vec<u8>, DecodeError> {
    let mut before = UsageSample::default();
    let mut steps = Vec::with_capacity(samples.len());
    for now in samples {
        steps.push(Step {
            at_ms: now.at_ms.wrapping_sub(before.at_ms).cast_signed(),
            values: less(now.values, before.values),
            limits: less(now.limits, before.limits),
            needs: less(now.needs, before.needs),
            ended_operation_ms: now.ended_operation_ms,
        });
        before = *now;
    }
    postcard::to_allocvec(&steps).map_err(DecodeError)
}

/// Bytes as the samples that they were.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<UsageSample>, DecodeError> {
    let steps: Vec<Step> = postcard::from_bytes(bytes).map_err(DecodeError)?;
    let mut before = UsageSample::default();
    let sample = |step: Step| {
        before = UsageSample {
            at_ms: before.at_ms.wrapping_add_signed(step.at_ms),
            values: more(before.values, step.values),
            limits: more(before.limits, step.limits),
            needs: more(before.needs, step.needs),
            ended_operation_ms: step.ended_operation_ms,
        };
        before
    };
    Ok(steps.into_iter().map(sample).collect())
}

#[cfg(test)]
mod tests {
    //! Samples there and back.
    use super::*;

    #[test]
    fn samples_are_what_they_were_and_a_steady_one_is_small() {
        let mut samples = Vec::new();
        for n in 0..60_u64 {
            samples.push(UsageSample {
                at_ms: 1_790_000_000_000 + n * 1000 + n % 3,
                values: [50_000_000 + n * 4096, 120 + n, 17, 2, 90],
                ended_operation_ms: (n % 7 == 0).then_some(n),
                limits: [104_857_600, 30_000, 50, 10],
                needs: [60_000_000, 0, 0, 0],
            });
        }
        // Time may be set back, and numbers may be anything.
        samples.push(UsageSample {
            at_ms: 5,
            values: [u64::MAX, 0, u64::MAX / 2, 1, 1],
            ..UsageSample::default()
        });
        let bytes = encode(&samples).unwrap();
        assert!(bytes.len() < samples.len() * 24, "{}", bytes.len());
        assert_eq!(decode(&bytes).unwrap(), samples);
        assert_eq!(decode(&encode(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn what_is_cut_or_changed_is_an_error_or_other_samples_and_no_panic() {
        let bytes = encode(&[UsageSample::default(); 9]).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err());
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0xff;
            let _ = decode(&other);
        }
    }
}

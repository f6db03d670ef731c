//! What an audit came to: the object that `resmgr audit --json` prints, documented in docs/cli.md. Judges nothing.

use serde::{Deserialize, Serialize};

use super::Quantity;

/// The version of the object's shape.
const VERSION: u32 = 1;

/// A number that is beyond its bound, at its last look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Beyond {
    /// Process id, or that of a tool's first process.
    pub pid: u32,
    /// Who it is.
    pub name: String,
    /// The truth before the agent was asked.
    pub before: u64,
    /// What it showed.
    pub shown: u64,
    /// The truth after.
    pub after: u64,
    /// How often it was looked at, and beyond each time.
    pub looks: u32,
}

/// A process that could not be compared, because the kernel lets not even root look into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Guarded {
    /// Process id.
    pub pid: u32,
    /// Command name.
    pub name: String,
    /// Whether the agent showed it.
    pub shown: bool,
}

/// One quantity over all processes or tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Compared {
    /// Which.
    pub quantity: Quantity,
    /// How many numbers were compared.
    pub compared: u64,
    /// How many of them were never seen to change: these have to be equal.
    pub quiet: u64,
    /// How many of the quiet ones were.
    pub equal: u64,
    /// The largest difference of a quiet one.
    pub largest: u64,
    /// The mean difference of the quiet ones.
    pub mean: f64,
    /// The farthest outside of what was seen, of those that changed.
    pub largest_changing: u64,
    /// How far below what was seen that may be, for each thread.
    pub slack: u64,
    /// How many were outside at first, and not when they were looked at again.
    pub settled: u64,
    /// How many were outside at first, and gone before they could be looked at again; not among those compared.
    pub unconfirmed: u64,
    /// Those that are beyond, however often they were looked at.
    pub beyond: Vec<Beyond>,
}

impl Compared {
    fn none(quantity: Quantity) -> Self {
        Self {
            quantity,
            compared: 0,
            quiet: 0,
            equal: 0,
            largest: 0,
            mean: 0.0,
            largest_changing: 0,
            slack: quantity.slack(),
            settled: 0,
            unconfirmed: 0,
            beyond: Vec::new(),
        }
    }

    /// Takes in one that was never seen to change.
    pub(super) fn add_quiet(&mut self, difference: u64) {
        self.quiet += 1;
        self.equal += u64::from(difference == 0);
        self.largest = self.largest.max(difference);
        #[expect(clippy::cast_precision_loss, reason = "a mean to show")]
        {
            self.mean += (difference as f64 - self.mean) / self.quiet as f64;
        }
    }
}

/// A whole audit; its counts are over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Audit {
    /// Version of this shape.
    pub version: u32,
    /// Whether all is within bounds.
    pub ok: bool,
    /// How often everything was compared.
    pub rounds: u32,
    /// Processes that were compared.
    pub processes: u64,
    /// Tools that were compared.
    pub tools: u64,
    /// Processes and tools that came or went meanwhile, and were not.
    pub left_out: u64,
    /// Processes that the kernel lets not even root look into.
    pub guarded: Vec<Guarded>,
    /// Seconds that it took.
    pub seconds: f64,
    /// By quantity.
    pub quantities: Vec<Compared>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            version: VERSION,
            ok: true,
            rounds: 0,
            processes: 0,
            tools: 0,
            left_out: 0,
            guarded: Vec::new(),
            seconds: 0.0,
            quantities: Quantity::ALL.into_iter().map(Compared::none).collect(),
        }
    }
}

impl Audit {
    /// The numbers that are beyond their bounds.
    pub fn beyond(&self) -> usize {
        self.quantities.iter().map(|compared| compared.beyond.len()).sum()
    }
}

//! What is done to tools: leaves, cgroups of their own that tools are born into and held by, the ladder from the use to what
//! they are held by, and the end of tools that are to be gone.

mod charges;
mod cleanup;
mod cycles;
mod each;
mod hold;
mod journal;
mod ladder;
mod leaf;
mod means;
mod process;
mod rlimit;
#[cfg(test)]
mod sleeper;

pub use charges::Charges;
pub use cleanup::{CleanUp, CleanedUp, Kept, Member, Whose};
pub use cycles::{Cycles, FREEZE_COMMAND, freeze_by_turns};
pub use each::{Each, ProcessHold, ProcessHoldError};
pub use hold::{Controllers, Hold, Holding};
pub use journal::{Change, Journal, JournalError};
pub use ladder::{Ending, Ladder, Seen, Verdict};
pub use leaf::{Leaf, LeafError, Leaves, below, descendants, identity};
pub use means::{HeldBy, Means};
pub use process::{Described, Held, describe, identify, is_alive, most_descriptors};
pub use rlimit::raises_hard_limits;

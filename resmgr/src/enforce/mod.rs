//! What is done to tools: leaves, cgroups of their own that tools are born into and held by, the ladder from the use to what
//! they are held by, and the end of tools that are to be gone.

mod cleanup;
mod hold;
mod ladder;
mod leaf;
mod process;

pub use cleanup::{CleanUp, CleanedUp, Kept, Member, Whose};
pub use hold::{Controllers, Hold, Holding};
pub use ladder::{Ending, Ladder, Seen, Verdict};
pub use leaf::{Leaf, LeafError, Leaves, below, descendants, identity};
pub use process::{Described, Held, describe, identify, is_alive, limit_data, most_descriptors, raise_oom_score};

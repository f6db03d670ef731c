//! What is done to tools: leaves, cgroups of their own that tools are born into, and the end of tools that are to be gone.

mod cleanup;
mod leaf;
mod process;

pub use cleanup::{CleanUp, CleanedUp, Kept, Member, Whose};
pub use leaf::{Leaf, LeafError, Leaves, below, descendants, identity};
pub use process::{Described, Held, describe, identify, is_alive};

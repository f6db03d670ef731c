//! What is done to tools. Today: leaves, cgroups of their own that tools are born into; nothing is limited yet.

mod leaf;

pub use leaf::{Leaf, LeafError, Leaves, below, descendants, identity};

//! What a client tells of a tool that lives in its own process, where the kernel cannot tell what is whose.

use serde::{Deserialize, Serialize};

/// What a tool uses, as its client has counted it: totals, and what has changed of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToldUse {
    /// The client begins anew: numbers that it told before are no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
    /// Memory in bytes now.
    pub memory_bytes: u64,
    /// CPU time in nanoseconds in all.
    pub cpu_ns: u64,
    /// The most since it was last told: memory in bytes, descriptors, connections.
    #[serde(skip_serializing_if = "is_nothing")]
    pub peaks: [u64; 3],
    /// Numbers of descriptors that have been opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<u32>,
    /// Those that have been closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<u32>,
    /// Numbers of connections that have been made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connected: Vec<u32>,
    /// Those that have ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disconnected: Vec<u32>,
}

fn is_nothing(peaks: &[u64; 3]) -> bool {
    *peaks == [0; 3]
}

impl ToldUse {
    /// How many numbers it holds.
    pub fn numbers(&self) -> usize {
        self.opened.len() + self.closed.len() + self.connected.len() + self.disconnected.len()
    }
}

//! Operations: the spans that a tool's CPU limit counts over, and what one of them used.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The span that a tool's CPU limit counts over. The kernel sees none, so the tool says which is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// From the first use of CPU after idleness, which is less than 5 % of a core over a second, until the next idleness.
    #[default]
    Busy,
    /// The tool's life.
    Run,
    /// A request of the Model Context Protocol, which a proxy on the tool's standard streams tells of.
    Mcp,
    /// From begin to end, as a program tells by the library.
    Api,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Busy, Self::Run, Self::Mcp, Self::Api];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Run => "run",
            Self::Mcp => "mcp",
            Self::Api => "api",
        }
    }

    /// Whether somebody tells where each one begins and ends.
    pub const fn is_told(self) -> bool {
        matches!(self, Self::Mcp | Self::Api)
    }
}

/// A text that names no [`OperationKind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no kind of operation: write busy (from idleness to idleness), run (the tool's life), mcp (each request to an \
     MCP server) or api (as the program tells by the library)"
)]
pub struct OperationKindError(String);

impl FromStr for OperationKind {
    type Err = OperationKindError;

    fn from_str(text: &str) -> Result<Self, OperationKindError> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| OperationKindError(text.to_owned()))
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one operation used, from its begin to its end or until now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OperationUse {
    /// Its number, over all tools; never used again.
    pub operation: u64,
    /// What it is called: of a call of an MCP server's tool that tool, of another request its method.
    pub name: String,
    /// How long it has taken, in nanoseconds.
    pub duration_ns: u64,
    /// Its CPU time in nanoseconds.
    pub cpu_time_ns: u64,
    /// Whether others went on at the same time: the CPU time of that time is split evenly among them, and an estimate.
    pub overlapped: bool,
    /// The most memory in bytes that the tool was seen to use meanwhile.
    pub peak_memory_bytes: u64,
    /// The most descriptors.
    pub peak_open_fds: u64,
    /// The most connections.
    pub peak_connections: u64,
}

//! Tools: their names, who they are, what the kernel sums up for them, and the lines that they cross.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Enforcement, OperationKind, ProcessId, ResourceStatus};

/// A tool's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

/// The longest name of a tool, in bytes.
const LONGEST_NAME: usize = 63;

/// A name that no tool can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be a tool's name: write 1 to {LONGEST_NAME} of A-Z a-z 0-9 . _ -, and a letter or digit first")]
pub struct BadToolName(String);

impl FromStr for ToolName {
    type Err = BadToolName;

    fn from_str(name: &str) -> Result<Self, BadToolName> {
        let plain = |c: char| c.is_ascii_alphanumeric();
        let fits = (1..=LONGEST_NAME).contains(&name.len())
            && name.starts_with(plain)
            && name.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'));
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(BadToolName(name.to_owned()))
        }
    }
}

impl TryFrom<String> for ToolName {
    type Error = BadToolName;

    fn try_from(name: String) -> Result<Self, BadToolName> {
        name.parse()
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

impl ToolName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a tool came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolOrigin {
    /// `resmgr exec`: it was a tool's before its first instruction.
    Exec,
    /// `resmgr attach --pid`: a process that ran already, with its descendants.
    Process,
    /// `resmgr attach --cgroup`: the processes of a cgroup and of those below it.
    Cgroup,
    /// A rule of the configuration.
    Rule,
    /// The library: it lives in its client's process, which tells what it uses, and may have processes beside that.
    Api,
}

impl ToolOrigin {
    /// Whether its processes are put into a cgroup of the tool's own; others' cgroups are only read.
    pub const fn has_leaf(self) -> bool {
        matches!(self, Self::Exec | Self::Api)
    }
}

/// Where the kernel keeps a tool's sums: a number that another tool may have after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolSlot(pub u32);

/// One instance of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolIdentity {
    /// Where the kernel keeps its sums.
    pub slot: ToolSlot,
    /// Which instance, over all names; never used again.
    pub instance: u64,
    /// Its name, which several instances may have.
    pub name: ToolName,
    /// How it came to be.
    pub origin: ToolOrigin,
    /// What its CPU limit counts over.
    pub operation: OperationKind,
    /// How its limits are held.
    pub enforcement: Enforcement,
    /// The user whose tool it is.
    pub uid: u32,
    /// Its first process, where it began with one.
    pub root: Option<ProcessId>,
    /// Who started it: the parent of its first process.
    pub owner: Option<ProcessId>,
    /// The cgroup that it is in or that makes it up.
    pub cgroup: Option<PathBuf>,
    /// When it was registered, in nanoseconds since 1970.
    pub registered_unix_ns: u64,
}

/// What the kernel's programs have summed up for a tool, processes that have ended included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolSums {
    /// Which instance has the slot.
    pub instance: u64,
    /// Processes now.
    pub processes: u64,
    /// Processes ever.
    pub processes_total: u64,
    /// CPU time in nanoseconds used while its processes were its.
    pub cpu_ns: u64,
    /// CPU time in nanoseconds of processes that have ended, their whole lives.
    pub ended_cpu_ns: u64,
    /// CPU time in nanoseconds of the operation under way.
    pub operation_cpu_ns: u64,
    /// Operations that have begun, the one under way included.
    pub operations: u64,
    /// Descriptors that calls have opened.
    pub fds_opened: u64,
    /// Descriptors that calls have closed.
    pub fds_closed: u64,
    /// Descriptors open now.
    pub fds_open: i64,
    /// Descriptors that were refused.
    pub fds_refused: u64,
    /// Outgoing connections that were established.
    pub connections_made: u64,
    /// Incoming connections that were accepted.
    pub connections_accepted: u64,
    /// Outgoing connections that failed.
    pub connections_failed: u64,
    /// Outgoing connections that were refused: each counts as failed, too.
    pub connections_refused: u64,
    /// Distinct connections now.
    pub connections_open: i64,
    /// Memory in bytes, as far as the kernel has summed it up.
    pub memory_bytes: i64,
    /// The most of it.
    pub memory_peak_bytes: u64,
    /// Highest resident memory in bytes of one process that has ended.
    pub process_peak_rss_bytes: u64,
}

impl ToolSums {
    /// Connections now, and what changes with each that comes or goes: those made, accepted and failed.
    pub fn connections(&self) -> (i64, u64, u64, u64) {
        (
            self.connections_open,
            self.connections_made,
            self.connections_accepted,
            // A refused one changes nothing, and may be tried without end.
            self.connections_failed.saturating_sub(self.connections_refused),
        )
    }
}

/// What a tool's use is compared with lines of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Memory in bytes.
    Memory,
    /// CPU time of the operation under way, in milliseconds.
    Cpu,
    /// Open descriptors.
    Fds,
    /// Connections.
    Connections,
}

impl Resource {
    /// All of them, in the kernel's order.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Fds, Self::Connections];
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Fds => "fds",
            Self::Connections => "connections",
        })
    }
}

/// A tool's use went past a line, or fell back behind it: told by the kernel as it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The tool's slot.
    pub slot: ToolSlot,
    /// Which instance it was.
    pub instance: u64,
    /// Of which resource.
    pub resource: Resource,
    /// Which line.
    pub level: ResourceStatus,
    /// Passed, or fallen back.
    pub risen: bool,
    /// The process that did it.
    pub pid: u32,
    /// The use at that time, in the resource's unit.
    pub value: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

/// A process of no tool has executed a program, while there are rules to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// What an exec tells.
    pub event: super::ProcessEvent,
    /// Identity of its cgroup (v2).
    pub cgroup: u64,
    /// The path that was executed, as it was given.
    pub path: Vec<u8>,
    /// Its arguments.
    pub arguments: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    //! Names as people try them.
    use super::*;

    #[test]
    fn a_name_is_letters_digits_and_three_marks() {
        let longest = "a".repeat(63);
        for name in ["a", "7zip", "mcp-server_2.0", longest.as_str()] {
            assert_eq!(name.parse::<ToolName>().unwrap().as_str(), name);
        }
        let too_long = "a".repeat(64);
        for name in ["", "-a", ".hidden", "a b", "a/b", "ä", "a\n", too_long.as_str()] {
            let error = name.parse::<ToolName>().unwrap_err();
            assert!(error.to_string().contains("1 to 63"), "{error}");
        }
    }
}

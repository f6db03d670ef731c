//! What a process or a tool uses, in the specification's terms.

use serde::{Deserialize, Serialize};

use super::{Connection, FileKind, FileSample, Memory};
use std::collections::BTreeMap;

/// What one process or one tool uses now.
///
/// The first four fields are the specification's; their meaning: see each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ResourceUsage {
    /// Memory in bytes: anonymous, shared and swapped-out pages of the processes.
    pub memory_bytes: usize,
    /// CPU time in milliseconds, user and system, of all threads, the ended ones included.
    pub cpu_time_ms: u64,
    /// Descriptor numbers, one for each open entry of each distinct descriptor table; the length is the count.
    pub file_handles: Vec<u32>,
    /// Inode numbers of the distinct connected sockets; the length is the count.
    pub network_connections: Vec<u32>,
    /// The memory by kind, in bytes; null without sweeps, which alone tell it.
    pub memory: Option<Memory>,
    /// Open descriptors by kind.
    pub file_handles_by_kind: BTreeMap<FileKind, u64>,
    /// The connections, with their state and peer.
    pub connections: Vec<Connection>,
}

impl ResourceUsage {
    /// What a sweep's counts tell, with no descriptor yet.
    pub fn without_files(memory: Option<Memory>, cpu_ns: u64) -> Self {
        Self {
            memory_bytes: memory.map_or(0, |memory| {
                usize::try_from(memory.counted_bytes()).unwrap_or(usize::MAX)
            }),
            cpu_time_ms: cpu_ns / 1_000_000,
            memory,
            ..Self::default()
        }
    }

    /// Adds a descriptor that a detailed pass found.
    pub fn add_file(&mut self, file: &FileSample) {
        self.file_handles.push(file.fd);
        *self.file_handles_by_kind.entry(file.kind).or_default() += 1;
        self.connections.extend(file.connection);
    }

    /// Counts each connection once: after the last descriptor.
    pub fn settle_connections(&mut self) {
        self.connections.sort_unstable();
        self.connections.dedup();
        self.network_connections = self.connections.iter().map(|connection| connection.inode).collect();
    }
}

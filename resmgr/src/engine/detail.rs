//! What a detailed pass finds of a tool's descriptors. Reads nothing itself.

use std::collections::{BTreeSet, HashMap};

use crate::{
    model::{Connection, FileSample, ProcessId, ResourceUsage, TableId},
    track::TrackedTool,
};

/// A tool while what is found of it comes in.
pub(super) struct InDetail {
    usage: ResourceUsage,
    /// The process that each table was found by: others that share it do not count it again.
    tables: HashMap<TableId, ProcessId>,
    /// Connections with the processes that have them.
    connected: Vec<(ProcessId, Connection)>,
}

impl InDetail {
    pub(super) fn of(tool: &TrackedTool) -> Self {
        Self {
            usage: ResourceUsage::without_files(tool.usage.memory, tool.cpu_ns()),
            tables: HashMap::new(),
            connected: Vec::new(),
        }
    }

    /// Takes a descriptor in.
    pub(super) fn take(&mut self, file: &FileSample) {
        self.connected
            .extend(file.connection.map(|connection| (file.id, connection)));
        if *self.tables.entry(file.table).or_insert(file.id) == file.id {
            self.usage.add_file(file);
        }
    }

    /// What the tool uses.
    pub(super) fn finish(self, tool: &TrackedTool, shows_peers: &impl Fn(ProcessId) -> bool) -> ResourceUsage {
        let mut usage = self.usage;
        usage.settle_connections();
        let having: BTreeSet<ProcessId> = self.connected.iter().map(|(id, _)| *id).collect();
        let shown: BTreeSet<ProcessId> = having.iter().copied().filter(|id| shows_peers(*id)).collect();
        if shown.len() < having.len() {
            let of_shown = self.connected.iter().filter(|(id, _)| shown.contains(id));
            let shown: BTreeSet<Connection> = of_shown.map(|(_, connection)| *connection).collect();
            usage.connections.retain(|connection| shown.contains(connection));
        }
        tool.by_client.add_to(&mut usage);
        usage.memory_bytes = usize::try_from(tool.memory_bytes()).unwrap_or(usize::MAX);
        usage
    }
}

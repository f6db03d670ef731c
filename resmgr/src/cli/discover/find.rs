//! From a list of processes to those that could be tools: MCP servers, and what AI agents run. Pure.

use std::collections::{HashMap, HashSet};

use super::{
    hosts::{Children, Host, host_of},
    launch::Launched,
};
use crate::protocol::ProcessStatus;

/// Processes that could be a tool, or are one.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) is_server: bool,
    pub(super) launched: Launched,
    /// The host above, and its process id.
    pub(super) host: Option<(&'static Host, u32)>,
    /// The first process, then those that descend from it, each with how far below it is.
    pub(super) processes: Vec<(&'a ProcessStatus, usize)>,
}

impl<'a> Found<'a> {
    /// Its first process.
    pub(super) fn root(&self) -> &'a ProcessStatus {
        self.processes[0].0
    }
}

/// What is known of a process that others may descend from.
#[derive(Clone, Copy, Default)]
struct Place {
    host: Option<(&'static Host, u32)>,
    /// The host itself, or nothing but resmgr between it and this.
    is_next_to_host: bool,
    /// Which of those found it is part of, and how far below its first process.
    within: Option<(usize, usize)>,
}

/// Finds them, those that began first at first. What `asking` descends from is none: it asks.
pub(super) fn find(processes: &[ProcessStatus], asking: u32) -> Vec<Found<'_>> {
    // Whoever a process descends from began before it.
    let mut by_age: Vec<&ProcessStatus> = processes.iter().filter(|p| !p.kernel_thread && !p.zombie).collect();
    by_age.sort_by_key(|process| (process.start_time_ns, process.pid));
    let asks = line_of(processes, asking);
    let mut places: HashMap<u32, Place> = HashMap::new();
    let mut all: Vec<Found<'_>> = Vec::new();
    for process in by_age {
        let above = places.get(&process.ppid).copied().unwrap_or_default();
        let place = match above.within {
            Some((n, depth)) if process.tool_instance == all[n].root().tool_instance => {
                all[n].processes.push((process, depth + 1));
                Place {
                    within: Some((n, depth + 1)),
                    ..above
                }
            }
            _ => {
                let command = process.command.as_deref().unwrap_or_default();
                let launched = Launched::of(command);
                if launched.program == "resmgr" {
                    Place { within: None, ..above }
                } else if let Some(host) = host_of(&process.comm, command, &launched) {
                    Place {
                        host: Some((host, process.pid)),
                        is_next_to_host: true,
                        within: None,
                    }
                } else {
                    let is_server = launched.is_server || (launched.subcommand && above.host.is_some());
                    let is_run = above.is_next_to_host
                        && above.host.is_some_and(|(host, _)| host.children == Children::Commands);
                    let is_found = (is_server || is_run) && !asks.contains(&process.pid);
                    if is_found {
                        all.push(Found {
                            is_server,
                            launched,
                            host: above.host,
                            processes: vec![(process, 0)],
                        });
                    }
                    Place {
                        host: above.host,
                        is_next_to_host: false,
                        within: is_found.then(|| (all.len() - 1, 0)),
                    }
                }
            }
        };
        places.insert(process.pid, place);
    }
    for found in &mut all {
        found.processes = as_a_tree(&found.processes);
    }
    all
}

/// A process and all that it descends from.
fn line_of(processes: &[ProcessStatus], pid: u32) -> HashSet<u32> {
    let parents: HashMap<u32, u32> = processes.iter().map(|process| (process.pid, process.ppid)).collect();
    let mut line = HashSet::new();
    let mut next = Some(pid);
    while let Some(pid) = next.filter(|pid| line.insert(*pid)) {
        next = parents.get(&pid).copied();
    }
    line
}

/// Each process with its descendants behind it.
fn as_a_tree<'a>(processes: &[(&'a ProcessStatus, usize)]) -> Vec<(&'a ProcessStatus, usize)> {
    let mut children: HashMap<u32, Vec<(&'a ProcessStatus, usize)>> = HashMap::new();
    let Some((root, rest)) = processes.split_first() else {
        return Vec::new();
    };
    for (process, depth) in rest {
        children.entry(process.ppid).or_default().push((process, *depth));
    }
    let mut tree = Vec::with_capacity(processes.len());
    let mut ahead = vec![*root];
    while let Some((process, depth)) = ahead.pop() {
        tree.push((process, depth));
        ahead.extend(children.remove(&process.pid).into_iter().flatten().rev());
    }
    tree
}

#[cfg(test)]
mod tests;

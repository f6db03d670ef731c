//! Putting back what was changed for tools: their processes, their cgroups, where they came from. Goes by the journal, and
//! by what is there; ends nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::Tools;
use crate::{
    enforce::{self, Change, Each, Journal, Leaf, Leaves, ProcessHold, below},
    engine::Engine,
    kernel::Scheduler,
    model::{ProcessId, Source},
};

impl Tools {
    /// Puts back what an agent that was killed had changed for tools that have not come down to this one.
    pub(super) fn put_strays_back<S: Source>(&self, engine: &mut Engine<S>) {
        let journal = self.holds.journal();
        let kept: BTreeMap<u64, Option<PathBuf>> = engine
            .tracker()
            .tools()
            .map(|tool| (tool.identity.instance, tool.identity.cgroup.clone()))
            .collect();
        let stays = |instance, leaf: Option<&Path>| kept.get(&instance).is_some_and(|path| path.as_deref() == leaf);
        for error in put_all_back(journal, None, stays) {
            tracing::warn!("of a tool that an earlier agent left: {error}");
        }
        // Numbers are not used again while anything may go by them.
        engine.begin_instances_after(journal.instances().into_iter().max().unwrap_or(0));
    }

    /// Puts back all that was changed for tools, and removes the leaves.
    pub(in crate::agent) async fn let_go(&mut self) {
        self.holds.run_all_freely();
        // What is being written would come after what is put back.
        self.holds.written().await;
        for error in put_all_back(self.holds.journal(), self.leaves.as_ref(), |_, _| false) {
            tracing::info!("{error}");
        }
    }
}

/// What the journal says of one instance.
#[derive(Default)]
struct Changed {
    leaf: Option<PathBuf>,
    from: Option<PathBuf>,
    escaped: BTreeSet<ProcessId>,
}

impl Changed {
    fn of(journal: &Journal, instance: u64) -> Self {
        let mut changed = Self::default();
        for change in journal.changes(instance) {
            match change {
                Change::Leaf { path } => changed.leaf = Some(path),
                Change::Moved { from } => changed.from = Some(from),
                Change::Escaped { processes } => changed.escaped = processes,
                Change::OomScore { .. } | Change::Data { .. } | Change::Descriptors { .. } | Change::Idle { .. } => {}
            }
        }
        changed
    }
}

/// Puts back what was changed for an instance. What cannot be is returned in words, and stays in the journal.
pub(super) fn put_back(journal: &Journal, instance: u64) -> Vec<String> {
    let changed = Changed::of(journal, instance);
    let mut failed = Vec::new();
    let leaf = changed.leaf.map(Leaf::at).filter(|leaf| leaf.path().is_dir());
    let in_leaf = leaf.as_ref().map(Leaf::processes).unwrap_or_default();
    let scheduler = Scheduler;
    let each = Each::of(journal, instance, &scheduler);
    let in_leaf = in_leaf.into_iter().filter_map(enforce::identify);
    for process in in_leaf.chain(changed.escaped) {
        if let Err(error) = each.hold(process, ProcessHold::default(), None) {
            failed.push(error.to_string());
        }
    }
    if let Some(leaf) = leaf {
        failed.extend(leave(&leaf, changed.from.as_deref()));
    }
    if failed.is_empty()
        && let Err(error) = journal.settle(instance)
    {
        failed.push(error.to_string());
    }
    failed
}

/// Lifts what a leaf holds, moves its processes to where they came from, and removes it.
fn leave(leaf: &Leaf, from: Option<&Path>) -> Vec<String> {
    let mut failed: Vec<String> = leaf.lift().iter().map(ToString::to_string).collect();
    if !leaf.processes().is_empty() {
        match from.filter(|from| from.is_dir()) {
            Some(from) => failed.extend(leaf.leave_to(from).err().map(|error| error.to_string())),
            None => failed.push(format!(
                "{} stays, and limits nothing: the cgroup that its processes came from has gone",
                leaf.path().display()
            )),
        }
    }
    if failed.is_empty() {
        failed.extend(leaf.remove().err().map(|error| error.to_string()));
    }
    failed
}

/// Puts back what was changed for every tool that the journal knows but those that are to stay; then what is left of
/// leaves, of which no journal knows more than their place. Returns what cannot be.
pub(in crate::agent) fn put_all_back(
    journal: &Journal,
    leaves: Option<&Leaves>,
    stays: impl Fn(u64, Option<&Path>) -> bool,
) -> Vec<String> {
    let mut failed = Vec::new();
    let mut kept = BTreeSet::new();
    for instance in journal.instances() {
        let leaf = Changed::of(journal, instance).leaf;
        if stays(instance, leaf.as_deref()) {
            kept.extend(leaf);
        } else {
            failed.extend(put_back(journal, instance));
        }
    }
    let Some(leaves) = leaves else { return failed };
    for path in below(leaves.root()) {
        if path.parent() == Some(leaves.root()) && !kept.contains(&path) && path.is_dir() {
            failed.extend(leave(&Leaf::at(path), None));
        }
    }
    leaves.remove_root();
    failed
}

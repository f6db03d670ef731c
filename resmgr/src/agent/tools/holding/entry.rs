//! Holding as it is done, by tasks beside the loop: the kernel may take its time over each file. Decides nothing.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::mpsc;

use super::super::cleanup::{Asked, Which};
use crate::{
    enforce::{Change, Each, Hold, Holding, Journal, Leaf, ProcessHold},
    kernel::Scheduler,
    model::ProcessId,
};

/// What holds now, as a task has left it.
#[derive(Debug)]
pub(in crate::agent) struct Done {
    pub(super) leaf: Holding,
    /// The processes that were dealt with, and what holds them.
    pub(super) processes: Vec<ProcessId>,
    pub(super) each: ProcessHold,
    /// What could not be done to processes.
    pub(super) failed: Vec<String>,
}

/// The rest of a registration: a leaf that holds, and the caller's way into it, on both of which the kernel makes us wait.
pub(in crate::agent) struct Entry {
    pub(in crate::agent::tools) leaf: Leaf,
    pub(in crate::agent::tools) process: ProcessId,
    /// The cgroup that it comes from.
    pub(in crate::agent::tools) from: Option<PathBuf>,
    pub(in crate::agent::tools) wanted: ToolHold,
    pub(in crate::agent::tools) which: Which,
    pub(in crate::agent::tools) journal: Arc<Journal>,
    pub(in crate::agent::tools) tell: mpsc::Sender<Asked>,
}

/// What holds a tool, its leaf and its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::agent::tools) struct ToolHold {
    pub(super) leaf: Hold,
    pub(super) each: ProcessHold,
    /// For how many percent of the time it runs, where it is frozen by turns.
    pub(super) runs_percent: Option<u64>,
}

impl ToolHold {
    /// Whether it gets less CPU time than it could use.
    pub(super) fn slows(&self) -> bool {
        self.leaf.cpu_percent.is_some() || self.each.idle || self.runs_percent.is_some()
    }
}

impl Entry {
    /// Holds the tool, and moves the caller in; what could not be done is returned.
    pub(in crate::agent) async fn enter(self) -> Vec<String> {
        let (which, tell) = (self.which, self.tell.clone());
        match tokio::task::spawn_blocking(move || self.enter_now()).await {
            Ok((done, mut warnings)) => {
                let of_leaf = done.leaf.failed.iter().map(ToString::to_string);
                warnings.extend(
                    of_leaf
                        .chain(done.failed.iter().cloned())
                        .map(|error| format!("a limit does not hold: {error}")),
                );
                // A loop that has ended keeps nothing.
                let _ = tell.send(Asked::Held(which, done)).await;
                warnings
            }
            Err(error) => vec![format!("the tool is not in its cgroup: {error}")],
        }
    }

    fn enter_now(self) -> (Done, Vec<String>) {
        let mut warnings = Vec::new();
        let hold = self.leaf.hold(&self.wanted.leaf, &Hold::default());
        let instance = self.which.instance;
        let noted = match self.from {
            Some(from) => self.journal.note(instance, Change::Moved { from }),
            None => Ok(()),
        };
        let entered = noted
            .map_err(|error| error.to_string())
            .and_then(|()| self.leaf.enter(self.process).map_err(|error| error.to_string()));
        if let Err(error) = entered {
            warnings.push(format!("the tool is not in its cgroup: {error}"));
        }
        let each = hold_each(&self.journal, instance, vec![(self.process, None)], self.wanted.each);
        (Done { leaf: hold, ..each }, warnings)
    }
}

/// Holds processes by the same, each of which was held by that, where it is known.
pub(super) fn hold_each(
    journal: &Journal,
    instance: u64,
    processes: Vec<(ProcessId, Option<ProcessHold>)>,
    wanted: ProcessHold,
) -> Done {
    let scheduler = Scheduler;
    let each = Each::of(journal, instance, &scheduler);
    let mut done = Done {
        leaf: Holding::default(),
        processes: Vec::new(),
        each: wanted,
        failed: Vec::new(),
    };
    for (process, before) in processes {
        match each.hold(process, wanted, before) {
            // The next sweep has it tried again.
            Ok(false) => continue,
            Ok(true) => {}
            // What cannot be done to one is not tried again until something else is wanted.
            Err(error) => done.failed.push(error.to_string()),
        }
        done.processes.push(process);
    }
    done
}

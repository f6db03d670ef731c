//! What is tried after an execution has failed, how often, and what came of it.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};

/// Attempts that are remembered of a tool.
const KEPT: usize = 64;

/// What is tried after an execution failed or panicked. By default nothing is: what was done once need not be harmless twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How often an execution is tried again.
    pub retries: u32,
    /// How often in all the executor is restarted and the tool's resources begin anew, where trying again did not help; after
    /// each the execution is tried again.
    pub restarts: u32,
    /// Whether the tool is unregistered where that did not help either.
    pub unregister: bool,
    /// The time before the first retry; it doubles with each.
    pub backoff: Duration,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            retries: 0,
            restarts: 0,
            unregister: false,
            backoff: Duration::from_millis(100),
        }
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// An execution, for the first time.
    Execute,
    /// The same again.
    Retry,
    /// The same again, after a restart.
    Restart,
    /// To end the tool.
    Unregister,
}

/// Something that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it was over.
    pub at: DateTime<Utc>,
    /// What.
    pub what: Try,
    /// Why it failed, with the limit where it was one; `None` where it did not.
    pub failure: Option<String>,
}

/// The last attempts of a tool, and how much has been tried.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    kept: VecDeque<Attempt>,
    pub(super) restarts: u32,
}

impl Attempts {
    pub(super) fn add(&mut self, attempt: Attempt) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(attempt);
    }

    pub(super) fn list(&self) -> Vec<Attempt> {
        self.kept.iter().cloned().collect()
    }
}

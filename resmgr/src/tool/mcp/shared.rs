//! What the proxy's threads know together.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    answers,
    calls::Calls,
    link::{Link, Tell},
    scan::Id,
    streams::{Inlet, Outlet},
};
use crate::{
    model::ToolName,
    protocol::{OverLimit, ToolState},
};

/// What the threads know together. One lock, and nothing is written or waited for while it is held.
#[derive(Default)]
pub(super) struct Known {
    pub(super) calls: Calls,
    /// The client's first request, as it wrote it.
    pub(super) initialize: Option<Vec<u8>>,
    /// Whether the client has said that it is ready.
    pub(super) is_initialized: bool,
    /// What a server that was started again is yet to answer.
    pub(super) replayed: Option<Id>,
    pub(super) refusing: Option<OverLimit>,
    pub(super) state: Option<Arc<ToolState>>,
    /// Whether the server may still write.
    pub(super) is_answering: bool,
    pub(super) client: Client,
}

/// What there is of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Client {
    #[default]
    There,
    /// It writes no more, or reads no more.
    Over,
    /// It writes no more and reads no more.
    Gone,
}

impl Known {
    /// Whether the client writes no more, or reads no more.
    pub(super) fn is_over(&self) -> bool {
        self.client >= Client::Over
    }

    /// Whether a server that is started again can be brought to where the one before it was: by what the client said first, or
    /// by nothing, where it introduced itself with each request.
    pub(super) const fn can_be_replayed(&self) -> bool {
        self.initialize.is_some() || !self.is_initialized
    }
}

pub(super) struct Shared {
    pub(super) tool: ToolName,
    pub(super) known: Mutex<Known>,
    pub(super) changed: Condvar,
    pub(super) outlet: Outlet,
    pub(super) inlet: Inlet,
    pub(super) link: Link,
}

impl Shared {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let changed = change(&mut self.known());
        self.changed.notify_all();
        changed
    }

    /// Waits until something holds, or for so long; whether it does.
    pub(super) fn wait_until(&self, within: Duration, holds: impl Fn(&Known) -> bool) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.known(), within, |known| !holds(known));
        let (known, _) = waited.unwrap_or_else(PoisonError::into_inner);
        holds(&known)
    }

    /// The client writes no more: nor does the server read anything more.
    pub(super) fn end_input(&self) {
        self.change(|known| known.client = known.client.max(Client::Over));
        self.inlet.close();
    }

    /// Tells the client of requests that did not come to the server.
    pub(super) fn lose(&self, numbers: &[u64]) {
        for &number in numbers {
            if let Some(call) = self.change(|known| known.calls.answer(number)) {
                // A client that has gone needs to be told nothing.
                let _ = self.outlet.add(&answers::lost(&self.tool, &call.id));
            }
            self.link.tell(Tell::Ended(number));
        }
    }

    /// Tells the client of requests that the server will not answer.
    pub(super) fn end_all(&self, why: &str) {
        let (untold, ended) = self.change(|known| known.calls.end_all());
        for call in untold {
            // A client that has gone needs to be told nothing.
            let _ = self.outlet.add(&answers::without_server(&self.tool, &call, why));
        }
        for number in ended {
            self.link.tell(Tell::Ended(number));
        }
    }
}

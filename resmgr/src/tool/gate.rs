//! How many executions of a tool go on at a time: half as many while it stands at Warning. Those that go on finish.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::model::ResourceStatus;

/// How often who waits looks at the tool's status: nobody tells.
const LOOK: Duration = Duration::from_millis(50);

/// Places for executions.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    taken: AtomicUsize,
    freed: Notify,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Gate>);

impl Gate {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// How many there are for a tool that stands so.
    fn places(&self, status: ResourceStatus) -> usize {
        match status {
            ResourceStatus::Normal => self.most,
            _ => (self.most / 2).max(1),
        }
    }

    /// Waits for a place.
    pub(super) async fn enter(self: Arc<Self>, status: impl Fn() -> ResourceStatus) -> Place {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // One that is freed from here on is heard of.
            freed.as_mut().enable();
            let places = self.places(status());
            let take = |taken| (taken < places).then_some(taken + 1);
            if self.taken.fetch_update(SeqCst, SeqCst, take).is_ok() {
                return Place(self.clone());
            }
            let _ = tokio::time::timeout(LOOK, freed).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    //! Places taken and given back.
    use std::sync::atomic::AtomicBool;

    use super::*;

    async fn enters(gate: &Arc<Gate>, status: ResourceStatus) -> Option<Place> {
        let entering = gate.clone().enter(|| status);
        tokio::time::timeout(Duration::from_millis(20), entering).await.ok()
    }

    #[tokio::test]
    async fn at_warning_there_are_half_as_many_places_and_those_inside_stay() {
        let gate = Arc::new(Gate::new(4));
        let mut places = Vec::new();
        for _ in 0..4 {
            places.push(enters(&gate, ResourceStatus::Normal).await.unwrap());
        }
        assert!(enters(&gate, ResourceStatus::Normal).await.is_none());
        places.truncate(2);
        assert!(enters(&gate, ResourceStatus::Warning).await.is_none());
        places.truncate(1);
        let place = enters(&gate, ResourceStatus::Warning).await.unwrap();
        drop((place, places));
        assert_eq!(gate.taken.load(SeqCst), 0);
        assert!(
            enters(&Arc::new(Gate::new(1)), ResourceStatus::Emergency)
                .await
                .is_some()
        );
    }

    #[tokio::test]
    async fn who_waits_enters_when_the_tool_stands_better() {
        let gate = Arc::new(Gate::new(2));
        let _inside = enters(&gate, ResourceStatus::Normal).await.unwrap();
        let is_better = Arc::new(AtomicBool::new(false));
        let seen = is_better.clone();
        let waiting = tokio::spawn(gate.enter(move || {
            if seen.load(SeqCst) {
                ResourceStatus::Normal
            } else {
                ResourceStatus::Warning
            }
        }));
        tokio::task::yield_now().await;
        is_better.store(true, SeqCst);
        waiting.await.unwrap();
    }
}

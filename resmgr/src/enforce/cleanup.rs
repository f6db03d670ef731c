//! The end of a tool: asked first, forced after a grace, and what is left is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{
    leaf::Leaf,
    process::{Described, Held, outlasting},
};
use crate::model::ProcessId;

/// Time between two looks for what was born meanwhile, while processes have their grace.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long force is used and the leaf's removal tried.
const FORCE: Duration = Duration::from_secs(5);
/// The first wait between two tries; each is twice the one before, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A process of the tool, as it is listed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which process.
    pub id: ProcessId,
    /// It has ended, and waits for its parent.
    pub zombie: bool,
}

/// Whose processes may be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's: root asks.
    Everybodys,
    /// Those whose real and effective user is this one.
    Users(u32),
}

impl Whose {
    fn covers(self, process: &Described) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Users(uid) => process.uid == uid && process.euid == uid,
        }
    }
}

/// A process that is still there, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which process.
    pub id: ProcessId,
    /// Why it is.
    pub why: String,
}

/// What became of a tool's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanedUp {
    /// Ended when they were asked to.
    pub ended: u64,
    /// Ended by force.
    pub killed: u64,
    /// Still there.
    pub kept: Vec<Kept>,
    /// Why the leaf is still there.
    pub leaf_kept: Option<String>,
}

/// How a tool is to be ended.
#[derive(Clone, Debug)]
pub struct CleanUp {
    /// Its leaf, where it has one.
    pub leaf: Option<Leaf>,
    /// How long its processes may take after they were asked.
    pub grace: Duration,
    /// Whose processes may be ended.
    pub whose: Whose,
    /// The signal that asks them to.
    pub first: Signal,
}

/// The tool's processes as they are dealt with.
#[derive(Default)]
struct Crowd {
    /// Not yet seen to end.
    living: BTreeMap<ProcessId, Held>,
    /// That may not or cannot be signalled, and why.
    kept: BTreeMap<ProcessId, String>,
    /// Seen to end.
    gone: BTreeSet<ProcessId>,
}

impl Crowd {
    /// Takes in who is listed now; returns those that are new.
    fn take_in(&mut self, members: &[Member], whose: Whose) -> Vec<ProcessId> {
        self.kept.clear();
        let mut new = Vec::new();
        for member in members {
            let id = member.id;
            if member.zombie || self.living.contains_key(&id) || self.gone.contains(&id) {
                continue;
            }
            match Held::hold(id) {
                Ok(None) => {}
                Ok(Some((_, described))) if described.zombie => {}
                Ok(Some((_, described))) if id.pid == 1 || id.pid == std::process::id() || described.kernel_thread => {
                    self.kept.insert(id, "it is never ended by resmgr".to_owned());
                }
                Ok(Some((_, described))) if !whose.covers(&described) => {
                    self.kept
                        .insert(id, format!("it belongs to the user {}", described.euid));
                }
                Ok(Some((held, _))) => {
                    self.living.insert(id, held);
                    new.push(id);
                }
                Err(error) => {
                    self.kept.insert(id, format!("it cannot be held: {error}"));
                }
            }
        }
        new
    }

    /// Sends a signal to some of those that live.
    fn signal(&mut self, ids: &[ProcessId], signal: Signal) {
        for id in ids {
            let Some(held) = self.living.get(id) else { continue };
            if let Err(error) = held.signal(signal) {
                self.living.remove(id);
                self.kept.insert(*id, format!("it cannot be signalled: {error}"));
            }
        }
    }

    fn ids(&self) -> Vec<ProcessId> {
        self.living.keys().copied().collect()
    }

    /// Waits until all have ended, no longer than that; returns how many have.
    async fn wait(&mut self, limit: Duration) -> u64 {
        let living = std::mem::take(&mut self.living);
        let before: BTreeSet<ProcessId> = living.keys().copied().collect();
        let held = living.into_values().collect();
        let left = tokio::task::spawn_blocking(move || outlasting(held, limit)).await;
        // What panics is a bug, and no process is kept for it.
        self.living = left
            .unwrap_or_default()
            .into_iter()
            .map(|held| (held.id(), held))
            .collect();
        let ended = before.into_iter().filter(|id| !self.living.contains_key(id));
        let gone = self.gone.len();
        self.gone.extend(ended);
        (self.gone.len() - gone) as u64
    }
}

impl CleanUp {
    /// Ends the tool. `members` lists its processes as they are now.
    pub async fn run<M, F>(self, mut members: M) -> CleanedUp
    where
        M: FnMut() -> F,
        F: Future<Output = Vec<Member>>,
    {
        let mut done = CleanedUp::default();
        let mut crowd = Crowd::default();
        // What is frozen hears no signal but the last.
        if let Some(leaf) = &self.leaf {
            let _ = leaf.thaw();
        }
        let mut asked: Option<Instant> = None;
        loop {
            let new = crowd.take_in(&members().await, self.whose);
            crowd.signal(&new, self.first);
            // One that is stopped hears it when it goes on.
            crowd.signal(&new, Signal::CONT);
            // The grace is theirs: it begins when they were asked, however long it took to find them.
            let deadline = *asked.get_or_insert_with(Instant::now) + self.grace;
            let left = deadline.saturating_duration_since(Instant::now());
            if crowd.living.is_empty() || left.is_zero() {
                break;
            }
            done.ended += crowd.wait(left.min(LOOK_AGAIN)).await;
        }
        if !crowd.living.is_empty() {
            done.killed = self.force(&mut crowd, &mut members).await;
        }
        let still = |id| Kept {
            id,
            why: "it does not end, although it was killed: it waits in the kernel".to_owned(),
        };
        done.kept = crowd.ids().into_iter().map(still).collect();
        done.kept
            .extend(crowd.kept.into_iter().map(|(id, why)| Kept { id, why }));
        done.leaf_kept = self.remove_leaf(done.kept.is_empty()).await;
        done
    }

    /// Kills, until none is left or time is over; returns how many have ended.
    async fn force<M, F>(&self, crowd: &mut Crowd, members: &mut M) -> u64
    where
        M: FnMut() -> F,
        F: Future<Output = Vec<Member>>,
    {
        let deadline = Instant::now() + FORCE;
        let mut wait = FIRST_WAIT;
        let mut killed = 0;
        loop {
            let listed = members().await;
            crowd.take_in(&listed, self.whose);
            if crowd.living.is_empty() || Instant::now() >= deadline {
                return killed;
            }
            self.kill_leaf(crowd);
            crowd.signal(&crowd.ids(), Signal::KILL);
            killed += crowd.wait(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Kills by the leaf, which misses none that is being born, where nobody is in it but those that are to go.
    fn kill_leaf(&self, crowd: &Crowd) {
        let Some(leaf) = &self.leaf else { return };
        let to_go: BTreeSet<u32> = crowd.living.keys().chain(&crowd.gone).map(|id| id.pid).collect();
        if leaf.processes().is_subset(&to_go) {
            // Where the kernel cannot, each is killed by itself.
            let _ = leaf.kill();
        }
    }

    /// Removes the leaf; what has just ended may keep it for a moment. Returns why it is still there.
    async fn remove_leaf(&self, is_empty: bool) -> Option<String> {
        let leaf = self.leaf.as_ref()?;
        let deadline = Instant::now() + FORCE;
        let mut wait = FIRST_WAIT;
        loop {
            let error = leaf.remove().err()?;
            if !is_empty || Instant::now() >= deadline {
                return Some(error.to_string());
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

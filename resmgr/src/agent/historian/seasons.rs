//! Seasons in the history of tools that go on: looked for one series at a time, within a budget.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::shapes::milliseconds;
use crate::{
    agent::SystemClock,
    history::Store,
    model::{Clock as _, HistoryRow, Measure, PastTool, Resource, Tier},
    pattern::{
        profile::Season,
        season::{self, Confirmed, LONGEST},
    },
};

/// A series is looked at so often.
const AGAIN: Duration = Duration::from_secs(600);
/// After a look, so many times as long as it took nothing is looked at: it has a twentieth of a core at most.
const RESTS: u32 = 19;
/// How long to wait where there is nothing to look at.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// Steps of history that a look goes by, in milliseconds, and what they are made of. A day of minutes is more than a third of
/// what is looked at: it is found in steps of five.
const STEPS: [(u64, Tier); 2] = [(1000, Tier::Second), (300_000, Tier::Minute)];

/// What was found of a series.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Found {
    /// Of which instance.
    pub(in crate::agent) instance: u64,
    /// Of which resource.
    pub(in crate::agent) resource: Resource,
    /// The season; `None` where there is none.
    pub(in crate::agent) season: Option<Season>,
}

/// What was seen of one series so far.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    /// In each step.
    confirmed: [Confirmed; STEPS.len()],
    /// Whether a season was told.
    is_told: bool,
}

/// Series that are looked at by turns.
pub(super) struct Seasons {
    tell: mpsc::Sender<Found>,
    /// When to look at which instance again, the next first.
    turns: VecDeque<(Instant, u64)>,
    /// What was found before, by instance, of each resource in each step.
    confirmed: BTreeMap<u64, [Looked; 4]>,
    rest_until: Instant,
}

impl Seasons {
    pub(super) fn new(tell: mpsc::Sender<Found>) -> Self {
        Self {
            tell,
            turns: VecDeque::new(),
            confirmed: BTreeMap::new(),
            rest_until: Instant::now(),
        }
    }

    /// Takes in which tools go on, and which have ended.
    pub(super) fn follow(&mut self, tools: &[PastTool]) {
        for tool in tools {
            if tool.ended.is_some() {
                self.confirmed.remove(&tool.instance);
                self.turns.retain(|(_, instance)| *instance != tool.instance);
            } else if let Entry::Vacant(entry) = self.confirmed.entry(tool.instance) {
                entry.insert(Default::default());
                self.turns.push_back((Instant::now() + AGAIN, tool.instance));
            }
        }
    }

    /// In what time there is something to look at.
    pub(super) fn next_in(&self) -> Duration {
        let next = self.turns.front().map(|(at, _)| (*at).max(self.rest_until));
        next.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()).min(IDLE))
    }

    /// Looks at the next instance, where it is time for that.
    pub(super) fn look(&mut self, store: &Store) {
        let began = Instant::now();
        let is_due = |(at, _): &(Instant, u64)| (*at).max(self.rest_until) <= began;
        if !self.turns.front().is_some_and(is_due) {
            return;
        }
        let Some((_, instance)) = self.turns.pop_front() else {
            return;
        };
        self.turns.push_back((began + AGAIN, instance));
        if let Some(confirmed) = self.confirmed.get_mut(&instance) {
            for (resource, looked) in Resource::ALL.into_iter().zip(confirmed) {
                let season = look_at(store, instance, resource, &mut looked.confirmed);
                // One that is known from before is believed until it was seen here, and is seen no more.
                let was_told = std::mem::replace(&mut looked.is_told, season.is_some());
                if season.is_none() && !was_told {
                    continue;
                }
                let found = Found {
                    instance,
                    resource,
                    season,
                };
                // A loop that is behind hears of it the next time.
                let _ = self.tell.try_send(found);
            }
        }
        self.rest_until = Instant::now() + began.elapsed() * RESTS;
    }
}

/// The season of a series: the longest that is certain.
fn look_at(
    store: &Store,
    instance: u64,
    resource: Resource,
    confirmed: &mut [Confirmed; STEPS.len()],
) -> Option<Season> {
    let now_ms = milliseconds(SystemClock.now().wall);
    let mut longest = None;
    for ((step_ms, tier), confirmed) in STEPS.into_iter().zip(confirmed) {
        let from_ms = now_ms.saturating_sub(step_ms * LONGEST as u64);
        let rows = store.rows(instance, tier, from_ms..now_ms).unwrap_or_default();
        let history = in_steps(&rows, resource, step_ms);
        let found = confirmed.look(season::find(&history));
        let last_ms = rows.last().map_or(now_ms, |row| row.at_ms);
        let season = found.and_then(|found| Season::of(&history, last_ms * 1_000_000, step_ms * 1_000_000, found));
        longest = season.or(longest);
    }
    longest
}

/// The highest use of each step.
#[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
fn in_steps(rows: &[HistoryRow], resource: Resource, step_ms: u64) -> Vec<f32> {
    let mut steps: Vec<(u64, f32)> = Vec::new();
    for row in rows {
        let Some(summary) = row.measure(Measure::from(resource)) else {
            continue;
        };
        let (step, value) = (row.at_ms / step_ms, summary.max as f32);
        match steps.last_mut() {
            Some((last, highest)) if *last == step => *highest = highest.max(value),
            _ => steps.push((step, value)),
        }
    }
    season::regular(steps.into_iter().map(|(step, value)| (step as f64, value)), 1.0)
}

#[cfg(test)]
mod tests {
    //! A day that repeats, as minutes of a store have it.
    use super::*;
    use crate::{
        history::{Recorder, Writing},
        model::UsageSample,
    };

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn a_day_is_found_in_the_minutes_of_four_days_when_it_was_looked_at_twice() {
        let mut recorder = Recorder::default();
        let now_ms = milliseconds(SystemClock.now().wall);
        for minute in 0..4 * 1440_u64 {
            let phase = (minute % 1440) as f64 / 1440.0 * std::f64::consts::TAU;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between them"
            )]
            let memory = (200e6 + 100e6 * phase.sin() + 5e6 * ((minute * 7919) % 97) as f64 / 97.0) as u64;
            let sample = UsageSample {
                at_ms: now_ms - (4 * 1440 - minute) * 60_000,
                values: [memory, 0, 7, 0, 0],
                ..UsageSample::default()
            };
            recorder.take(1, sample);
        }
        let store = Store::in_memory().unwrap();
        let writing = Writing {
            batch: recorder.batch(),
            ..Writing::default()
        };
        store.write(&writing).unwrap();
        let mut confirmed = Default::default();
        assert_eq!(look_at(&store, 1, Resource::Memory, &mut confirmed), None);
        let season = look_at(&store, 1, Resource::Memory, &mut confirmed).unwrap();
        let day = season.period_ns() as f64 / 86_400e9;
        assert!((day - 1.0).abs() < 0.01, "{day}");
        let mut flat = Default::default();
        for _ in 0..3 {
            assert_eq!(look_at(&store, 1, Resource::Fds, &mut flat), None);
        }
    }
}

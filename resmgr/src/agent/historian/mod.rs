//! The history as the loop keeps it: samples at each tick, handed to a thread of its own that writes them, looks for seasons
//! in them and answers who asks. The loop never waits for it, but once at its start.

mod keeper;
mod seasons;
mod shapes;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    keeper::{Health, Keeper, Opened, Order},
    shapes::{at_most, kept, key_of_instance, milliseconds, past, peaks, sample, stored},
};
use super::{
    AgentError,
    server::{Answer, Caller},
};
use crate::{
    engine::Engine,
    history::{Recorder, Writing},
    model::{Clock, HistoryRow, PastTool, Retention, Source, Tier, Timestamp, ToolSlot},
    protocol::{HistoryEntry, HistoryParams, HistoryStatus, Refusal, RefusalCode},
    track::TrackedTool,
};

pub(super) use seasons::Found;

/// Orders that wait for the thread at most: beyond these it is too slow, and what comes is lost.
const WAITING: usize = 64;
/// Time between two writings, in nanoseconds.
const WRITTEN_NS: u64 = 10 * 1_000_000_000;
/// What was learned of an instance is written each so many times: five minutes. They take turns, since it is some bytes.
const TURNS: u64 = 30;
/// Who asks for history at a time: each may be given some megabytes.
const ASKING: usize = 8;
/// How long a stop waits for the last writing.
const LAST_WITHIN: Duration = Duration::from_secs(5);
/// Seasons that wait for the loop at most: more will be found again.
const FOUND: usize = 256;

/// How a history is kept.
#[derive(Clone, Debug)]
pub(super) struct HistoryOptions {
    /// The file; in memory where there is none.
    pub(super) path: Option<PathBuf>,
    pub(super) retention: Retention,
}

/// The loop's end of the history.
pub(super) struct Historian {
    orders: SyncSender<Order>,
    /// Told when the thread has ended.
    done: oneshot::Receiver<()>,
    /// Room for those who ask.
    places: Arc<Semaphore>,
    health: Arc<Health>,
    recorder: Recorder,
    /// Tools that go on, as they were last written.
    running: BTreeMap<u64, PastTool>,
    /// What is to be written beside samples.
    next: Writing,
    written_ns: u64,
    /// Whose turn it is.
    turn: u64,
    is_behind: bool,
}

/// What was kept by earlier agents.
pub(super) struct Past {
    /// The store could be opened, so this is all.
    is_known: bool,
    tools: Vec<PastTool>,
    learned: Vec<(String, Vec<u8>)>,
}

impl Historian {
    /// Starts the thread, which opens the store; and what it will find.
    pub(super) fn start(options: HistoryOptions) -> Result<(Self, Opening, mpsc::Receiver<Found>), AgentError> {
        let (orders, ordered) = sync_channel(WAITING);
        let (tell, found) = mpsc::channel(FOUND);
        let (opened, opening) = oneshot::channel();
        let health = Arc::new(Health::default());
        let keeper = Keeper::new(options, ordered, tell, health.clone());
        let (end, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            keeper.run(opened);
            // The loop may not have waited for so long.
            let _ = end.send(());
        });
        // It ends when nobody can order anything, or with the process: the store is whole either way.
        thread.map_err(|source| AgentError::Runtime {
            operation: "start the thread of the history",
            source,
        })?;
        let historian = Self {
            orders,
            done,
            places: Arc::new(Semaphore::new(ASKING)),
            health,
            recorder: Recorder::default(),
            running: BTreeMap::new(),
            next: Writing::default(),
            written_ns: 0,
            turn: 0,
            is_behind: false,
        };
        Ok((historian, Opening(opening), found))
    }

    /// Goes on with what was kept: instances get other numbers than those that are remembered, and what was learned is known.
    pub(super) fn resume<S: Source>(&mut self, past: &Past, engine: &mut Engine<S>, clock: &impl Clock) {
        if let Some(last) = past.tools.iter().map(|tool| tool.instance).max() {
            engine.begin_instances_after(last);
        }
        if !past.is_known {
            // Nobody knows which numbers there were, and the store may be there again later: none of these was one.
            engine.begin_instances_after(milliseconds(clock.now().wall));
        }
        for (of, bytes) in &past.learned {
            let is_known = kept(of, bytes).is_some_and(|kept| engine.adaptive_mut().resume(kept));
            if !is_known {
                tracing::warn!(of, "what was learned is not understood, and is forgotten");
                self.next.learned.push((of.clone(), None));
            }
        }
    }

    /// Goes on with the tools that go on, and ends what is remembered of others. Waits for the thread.
    pub(super) async fn adopt<S: Source>(&mut self, past: Past, engine: &mut Engine<S>, clock: &impl Clock) {
        let now = clock.now();
        self.written_ns = now.monotonic_ns;
        let slots: HashMap<u64, ToolSlot> = engine
            .tracker()
            .tools()
            .map(|tool| (tool.identity.instance, tool.identity.slot))
            .collect();
        let mut gone = Vec::new();
        for tool in past.tools.into_iter().filter(|tool| tool.ended.is_none()) {
            self.take_up(tool.instance, now).await;
            if let Some(slot) = slots.get(&tool.instance) {
                if let Some(running) = engine.tool_mut(*slot) {
                    running.peaks.reach(tool.peaks);
                }
                self.running.insert(tool.instance, tool);
                continue;
            }
            self.recorder.end(tool.instance);
            self.next.learned.push((key_of_instance(tool.instance), None));
            gone.push(PastTool {
                ended: Some(now.wall),
                ..tool
            });
        }
        engine.adaptive_mut().settle(&gone, now);
        self.next.tools.extend(gone);
    }

    /// Goes on with the minute and the hour that an earlier agent was in, by the samples that it has written.
    async fn take_up(&mut self, instance: u64, now: Timestamp) {
        let all = 0..milliseconds(now.wall).saturating_add(1);
        let samples = self.rows(instance, Tier::Second, all.clone()).await;
        let Some(first) = samples.first() else { return };
        let mut written = Vec::new();
        for tier in [Tier::Minute, Tier::Hour] {
            // A span begins before its first sample that is kept.
            let from = first.at_ms.saturating_sub(tier.span_ms())..all.end;
            let rows = self.rows(instance, tier, from).await;
            written.extend(rows.into_iter().map(|row| (tier, row)));
        }
        self.recorder.resume(instance, &samples, &written);
    }

    async fn rows(&self, instance: u64, tier: Tier, within: Range<u64>) -> Vec<HistoryRow> {
        let (answer, answered) = oneshot::channel();
        let asked = Order::Rows {
            instance,
            tier,
            within,
            answer,
        };
        if self.orders.try_send(asked).is_err() {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }

    /// Takes in how things stand after a sweep, and what has ended since the last.
    pub(super) fn record<S: Source>(&mut self, engine: &mut Engine<S>, ended: Vec<TrackedTool>, clock: &impl Clock) {
        let now = clock.now();
        for tool in engine.tracker().tools() {
            let instance = tool.identity.instance;
            self.recorder.take(instance, sample(tool, engine.needs(instance), now));
            self.knows(tool);
        }
        for tool in ended {
            let instance = tool.identity.instance;
            if !self.recorder.knows(instance) {
                // It was there for less than a tick: its peaks are all that was seen.
                self.recorder.take(instance, at_most(&tool, now));
            }
            self.recorder.end(instance);
            self.running.remove(&instance);
            self.next.tools.push(past(&tool, Some(now.wall)));
            self.next.learned.push((key_of_instance(instance), None));
        }
        if now.monotonic_ns.saturating_sub(self.written_ns) >= WRITTEN_NS {
            self.written_ns = now.monotonic_ns;
            self.turn += 1;
            let turn = self.turn;
            self.write(engine, |instance| instance % TURNS == turn % TURNS);
        }
    }

    /// Takes in who a tool is, and what it used at most.
    fn knows(&mut self, tool: &TrackedTool) {
        let known = self.running.entry(tool.identity.instance).or_insert_with(|| {
            let begun = past(tool, None);
            self.next.tools.push(begun.clone());
            begun
        });
        known.peaks = peaks(tool);
    }

    /// Has the thread write what there is, and what was learned of the instances that are due.
    fn write<S: Source>(&mut self, engine: &mut Engine<S>, is_due: impl Fn(u64) -> bool) {
        let mut writing = std::mem::take(&mut self.next);
        let batch = self.recorder.batch();
        writing.batch.samples = batch.samples;
        writing.batch.rows.extend(batch.rows);
        let due = self.running.values().filter(|tool| is_due(tool.instance));
        writing.tools.extend(due.cloned());
        let learned = engine.adaptive_mut().keep(&is_due);
        writing.learned.extend(learned.into_iter().map(stored));
        if writing.is_empty() {
            return;
        }
        match self.orders.try_send(Order::Write(writing)) {
            Ok(()) => self.is_behind = false,
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => {
                if let Order::Write(mut writing) = order {
                    self.health.lose(writing.lose_samples());
                    self.next = writing;
                }
                if !std::mem::replace(&mut self.is_behind, true) {
                    tracing::warn!("the history is too slow, or has ended: samples are lost until it takes them again");
                }
            }
        }
    }

    /// Answers who asks for history: what waits to be written is written first.
    pub(super) fn ask<S: Source>(
        &mut self,
        params: HistoryParams,
        caller: Caller,
        engine: &mut Engine<S>,
        answer: Answer,
        clock: &impl Clock,
    ) {
        let now = clock.now();
        // What no sweep has seen yet is there all the same.
        for tool in engine.tracker().tools() {
            self.knows(tool);
        }
        // And what is asked for is as it is now.
        let asked: BTreeSet<u64> = self
            .running
            .values()
            .filter(|tool| tool.name == params.tool)
            .map(|tool| tool.instance)
            .collect();
        self.write(engine, |instance| asked.contains(&instance));
        let mut under_way = Vec::new();
        for tool in self.running.values().filter(|tool| tool.name == params.tool) {
            for tier in Tier::ALL {
                let row = self.recorder.under_way(tool.instance, tier);
                under_way.extend(row.map(|row| (tier, HistoryEntry::new(tool.instance, &row, true))));
            }
        }
        let busy = || {
            Refusal::new(
                RefusalCode::Busy,
                "too many ask for history, or it has ended: try again later",
            )
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            // Who hung up needs no answer, here and below.
            let _ = answer.send(Err(busy()));
            return;
        };
        let asked = Order::Ask {
            params,
            of_user: (!caller.sees_all()).then_some(caller.uid),
            now: now.wall,
            under_way,
            answer,
            _place: place,
        };
        if let Err(
            TrySendError::Full(Order::Ask { answer, .. }) | TrySendError::Disconnected(Order::Ask { answer, .. }),
        ) = self.orders.try_send(asked)
        {
            let _ = answer.send(Err(busy()));
        }
    }

    /// How it is kept.
    pub(super) fn status(&self) -> HistoryStatus {
        self.health.status()
    }

    /// Writes the last of it, and ends the thread.
    pub(super) async fn stop<S: Source>(mut self, engine: &mut Engine<S>) {
        self.write(engine, |_| true);
        drop(self.orders);
        match tokio::time::timeout(LAST_WITHIN, self.done).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::warn!("the thread of the history has failed"),
            Err(_) => tracing::warn!("the history is still being written: what is not is lost"),
        }
    }
}

/// The store, as it is being opened.
pub(super) struct Opening(oneshot::Receiver<Opened>);

impl Opening {
    /// Waits until it is, and tells what it holds.
    pub(super) async fn done(self) -> Past {
        let opened = self.0.await.unwrap_or_default();
        Past {
            is_known: opened.is_open,
            tools: opened.tools,
            learned: opened.learned,
        }
    }
}

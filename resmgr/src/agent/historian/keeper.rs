//! The thread that has the store: writes, forgets, answers, and goes on without where it cannot write.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    HistoryOptions,
    seasons::{Found, IDLE, Seasons},
    shapes::milliseconds,
};
use crate::{
    agent::{SystemClock, run::to_line, server::Answer},
    history::{Store, StoreError, Writing},
    model::{Clock as _, HistoryRow, PastTool, Tier},
    protocol::{HISTORY_VERSION, HistoryEntry, HistoryParams, HistoryReport, HistoryStatus, Refusal, RefusalCode},
};

/// Time between two tries to open a store that could not be written.
const TRIED_AGAIN: Duration = Duration::from_secs(30);
/// Time between two looks at what is too old.
const PRUNED: Duration = Duration::from_secs(600);
/// Rows of one answer at most.
const ROWS: usize = 20_000;

/// What the loop asks of the thread.
pub(super) enum Order {
    Write(Writing),
    Rows {
        instance: u64,
        tier: Tier,
        within: Range<u64>,
        answer: oneshot::Sender<Vec<HistoryRow>>,
    },
    Ask {
        params: HistoryParams,
        /// Whose tools may be shown; `None` for everybody's.
        of_user: Option<u32>,
        now: DateTime<Utc>,
        /// What is not over yet, by its tier.
        under_way: Vec<(Tier, HistoryEntry)>,
        answer: Answer,
        /// Given back with the answer.
        _place: OwnedSemaphorePermit,
    },
}

/// What a store held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Whether it could be.
    pub(super) is_open: bool,
    pub(super) tools: Vec<PastTool>,
    pub(super) learned: Vec<(String, Vec<u8>)>,
}

/// How it goes, for who asks.
#[derive(Debug, Default)]
pub(super) struct Health {
    bytes: AtomicU64,
    samples_lost: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Health {
    pub(super) fn lose(&self, samples: u64) {
        self.samples_lost.fetch_add(samples, Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> HistoryStatus {
        HistoryStatus {
            bytes: self.bytes.load(Ordering::Relaxed),
            samples_lost: self.samples_lost.load(Ordering::Relaxed),
            failure: self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Takes in whether it goes; tells whether that is news.
    fn set(&self, failure: Option<String>) -> bool {
        let mut now = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = now.is_some() != failure.is_some();
        *now = failure;
        is_news
    }
}

/// What the thread has.
pub(super) struct Keeper {
    options: HistoryOptions,
    orders: Receiver<Order>,
    health: Arc<Health>,
    store: Option<Store>,
    /// What could not be written and is still to be: all but samples and what these come to.
    owed: Writing,
    seasons: Seasons,
    tried: Instant,
    pruned: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        options: HistoryOptions,
        orders: Receiver<Order>,
        tell: mpsc::Sender<Found>,
        health: Arc<Health>,
    ) -> Self {
        Self {
            options,
            orders,
            health,
            store: None,
            owed: Writing::default(),
            seasons: Seasons::new(tell),
            tried: Instant::now(),
            pruned: None,
        }
    }

    /// Works until nobody can order anything any more.
    pub(super) fn run(mut self, opened: oneshot::Sender<Opened>) {
        self.open();
        let held = self.store.as_ref().map(|store| {
            Ok::<_, StoreError>(Opened {
                is_open: true,
                tools: store.tools()?,
                learned: store.learned()?,
            })
        });
        let held = held.unwrap_or_else(|| Ok(Opened::default()));
        let held = held.unwrap_or_else(|error| {
            self.fails(&error);
            Opened::default()
        });
        // The loop may have ended meanwhile.
        let _ = opened.send(held);
        loop {
            // Without a store there is nothing to look at.
            let wait = self.store.as_ref().map_or(IDLE, |_| self.seasons.next_in());
            match self.orders.recv_timeout(wait) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(store) = &self.store {
                        self.seasons.look(store);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.pruned.is_none_or(|at| at.elapsed() > PRUNED) {
                self.prune();
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Write(writing) => {
                self.seasons.follow(&writing.tools);
                self.write(writing);
            }
            Order::Rows {
                instance,
                tier,
                within,
                answer,
            } => {
                let rows = self.store.as_ref().map(|store| store.rows(instance, tier, within));
                // Who does not wait any more needs no answer, here and below.
                let _ = answer.send(rows.and_then(Result::ok).unwrap_or_default());
            }
            Order::Ask {
                params,
                of_user,
                now,
                under_way,
                answer,
                _place,
            } => {
                if answer.is_closed() {
                    return;
                }
                let report = self.report(&params, of_user, now, &under_way);
                let _ = answer.send(report.and_then(to_line));
            }
        }
    }

    fn open(&mut self) {
        self.tried = Instant::now();
        let store = match &self.options.path {
            Some(path) => open_file(path),
            None => Store::in_memory(),
        };
        match store {
            Ok(store) => {
                self.store = Some(store);
                if self.health.set(None) {
                    let lost = self.health.status().samples_lost;
                    tracing::info!(lost, "the history is written again");
                }
            }
            Err(error) => self.fails(&error),
        }
    }

    /// Goes on without a history, until the store can be opened again.
    fn fails(&mut self, error: &StoreError) {
        self.store = None;
        self.tried = Instant::now();
        if self.health.set(Some(error.to_string())) {
            tracing::warn!(
                %error,
                "the history is not kept: what comes is lost until it can be; everything else goes on"
            );
        }
    }

    fn write(&mut self, writing: Writing) {
        if self.store.is_none() && self.tried.elapsed() >= TRIED_AGAIN {
            self.open();
        }
        self.owed.append(writing);
        match self.store.as_ref().map(|store| store.write(&self.owed)) {
            Some(Ok(())) => self.owed = Writing::default(),
            written => {
                self.health.lose(self.owed.lose_samples());
                if let Some(Err(error)) = written {
                    self.fails(&error);
                }
            }
        }
    }

    fn prune(&mut self) {
        self.pruned = Some(Instant::now());
        let Some(store) = &mut self.store else { return };
        let pruned = store.prune(SystemClock.now().wall, &self.options.retention);
        match pruned.and_then(|fits| Ok((fits, store.bytes()?))) {
            Ok((fits, bytes)) => {
                if !fits {
                    tracing::warn!(
                        bytes,
                        "the history is larger than it may be, by what was learned and who tools were"
                    );
                }
                self.health.bytes.store(bytes, Ordering::Relaxed);
            }
            Err(error) => self.fails(&error),
        }
    }

    fn report(
        &mut self,
        params: &HistoryParams,
        of_user: Option<u32>,
        now: DateTime<Utc>,
        under_way: &[(Tier, HistoryEntry)],
    ) -> Result<HistoryReport, Refusal> {
        let internal = |error: StoreError| Refusal::new(RefusalCode::Internal, error.to_string());
        let Some(store) = &self.store else {
            let why = self.health.status().failure.unwrap_or_default();
            return Err(Refusal::new(
                RefusalCode::Internal,
                format!("there is no history: {why}"),
            ));
        };
        let mut instances = store.tools().map_err(internal)?;
        instances.retain(|tool| tool.name == params.tool && of_user.is_none_or(|uid| tool.uid == uid));
        if instances.is_empty() {
            let message = format!("no tool {} of yours is remembered", params.tool);
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        instances.retain(|tool| params.instance.is_none_or(|instance| tool.instance == instance));
        if instances.is_empty() {
            let instance = params.instance.unwrap_or_default();
            let message = format!(
                "{} has no instance {instance}: `resmgr history {0}` shows which there are",
                params.tool
            );
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        let first = instances.iter().map(|tool| tool.began).min().unwrap_or(now);
        let (from, until) = (params.from.unwrap_or(first), params.until.unwrap_or(now));
        let within = milliseconds(from)..milliseconds(until).saturating_add(1);
        instances.retain(|tool| tool.began <= until && tool.ended.is_none_or(|ended| ended >= from));
        let finest = params
            .resolution
            .unwrap_or_else(|| self.finest(from.max(first), until, now));
        let mut coarser = Tier::ALL.into_iter().filter(|tier| *tier >= finest);
        let (resolution, rows) = loop {
            let tier = coarser.next().unwrap_or(Tier::Hour);
            match rows_of(store, &instances, tier, &within, under_way).map_err(internal)? {
                Some(rows) => break (tier, rows),
                // Nobody asked for so many.
                None if params.resolution.is_none() && tier != Tier::Hour => {}
                None => {
                    let message = format!(
                        "that is more than {ROWS} rows of {tier}: ask for a shorter time, one instance, or a coarser \
                         resolution"
                    );
                    return Err(Refusal::new(RefusalCode::InvalidRequest, message));
                }
            }
        };
        Ok(HistoryReport {
            version: HISTORY_VERSION,
            tool: params.tool.clone(),
            resolution,
            instances,
            rows,
        })
    }

    /// The finest resolution at which a time is kept, and not too long to be looked at.
    fn finest(&self, from: DateTime<Utc>, until: DateTime<Utc>, now: DateTime<Utc>) -> Tier {
        /// Rows that somebody looks at.
        const LOOKED_AT: u64 = 3600;
        let long_ms = milliseconds(until).saturating_sub(milliseconds(from));
        let ago_ms = milliseconds(now).saturating_sub(milliseconds(from));
        let kept = Tier::ALL.into_iter().zip(self.options.retention.kept_ms);
        let mut fit = kept.filter(|(tier, kept_ms)| ago_ms <= *kept_ms && long_ms / tier.span_ms() <= LOOKED_AT);
        fit.next().map_or(Tier::Hour, |(tier, _)| tier)
    }
}

/// The rows of instances in a time, with what is under way; `None` where they are too many.
fn rows_of(
    store: &Store,
    instances: &[PastTool],
    tier: Tier,
    within: &Range<u64>,
    under_way: &[(Tier, HistoryEntry)],
) -> Result<Option<Vec<HistoryEntry>>, StoreError> {
    let mut rows = Vec::new();
    for tool in instances {
        let found = store.rows(tool.instance, tier, within.clone())?;
        if rows.len() + found.len() > ROWS {
            return Ok(None);
        }
        rows.extend(found.iter().map(|row| HistoryEntry::new(tool.instance, row, false)));
        let open = under_way.iter().filter(|(of, entry)| {
            *of == tier && entry.instance == tool.instance && within.contains(&milliseconds(entry.at))
        });
        rows.extend(open.map(|(_, entry)| entry.clone()));
    }
    Ok(Some(rows))
}

fn open_file(path: &Path) -> Result<Store, StoreError> {
    let (store, aside) = Store::open(path, SystemClock.now().wall)?;
    if let Some((aside, why)) = aside {
        let aside: PathBuf = aside;
        tracing::warn!(
            why,
            kept = %aside.display(),
            "the history could not be read: it is set aside, and another one begins"
        );
    }
    Ok(store)
}

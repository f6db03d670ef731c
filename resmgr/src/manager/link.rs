//! The one task of a manager that talks to the agent all the time: tells what accounts hold, in batches, takes in how the
//! tools stand, and begins them anew where an agent knows nothing of them. Holds no lock while it waits.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Account, ResourceError, StatusChange, account::Totals, counted::Which, tracker::ResourceTracker};
use crate::{
    model::{OperationUse, ResourceStatus, ToldUse, ToolName},
    protocol::{
        BeginOperationParams, CleanUpParams, Client, ClientError, EndOperationParams, RefusalCode, ReportParams,
        ToolReport,
    },
};

/// Time between two batches of what has changed.
const BATCH: Duration = Duration::from_millis(100);
/// Time between two reports of everything: how tools stand changes although nothing is told, and silence would say that
/// the program has gone. Where there is no agent, it is looked for as often.
const ALL: Duration = Duration::from_secs(1);
/// Bytes that a request's tools and their numbers may fill, what each takes at most, and how many numbers of one tool are
/// told at a time.
const BATCH_BYTES: usize = 48_000;
const TOOL_BYTES: usize = 220;
const NUMBER_BYTES: usize = 11;
const NUMBERS: usize = 1000;

type Answer<T> = oneshot::Sender<Result<T, ResourceError>>;

/// What the task is asked for.
pub(super) enum Order {
    /// What an account holds is told now.
    Tell(Account, Answer<()>),
    /// An operation begins.
    Begin(Account, String, Answer<u64>),
    /// An operation ends; where it was dropped, nobody waits for what it used.
    End(Account, u64, Option<Answer<OperationUse>>),
}

/// What the agent was told of an account on this connection.
struct Known {
    instance: u64,
    numbers: [BTreeSet<u32>; 2],
    /// It has said that it knows the tool: one that it does not know any more was ended.
    is_confirmed: bool,
}

/// The task.
pub(super) struct Link {
    socket: PathBuf,
    tracker: ResourceTracker,
    orders: mpsc::Receiver<Order>,
    changes: broadcast::Sender<StatusChange>,
    client: Option<Client>,
    known: HashMap<ToolName, Known>,
    statuses: HashMap<ToolName, ResourceStatus>,
    all_at: Instant,
}

impl Link {
    pub(super) fn new(
        socket: PathBuf,
        tracker: ResourceTracker,
        orders: mpsc::Receiver<Order>,
        changes: broadcast::Sender<StatusChange>,
    ) -> Self {
        Self {
            socket,
            tracker,
            orders,
            changes,
            client: None,
            known: HashMap::new(),
            statuses: HashMap::new(),
            all_at: Instant::now(),
        }
    }

    /// Works until nobody has the manager any more; then the tools that it has left are ended.
    pub(super) async fn run(mut self) {
        let mut tick = interval(BATCH);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.follow(order).await,
                    None => break,
                },
                _ = tick.tick() => self.tell_changed().await,
            }
        }
        for account in self.tracker.accounts() {
            let ended = end(&self.socket, account.tool(), account.instance()).await;
            if let Err(error) = ended {
                tracing::debug!(tool = %account.tool(), %error, "a tool is left to end with this process");
            }
        }
    }

    // Who hung up needs no answer, here and below.
    async fn follow(&mut self, order: Order) {
        match order {
            Order::Tell(account, answer) => {
                let told = self.tell(std::slice::from_ref(&account)).await;
                let _ = answer.send(told.map_err(ResourceError::from));
            }
            Order::Begin(account, name, answer) => {
                let _ = answer.send(self.begin(&account, name).await.map_err(ResourceError::from));
            }
            Order::End(account, operation, answer) => {
                // What it used until now is its.
                let told = self.tell(std::slice::from_ref(&account)).await;
                let ended = match (told, &mut self.client) {
                    (Ok(()), Some(client)) => {
                        let params = EndOperationParams {
                            operation,
                            once_idle: false,
                        };
                        client.end_operation(params).await
                    }
                    (Ok(()), None) => return,
                    (Err(error), _) => Err(error),
                };
                if let Some(answer) = answer {
                    let _ = answer.send(ended.map_err(ResourceError::from));
                }
            }
        }
    }

    async fn begin(&mut self, account: &Account, name: String) -> Result<u64, ClientError> {
        // What was used before it is none of it.
        self.tell(std::slice::from_ref(account)).await?;
        let params = BeginOperationParams {
            instance: account.instance(),
            name,
            under_way: false,
        };
        let client = self.connected().await?;
        let begun = client.begin_operation(params).await;
        Ok(self.heed(begun)?.operation)
    }

    /// Forgets a connection that is none any more.
    fn heed<T>(&mut self, result: Result<T, ClientError>) -> Result<T, ClientError> {
        if let Err(error) = &result
            && !matches!(error, ClientError::Refused(_))
        {
            self.client = None;
        }
        result
    }

    async fn connected(&mut self) -> Result<&mut Client, ClientError> {
        let client = if let Some(client) = self.client.take() {
            client
        } else {
            // Whoever answers now may know nothing.
            self.known.clear();
            Client::connect(&self.socket).await?
        };
        Ok(self.client.insert(client))
    }

    async fn tell_changed(&mut self) {
        let all = self.all_at.elapsed() >= ALL;
        if self.client.is_none() && !all {
            return;
        }
        let accounts = self.tracker.accounts();
        let is_due = |account: &Account| !account.has_ended() && (all || account.counted().take_mark());
        let due: Vec<Account> = accounts.into_iter().filter(is_due).collect();
        if all {
            self.all_at = Instant::now();
            self.known.retain(|tool, _| self.tracker.account(tool).is_some());
            self.statuses.retain(|tool, _| self.tracker.account(tool).is_some());
        }
        if let Err(error) = self.tell(&due).await {
            tracing::debug!(%error, "what tools use is told later");
        }
    }

    /// Tells what accounts hold. Where the connection was broken, once more over another.
    async fn tell(&mut self, accounts: &[Account]) -> Result<(), ClientError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let had_client = self.client.is_some();
        let told = self.try_to_tell(accounts).await;
        match self.heed(told) {
            Err(ClientError::Gone { .. }) if had_client => {
                let told = self.try_to_tell(accounts).await;
                self.heed(told)
            }
            told => told,
        }
    }

    async fn try_to_tell(&mut self, accounts: &[Account]) -> Result<(), ClientError> {
        let mut batch = Batch::default();
        for account in accounts.iter().filter(|account| !account.has_ended()) {
            self.connected().await?;
            // First the mark is taken, then it is read.
            account.counted().take_mark();
            let totals = account.totals();
            for told in self.differences(account) {
                if batch.bytes >= BATCH_BYTES {
                    self.send(std::mem::take(&mut batch)).await?;
                }
                batch.add(account, totals, told);
            }
        }
        self.send(batch).await
    }

    /// What the agent is to be told of an account, in parts that fit into a request each.
    fn differences(&mut self, account: &Account) -> Vec<ToldUse> {
        let instance = account.instance();
        let known = self
            .known
            .get(account.tool())
            .filter(|known| known.instance == instance);
        let anew = known.is_none();
        let is_confirmed = known.is_some_and(|known| known.is_confirmed);
        let nothing = BTreeSet::new();
        let [files, connections] = [Which::Files, Which::Connections].map(|which| {
            let numbers = account.counted().numbers(which);
            let before = known.map_or(&nothing, |known| &known.numbers[which as usize]);
            let more: Vec<u32> = numbers.difference(before).copied().collect();
            let less: Vec<u32> = before.difference(&numbers).copied().collect();
            (numbers, more, less)
        });
        let (mut opened, mut closed) = (files.1, files.2);
        let (mut connected, mut disconnected) = (connections.1, connections.2);
        let numbers = [files.0, connections.0];
        let known = Known {
            instance,
            numbers,
            is_confirmed,
        };
        self.known.insert(account.tool().clone(), known);
        let part = |numbers: &mut Vec<u32>| numbers.split_off(numbers.len().saturating_sub(NUMBERS / 4));
        let (totals, peaks) = (account.totals(), account.counted().take_peaks());
        let mut parts = Vec::new();
        loop {
            parts.push(ToldUse {
                anew: anew && parts.is_empty(),
                memory_bytes: totals.memory_bytes,
                cpu_ns: totals.cpu_ns,
                peaks,
                opened: part(&mut opened),
                closed: part(&mut closed),
                connected: part(&mut connected),
                disconnected: part(&mut disconnected),
            });
            if [&opened, &closed, &connected, &disconnected]
                .iter()
                .all(|rest| rest.is_empty())
            {
                return parts;
            }
        }
    }

    async fn send(&mut self, batch: Batch) -> Result<(), ClientError> {
        if batch.tools.is_empty() {
            return Ok(());
        }
        let reported = self
            .connected()
            .await?
            .report(ReportParams { tools: batch.tools })
            .await?;
        for stands in &reported.tools {
            let Some((account, totals)) = batch.accounts.get(&stands.instance) else {
                continue;
            };
            account.stands(stands, totals);
            if let Some(known) = self.known.get_mut(account.tool()) {
                known.is_confirmed = true;
            }
            self.look(account);
        }
        for instance in reported.ended {
            let Some((account, _)) = batch.accounts.get(&instance) else {
                continue;
            };
            if account.instance() != instance {
                // It was begun anew meanwhile.
                continue;
            }
            if self
                .known
                .remove(account.tool())
                .is_some_and(|known| known.is_confirmed)
            {
                account.ends(instance);
                continue;
            }
            let begun = self.connected().await?.initialize(account.begins_with()).await;
            match begun {
                Ok(stands) => account.begins(&stands),
                Err(ClientError::Refused(refusal)) => {
                    tracing::warn!(tool = %account.tool(), %refusal, "a tool could not be begun anew");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells those who listen where a tool stands otherwise than it did.
    fn look(&mut self, account: &Account) {
        let status = account.status();
        let before = self.statuses.insert(account.tool().clone(), status).unwrap_or_default();
        if before != status {
            // There may be nobody.
            let _ = self.changes.send(StatusChange {
                tool: account.tool().clone(),
                from: before,
                to: status,
            });
        }
    }
}

/// What goes into one request.
#[derive(Default)]
struct Batch {
    tools: Vec<ToolReport>,
    accounts: HashMap<u64, (Account, Totals)>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, account: &Account, totals: Totals, told: ToldUse) {
        let instance = account.instance();
        self.bytes += TOOL_BYTES + told.numbers() * NUMBER_BYTES;
        self.tools.push(ToolReport { instance, told });
        self.accounts.insert(instance, (account.clone(), totals));
    }
}

/// Has a tool ended, with its processes; one that is not there has been.
pub(super) async fn end(socket: &Path, tool: &ToolName, instance: u64) -> Result<(), ClientError> {
    let params = CleanUpParams {
        tool: tool.clone(),
        instance: Some(instance),
        grace_ms: None,
    };
    let ended = Client::connect(socket).await?.clean_up(params).await;
    match ended {
        Err(ClientError::Refused(refusal)) if refusal.code == RefusalCode::NotFound => Ok(()),
        ended => ended.map(|_| ()),
    }
}

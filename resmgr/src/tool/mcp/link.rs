//! The proxy's side of the agent: operations are told, and how the tool stands is heard. Nothing of it keeps the
//! conversation waiting.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as blocking},
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use crate::protocol::{
    BeginOperationParams, Client, ClientError, EndOperationParams, OverLimit, ToolState, WatchParams,
};

/// What waits to be told at most; operations beyond that are not counted.
const MOST_WAITING: usize = 4096;
/// How long after a failure the agent is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the proxy tells.
#[derive(Clone, Debug)]
pub(super) enum Tell {
    /// The tool is this instance from now on.
    Instance(u64),
    /// A request is under way.
    Begun {
        /// Which.
        number: u64,
        /// What it is called.
        name: String,
    },
    /// A request has its response.
    Ended(u64),
    /// A request was given up by the client: the server may go on with it for a while.
    GivenUp(u64),
}

/// What the proxy hears.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// How the tool stands.
    State(Arc<ToolState>),
    /// A request has used all that it may.
    Over(u64, OverLimit),
    /// The agent has gone: nothing is known.
    Unknown,
}

/// A way to tell; cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    tell: mpsc::UnboundedSender<Tell>,
    waiting: Waiting,
}

/// What is told and not yet taken; cheap to clone.
#[derive(Clone, Debug, Default)]
struct Waiting(Arc<Mutex<Waits>>);

#[derive(Debug, Default)]
struct Waits {
    count: usize,
    /// Requests that are told of and have not ended: of no other is anything told, so that little waits at any time.
    begun: HashSet<u64>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Tells, unless too much waits already. What has begun for the agent ends for it.
    pub(super) fn tell(&self, told: Tell) {
        let mut waits = self.waiting.lock();
        let is_told = match &told {
            Tell::Instance(_) => true,
            Tell::Begun { number, .. } => waits.count < MOST_WAITING && waits.begun.insert(*number),
            Tell::GivenUp(number) => waits.begun.contains(number),
            Tell::Ended(number) => waits.begun.remove(number),
        };
        if is_told && self.tell.send(told).is_ok() {
            waits.count += 1;
        }
    }
}

/// Numbers of requests, by the agent's numbers of their operations; cheap to clone.
#[derive(Clone, Debug, Default)]
struct Operations(Arc<Mutex<HashMap<u64, u64>>>);

impl Operations {
    fn map(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a link to the agent at a socket, and what runs it until nobody tells any more.
pub(super) fn link(socket: &Path) -> (Link, impl Future<Output = ()> + use<>, blocking::Receiver<Heard>) {
    let (tell, told) = mpsc::unbounded_channel();
    let waiting = Waiting::default();
    let link = Link {
        tell,
        waiting: waiting.clone(),
    };
    let (hear, heard) = blocking::channel();
    let socket = socket.to_owned();
    let running = async move {
        let operations = Operations::default();
        let (instance, instances) = watch::channel(None);
        tokio::select! {
            () = Teller::new(socket.clone(), &operations).run(told, &waiting, &instance) => {}
            () = listen(socket, instances, &operations, hear) => {}
        }
    };
    (link, running, heard)
}

/// Tells the agent of operations.
struct Teller {
    socket: PathBuf,
    client: Option<Client>,
    instance: Option<u64>,
    /// Requests under way.
    under_way: HashMap<u64, UnderWay>,
    operations: Operations,
}

/// A request under way.
struct UnderWay {
    /// What it is called.
    name: String,
    /// The agent's number of its operation, once it has one.
    operation: Option<u64>,
    /// The agent ends it once the tool is idle.
    is_given_up: bool,
}

impl Teller {
    fn new(socket: PathBuf, operations: &Operations) -> Self {
        Self {
            socket,
            client: None,
            instance: None,
            under_way: HashMap::new(),
            operations: operations.clone(),
        }
    }

    async fn run(
        mut self,
        mut told: mpsc::UnboundedReceiver<Tell>,
        waiting: &Waiting,
        instance: &watch::Sender<Option<u64>>,
    ) {
        while let Some(tell) = told.recv().await {
            waiting.lock().count -= 1;
            if let Tell::Instance(number) = tell {
                self.instance = Some(number);
                let _ = instance.send(self.instance);
            }
            if self.take(tell).await.is_err() {
                // It has gone, and what it knew with it: those under way are told to the next one.
                self.client = None;
                self.under_way.retain(|_, one| !one.is_given_up);
                for one in self.under_way.values_mut() {
                    one.operation = None;
                }
                self.operations.map().clear();
            }
        }
    }

    async fn take(&mut self, tell: Tell) -> Result<(), ClientError> {
        match tell {
            Tell::Instance(_) => {}
            Tell::Begun { number, name } => {
                let one = UnderWay {
                    name,
                    operation: None,
                    is_given_up: false,
                };
                self.under_way.insert(number, one);
            }
            Tell::Ended(number) => self.end(number, false).await?,
            Tell::GivenUp(number) => self.end(number, true).await?,
        }
        self.begin_all().await
    }

    async fn end(&mut self, number: u64, once_idle: bool) -> Result<(), ClientError> {
        let Some(one) = self.under_way.get_mut(&number) else {
            return Ok(());
        };
        let operation = one.operation;
        one.is_given_up = once_idle;
        // What the agent never knew of does not go on for it.
        if !once_idle || operation.is_none() {
            self.under_way.remove(&number);
        }
        let (Some(operation), Some(client)) = (operation, &mut self.client) else {
            return Ok(());
        };
        if !once_idle {
            self.operations.map().remove(&operation);
        }
        match client.end_operation(EndOperationParams { operation, once_idle }).await {
            // One that was given up may have ended since.
            Ok(_) | Err(ClientError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Begins what is under way and the agent does not know.
    async fn begin_all(&mut self) -> Result<(), ClientError> {
        let Some(instance) = self.instance else { return Ok(()) };
        if self.under_way.values().all(|one| one.operation.is_some()) {
            return Ok(());
        }
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(&self.socket).await?),
        };
        for (number, one) in &mut self.under_way {
            if one.operation.is_some() {
                continue;
            }
            let params = BeginOperationParams {
                instance,
                name: one.name.clone(),
                under_way: true,
            };
            match client.begin_operation(params).await {
                Ok(begun) => {
                    one.operation = Some(begun.operation);
                    self.operations.map().insert(begun.operation, *number);
                }
                // The tool has ended, or has too many: nor is the next one taken.
                Err(ClientError::Refused(_)) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Hears how the tool stands, whichever instance it is, for as long as somebody listens.
async fn listen(
    socket: PathBuf,
    mut instances: watch::Receiver<Option<u64>>,
    operations: &Operations,
    hear: blocking::Sender<Heard>,
) {
    loop {
        let instance = *instances.borrow_and_update();
        let Some(instance) = instance else {
            if instances.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        tokio::select! {
            changed = instances.changed() => if changed.is_err() { return std::future::pending().await },
            heard = follow(&socket, instance, operations, &hear) => {
                if heard.is_none() || hear.send(Heard::Unknown).is_err() {
                    return std::future::pending().await;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Follows an instance until the agent fails; `None` where nobody listens.
async fn follow(
    socket: &Path,
    instance: u64,
    operations: &Operations,
    hear: &blocking::Sender<Heard>,
) -> Option<ClientError> {
    let mut client = match Client::connect(socket).await {
        Ok(client) => client,
        Err(error) => return Some(error),
    };
    let mut seen: Option<ToolState> = None;
    loop {
        let params = WatchParams {
            instance,
            seen: seen.take(),
        };
        let state = match client.watch(params).await {
            Ok(state) => state,
            Err(error) => return Some(error),
        };
        hear.send(Heard::State(Arc::new(state.clone()))).ok()?;
        for over in &state.over {
            let number = operations.map().get(&over.used.operation).copied();
            if let Some(number) = number {
                hear.send(Heard::Over(number, over.limit.clone())).ok()?;
            }
        }
        seen = Some(state);
    }
}

#[cfg(test)]
mod tests {
    //! An agent that takes nothing.
    use super::*;

    #[test]
    fn what_has_begun_for_the_agent_ends_for_it_however_long_it_takes_nothing() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let link = Link {
            tell,
            waiting: Waiting::default(),
        };
        let all = 3 * MOST_WAITING as u64;
        for number in 0..all {
            let name = "call".to_owned();
            link.tell(Tell::Begun { number, name });
            link.tell(Tell::GivenUp(number));
        }
        for number in 0..all {
            link.tell(Tell::Ended(number));
            link.tell(Tell::Ended(number));
        }
        drop(link);
        let (mut begun, mut ended) = (HashSet::new(), HashSet::new());
        while let Some(tell) = told.blocking_recv() {
            let is_first = match tell {
                Tell::Begun { number, .. } => begun.insert(number),
                Tell::Ended(number) => ended.insert(number),
                Tell::GivenUp(number) => begun.contains(&number),
                Tell::Instance(_) => false,
            };
            assert!(is_first);
        }
        assert_eq!(begun, ended);
        assert!(
            (MOST_WAITING / 4..=MOST_WAITING).contains(&begun.len()),
            "{}",
            begun.len()
        );
    }
}

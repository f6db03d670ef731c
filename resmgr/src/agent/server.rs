//! The control socket's server: a task a client, bounded in number, length and time. It decides nothing: requests go
//! to the agent's loop, and who asks goes with them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    kernel::peer_groups,
    protocol::{FrameError, Lines, MAX_REQUEST_BYTES, Method, Refusal, RefusalCode, Request, Response},
};

/// Clients at a time.
const MOST_CLIENTS: usize = 512;
/// Of these, what is kept for root.
const KEPT_FOR_ROOT: usize = 64;
/// Clients of one user, other than root, at a time.
const MOST_OF_USER: usize = 128;
/// How long a client may be silent between requests, unless it tells of operations.
const IDLE: Duration = Duration::from_secs(300);
/// How long a client may take to read its answer.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// User id, from the connection.
    pub(super) uid: u32,
    /// Whether it was in the group whose members see everything when it connected.
    pub(super) is_member: bool,
    /// Process id, from the connection; `None` where it is not of this pid namespace.
    pub(super) pid: Option<u32>,
    /// Which connection, of all that there ever were.
    pub(super) connection: u64,
}

impl Caller {
    /// Whether it may do everything.
    pub(super) fn is_root(self) -> bool {
        self.uid == 0
    }

    /// Whether everything is shown, but for what is private.
    pub(super) fn sees_all(self) -> bool {
        self.is_root() || self.is_member
    }

    /// Refuses what root alone may do.
    pub(super) fn must_be_root(self, to: &str) -> Result<(), Refusal> {
        if self.is_root() {
            return Ok(());
        }
        let message = format!("only root may {to}: use sudo");
        Err(Refusal::new(RefusalCode::NotPermitted, message))
    }
}

/// Where an answer goes: its line, without its end.
pub(super) type Answer = oneshot::Sender<Result<Vec<u8>, Refusal>>;

/// A request on its way to the loop.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) caller: Caller,
    pub(super) answer: Answer,
}

/// What clients tell the loop.
pub(super) enum Told {
    /// One asks.
    Asked(Box<Question>),
    /// One that has told of operations has hung up: these have ended.
    HungUp(u64),
}

/// Places for clients: so many in all, and so many of each user.
#[derive(Default)]
struct Places {
    of_user: Mutex<HashMap<u32, usize>>,
}

/// A client's place, until it is dropped.
struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Places {
    fn take(self: &Arc<Self>, uid: u32) -> Result<Place, String> {
        let mut of_user = self.of_user.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = of_user.values().sum();
        let own = of_user.get(&uid).copied().unwrap_or_default();
        if uid != 0 && own >= MOST_OF_USER {
            return Err(format!(
                "{MOST_OF_USER} clients of yours are connected already: try again later"
            ));
        }
        let most = if uid == 0 {
            MOST_CLIENTS
        } else {
            MOST_CLIENTS - KEPT_FOR_ROOT
        };
        if all >= most {
            return Err(format!("{all} clients are connected already: try again later"));
        }
        of_user.insert(uid, own + 1);
        Ok(Place {
            places: Arc::clone(self),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of_user = self.places.of_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = of_user.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                of_user.remove(&self.uid);
            }
        }
    }
}

/// Accepts clients for ever; members of the group see everything.
pub(super) async fn serve(listener: UnixListener, group: Option<u32>, told: mpsc::Sender<Told>) {
    let places = Arc::new(Places::default());
    let mut connection = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others will be given back.
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        connection += 1;
        let (places, told) = (Arc::clone(&places), told.clone());
        tokio::spawn(async move {
            if let Err(error) = welcome(stream, (connection, group), &places, &told).await {
                tracing::debug!(%error, "a client went away");
            }
        });
    }
}

/// Attends to a client where there is room for it.
async fn welcome(
    mut stream: UnixStream,
    (connection, group): (u64, Option<u32>),
    places: &Arc<Places>,
    told: &mpsc::Sender<Told>,
) -> std::io::Result<()> {
    let peer = stream.peer_cred()?;
    // Both are of the moment at which it connected.
    let is_in = |group| peer.gid() == group || peer_groups(&stream).is_ok_and(|groups| groups.contains(&group));
    let caller = Caller {
        uid: peer.uid(),
        is_member: group.is_some_and(is_in),
        pid: peer
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|&pid| pid != 0),
        connection,
    };
    let _place = match places.take(caller.uid) {
        Ok(place) => place,
        Err(message) => {
            let line = refusal_line(Refusal::new(RefusalCode::Busy, message));
            return within(READ_WITHIN, stream.write_all(&line)).await;
        }
    };
    let mut operates = false;
    let attended = attend(stream, caller, told, &mut operates).await;
    if operates {
        // Where the loop has ended, so have its operations.
        let _ = told.send(Told::HungUp(connection)).await;
    }
    attended
}

/// Answers one client until it hangs up; tells whether it told of operations.
async fn attend(
    stream: UnixStream,
    caller: Caller,
    told: &mpsc::Sender<Told>,
    operates: &mut bool,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = Lines::new(reader, MAX_REQUEST_BYTES);
    while let Some(line) = next_line(&mut lines, &mut writer, *operates).await? {
        let answer = match Request::parse(&line) {
            Ok(request) => {
                *operates |= matches!(request.method, Method::BeginOperation(_));
                ask(request.method, caller, told).await
            }
            Err(refusal) => refusal_line(refusal),
        };
        within(READ_WITHIN, writer.write_all(&answer)).await?;
    }
    Ok(())
}

/// The next request; one that is too long is refused, and ends the conversation.
async fn next_line(
    lines: &mut Lines<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    is_patient: bool,
) -> std::io::Result<Option<bytes::Bytes>> {
    let next = if is_patient {
        Ok(lines.next().await)
    } else {
        timeout(IDLE, lines.next()).await
    };
    match next {
        Ok(Ok(line)) => Ok(line),
        Ok(Err(FrameError::Io(error))) => Err(error),
        Ok(Err(FrameError::Cut)) | Err(_) => Ok(None),
        Ok(Err(error @ FrameError::TooLong(_))) => {
            let line = refusal_line(Refusal::new(RefusalCode::TooLarge, error.to_string()));
            within(READ_WITHIN, writer.write_all(&line)).await?;
            Ok(None)
        }
    }
}

async fn ask(method: Method, caller: Caller, told: &mpsc::Sender<Told>) -> Vec<u8> {
    let (answer, answered) = oneshot::channel();
    let question = Question { method, caller, answer };
    let stopping = || Refusal::new(RefusalCode::Internal, "the agent is stopping");
    let outcome = match told.send(Told::Asked(Box::new(question))).await {
        Ok(()) => answered.await.unwrap_or_else(|_| Err(stopping())),
        Err(_) => Err(stopping()),
    };
    match outcome {
        Ok(mut line) => {
            line.push(b'\n');
            line
        }
        Err(refusal) => refusal_line(refusal),
    }
}

fn refusal_line(refusal: Refusal) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Response::<()>::new(Err(refusal))).unwrap_or_default();
    line.push(b'\n');
    line
}

async fn within(limit: Duration, write: impl Future<Output = std::io::Result<()>>) -> std::io::Result<()> {
    timeout(limit, write)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

//! The control socket's server: a task a client, bounded in number, length and time. It decides nothing: requests go
//! to the agent's loop, and who asks goes with them.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::protocol::{FrameError, Lines, MAX_REQUEST_BYTES, Method, Refusal, RefusalCode, Request, Response};

/// Clients at a time.
const MOST_CLIENTS: usize = 64;
/// How long a client may be silent between requests.
const IDLE: Duration = Duration::from_secs(300);
/// How long a client may take to read its answer.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// User id, from the connection.
    pub(super) uid: u32,
    /// Process id, from the connection; `None` where it is not of this pid namespace.
    pub(super) pid: Option<u32>,
}

impl Caller {
    /// Whether everything is shown.
    pub(super) fn is_root(self) -> bool {
        self.uid == 0
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

/// Accepts clients for ever.
pub(super) async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let places = std::sync::Arc::new(Semaphore::new(MOST_CLIENTS));
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
        let place = places.clone().try_acquire_owned();
        let questions = questions.clone();
        tokio::spawn(async move {
            let served = match place {
                Ok(_place) => attend(stream, questions).await,
                Err(_) => turn_away(stream).await,
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a client went away");
            }
        });
    }
}

async fn turn_away(mut stream: UnixStream) -> std::io::Result<()> {
    let message = format!("{MOST_CLIENTS} clients are connected already: try again later");
    let line = refusal_line(Refusal::new(RefusalCode::Busy, message));
    within(READ_WITHIN, stream.write_all(&line)).await
}

/// Answers one client until it hangs up.
async fn attend(stream: UnixStream, questions: mpsc::Sender<Question>) -> std::io::Result<()> {
    let peer = stream.peer_cred()?;
    let caller = Caller {
        uid: peer.uid(),
        pid: peer
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|&pid| pid != 0),
    };
    let (reader, mut writer) = stream.into_split();
    let mut lines = Lines::new(reader, MAX_REQUEST_BYTES);
    while let Some(line) = next_line(&mut lines, &mut writer).await? {
        let answer = match Request::parse(&line) {
            Ok(request) => ask(request.method, caller, &questions).await,
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
) -> std::io::Result<Option<bytes::Bytes>> {
    match timeout(IDLE, lines.next()).await {
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

async fn ask(method: Method, caller: Caller, questions: &mpsc::Sender<Question>) -> Vec<u8> {
    let (answer, answered) = oneshot::channel();
    let question = Question { method, caller, answer };
    let stopping = || Refusal::new(RefusalCode::Internal, "the agent is stopping");
    let outcome = match questions.send(question).await {
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

//! `/metrics` and `/healthz` over HTTP/1.1: GET and HEAD, one request a connection, bounded in number, length and time. It
//! knows no number: it asks the loop, and never lets it wait.

mod request;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{Asked, Scrape};
use crate::{
    agent::{AgentError, AgentOptions},
    config::MetricsListen,
    export::metrics::Format,
};
use request::{Bad, Head, MOST_BYTES};

/// Where scrapes are answered unless something else is asked for.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9465);
/// Connections at a time.
const MOST: usize = 16;
/// How long a client may take to ask.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// How long the loop may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take to read its answer.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How much more of what a client sends is read, and for how long, so that it gets to read why that was too much.
const DRAINED_BYTES: usize = 1 << 20;
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// Listens where the options say; tells where that is. One that was not asked for is done without where the usual address is taken.
pub(in crate::agent) async fn listen(options: &AgentOptions) -> Result<Option<(TcpListener, SocketAddr)>, AgentError> {
    let (address, is_asked) = match options.configuration.config.metrics {
        Some(MetricsListen::Off) => return Ok(None),
        Some(MetricsListen::At(address)) => (address, true),
        None if options.embedded => return Ok(None),
        // The usual one is for the agent that stays.
        None if options.ephemeral => (SocketAddr::new(USUAL.ip(), 0), false),
        None => (USUAL, false),
    };
    let bound = match TcpListener::bind(address).await {
        Ok(listener) => listener.local_addr().map(|bound| (listener, bound)),
        Err(error) => Err(error),
    };
    match bound {
        Ok((listener, bound)) => {
            if !bound.ip().is_loopback() {
                tracing::warn!(address = %bound, "whoever reaches this address may read the names of tools and what they use");
            }
            Ok(Some((listener, bound)))
        }
        Err(source) if is_asked => Err(AgentError::Metrics { address, source }),
        Err(error) => {
            tracing::warn!(%address, %error, "no metrics: write another address as --metrics-listen, or off");
            Ok(None)
        }
    }
}

/// Answers scrapes for ever; those that find no room are counted.
pub(in crate::agent) async fn serve(listener: TcpListener, ask: mpsc::Sender<Asked>, refused: Arc<AtomicU64>) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others will be given back.
                tracing::warn!(%error, "cannot accept a scrape");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refused.fetch_add(1, Ordering::Relaxed);
            let answer = Answer::said(503, "too many scrapes at a time: try again later");
            // It fits into what the kernel takes at once, or the client goes without.
            let _ = stream.try_write(&[&answer.head(), &answer.body[..]].concat());
            continue;
        };
        let ask = ask.clone();
        tokio::spawn(async move {
            if let Err(error) = attend(stream, &ask).await {
                tracing::debug!(%error, "a scrape came to nothing");
            }
            drop(place);
        });
    }
}

/// Answers one request.
async fn attend(mut stream: TcpStream, ask: &mpsc::Sender<Asked>) -> io::Result<()> {
    let asked = timeout(ASK_WITHIN, read_head(&mut stream)).await;
    let (answer, is_whole) = match asked {
        Ok(Ok(Some(Ok(head)))) => (answer(&head, ask).await, !head.without_body),
        Ok(Ok(Some(Err(bad)))) => (Answer::bad(bad), true),
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(error)) => return Err(error),
        Err(_) => (Answer::said(408, "no request came within 5 s"), true),
    };
    let write = async {
        stream.write_all(&answer.head()).await?;
        if is_whole {
            stream.write_all(&answer.body).await?;
        }
        stream.shutdown().await
    };
    timeout(READ_WITHIN, write)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    // What is unread when a socket is closed takes the answer with it.
    let mut rest = [0; 4096];
    let drain = async {
        let mut drained = 0;
        while drained < DRAINED_BYTES {
            match stream.read(&mut rest).await {
                Ok(0) | Err(_) => break,
                Ok(read) => drained += read,
            }
        }
    };
    let _ = timeout(DRAIN_WITHIN, drain).await;
    Ok(())
}

/// Reads a request up to the end of its head; `None` where the client hangs up before that.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Result<Head, Bad>>> {
    let mut read = Vec::with_capacity(1024);
    loop {
        if let Some(head) = Head::parse(&read) {
            return Ok(Some(head));
        }
        if read.len() >= MOST_BYTES {
            return Ok(Some(Err(Bad::TooLong)));
        }
        let room = MOST_BYTES - read.len();
        if (&mut *stream).take(room as u64).read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}

/// What is sent back.
struct Answer {
    status: u16,
    content_type: &'static str,
    body: Bytes,
}

impl Answer {
    /// A line of text.
    fn said(status: u16, line: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{line}\n").into(),
        }
    }

    fn bad(bad: Bad) -> Self {
        match bad {
            Bad::NotHttp => Self::said(400, "this is no request of HTTP/1.1: ask GET /metrics"),
            Bad::TooLong => Self::said(431, "the request's head is longer than 8 KiB: send fewer headers"),
            Bad::Method => Self::said(405, "only GET and HEAD are answered"),
            Bad::Version => Self::said(505, "this speaks HTTP/1.0 and HTTP/1.1"),
        }
    }

    /// Its head.
    fn head(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            431 => "Request Header Fields Too Large",
            505 => "HTTP Version Not Supported",
            _ => "Service Unavailable",
        };
        let allow = if self.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        )
        .into_bytes()
    }
}

async fn answer(head: &Head, ask: &mpsc::Sender<Asked>) -> Answer {
    match head.path.as_str() {
        "/metrics" => metrics(head.format, ask).await,
        "/healthz" => health(ask).await,
        _ => Answer::said(404, "there is /metrics and /healthz"),
    }
}

async fn metrics(format: Format, ask: &mpsc::Sender<Asked>) -> Answer {
    let scrape: Arc<Scrape> = match from_loop(ask, Asked::Numbers).await {
        Ok(Ok(scrape)) => scrape,
        Ok(Err(error)) | Err(error) => return Answer::said(503, &error),
    };
    // The loop's thread has better to do than to write text.
    match tokio::task::spawn_blocking(move || scrape.text(format)).await {
        Ok(body) => Answer {
            status: 200,
            content_type: format.content_type(),
            body,
        },
        Err(error) => Answer::said(503, &error.to_string()),
    }
}

/// Whether the loop answers, by numbers that are not old.
async fn health(ask: &mpsc::Sender<Asked>) -> Answer {
    match from_loop(ask, Asked::Health).await {
        Ok(Ok(())) => Answer::said(200, "ok"),
        Ok(Err(error)) | Err(error) => Answer::said(503, &error),
    }
}

/// Asks the loop.
async fn from_loop<T>(
    ask: &mpsc::Sender<Asked>,
    question: impl FnOnce(oneshot::Sender<T>) -> Asked,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        ask.send(question(answer)).await.ok()?;
        answered.await.ok()
    };
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err("the agent is stopping".to_owned()),
        Err(_) => Err("the agent's loop has not answered for 10 s".to_owned()),
    }
}

//! The client of the control socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{
    AdjustParams, AlertsParams, AlertsReport, AttachParams, BeginOperationParams, CleanUpParams, CleanUpReport,
    ConfigurationParams, ConfigurationReport, EndOperationParams, FrameError, HistoryParams, HistoryReport,
    InitializeParams, LimitsSet, Lines, MAX_RESPONSE_BYTES, Method, OperationBegun, Refusal, RegisterParams,
    Registered, Reloaded, ReportParams, Reported, Request, SetLimitsParams, StatusParams, StatusReport, ToldStatus,
    ToolState, WatchParams,
};
use crate::model::{LONGEST_GRACE_MS, OperationUse};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Asking the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing answers at the socket.
    #[error("no agent answers at {}: {source}; start one with `sudo resmgr agent`, or name its socket with --socket", path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The agent was there, and has gone.
    #[error("the agent at {} has gone: {message}", path.display())]
    Gone {
        /// The socket.
        path: PathBuf,
        /// What was seen.
        message: String,
    },
    /// The agent does not answer.
    #[error("the agent at {} did not answer within {} s", path.display(), within.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it had.
        within: Duration,
    },
    /// The answer is not one that this version understands.
    #[error("the agent at {} answered what this version does not understand ({message}): are both of the same version?", path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        message: String,
    },
    /// The agent refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A [`Response`](super::Response) whose content is yet to be read: answers may be long, and are read once.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
    error: Option<Refusal>,
}

/// A connection to the agent.
pub struct Client {
    path: PathBuf,
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    /// Connects to the agent's socket.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).await.map_err(|source| ClientError::NoAgent {
            path: path.to_owned(),
            source,
        })?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            path: path.to_owned(),
            lines: Lines::new(reader, MAX_RESPONSE_BYTES),
            writer,
        })
    }

    /// Asks what is used now.
    pub async fn status(&mut self, params: StatusParams) -> Result<StatusReport, ClientError> {
        self.ask(Method::Status(params)).await
    }

    /// The same as the JSON that the agent wrote: for who hands it on, and reads nothing of it.
    pub async fn status_json(&mut self, params: StatusParams) -> Result<Box<RawValue>, ClientError> {
        self.ask(Method::Status(params)).await
    }

    /// Makes this process a tool's first.
    pub async fn register(&mut self, params: RegisterParams) -> Result<Registered, ClientError> {
        self.ask(Method::Register(params)).await
    }

    /// Makes processes that run already a tool.
    pub async fn attach(&mut self, params: AttachParams) -> Result<Registered, ClientError> {
        self.ask(Method::Attach(params)).await
    }

    /// Sets the limits of tools that run.
    pub async fn set_limits(&mut self, params: SetLimitsParams) -> Result<LimitsSet, ClientError> {
        self.ask(Method::SetLimits(params)).await
    }

    /// Ends all processes of tools; it takes as long as they are given.
    pub async fn clean_up(&mut self, params: CleanUpParams) -> Result<CleanUpReport, ClientError> {
        let grace = Duration::from_millis(params.grace_ms.unwrap_or(LONGEST_GRACE_MS).min(LONGEST_GRACE_MS));
        self.ask_within(ANSWER_WITHIN + grace, Method::CleanUp(params)).await
    }

    /// Asks for alerts, and acknowledges them.
    pub async fn alerts(&mut self, params: AlertsParams) -> Result<AlertsReport, ClientError> {
        self.ask(Method::Alerts(params)).await
    }

    /// Begins a tool that lives in this process.
    pub async fn initialize(&mut self, params: InitializeParams) -> Result<ToldStatus, ClientError> {
        self.ask(Method::Initialize(params)).await
    }

    /// Tells what such tools use.
    pub async fn report(&mut self, params: ReportParams) -> Result<Reported, ClientError> {
        self.ask(Method::Report(params)).await
    }

    /// Has a tool's use looked at, and its limits adjusted.
    pub async fn adjust(&mut self, params: AdjustParams) -> Result<ToldStatus, ClientError> {
        self.ask(Method::Adjust(params)).await
    }

    /// Asks what tools of a name used over time.
    pub async fn history(&mut self, params: HistoryParams) -> Result<HistoryReport, ClientError> {
        self.ask(Method::History(params)).await
    }

    /// Begins an operation of a tool.
    pub async fn begin_operation(&mut self, params: BeginOperationParams) -> Result<OperationBegun, ClientError> {
        self.ask(Method::BeginOperation(params)).await
    }

    /// Ends an operation: what it used.
    pub async fn end_operation(&mut self, params: EndOperationParams) -> Result<OperationUse, ClientError> {
        self.ask(Method::EndOperation(params)).await
    }

    /// Waits until a tool stands otherwise than it was seen to, or for 20 s: how it stands then.
    pub async fn watch(&mut self, params: WatchParams) -> Result<ToolState, ClientError> {
        self.ask(Method::Watch(params)).await
    }

    /// Has the configuration read again.
    pub async fn reload(&mut self) -> Result<Reloaded, ClientError> {
        self.ask(Method::Reload(ConfigurationParams {})).await
    }

    /// Asks what the agent goes by.
    pub async fn configuration(&mut self) -> Result<ConfigurationReport, ClientError> {
        self.ask(Method::Configuration(ConfigurationParams {})).await
    }

    async fn ask<T: DeserializeOwned>(&mut self, method: Method) -> Result<T, ClientError> {
        self.ask_within(ANSWER_WITHIN, method).await
    }

    async fn ask_within<T: DeserializeOwned>(&mut self, within: Duration, method: Method) -> Result<T, ClientError> {
        let exchange = timeout(within, self.exchange(method)).await;
        exchange.unwrap_or_else(|_| {
            Err(ClientError::Silent {
                path: self.path.clone(),
                within,
            })
        })
    }

    async fn exchange<T: DeserializeOwned>(&mut self, method: Method) -> Result<T, ClientError> {
        let garbled = |message: String| ClientError::Garbled {
            path: self.path.clone(),
            message,
        };
        let gone = |message: String| ClientError::Gone {
            path: self.path.clone(),
            message,
        };
        let mut line = serde_json::to_vec(&Request::new(method)).map_err(|error| garbled(error.to_string()))?;
        line.push(b'\n');
        // Where the agent refuses at once and hangs up, its reason is there to be read although writing fails.
        let written = self.writer.write_all(&line).await;
        let answer = match self.lines.next().await {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                return Err(gone(
                    written.err().map_or("it hung up".to_owned(), |error| error.to_string()),
                ));
            }
            Err(FrameError::Io(error)) => return Err(gone(error.to_string())),
            Err(error) => return Err(garbled(error.to_string())),
        };
        let answered: Answered<'_> = serde_json::from_slice(&answer).map_err(|error| garbled(error.to_string()))?;
        match answered {
            Answered {
                error: Some(refusal), ..
            } => Err(refusal.into()),
            Answered { ok: Some(content), .. } => {
                serde_json::from_str(content.get()).map_err(|error| garbled(error.to_string()))
            }
            Answered { .. } => Err(garbled("neither `ok` nor `error` is in its answer".to_owned())),
        }
    }
}

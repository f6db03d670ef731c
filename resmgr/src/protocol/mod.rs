//! The control socket's language: versioned, bounded JSON lines, and a client that speaks it.
//!
//! A request is one line, `{"v":1,"method":"status","params":{…}}`; its answer is one line, `{"v":1,"ok":{…}}` or
//! `{"v":1,"error":{"code":"…","message":"…"}}`.

mod alerts;
mod cleanup;
mod client;
mod configuration;
mod frame;
mod history;
mod operations;
mod selection;
mod status;
mod told;
mod tools;

use serde::{Deserialize, Serialize};

pub use alerts::{AlertsParams, AlertsReport};
pub use cleanup::{CgroupLeft, CleanUpParams, CleanUpReport, CleanUpStatus, LeftStatus};
pub use client::{Client, ClientError};
pub use configuration::{ConfigurationParams, ConfigurationReport, ConfigurationStatus, ReloadRefused, Reloaded};
pub use frame::{FrameError, Lines, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
pub use history::{HISTORY_VERSION, HistoryEntry, HistoryParams, HistoryReport};
pub use operations::{
    BeginOperationParams, EndOperationParams, OperationBegun, OperationOver, OverLimit, ToolEnd, ToolState, WatchParams,
};
pub use selection::{ProcessSelection, SortKey, StatusParams};
pub use status::{
    AgentStatus, CrossingStatus, DescriptorStatus, ExitReport, HistoryStatus, OperationsStatus, OwnerStatus,
    PeakStatus, ProcessStatus, StatusReport, ToolEvents, ToolStatus, ToolSums, ZombieStatus,
};
pub use told::{AdjustParams, InitializeParams, ReportParams, Reported, ToldStatus, ToolReport};
pub use tools::{AttachParams, AttachTarget, LimitsSet, RegisterParams, Registered, SetLimitsParams, ToolLimitsStatus};

/// The version of this language.
pub const VERSION: u32 = 1;

/// The version of the status report.
pub const STATUS_VERSION: u32 = 1;

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub enum Method {
    /// What is used now.
    Status(StatusParams),
    /// The caller becomes a tool's first process.
    Register(RegisterParams),
    /// Processes that run already become a tool.
    Attach(AttachParams),
    /// The limits of tools that run are set.
    SetLimits(SetLimitsParams),
    /// All processes of tools are ended.
    CleanUp(CleanUpParams),
    /// What somebody should know.
    Alerts(AlertsParams),
    /// What tools of a name used over time.
    History(HistoryParams),
    /// An operation of a tool begins.
    BeginOperation(BeginOperationParams),
    /// An operation ends.
    EndOperation(EndOperationParams),
    /// How a tool stands, once that is another.
    Watch(WatchParams),
    /// A tool begins that lives in the caller's own process.
    Initialize(InitializeParams),
    /// What such tools use.
    Report(ReportParams),
    /// A tool's use is looked at, and its limits are adjusted.
    Adjust(AdjustParams),
    /// The configuration is read again.
    Reload(ConfigurationParams),
    /// What the agent goes by.
    Configuration(ConfigurationParams),
}

/// A request with its version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub v: u32,
    /// What is asked.
    #[serde(flatten)]
    pub method: Method,
}

impl Request {
    /// A request in this version.
    pub fn new(method: Method) -> Self {
        Self { v: VERSION, method }
    }

    /// Reads a line; the error says what was wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal::new(RefusalCode::InvalidRequest, message);
        let value: serde_json::Value =
            serde_json::from_slice(line).map_err(|error| invalid(format!("not a line of JSON: {error}")))?;
        let version = value.get("v").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let said = value.get("v").map_or_else(|| "none".to_owned(), ToString::to_string);
            return Err(Refusal::new(
                RefusalCode::UnsupportedVersion,
                format!("version {said} of the protocol is not spoken here: write \"v\":{VERSION}"),
            ));
        }
        serde_json::from_value(value).map_err(|error| invalid(error.to_string()))
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The line is no valid request.
    InvalidRequest,
    /// The request is of another version.
    UnsupportedVersion,
    /// The request is too long.
    TooLarge,
    /// Too many clients are connected.
    Busy,
    /// There is no such process, or it is not the caller's.
    NotFound,
    /// The caller may not do that.
    NotPermitted,
    /// It cannot be done to what is there: a thread of the kernel, the agent itself, a process of another tool.
    Conflict,
    /// This host has nothing to hold a limit by that was asked for.
    CannotHold,
    /// All instances of the name together use what they may.
    OverBudget,
    /// The tool is at a limit: it may begin no operation.
    LimitsExceeded,
    /// What is asked for goes beyond the operator's ceiling.
    AboveCeiling,
    /// The configuration cannot be used; the one before holds.
    BadConfiguration,
    /// The agent failed.
    Internal,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, for programs.
    pub code: RefusalCode,
    /// Why, for people.
    pub message: String,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// An answer's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T> {
    /// What was asked for.
    Ok(T),
    /// Why it was refused.
    Error(Refusal),
}

/// An answer with its version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response<T> {
    /// [`VERSION`].
    pub v: u32,
    /// The content.
    #[serde(flatten)]
    pub outcome: Outcome<T>,
}

impl<T> Response<T> {
    /// An answer in this version.
    pub fn new(outcome: Result<T, Refusal>) -> Self {
        Self {
            v: VERSION,
            outcome: match outcome {
                Ok(content) => Outcome::Ok(content),
                Err(refusal) => Outcome::Error(refusal),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    //! Requests as a person would mistype them.
    use super::*;

    fn refused(line: &str) -> Refusal {
        Request::parse(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_status_request_needs_no_more_than_its_name() {
        let request = Request::parse(br#"{"v":1,"method":"status","params":{}}"#).unwrap();
        assert_eq!(request.method, Method::Status(StatusParams::default()));
    }

    #[test]
    fn a_request_that_is_not_understood_says_what_was_wrong() {
        assert!(refused("hello").message.contains("not a line of JSON"));
        assert_eq!(refused("{}").code, RefusalCode::UnsupportedVersion);
        assert_eq!(
            refused(r#"{"v":9,"method":"status","params":{}}"#).code,
            RefusalCode::UnsupportedVersion
        );
        assert!(
            refused(r#"{"v":1,"method":"explode","params":{}}"#)
                .message
                .contains("explode")
        );
        assert!(
            refused(r#"{"v":1,"method":"status","params":{"pdi":1}}"#)
                .message
                .contains("pdi")
        );
    }
}

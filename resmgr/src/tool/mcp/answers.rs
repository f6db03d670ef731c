//! Lines that the proxy writes itself: errors to the client, cancellations to the server.

use serde_json::{Value, json};

use super::{calls::Call, scan::Id};
use crate::{
    model::{Resource, ToolName},
    protocol::OverLimit,
};

/// The code of an error about limits, of those that JSON-RPC leaves to servers.
pub(super) const LIMITS_EXCEEDED: i32 = -32010;
/// The code of an error about a server that has ended.
pub(super) const SERVER_ENDED: i32 = -32011;

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// An id as a value. Every id was read from JSON.
fn value(id: &Id) -> Value {
    serde_json::from_str(id.as_json()).unwrap_or(Value::Null)
}

fn error(id: &Id, code: i32, message: &str, data: &Value) -> Value {
    let error = json!({ "code": code, "message": message, "data": data });
    json!({ "jsonrpc": "2.0", "id": value(id), "error": error })
}

/// What a limit is about, for programs.
fn data(tool: &ToolName, over: &OverLimit) -> Value {
    let unit = match over.resource {
        Resource::Memory => "bytes",
        Resource::Cpu => "ms",
        Resource::Fds | Resource::Connections => "1",
    };
    json!({ "tool": tool, "resource": over.resource, "value": over.value, "limit": over.limit, "unit": unit })
}

/// A request is refused: its tool is at a limit.
fn refused(tool: &ToolName, id: &Id, over: &OverLimit) -> Value {
    let message = format!(
        "resmgr: {tool} is at a limit and takes no calls until it is below: {}",
        over.message
    );
    error(id, LIMITS_EXCEEDED, &message, &data(tool, over))
}

/// The requests of a line are refused; as a batch where it was one. More than one were.
pub(super) fn refusal(tool: &ToolName, ids: &[Id], is_batch: bool, over: &OverLimit) -> Vec<u8> {
    let mut errors: Vec<Value> = ids.iter().map(|id| refused(tool, id, over)).collect();
    match errors.len() {
        0 => Vec::new(),
        1 if !is_batch => errors.pop().map_or_else(Vec::new, |error| line(&error)),
        _ => line(&Value::Array(errors)),
    }
}

/// A request is ended: it has used all that it may.
pub(super) fn ended(tool: &ToolName, call: &Call, over: &OverLimit) -> Vec<u8> {
    let message = format!("resmgr: {} was ended at its limit: {}", call.name, over.message);
    line(&error(&call.id, LIMITS_EXCEEDED, &message, &data(tool, over)))
}

/// A request has no answer: the server has ended.
pub(super) fn without_server(tool: &ToolName, call: &Call, why: &str) -> Vec<u8> {
    let message = format!("resmgr: {tool} ended before it answered {}: {why}", call.name);
    let data = json!({ "tool": tool });
    line(&error(&call.id, SERVER_ENDED, &message, &data))
}

/// A request has no answer: the server did not take it.
pub(super) fn lost(tool: &ToolName, id: &Id) -> Vec<u8> {
    let message = format!("resmgr: {tool} ended, or reads no more, before it was asked");
    line(&error(id, SERVER_ENDED, &message, &json!({ "tool": tool })))
}

/// Asks the server to give up a request.
pub(super) fn cancellation(call: &Call) -> Vec<u8> {
    let params = json!({ "requestId": value(&call.id), "reason": "resmgr: its limit is reached" });
    line(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))
}

/// Tells a server that was started again that its client is ready.
pub(super) fn initialized() -> Vec<u8> {
    line(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
}

#[cfg(test)]
mod tests {
    //! Refusals as a client reads them.
    use super::{super::scan::Scanner, *};

    #[test]
    fn each_request_of_a_batch_is_refused_however_long_that_was() {
        let over = OverLimit {
            resource: Resource::Cpu,
            value: 2,
            limit: 1,
            message: "2 of 1".to_owned(),
        };
        let tool: ToolName = "tool".parse().unwrap();
        let (_, messages) = Scanner::default().read(b"[{\"id\":1},{\"id\":\"2\"}]\n");
        let ids: Vec<Id> = messages.unwrap().into_iter().filter_map(|message| message.id).collect();
        for (ids, is_batch, expected) in [
            (&ids[..], true, json!([1, "2"])),
            // Of a long line it is not remembered.
            (&ids[..], false, json!([1, "2"])),
            (&ids[..1], true, json!([1])),
            (&ids[..1], false, json!(1)),
        ] {
            let refusal: Value = serde_json::from_slice(&refusal(&tool, ids, is_batch, &over)).unwrap();
            let refused = match refusal.as_array() {
                Some(batch) => batch.iter().map(|error| error["id"].clone()).collect(),
                None => refusal["id"].clone(),
            };
            assert_eq!(refused, expected);
        }
        assert!(refusal(&tool, &[], true, &over).is_empty());
    }
}

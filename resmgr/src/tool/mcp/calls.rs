//! Requests under way between a client and its server, and what of them the client has been told already.

use super::scan::{Id, Message};

/// Requests that a tool at a limit is not given: what has work done. Others keep the conversation alive.
const REFUSED: [&str; 4] = ["tools/call", "resources/read", "prompts/get", "completion/complete"];

/// A request of the client's that the server has yet to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Which, of all that there were.
    pub(super) number: u64,
    /// Its id.
    pub(super) id: Id,
    /// What the operation is called: of a call of a tool that tool, else the method.
    pub(super) name: String,
    /// The client has its answer: what the server answers is not passed on.
    is_answered: bool,
}

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    under_way: Vec<Call>,
    numbers: u64,
}

/// What an operation is called.
fn name(message: &Message) -> Option<String> {
    let method = message.method.as_ref()?;
    let tool = message.name.as_ref().filter(|_| method == "tools/call");
    Some(tool.unwrap_or(method).clone())
}

/// Whether a tool at a limit is not given this.
pub(super) fn is_refused(message: &Message) -> bool {
    let is_work = |method: &String| REFUSED.contains(&method.as_str());
    message.id.is_some() && message.method.as_ref().is_some_and(is_work)
}

impl Calls {
    /// A client's request is passed on; `None` where it is no request.
    pub(super) fn begin(&mut self, message: &Message) -> Option<Call> {
        self.numbers += 1;
        let call = Call {
            number: self.numbers,
            id: message.id.clone()?,
            name: name(message)?,
            is_answered: false,
        };
        self.under_way.push(call.clone());
        Some(call)
    }

    /// The server answers; of requests with the same id the oldest: its number. `None` where nothing was asked.
    pub(super) fn end(&mut self, id: &Id) -> Option<u64> {
        let at = self.under_way.iter().position(|call| call.id == *id)?;
        Some(self.under_way.remove(at).number)
    }

    /// The request that has an id.
    pub(super) fn find(&self, id: &Id) -> Option<&Call> {
        self.under_way.iter().find(|call| call.id == *id)
    }

    /// Whether a response with this id is not passed on.
    pub(super) fn is_known(&self, id: &Id) -> bool {
        self.find(id).is_some_and(|call| call.is_answered)
    }

    /// Whether a response may come that is not passed on.
    pub(super) fn has_known(&self) -> bool {
        self.under_way.iter().any(|call| call.is_answered)
    }

    /// The client is told the end of a request while the server goes on; `None` where it knows.
    pub(super) fn answer(&mut self, number: u64) -> Option<Call> {
        let mut calls = self.under_way.iter_mut();
        let call = calls.find(|call| call.number == number && !call.is_answered)?;
        call.is_answered = true;
        Some(call.clone())
    }

    /// The server answers nothing any more: the requests whose end the client does not know, and all of them.
    pub(super) fn end_all(&mut self) -> (Vec<Call>, Vec<u64>) {
        let ended = std::mem::take(&mut self.under_way);
        let numbers = ended.iter().map(|call| call.number).collect();
        (ended.into_iter().filter(|call| !call.is_answered).collect(), numbers)
    }

    /// The requests under way, the oldest first.
    pub(super) fn under_way(&self) -> &[Call] {
        &self.under_way
    }
}

#[cfg(test)]
mod tests {
    //! Conversations as the scanner tells them.
    use super::{super::scan::Scanner, *};

    fn message(line: &str) -> Message {
        let (_, messages) = Scanner::default().read(format!("{line}\n").as_bytes());
        messages.unwrap().remove(0)
    }

    fn id(json: &str) -> Id {
        message(&format!(r#"{{"id":{json}}}"#)).id.unwrap()
    }

    #[test]
    fn a_call_is_named_by_its_tool_and_ends_with_its_response() {
        let mut calls = Calls::default();
        let call = message(r#"{"id":1,"method":"tools/call","params":{"name":"search"}}"#);
        assert!(is_refused(&call));
        assert_eq!(calls.begin(&call).unwrap().name, "search");
        let list = message(r#"{"id":"1","method":"tools/list","params":{"name":"search"}}"#);
        assert!(!is_refused(&list));
        assert_eq!(calls.begin(&list).unwrap().name, "tools/list");
        assert!(
            calls
                .begin(&message(r#"{"method":"notifications/initialized"}"#))
                .is_none()
        );
        assert!(calls.begin(&message(r#"{"id":5,"result":{}}"#)).is_none());
        assert_eq!(calls.end(&id("1")), Some(1));
        assert!(calls.end(&id("1")).is_none(), "a response to nothing");
        assert!(calls.end(&id(r#""1""#)).is_some());
    }

    #[test]
    fn what_the_client_was_told_is_not_told_again() {
        let mut calls = Calls::default();
        let same = message(r#"{"id":1,"method":"ping"}"#);
        let first = calls.begin(&same).unwrap();
        let second = calls.begin(&same).unwrap();
        assert!(!calls.has_known());
        assert_eq!(calls.answer(first.number).unwrap().id, id("1"));
        assert!(calls.answer(first.number).is_none() && calls.has_known());
        assert_eq!(
            calls.end_all(),
            (vec![second.clone()], vec![first.number, second.number])
        );
        assert!(calls.under_way().is_empty());
    }
}

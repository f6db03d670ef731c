//! Requests under way between a client and its server, and what of them the client has been told already.

use super::scan::{Id, Message};

/// Requests that nobody waits for any more which are remembered at most: what a client gives up is never answered, as a rule.
const MOST_LEFT: usize = 256;

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
    awaited: Awaited,
}

/// Whether somebody waits for the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Yes,
    /// The client has given it up. What is answered all the same is passed on.
    GivenUp,
    /// The client has its answer: what the server answers is not passed on.
    Answered,
}

impl Call {
    /// Whether the client was told its end while the server goes on.
    pub(super) fn is_answered(&self) -> bool {
        self.awaited == Awaited::Answered
    }
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
            awaited: Awaited::Yes,
        };
        self.under_way.push(call.clone());
        Some(call)
    }

    /// The server answers; of requests with the same id the oldest. `None` where nothing was asked.
    pub(super) fn end(&mut self, id: &Id) -> Option<Call> {
        let at = self.under_way.iter().position(|call| call.id == *id)?;
        Some(self.under_way.remove(at))
    }

    /// Whether a response with this id is not passed on.
    pub(super) fn is_known(&self, id: &Id) -> bool {
        let call = self.under_way.iter().find(|call| call.id == *id);
        call.is_some_and(Call::is_answered)
    }

    /// Whether a response may come that is not passed on.
    pub(super) fn has_known(&self) -> bool {
        self.under_way.iter().any(Call::is_answered)
    }

    /// Whether somebody waits for an answer.
    pub(super) fn are_awaited(&self) -> bool {
        self.under_way.iter().any(|call| call.awaited == Awaited::Yes)
    }

    fn leave(&mut self, is_it: impl Fn(&Call) -> bool, awaited: Awaited) -> Option<Call> {
        let mut calls = self.under_way.iter_mut();
        let call = calls.find(|call| call.awaited == Awaited::Yes && is_it(call))?;
        call.awaited = awaited;
        Some(call.clone())
    }

    /// The client gives up the request that has an id; `None` where it waits for none.
    pub(super) fn give_up(&mut self, id: &Id) -> Option<Call> {
        self.leave(|call| call.id == *id, Awaited::GivenUp)
    }

    /// The client is told the end of a request while the server goes on; `None` where it knows.
    pub(super) fn answer(&mut self, number: u64) -> Option<Call> {
        self.leave(|call| call.number == number, Awaited::Answered)
    }

    /// The oldest of the requests that nobody waits for, where they are too many: it is not known any more.
    pub(super) fn forget(&mut self) -> Option<u64> {
        let left = |call: &Call| call.awaited != Awaited::Yes;
        let at = self.under_way.iter().position(left)?;
        let are_many = self.under_way.iter().filter(|call| left(call)).count() > MOST_LEFT;
        are_many.then(|| self.under_way.remove(at).number)
    }

    /// The server answers nothing any more: the requests whose end the client waits for, and all of them.
    pub(super) fn end_all(&mut self) -> (Vec<Call>, Vec<u64>) {
        let mut ended = std::mem::take(&mut self.under_way);
        let numbers = ended.iter().map(|call| call.number).collect();
        ended.retain(|call| call.awaited == Awaited::Yes);
        (ended, numbers)
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
        assert_eq!(calls.end(&id("1")).unwrap().number, 1);
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
        assert!(!calls.are_awaited());
    }

    #[test]
    fn what_the_client_gave_up_is_not_awaited_and_not_remembered_for_ever() {
        let mut calls = Calls::default();
        for number in 0..10_000 {
            let call = calls
                .begin(&message(&format!(r#"{{"id":{number},"method":"tools/call"}}"#)))
                .unwrap();
            assert!(calls.are_awaited());
            assert_eq!(calls.give_up(&call.id).unwrap().number, call.number);
            assert!(calls.give_up(&call.id).is_none() && calls.answer(call.number).is_none());
            assert!(!calls.are_awaited() && !calls.is_known(&call.id));
            let forgotten = calls.forget();
            assert_eq!(forgotten.is_some(), number >= MOST_LEFT, "{number}");
            assert!(calls.forget().is_none());
        }
        // What is answered all the same is passed on.
        assert!(!calls.end(&id("9999")).unwrap().is_answered());
        assert_eq!(calls.end_all().0, []);
    }
}

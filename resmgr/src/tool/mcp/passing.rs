//! The two directions of the conversation: what goes through, and what of it is known.

use std::io::{self, Read, stdin};

use super::{
    answers,
    calls::is_refused,
    gate::{Gate, Judge},
    link::Tell,
    scan::{Id, Message},
    shared::Shared,
    streams::Passed,
};
use crate::protocol::OverLimit;

/// How much is read at a time, in bytes.
pub(super) const CHUNK: usize = 64 * 1024;

/// From the client to the server.
pub(super) struct FromClient<'s> {
    pub(super) shared: &'s Shared,
    /// Why the line that is being read is not passed on.
    over: Option<OverLimit>,
    /// Requests that are yet to be written.
    asked: Vec<u64>,
}

impl Judge for FromClient<'_> {
    fn may_stop(&mut self) -> bool {
        self.over = None;
        let known = self.shared.known();
        known.refusing.is_some() || known.initialize.is_none()
    }

    fn stops(&mut self, messages: &[Message], line: &[u8]) -> bool {
        let is_first = |message: &Message| message.method.as_deref() == Some("initialize");
        let mut known = self.shared.known();
        if known.initialize.is_none() && !line.is_empty() && messages.iter().any(is_first) {
            known.initialize = Some(line.to_vec());
        }
        // What has no answer of its own is not taken out of a batch.
        let are_requests = || {
            messages
                .iter()
                .all(|message| message.method.is_some() && message.id.is_some())
        };
        let is_meant = messages.iter().any(is_refused) && are_requests();
        self.over = known.refusing.clone().filter(|_| is_meant);
        self.over.is_some()
    }

    fn stopped(&mut self, messages: Vec<Message>, line: &[u8]) {
        let requests = messages.into_iter().filter(|message| message.method.is_some());
        let ids: Vec<Id> = requests.filter_map(|message| message.id).collect();
        let tool = &self.shared.tool;
        let line = match &self.over {
            Some(over) => {
                let is_batch = line.trim_ascii_start().first() == Some(&b'[');
                answers::refusal(tool, &ids, is_batch, over)
            }
            // The server ended while it was written.
            None => ids.iter().flat_map(|id| answers::lost(tool, id)).collect(),
        };
        // A client that has gone needs to be told nothing.
        let _ = self.shared.outlet.add(&line);
    }

    fn passes(&mut self, messages: Vec<Message>) {
        for message in messages {
            match message.method.as_deref() {
                Some("notifications/initialized") => self.shared.change(|known| known.is_initialized = true),
                Some("notifications/cancelled") => self.given_up(&message),
                _ => self.begun(&message),
            }
        }
    }
}

impl<'s> FromClient<'s> {
    pub(super) const fn new(shared: &'s Shared) -> Self {
        Self {
            shared,
            over: None,
            asked: Vec::new(),
        }
    }

    fn begun(&mut self, message: &Message) {
        if let Some(call) = self.shared.change(|known| known.calls.begin(message)) {
            self.asked.push(call.number);
            let (number, name) = (call.number, call.name);
            self.shared.link.tell(Tell::Begun { number, name });
        }
    }

    fn given_up(&self, message: &Message) {
        let Some(id) = &message.cancels else { return };
        let (given_up, forgotten) = self
            .shared
            .change(|known| (known.calls.give_up(id), known.calls.forget()));
        let tells = given_up.map(|call| Tell::GivenUp(call.number));
        for tell in tells.into_iter().chain(forgotten.map(Tell::Ended)) {
            self.shared.link.tell(tell);
        }
    }

    /// Passes on what the client writes, until it writes no more.
    pub(super) fn run(mut self) {
        let (mut gate, mut out, mut chunk) = (Gate::default(), Vec::new(), vec![0; CHUNK]);
        let (mut client, mut turn) = (stdin().lock(), None);
        while let Some(read) = read(&mut client, &mut chunk) {
            // What is asked while there is no server is asked of the next one.
            let Some(now) = self.shared.inlet.turn() else { break };
            if turn.replace(now) != Some(now) {
                gate.stop_line();
            }
            gate.take(chunk.get(..read).unwrap_or_default(), &mut self, &mut out);
            match self.shared.inlet.pass(&out, now) {
                Passed::Written => {}
                Passed::Lost => {
                    gate.stop_line();
                    self.shared.lose(&self.asked);
                }
                Passed::Over => break,
            }
            self.asked.clear();
            out.clear();
        }
        self.shared.end_input();
    }
}

/// From the server to the client.
pub(super) struct FromServer<'s>(pub(super) &'s Shared);

impl Judge for FromServer<'_> {
    fn may_stop(&mut self) -> bool {
        let known = self.0.known();
        known.calls.has_known() || known.replayed.is_some()
    }

    fn stops(&mut self, messages: &[Message], _line: &[u8]) -> bool {
        let [message] = messages else { return false };
        let Some(id) = message.id.as_ref().filter(|_| message.is_response) else {
            return false;
        };
        let known = self.0.known();
        known.calls.is_known(id) || known.replayed.as_ref() == Some(id)
    }

    fn stopped(&mut self, messages: Vec<Message>, _line: &[u8]) {
        self.answered(messages);
    }

    fn passes(&mut self, messages: Vec<Message>) {
        self.answered(messages);
    }
}

impl FromServer<'_> {
    fn answered(&self, messages: Vec<Message>) {
        for id in messages
            .into_iter()
            .filter(|message| message.is_response)
            .filter_map(|message| message.id)
        {
            let ended = self.0.change(|known| {
                if known.replayed.as_ref() == Some(&id) {
                    known.replayed = None;
                    return None;
                }
                known.calls.end(&id)
            });
            if let Some(ended) = ended {
                if ended.is_answered() {
                    self.0.outlet.forget(ended.number);
                }
                self.0.link.tell(Tell::Ended(ended.number));
            }
        }
    }

    /// Passes on what the server writes, until it writes no more; fails where the client reads no more.
    pub(super) fn run(mut self, mut server: impl Read) -> io::Result<()> {
        let (mut gate, mut out, mut chunk) = (Gate::default(), Vec::new(), vec![0; CHUNK]);
        while let Some(read) = read(&mut server, &mut chunk) {
            gate.take(chunk.get(..read).unwrap_or_default(), &mut self, &mut out);
            self.0.outlet.pass(&out)?;
            out.clear();
        }
        Ok(())
    }
}

/// Reads what there is; `None` at the end, and where nothing can be read.
fn read(from: &mut impl Read, into: &mut [u8]) -> Option<usize> {
    loop {
        match from.read(into) {
            Ok(0) => return None,
            Ok(read) => return Some(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

//! Lets lines through as they come, unchanged, or stops them. A line that may have to be stopped is held until it is known
//! what it is; one that is too long for that goes through.

use super::scan::{Message, Scanner};

/// How much of a line is held at most, in bytes.
const MOST_HELD: usize = 64 * 1024;

/// Decides on lines.
pub(super) trait Judge {
    /// Whether the line that begins may have to be stopped.
    fn may_stop(&mut self) -> bool;
    /// Whether a line with these messages is stopped; of one that is too long to be held, what is known of it.
    fn stops(&mut self, messages: &[Message], line: &[u8]) -> bool;
    /// A line that was stopped has come to its end.
    fn stopped(&mut self, messages: Vec<Message>, line: &[u8]);
    /// A line goes through with its end, which is yet to be written.
    fn passes(&mut self, messages: Vec<Message>);
}

/// What becomes of the line that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Through,
    Held,
    Stopped,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Gate {
    scanner: Scanner,
    way: Way,
    held: Vec<u8>,
    at_start: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            scanner: Scanner::default(),
            way: Way::Through,
            held: Vec::new(),
            at_start: true,
        }
    }
}

impl Gate {
    /// Takes bytes in; what goes through is appended to `out`.
    pub(super) fn take(&mut self, mut bytes: &[u8], judge: &mut impl Judge, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.at_start {
                self.way = if judge.may_stop() { Way::Held } else { Way::Through };
            }
            let (taken, messages) = self.scanner.read(bytes);
            let (piece, rest) = bytes.split_at(taken);
            bytes = rest;
            self.at_start = messages.is_some();
            match self.way {
                Way::Through => out.extend_from_slice(piece),
                Way::Held => self.held.extend_from_slice(piece),
                Way::Stopped => {}
            }
            match messages {
                Some(messages) => self.end_line(messages, judge, out),
                None if self.way == Way::Held && self.held.len() > MOST_HELD => {
                    let known = std::slice::from_ref(self.scanner.current());
                    if judge.stops(known, &[]) {
                        self.way = Way::Stopped;
                        self.held.clear();
                    } else {
                        self.way = Way::Through;
                        out.append(&mut self.held);
                    }
                }
                None => {}
            }
        }
    }

    fn end_line(&mut self, messages: Vec<Message>, judge: &mut impl Judge, out: &mut Vec<u8>) {
        if self.way == Way::Held && judge.stops(&messages, &self.held) {
            self.way = Way::Stopped;
        }
        if self.way == Way::Stopped {
            judge.stopped(messages, &self.held);
            self.held.clear();
        } else {
            judge.passes(messages);
            out.append(&mut self.held);
        }
    }

    /// The rest of a line whose beginning went through goes nowhere: who it was for has gone. One that is held is nobody's
    /// yet.
    pub(super) fn stop_line(&mut self) {
        if !self.at_start && self.way == Way::Through {
            self.way = Way::Stopped;
        }
    }
}

#[cfg(test)]
mod tests {
    //! A judge that stops what calls a method, and remembers all that it was told.
    use super::*;

    #[derive(Default)]
    struct Strict {
        passed: usize,
        stopped: Vec<usize>,
    }

    fn is_stop(message: &Message) -> bool {
        message.method.as_deref() == Some("stop")
    }

    impl Judge for Strict {
        fn may_stop(&mut self) -> bool {
            true
        }
        fn stops(&mut self, messages: &[Message], _line: &[u8]) -> bool {
            messages.iter().any(is_stop)
        }
        fn stopped(&mut self, messages: Vec<Message>, _line: &[u8]) {
            self.stopped.push(messages.len());
        }
        fn passes(&mut self, messages: Vec<Message>) {
            self.passed += messages.len();
        }
    }

    fn through(input: &[u8], size: usize) -> (Vec<u8>, Strict) {
        let (mut gate, mut judge, mut out) = (Gate::default(), Strict::default(), Vec::new());
        for piece in input.chunks(size) {
            gate.take(piece, &mut judge, &mut out);
            assert!(gate.held.len() <= MOST_HELD + size);
        }
        (out, judge)
    }

    #[test]
    fn lines_go_through_unchanged_or_not_at_all_however_they_come() {
        let input =
            b"{\"method\":\"go\"}\n\xff\xfe garbage\n\n{\"method\":\"stop\",\"id\":1}\n{\"id\":2,\"result\":{}}\nhalf";
        let expected = b"{\"method\":\"go\"}\n\xff\xfe garbage\n\n{\"id\":2,\"result\":{}}\n";
        for size in [1, 3, 1000] {
            let (out, judge) = through(input, size);
            assert_eq!(out, expected, "the half line is held");
            assert_eq!((judge.passed, judge.stopped), (2, vec![1]));
        }
    }

    #[test]
    fn a_line_too_long_to_be_held_goes_by_what_its_beginning_says() {
        let filler = "x".repeat(3 * MOST_HELD);
        let early = format!("{{\"id\":1,\"method\":\"stop\",\"params\":\"{filler}\"}}\nnext\n");
        let (out, judge) = through(early.as_bytes(), 4096);
        assert_eq!((out.as_slice(), judge.stopped.len()), (&b"next\n"[..], 1));
        let late = format!("{{\"params\":\"{filler}\",\"id\":1,\"method\":\"stop\"}}\nnext\n");
        let (out, judge) = through(late.as_bytes(), 4096);
        assert_eq!((out, judge.stopped.len()), (late.into_bytes(), 0));
    }
}

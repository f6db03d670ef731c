//! Reads JSON-RPC messages as they stream by, a line each: what they are, never what they say. It keeps no more of a line
//! than a few short texts, however long that is; what is no JSON is no message.

/// The longest text of an id that is kept, in bytes.
const LONGEST_ID: usize = 1024;
/// The longest text of a method or of a name.
const LONGEST_NAME: usize = 256;
/// The longest text of a key that is of interest.
const LONGEST_KEY: usize = 32;
/// Messages of one line that are kept.
const MOST_MESSAGES: usize = 1024;
/// Nested values that matter: a batch, its message, that one's parameters.
const LEVELS: usize = 3;

/// A request's id, as JSON in one way of writing it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(String);

impl Id {
    /// Reads a number or a text; `None` of anything else.
    fn of(json: &[u8]) -> Option<Self> {
        /// Up to here every whole number has one way of being a float.
        const WHOLE: f64 = 9_007_199_254_740_992.0;
        match serde_json::from_slice(json).ok()? {
            text @ serde_json::Value::String(_) => Some(Self(text.to_string())),
            serde_json::Value::Number(number) => {
                let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= WHOLE);
                let raw = String::from_utf8(json.to_vec()).ok()?;
                Some(Self(whole.map_or(raw, |n| format!("{n:.0}"))))
            }
            _ => None,
        }
    }

    /// As JSON.
    pub(super) fn as_json(&self) -> &str {
        &self.0
    }
}

/// What is known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Its id; `None` of a notification.
    pub(super) id: Option<Id>,
    /// The method that it calls; `None` of a response.
    pub(super) method: Option<String>,
    /// `params.name`.
    pub(super) name: Option<String>,
    /// `params.requestId`: what a cancellation is of.
    pub(super) cancels: Option<Id>,
    /// Whether it has a result or an error.
    pub(super) is_response: bool,
}

/// A key that is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Method,
    Params,
    Name,
    RequestId,
    Outcome,
    Other,
}

impl Key {
    fn of(json: &[u8]) -> Self {
        let text: String = serde_json::from_slice(json).unwrap_or_default();
        match text.as_str() {
            "id" => Self::Id,
            "method" => Self::Method,
            "params" => Self::Params,
            "name" => Self::Name,
            "requestId" => Self::RequestId,
            "result" | "error" => Self::Outcome,
            _ => Self::Other,
        }
    }
}

/// An object or an array that is open.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    is_object: bool,
    /// The key whose value comes, or is being read; `None` where a key comes.
    key: Option<Key>,
}

/// What is being read and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capture {
    Key,
    Value(Key),
}

impl Capture {
    const fn longest(self) -> usize {
        match self {
            Self::Key => LONGEST_KEY,
            Self::Value(Key::Id | Key::RequestId) => LONGEST_ID,
            Self::Value(_) => LONGEST_NAME,
        }
    }
}

/// Reads one direction of a conversation.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    depth: usize,
    levels: [Level; LEVELS],
    /// How deep the keys of messages lie: 1, or 2 in a batch.
    base: usize,
    in_string: bool,
    is_escaped: bool,
    capture: Option<Capture>,
    kept: Vec<u8>,
    /// What is being kept is too long, and will be nothing.
    is_too_long: bool,
    current: Message,
    messages: Vec<Message>,
}

impl Scanner {
    /// Reads on, up to the end of the line; returns how many bytes it took, and the line's messages where it ended.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Option<Vec<Message>>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if byte == b'\n' {
                return (at, Some(self.end_line()));
            }
            if self.in_string {
                self.keep(byte);
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.in_string = false;
                        self.end_value();
                    }
                    _ if self.capture.is_none() => at += plain(bytes.get(at..).unwrap_or_default()),
                    _ => {}
                }
            } else {
                self.outside(byte);
            }
        }
        (at, None)
    }

    /// What is known so far of the message that is being read.
    pub(super) fn current(&self) -> &Message {
        &self.current
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.in_string = true;
                self.begin_value();
                self.keep(byte);
            }
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => {
                self.end_value();
                self.close();
            }
            b',' => {
                self.end_value();
                if let Some(level) = self.level() {
                    level.key = None;
                }
            }
            b':' | b' ' | b'\t' | b'\r' => self.end_value(),
            _ => {
                if self.capture.is_none() {
                    self.begin_value();
                }
                self.keep(byte);
            }
        }
    }

    fn level(&mut self) -> Option<&mut Level> {
        self.levels.get_mut(self.depth.checked_sub(1)?)
    }

    /// Whether what is read lies in a message, or in the parameters of one.
    fn is_near(&self) -> bool {
        let in_params = || self.levels.get(self.base.wrapping_sub(1)).and_then(|level| level.key) == Some(Key::Params);
        self.base > 0 && (self.depth == self.base || self.depth == self.base + 1 && in_params())
    }

    /// A text or a number begins: it is kept where it is of interest.
    fn begin_value(&mut self) {
        if !self.is_near() {
            return;
        }
        let in_message = self.depth == self.base;
        let Some(&mut Level { is_object: true, key }) = self.level() else {
            return;
        };
        self.capture = match key {
            None => Some(Capture::Key),
            Some(key @ (Key::Id | Key::Method)) if in_message => Some(Capture::Value(key)),
            Some(key @ (Key::Name | Key::RequestId)) if !in_message => Some(Capture::Value(key)),
            Some(_) => None,
        };
        self.kept.clear();
        self.is_too_long = false;
    }

    fn keep(&mut self, byte: u8) {
        if let Some(capture) = self.capture {
            if self.kept.len() < capture.longest() {
                self.kept.push(byte);
            } else {
                self.is_too_long = true;
            }
        }
    }

    fn end_value(&mut self) {
        let Some(capture) = self.capture.take() else { return };
        let kept = std::mem::take(&mut self.kept);
        let is_whole = !self.is_too_long;
        let text = || is_whole.then(|| serde_json::from_slice(&kept).ok()).flatten();
        let id = || is_whole.then(|| Id::of(&kept)).flatten();
        match capture {
            Capture::Key => {
                let key = if is_whole { Key::of(&kept) } else { Key::Other };
                self.current.is_response |= key == Key::Outcome && self.depth == self.base;
                if let Some(level) = self.level() {
                    level.key = Some(key);
                }
            }
            Capture::Value(Key::Id) => self.current.id = id(),
            Capture::Value(Key::RequestId) => self.current.cancels = id(),
            Capture::Value(Key::Method) => self.current.method = text(),
            Capture::Value(Key::Name) => self.current.name = text(),
            Capture::Value(_) => {}
        }
        self.kept = kept;
    }

    fn open(&mut self, is_object: bool) {
        self.depth += 1;
        if self.depth == 1 {
            self.base = if is_object { 1 } else { 2 };
        }
        if self.depth == self.base {
            self.current = Message::default();
        }
        if let Some(level) = self.level() {
            *level = Level { is_object, key: None };
        }
    }

    fn close(&mut self) {
        let is_message = self.depth == self.base && self.level().is_some_and(|level| level.is_object);
        if is_message && self.messages.len() < MOST_MESSAGES {
            self.messages.push(std::mem::take(&mut self.current));
        }
        self.depth = self.depth.saturating_sub(1);
    }

    /// The messages of a line that is over: none where it was not whole.
    fn end_line(&mut self) -> Vec<Message> {
        let is_whole = self.depth == 0 && !self.in_string;
        let messages = std::mem::take(&mut self.messages);
        *self = Self {
            kept: std::mem::take(&mut self.kept),
            ..Self::default()
        };
        if is_whole { messages } else { Vec::new() }
    }
}

/// How many bytes of a text that is not kept come before one that matters.
fn plain(bytes: &[u8]) -> usize {
    let matters = |&byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
    bytes.iter().position(matters).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    //! Lines as clients and servers write them, whole and in pieces.
    use super::*;

    fn messages(line: &str) -> Vec<Message> {
        let line = format!("{line}\n");
        let (taken, whole) = Scanner::default().read(line.as_bytes());
        assert_eq!(taken, line.len());
        // In pieces it reads the same.
        for size in [1, 2, 7] {
            let mut scanner = Scanner::default();
            let pieces = line.as_bytes().chunks(size).filter_map(|piece| scanner.read(piece).1);
            assert_eq!(pieces.last(), whole, "in pieces of {size}");
        }
        whole.unwrap()
    }

    fn message(line: &str) -> Message {
        let [message] = messages(line).try_into().unwrap();
        message
    }

    fn id(json: &str) -> Option<Id> {
        Id::of(json.as_bytes())
    }

    #[test]
    fn a_request_is_its_id_its_method_and_its_name_in_any_order() {
        let expected = Message {
            id: id("7"),
            method: Some("tools/call".to_owned()),
            name: Some("search".to_owned()),
            ..Message::default()
        };
        for line in [
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search","arguments":{"name":"x","id":9}}}"#,
            r#"{ "params" : {"arguments":[{"name":"x"}],"name":"search"} , "method":"tools/call" , "id": 7 }"#,
            r#"{"\u0069d":7,"m\u0065thod":"tools\/call","params":{"name":"se\u0061rch"},"extra":[[[{"id":8}]]]}"#,
            r#"{"id":6,"id":7.0,"method":"tools/call","params":{"name":"search"}}"#,
        ] {
            assert_eq!(message(line), expected, "{line}");
        }
    }

    #[test]
    fn responses_notifications_and_cancellations_are_told_apart() {
        let response = message(r#"{"result":{"content":[{"text":"}\"{\\"}],"id":1},"jsonrpc":"2.0","id":"a\u0062"}"#);
        assert_eq!((response.is_response, response.id), (true, id(r#""ab""#)));
        assert!(message(r#"{"id":null,"error":{"code":1,"message":"no"}}"#).id.is_none());
        let cancelled = message(r#"{"method":"notifications/cancelled","params":{"requestId":"x","reason":"late"}}"#);
        assert_eq!((cancelled.id, cancelled.cancels), (None, id(r#""x""#)));
    }

    #[test]
    fn of_a_batch_each_message_is_told() {
        let batch = messages(r#"[{"id":1,"method":"ping"},{"method":"note"}, {"id":"2","result":[]}]"#);
        let ids: Vec<_> = batch.iter().map(|message| message.id.clone()).collect();
        assert_eq!(ids, [id("1"), None, id(r#""2""#)]);
        assert!(batch[2].is_response && !batch[0].is_response);
        assert!(messages("[]").is_empty());
    }

    #[test]
    fn what_is_no_message_is_none() {
        for line in [
            "",
            "garbage",
            r#"{"id":1,"method":"x""#,
            r#"{"id":"1}"#,
            "7",
            r#""id""#,
            "\u{0}",
            "]]]",
        ] {
            assert!(messages(line).is_empty(), "{line}");
        }
        let odd = message(r#"{"id":{"id":3},"method":["x"],"params":"name"}"#);
        assert_eq!(odd, Message::default());
    }

    #[test]
    fn the_next_line_begins_afresh_whatever_came_before() {
        let mut scanner = Scanner::default();
        let bytes = b"{\"id\":\"half\n{\"id\":5,\"method\":\"ping\"}\n";
        let (taken, none) = scanner.read(bytes);
        assert_eq!(none, Some(Vec::new()));
        let (_, messages) = scanner.read(&bytes[taken..]);
        assert_eq!(messages.unwrap()[0].id, id("5"));
    }

    #[test]
    fn a_long_line_takes_no_more_room_than_a_short_one() {
        let mut scanner = Scanner::default();
        scanner.read(br#"{"result":""#);
        let text = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            scanner.read(&text);
        }
        scanner.read(br#"","id":"#);
        scanner.read(&vec![b'1'; 1 << 20]);
        assert!(scanner.kept.capacity() <= 2 * LONGEST_ID);
        let (_, messages) = scanner.read(b"}\n");
        assert_eq!(messages.unwrap()[0].id, None, "an id like that is kept by nobody");
    }

    #[test]
    fn ids_are_the_same_however_they_are_written() {
        assert_eq!(id("1"), id("1.0"));
        assert_eq!(id("1e2"), id("100"));
        assert_eq!(id(r#""\u00e9""#), id("\"\u{e9}\""));
        assert_ne!(id("1"), id(r#""1""#));
        assert_ne!(id("12345678901234567890"), id("12345678901234567891"));
    }
}

//! A client of an MCP server on standard streams.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};

use crate::patience;

/// A conversation, and who is talked to.
pub struct Conversation {
    child: Child,
    to: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
    id: u64,
    /// What came that was not waited for.
    early: Vec<Value>,
}

impl Conversation {
    /// Starts who is talked to.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let to = child.stdin.take();
        let from = child.stdout.take().expect("its output is piped");
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n') {
                let Ok(line) = line else { break };
                // Garbage is told as the text that it is.
                let message = serde_json::from_slice(&line)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&line).into_owned()));
                if tell.send(message).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            to,
            lines,
            id: 0,
            early: Vec::new(),
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        let to = self.to.as_mut().expect("it is not closed");
        to.write_all(bytes).expect("somebody reads");
    }

    /// Asks; returns the request's id.
    pub fn ask(&mut self, method: &str, params: &Value) -> u64 {
        self.id += 1;
        let id = self.id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Calls a tool with a number; returns the request's id.
    pub fn call(&mut self, tool: &str, n: u64) -> u64 {
        self.ask("tools/call", &json!({ "name": tool, "arguments": { "n": n } }))
    }

    /// The next message, whatever it is; `None` where there will be none.
    pub fn hear(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(patience(60)) {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("nothing is said"),
        }
    }

    /// Waits for the answer to a request.
    pub fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        let is_it = |message: &Value| message["id"] == id && message.get("method").is_none();
        if let Some(at) = self.early.iter().position(is_it) {
            return self.early.remove(at);
        }
        loop {
            let message = self.hear().expect("an answer comes");
            if is_it(&message) {
                return message;
            }
            self.early.push(message);
        }
    }

    /// What came that nobody waited for.
    pub fn unasked(&self) -> &[Value] {
        &self.early
    }

    /// Introduces the client; returns what the server says.
    pub fn initialize(&mut self) -> Value {
        let params = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let id = self.ask("initialize", &params);
        let answer = self.answer(id);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }

    /// The process that is talked to.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says no more.
    pub fn close(&mut self) {
        self.to = None;
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is a child")
    }

    /// Says no more, and waits for the end.
    pub fn end(&mut self) -> ExitStatus {
        self.close();
        self.wait()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

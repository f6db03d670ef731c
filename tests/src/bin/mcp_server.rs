//! An MCP server for tests: line by line on standard streams, a thread a call. Its tools do what a call asks for.

use std::{
    collections::HashSet,
    io::{self, BufRead as _, Write as _},
    process::exit,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Requests that the client has given up.
type Cancelled = Arc<Mutex<HashSet<String>>>;

fn given_up(cancelled: &Cancelled) -> MutexGuard<'_, HashSet<String>> {
    cancelled.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(message: &Value) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{message}").and_then(|()| out.flush());
}

fn main() {
    let ignores_eof = std::env::args().any(|argument| argument == "--ignore-eof");
    let cancelled = Cancelled::default();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            say(&json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": "Parse error" } }));
            continue;
        };
        if message["method"] == "notifications/cancelled" {
            let id = message["params"]["requestId"].to_string();
            given_up(&cancelled).insert(id);
        } else if message.get("id").is_some() && message.get("method").is_some() {
            let cancelled = Arc::clone(&cancelled);
            thread::spawn(move || answer(&message, &cancelled));
        }
    }
    if ignores_eof {
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }
}

fn answer(message: &Value, cancelled: &Cancelled) {
    let result = match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "test", "version": std::process::id().to_string() },
        }),
        Some("ping") => json!({}),
        Some("tools/call") => {
            let is_cancelled = || {
                let id = message["id"].to_string();
                given_up(cancelled).contains(&id)
            };
            let is_failure = message["params"]["name"] == "fail";
            match call(&message["params"], is_cancelled) {
                Some(text) => json!({ "content": [{ "type": "text", "text": text }], "isError": is_failure }),
                None => return,
            }
        }
        _ => json!({ "tools": [] }),
    };
    say(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }));
}

/// Does what is asked; `None` where there is no answer.
fn call(params: &Value, is_cancelled: impl Fn() -> bool) -> Option<String> {
    let number = params["arguments"]["n"].as_u64().unwrap_or(0);
    match params["name"].as_str()? {
        // Uses the CPU for so many milliseconds of its own time.
        "burn" => {
            let until = cpu() + Duration::from_millis(number);
            while cpu() < until {
                std::hint::black_box((0..1000_u64).sum::<u64>());
            }
            Some("burnt".to_owned())
        }
        // Goes on until it is given up.
        "spin" => {
            while !is_cancelled() {
                std::hint::black_box((0..1000_u64).sum::<u64>());
            }
            None
        }
        // Goes on whatever anybody says.
        "rage" => loop {
            std::hint::black_box((0..1000_u64).sum::<u64>());
        },
        // As many mebibytes of text.
        "big" => Some("x".repeat(usize::try_from(number).ok()? << 20)),
        "sleep" => {
            let until = Instant::now() + Duration::from_millis(number);
            while Instant::now() < until && !is_cancelled() {
                thread::sleep(Duration::from_millis(5));
            }
            Some("slept".to_owned())
        }
        "pid" => Some(std::process::id().to_string()),
        "exit" => exit(i32::try_from(number).ok()?),
        // Half a line, and the end.
        "break" => {
            print!("{{\"jsonrpc\":");
            let _ = io::stdout().flush();
            exit(3)
        }
        other => Some(other.to_owned()),
    }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

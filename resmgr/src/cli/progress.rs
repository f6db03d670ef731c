//! Progress of what takes longer than a second: on standard error, and only where that is a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What takes no longer is not told of; and how often it is told of.
const STEP: Duration = Duration::from_secs(1);

/// Tells of something that goes on, until it is dropped.
pub(super) struct Progress {
    parts: Arc<AtomicU64>,
    ends: Option<mpsc::Sender<()>>,
    teller: Option<JoinHandle<()>>,
}

impl Progress {
    /// It begins: what it does, and how many parts it has, where that is known.
    pub(super) fn begin(what: &'static str, all: Option<u64>) -> Self {
        let parts = Arc::new(AtomicU64::new(0));
        let mut progress = Self {
            parts: Arc::clone(&parts),
            ends: None,
            teller: None,
        };
        if io::stderr().is_terminal() {
            let (ends, ended) = mpsc::channel::<()>();
            progress.ends = Some(ends);
            progress.teller = Some(thread::spawn(move || tell(what, &parts, all, &ended)));
        }
        progress
    }

    /// One part more is done.
    pub(super) fn done(&self) {
        self.parts.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ends = None;
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}

fn tell(what: &str, parts: &AtomicU64, all: Option<u64>, ended: &mpsc::Receiver<()>) {
    let began = Instant::now();
    let mut has_told = false;
    while ended.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
        let line = told(what, parts.load(Ordering::Relaxed), all, began.elapsed());
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
        has_told = true;
    }
    if has_told {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn told(what: &str, parts: u64, all: Option<u64>, since: Duration) -> String {
    let seconds = since.as_secs();
    match all.filter(|all| *all > 1) {
        Some(all) => format!("{what}: {parts} of {all}, {seconds} s"),
        None => format!("{what}: {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    //! What is told.
    use super::*;

    #[test]
    fn parts_are_told_where_there_are_several() {
        let since = Duration::from_millis(2900);
        assert_eq!(told("comparing", 3, Some(10), since), "comparing: 3 of 10, 2 s");
        assert_eq!(told("comparing", 0, Some(1), since), "comparing: 2 s");
        assert_eq!(told("asking", 0, None, since), "asking: 2 s");
    }

    #[test]
    fn nothing_is_waited_for_when_it_is_over() {
        let began = Instant::now();
        drop(Progress::begin("waiting", None));
        assert!(began.elapsed() < STEP);
    }
}

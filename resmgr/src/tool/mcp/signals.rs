//! Signals to the proxy are the server's. A thread of its own runs what waits for them, and the link to the agent.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::server::Signals;

/// Signals that are passed on, whether they are meant to end, and whether a terminal sends them to the server itself.
const PASSED: [(Signal, bool, bool); 6] = [
    (Signal::TERM, true, false),
    (Signal::INT, true, true),
    (Signal::QUIT, true, true),
    (Signal::HUP, true, true),
    (Signal::USR1, false, false),
    (Signal::USR2, false, false),
];

/// Where signals go; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Aim {
    server: Arc<Mutex<Option<Signals>>>,
    is_stopped: Arc<AtomicBool>,
}

impl Aim {
    /// Passes signals on from now on, and runs something beside that.
    pub(super) fn start(beside: impl Future<Output = ()> + Send + 'static) -> io::Result<Self> {
        let aim = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let at_terminal = io::stdin().is_terminal();
        for (passed, ends, by_terminal) in PASSED {
            let _inside = runtime.enter();
            let mut signals = signal(SignalKind::from_raw(passed.as_raw()))?;
            let aim = aim.clone();
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    if ends {
                        aim.is_stopped.store(true, Ordering::Relaxed);
                    }
                    if !(at_terminal && by_terminal) {
                        aim.send(passed);
                    }
                }
            });
        }
        thread::spawn(move || {
            runtime.block_on(async {
                beside.await;
                std::future::pending::<()>().await;
            });
        });
        Ok(aim)
    }

    /// Signals go to this server; one that was to end it before it was there does so now.
    pub(super) fn at(&self, server: Signals) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        if self.is_stopped() {
            self.send(Signal::TERM);
        }
    }

    /// Sends a signal to the server that there is.
    pub(super) fn send(&self, signal: Signal) {
        if let Some(server) = &*self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            server.send(signal);
        }
    }

    /// Whether somebody wanted it to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

//! An agent within this process: the same loop on a thread of its own, stopped and waited for when nobody needs it.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::ResourceError;
use crate::agent::{self, AgentError, AgentOptions};

/// The thread.
#[derive(Debug)]
pub(super) struct Embedded {
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<Result<(), AgentError>>>,
}

impl Embedded {
    /// Starts an agent, and waits until it answers.
    pub(super) async fn start(options: AgentOptions) -> Result<Self, ResourceError> {
        let folder = options.state_dir.clone();
        let (stop, stopped) = mpsc::channel(1);
        let (ready, is_ready) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|source| AgentError::Runtime {
                operation: "start the embedded agent's runtime",
                source,
            })?;
            // Who waits may have given up.
            runtime.block_on(agent::run(options, || _ = ready.send(()), stopped))
        };
        let thread = std::thread::Builder::new().name("resmgr-agent".to_owned()).spawn(run);
        let thread = thread.map_err(|source| ResourceError::Start { folder, source })?;
        let mut embedded = Self {
            stop,
            thread: Some(thread),
        };
        if is_ready.await.is_err() {
            // It has ended before it was ready: joining waits for nothing.
            embedded.join()?;
            return Err(ResourceError::Closed);
        }
        Ok(embedded)
    }

    fn join(&mut self) -> Result<(), ResourceError> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => Ok(ended?),
            Some(Err(_)) => Err(ResourceError::Panicked),
        }
    }

    /// Stops the agent and waits until everything is undone.
    pub(super) fn stop(&mut self) -> Result<(), ResourceError> {
        // One that is told already, or has ended, need not be told.
        let _ = self.stop.try_send(());
        self.join()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the embedded agent did not end in order");
        }
    }
}

//! Waits for a descriptor of the kernel's to become readable.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor that nothing else can close or replace: it is handed out by nobody.
struct Held(OwnedFd);

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A descriptor that can be waited for.
pub struct Readable(AsyncFd<Held>);

impl Readable {
    /// Watches a descriptor; needs a tokio runtime with I/O.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: `Held` owns an open descriptor, gives the same number each time, and closes it only when dropped,
        // which `AsyncFd` does after it has stopped watching.
        let watched = unsafe { AsyncFd::register_with_interest(Held(fd), Interest::READABLE) };
        watched.map(Self).map_err(|error| io::Error::other(error.to_string()))
    }

    /// Waits until it becomes readable. What made it so must then be read to its end: it is told once.
    pub async fn ready(&self) {
        if let Ok(mut guard) = self.0.readable().await {
            guard.clear_ready();
        }
    }
}

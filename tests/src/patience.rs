//! How long tests wait for something. Nothing sleeps to let time pass.

use std::time::{Duration, Instant};

/// So many seconds on a machine of one's own, `RESMGR_TEST_PATIENCE` times as many on one that is slow: a bound for what
/// takes a moment, so that a test fails instead of waiting for ever.
pub fn patience(seconds: u64) -> Duration {
    let times = std::env::var("RESMGR_TEST_PATIENCE").map_or(1, |times| {
        times
            .parse()
            .expect("RESMGR_TEST_PATIENCE is a whole number, such as 10")
    });
    Duration::from_secs(seconds * times)
}

/// Waits until something holds; fails with its name where it does not come within [`patience`].
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for something to be there, and returns it; fails with its name where it does not come within thirty seconds'
/// [`patience`].
#[track_caller]
pub fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    wait_until(what, 30, || {
        found = there();
        found.is_some()
    });
    found.expect("it was waited for")
}

//! A child of the tests that sleeps. One that was only just started may still be mapping its program and closing what it
//! does not inherit: a spawn returns before that.

use std::{
    fs,
    process::{Child, Command},
    thread,
    time::Duration,
};

use super::process::field;

/// Starts it, and waits until it is asleep.
pub(super) fn sleeper() -> Child {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let is_asleep = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        field(&stat, 3) == Some("S")
    };
    while !is_asleep() {
        thread::sleep(Duration::from_millis(1));
    }
    child
}

//! What the shared structure is made of. A test puts loom's in its place, which tries the orders in which threads can meet.

pub(super) use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The rule of the library's locks: of all of them a thread holds one at a time. A debug build panics where two are.
pub(super) struct OneLock(());

impl OneLock {
    /// Before a lock is taken; to be kept for as long as it is held.
    pub(super) fn take() -> Self {
        #[cfg(debug_assertions)]
        HELD.with(|held| assert!(!held.replace(true), "two locks of the library at a time"));
        Self(())
    }
}

impl Drop for OneLock {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        HELD.with(|held| held.set(false));
    }
}

#[cfg(test)]
mod tests {
    //! The rule itself.
    use super::OneLock;

    #[test]
    fn one_lock_after_another_is_fine_and_two_at_a_time_are_found() {
        drop(OneLock::take());
        let one = OneLock::take();
        assert!(std::panic::catch_unwind(OneLock::take).is_err());
        drop(one);
    }
}

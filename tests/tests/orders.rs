//! The one structure that all threads of a program share, in all orders in which they can meet: its own source, over loom's
//! atomics and locks in the place of the standard library's.

mod sync {
    pub(super) use loom::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };
    pub(super) use std::sync::PoisonError;

    /// That one lock is held at a time is tested where it is written.
    pub(super) struct OneLock;

    impl OneLock {
        pub(super) fn take() -> Self {
            Self
        }
    }
}

#[path = "../../resmgr/src/manager/counted.rs"]
mod counted;

use std::collections::BTreeSet;

use counted::{Counted, Which};
use loom::{sync::Arc, thread};

/// Runs threads over a structure that is shared, in all orders; what the last line of a thread returns is handed on.
fn in_all_orders(model: impl Fn(Arc<Counted>) + Send + Sync + 'static) {
    loom::model(move || model(Arc::new(Counted::new())));
}

/// All that there is of it.
fn all(counted: &Counted) -> (u64, u64, BTreeSet<u32>) {
    (counted.cpu_ns(), counted.memory_bytes(), counted.numbers(Which::Files))
}

#[test]
fn each_change_is_in_a_report_or_marked_for_the_next() {
    // One alone: the mark of another would do for it.
    let changes: [fn(&Counted); 5] = [
        |counted| counted.use_cpu(7),
        |counted| counted.allocate(5, 100).unwrap(),
        |counted| counted.free(2),
        |counted| counted.open(Which::Files, 4, 2).unwrap(),
        |counted| _ = counted.close(Which::Files, 3),
    ];
    for change in changes {
        in_all_orders(move |counted| {
            counted.allocate(3, 100).unwrap();
            counted.open(Which::Files, 3, 2).unwrap();
            counted.take_mark();
            let before = all(&counted);
            let teller = thread::spawn({
                let counted = counted.clone();
                move || change(&counted)
            });
            // A report while that happens.
            let told = counted.take_mark().then(|| all(&counted));
            teller.join().unwrap();
            let last = all(&counted);
            assert_ne!(last, before);
            assert!(told.as_ref() == Some(&last) || counted.take_mark(), "{told:?}");
        });
    }
}

#[test]
fn of_two_that_take_the_last_memory_one_is_refused_and_nothing_is_lost() {
    in_all_orders(|counted| {
        let takers = [6, 7].map(|bytes| {
            let counted = counted.clone();
            thread::spawn(move || {
                let taken = counted.allocate(bytes, 10).is_ok();
                counted.use_cpu(bytes);
                u64::from(taken) * bytes
            })
        });
        let taken: u64 = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        assert!(taken == 6 || taken == 7, "{taken}");
        assert_eq!((counted.memory_bytes(), counted.cpu_ns()), (taken, 13));
        counted.free(taken);
        assert_eq!(counted.memory_bytes(), 0);
        assert_eq!(counted.take_peaks()[0], taken);
    });
}

#[test]
fn numbers_that_come_and_go_are_reported_as_they_are_in_the_end() {
    in_all_orders(|counted| {
        let opener = thread::spawn({
            let counted = counted.clone();
            move || {
                counted.open(Which::Files, 3, 2).unwrap();
                counted.open(Which::Files, 4, 2).unwrap();
                counted.close(Which::Files, 3);
            }
        });
        let told = counted.take_mark().then(|| counted.numbers(Which::Files));
        opener.join().unwrap();
        let last = counted.numbers(Which::Files);
        assert_eq!(last.iter().copied().collect::<Vec<_>>(), [4]);
        assert!(told.as_ref() == Some(&last) || counted.take_mark(), "{told:?}");
        assert_eq!(counted.count(Which::Files), 1);
    });
}

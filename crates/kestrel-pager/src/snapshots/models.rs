//! The registry on all schedules, and with all values that the memory model lets a load return.
//!
//! Tried by hand, each of these is found by the model named for it: no fence in `register`, in `live_set`, in `entrust` or in
//! `free`; no second look at `visible`; a slot taken with a store in place of a comparison; Relaxed in place of what orders
//! the shares of a snapshot.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use kestrel_check::loom::{self, cell::UnsafeCell, thread};

fn ts(value: u64) -> Timestamp {
    Timestamp(value)
}

/// A registry at timestamp 1 whose next commit, 2, is published and not visible yet.
fn with_a_commit() -> Arc<Snapshots> {
    let registry = Snapshots::new(ts(1));
    registry.set_applied(ts(2));
    registry
}

#[test]
fn nobody_begins_where_a_reclaimer_saw_nobody() {
    loom::model(|| {
        let registry = with_a_commit();
        let reader = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || registry.begin_visible())
        };
        let committer = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || registry.raise_visible(ts(2)))
        };
        let live = registry.live_set();
        let snapshot = reader.join().unwrap();
        committer.join().unwrap();
        match live.need(ts(1), ts(2)) {
            Need::Nobody => assert_eq!(snapshot.at(), ts(2), "reclaimed under a snapshot"),
            Need::Witness(at) => assert_eq!(at, ts(1)),
            Need::Future => assert_eq!(live.visible(), ts(1)),
        }
    });
}

#[test]
fn nor_does_a_writer_begin_there() {
    loom::model(|| {
        let registry = Snapshots::new(ts(1));
        let writer = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || registry.begin_applied())
        };
        registry.set_applied(ts(2));
        registry.raise_visible(ts(2));
        let live = registry.live_set();
        let snapshot = writer.join().unwrap();
        if live.need(ts(1), ts(2)) == Need::Nobody {
            assert_eq!(snapshot.at(), ts(2), "reclaimed under a snapshot");
        }
    });
}

#[test]
fn two_snapshots_never_share_a_slot() {
    loom::model(|| {
        let registry = with_a_commit();
        let other = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || {
                // A slot that was used before is as good as a new one.
                drop(registry.begin_visible());
                registry.begin_visible()
            })
        };
        let mine = registry.begin_applied();
        let others = other.join().unwrap();
        assert_ne!(mine.index, others.index);
        let live = registry.live_set();
        assert!(live.contains(ts(1)) && live.contains(ts(2)));
        drop((mine, others));
        assert_eq!(registry.live(), 0);
    });
}

#[test]
fn a_snapshot_lives_as_long_as_its_last_clone() {
    loom::model(|| {
        let registry = Snapshots::new(ts(1));
        let one = registry.begin_visible();
        let two = one.clone();
        // What somebody did with a clone comes before the slot is free.
        let used = loom::sync::Arc::new(UnsafeCell::new(0));
        let other = {
            let used = loom::sync::Arc::clone(&used);
            thread::spawn(move || {
                used.with_mut(|_| ());
                drop(two.clone());
                drop(two);
            })
        };
        registry.set_applied(ts(2));
        registry.raise_visible(ts(2));
        assert_eq!(registry.live_set().need(ts(1), ts(2)), Need::Witness(ts(1)), "this thread has one");
        drop(one);
        if registry.live() == 0 {
            used.with(|_| ());
        }
        other.join().unwrap();
        assert_eq!(registry.live(), 0);
        let slot = registry.slot(0);
        assert_eq!(slot.shares.load(Ordering::Relaxed), 1, "the slot is as good as new");
    });
}

/// What is entrusted; counts its ends.
struct Thing(Arc<AtomicUsize>);

impl Drop for Thing {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn what_is_entrusted_goes_once_with_the_last_snapshot() {
    loom::model(|| {
        let ends = Arc::new(AtomicUsize::new(0));
        let registry = Snapshots::new(ts(1));
        let threads = [false, true].map(|stays| {
            let (snapshot, ends) = (registry.begin_visible(), Arc::clone(&ends));
            thread::spawn(move || {
                assert_eq!(ends.load(Relaxed), 0, "not while this one lives");
                if stays {
                    let stay = snapshot.into_stay();
                    assert_eq!(ends.load(Relaxed), 0, "not while this one stays");
                    drop(stay);
                }
            })
        });
        registry.entrust(Box::new(Thing(Arc::clone(&ends))));
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(ends.load(Relaxed), 1);
    });
}

#[test]
fn whoever_may_begin_keeps_what_is_entrusted() {
    loom::model(|| {
        let ends = Arc::new(AtomicUsize::new(0));
        let is_closed = Arc::new(AtomicBool::new(false));
        let registry = Snapshots::new(ts(1));
        let before = {
            let snapshot = registry.begin_visible();
            thread::spawn(move || drop(snapshot))
        };
        let reader = {
            let (registry, is_closed, ends) =
                (Arc::clone(&registry), Arc::clone(&is_closed), Arc::clone(&ends));
            thread::spawn(move || {
                let snapshot = registry.begin_visible();
                // As the engine asks and closes.
                if !is_closed.load(Ordering::Acquire) {
                    thread::yield_now();
                    assert_eq!(ends.load(Relaxed), 0, "not while this one lives");
                }
                drop(snapshot);
            })
        };
        is_closed.swap(true, Ordering::AcqRel);
        registry.entrust(Box::new(Thing(Arc::clone(&ends))));
        reader.join().unwrap();
        before.join().unwrap();
        assert_eq!(ends.load(Relaxed), 1);
    });
}

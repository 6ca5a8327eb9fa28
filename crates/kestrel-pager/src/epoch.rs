//! Pinning the epoch: while a thread is pinned, nothing that it may see is freed.
//!
//! All threads of a process share one epoch. So when memory comes back depends on what the others do; and since frames are
//! memory, what is evicted and written does as well. A simulation, which has to do the same again, runs in a thread that stands
//! [apart](stand_apart): its epoch is its own, and follows from what it does alone.
//!
//! Invariant: a pager is looked at under pins of one epoch only, that of the thread that made it. Every pin is
//! [asked of the pager](crate::Pager::pin), which checks it.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_epoch::{Collector, Guard, LocalHandle, default_collector};

/// The epoch that threads share unless they stand apart.
const SHARED: usize = 0;

struct Handle {
    local: LocalHandle,
    epoch: usize,
}

thread_local! {
    static APART: Cell<bool> = const { Cell::new(false) };
    static HANDLE: Handle = Handle::new(APART.get());
}

impl Handle {
    fn new(apart: bool) -> Handle {
        static EPOCHS: AtomicUsize = AtomicUsize::new(SHARED + 1);
        if apart {
            let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
            return Handle { local: Collector::new().register(), epoch };
        }
        Handle { local: default_collector().register(), epoch: SHARED }
    }
}

/// Gives the calling thread an epoch of its own, for good. Whatever it opens can be used by no other thread then, which would
/// panic. Returns whether it has one: it cannot be changed once the thread has looked at a page.
pub fn stand_apart() -> bool {
    APART.set(true);
    own() != SHARED
}

/// The epoch of the calling thread.
#[inline]
pub(crate) fn own() -> usize {
    HANDLE.try_with(|handle| handle.epoch).unwrap_or(SHARED)
}

/// Pins an epoch, if it is the calling thread's.
#[inline]
pub(crate) fn pin(epoch: usize) -> Option<Guard> {
    let pinned = HANDLE.try_with(|handle| (handle.epoch == epoch).then(|| handle.local.pin()));
    // A thread that ends has no handle any more, and is none that stands apart.
    pinned.unwrap_or_else(|_| (epoch == SHARED).then(|| default_collector().register().pin()))
}

/// Pins the calling thread's epoch.
pub(crate) fn pin_own() -> (usize, Guard) {
    let pinned = HANDLE.try_with(|handle| (handle.epoch, handle.local.pin()));
    pinned.unwrap_or_else(|_| (SHARED, default_collector().register().pin()))
}

/// Whether the calling thread is pinned.
pub(crate) fn is_pinned() -> bool {
    HANDLE.try_with(|handle| handle.local.is_pinned()).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_apart_pins_no_other_epoch() {
        assert!(pin(SHARED).is_some() && !is_pinned());
        assert!(!stand_apart(), "it has pinned the shared one before");
        let apart = std::thread::spawn(|| {
            assert!(stand_apart() && stand_apart());
            assert!(pin(SHARED).is_none());
            let pinned = pin(own());
            assert!(pinned.is_some() && is_pinned());
            own()
        });
        let epoch = apart.join().unwrap();
        assert!(pin(epoch).is_none());
    }
}

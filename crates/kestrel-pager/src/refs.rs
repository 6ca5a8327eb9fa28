//! The count that keeps a version alive.
//!
//! Whoever gives the last count back frees, and nobody else: it has then seen all that the others did with the version
//! before they gave theirs back. A count is taken only by somebody who knows the version to be alive meanwhile, by a count
//! of its own or by a pin of the epoch.

use kestrel_check::sync::modelled::{AtomicU32, Ordering};

/// How many keep a thing alive.
pub(crate) struct RefCount(AtomicU32);

impl RefCount {
    /// One.
    pub(crate) fn one() -> RefCount {
        RefCount(AtomicU32::new(1))
    }

    /// Adds a count. The thing is alive: its count is not zero.
    #[inline]
    pub(crate) fn hold(&self) {
        // Relaxed: whoever takes the count got the thing from somebody, which ordered what came before.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "what is being freed cannot be held");
        assert!(before < u32::MAX / 2, "more than two billion values held on one page");
    }

    /// Gives a count back. Returns whether it was the last: the caller then frees the thing.
    #[inline]
    #[must_use]
    pub(crate) fn release(&self) -> bool {
        if self.0.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        // Not a fence, though that would do: the thread sanitizer does not understand fences.
        self.0.load(Ordering::Acquire);
        true
    }

    /// The count. May be outdated at once, unless nobody can change it.
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, kestrel_loom))]
mod models {
    //! Tried by hand, each is found: Relaxed in place of Release, Relaxed in place of Acquire, and a release that tells two
    //! holders that they were the last (a load and a store in place of the subtraction).
    #![allow(unsafe_code)]

    use super::RefCount;
    use kestrel_check::loom::{self, cell::UnsafeCell, sync::Arc, thread};

    /// A thing as its memory is to loom: what holders do with it, and its end, which must not happen at once.
    struct Thing {
        refs: RefCount,
        /// Written by one holder each.
        written: [UnsafeCell<u32>; 3],
        frees: UnsafeCell<u32>,
    }

    impl Thing {
        fn use_and_release(&self, holder: usize) {
            // SAFETY: each holder has a number of its own, and whoever frees comes after all of them: loom fails if not.
            self.written[holder].with_mut(|written| unsafe { *written += 1 });
            if self.refs.release() {
                let all = self.written.iter().map(|written| {
                    // SAFETY: as above.
                    written.with(|written| unsafe { *written })
                });
                assert_eq!(all.sum::<u32>(), 3, "all that the holders did is seen");
                // SAFETY: only the last one gets here: loom fails if not.
                self.frees.with_mut(|frees| unsafe { *frees += 1 });
            }
        }
    }

    #[test]
    fn the_last_of_three_holders_frees_once_and_sees_all() {
        loom::model(|| {
            let thing = Arc::new(Thing {
                refs: RefCount::one(),
                written: std::array::from_fn(|_| UnsafeCell::new(0)),
                frees: UnsafeCell::new(0),
            });
            thing.refs.hold();
            let other = {
                let thing = Arc::clone(&thing);
                thread::spawn(move || {
                    // A count taken by somebody who has one, while others give theirs back.
                    thing.refs.hold();
                    let third = {
                        let thing = Arc::clone(&thing);
                        thread::spawn(move || thing.use_and_release(2))
                    };
                    thing.use_and_release(1);
                    third.join().unwrap();
                })
            };
            thing.use_and_release(0);
            other.join().unwrap();
            // SAFETY: all threads have ended.
            assert_eq!(thing.frees.with(|frees| unsafe { *frees }), 1);
        });
    }
}

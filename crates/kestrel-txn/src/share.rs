//! Handles of one thing whose references are counted in several places.
//!
//! Each transaction keeps its database alive. Counted in one place, that would be a cache line that all threads write to at
//! the beginning and the end of every transaction. So there are some counted references, each on a cache line of its own, and
//! a thread takes and gives back shares of the one that its [number](thread_number) leads to. The thing goes with the last
//! share of the last of them, as with a plain `Arc`.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use kestrel_pager::thread_number;

/// As many as the registry of snapshots has slots at hand: threads that do not meet there do not meet here.
const COUNT: usize = 64;

/// Where threads get their [`Share`]s.
pub struct Shares<T>(Arc<[Share<T>]>);

/// A counted reference. Clones are counted where it is.
pub struct Share<T>(Arc<CachePadded<Arc<T>>>);

impl<T> Shares<T> {
    /// References to `thing`.
    #[must_use]
    pub fn new(thing: &Arc<T>) -> Shares<T> {
        Shares((0..COUNT).map(|_| Share(Arc::new(CachePadded::new(Arc::clone(thing))))).collect())
    }

    /// A reference, counted where other threads do not count theirs, as far as possible.
    #[inline]
    #[must_use]
    pub fn take(&self) -> Share<T> {
        self.0[thread_number() % COUNT].clone()
    }
}

impl<T> Share<T> {
    /// What it refers to, for whoever keeps a reference for long.
    #[must_use]
    pub fn thing(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T> Deref for Share<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Share<T> {
    #[inline]
    fn clone(&self) -> Share<T> {
        Share(Arc::clone(&self.0))
    }
}

impl<T> Clone for Shares<T> {
    fn clone(&self) -> Shares<T> {
        Shares(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Share<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> fmt::Debug for Shares<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_a_share_counts_nothing_that_is_counted_elsewhere() {
        let thing = Arc::new(5);
        let shares = Shares::new(&thing);
        let all = Arc::strong_count(&thing);
        let (one, two) = (shares.take(), shares.take());
        let three = one.clone();
        assert_eq!((*one, *two, *three), (5, 5, 5));
        assert_eq!(Arc::strong_count(&thing), all);
        assert!(Arc::ptr_eq(&one.0, &two.0), "a thread counts in one place");
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| shares.take()).join());
        assert!(elsewhere.is_ok_and(|share| !Arc::ptr_eq(&share.0, &one.0)));
    }

    #[test]
    fn the_last_share_keeps_the_thing() {
        let thing = Arc::new(());
        let shares = Shares::new(&thing);
        let share = shares.take();
        drop(shares);
        assert_eq!(Arc::strong_count(&thing), 2);
        drop(share);
        assert_eq!(Arc::strong_count(&thing), 1);
    }
}

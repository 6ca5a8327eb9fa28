//! A page as one snapshot sees it: pinned by an epoch for a short look, or held by counts for as long as a
//! user likes.

#![allow(unsafe_code)]

use std::borrow::Borrow;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::NonNull;

use crossbeam_epoch::Guard;

use crate::link::{Link, Word};
use crate::version::{Header, Kind, VersionRef, release};
use crate::{Fault, PageId, Timestamp, TreeId};

/// Deltas that one segment may have: more cost every reader more than one consolidation costs.
pub const MAX_DELTAS: usize = 8;

/// Base and deltas of a page, readable while the epoch pin lasts that it owns (`G` is a [`Guard`]) or borrows (`G` is a
/// reference to one).
///
/// Nothing that waits (for a disk, a frame, a lock that is held across either) may happen while one exists.
pub struct PinnedPage<G: Borrow<Guard> = Guard> {
    base: NonNull<Header>,
    deltas: [MaybeUninit<NonNull<Header>>; MAX_DELTAS],
    count: usize,
    // Dropped last: the pointers above are good for as long as it lives.
    _guard: G,
}

impl<G: Borrow<Guard>> PinnedPage<G> {
    /// The page whose chain begins at `link`, as a snapshot at `at` sees it. Deltas above a base that is too new are
    /// newer than that base, so whatever is collected belongs to the base that ends the walk.
    #[inline]
    pub(crate) fn find(link: &Link, page: PageId, at: Timestamp, guard: G) -> Result<PinnedPage<G>, Fault> {
        let mut deltas = [MaybeUninit::uninit(); MAX_DELTAS];
        let mut count = 0;
        let mut word = link.load(guard.borrow());
        let base = loop {
            let version = match word {
                Word::Version(version) => version,
                Word::OnDisk(_) => return Err(Fault::NotResident(page)),
                Word::Empty => return Err(Fault::Missing(page)),
            };
            if version.ts <= at {
                match version.kind {
                    Kind::Delta => {
                        deltas[count].write(version.as_ptr());
                        count += 1;
                    }
                    Kind::Image => {
                        version.touch();
                        break version.as_ptr();
                    }
                    Kind::Stub => return Err(Fault::NotResident(page)),
                    Kind::Tombstone => return Err(Fault::Missing(page)),
                }
            }
            word = version.header().next.load(guard.borrow());
        };
        Ok(PinnedPage { base, deltas, count, _guard: guard })
    }

    #[inline]
    fn base(&self) -> VersionRef<'_> {
        // SAFETY: read from a link under the guard, which `self` owns or borrows for as long as it lives.
        unsafe { VersionRef::new(self.base) }
    }

    #[inline]
    fn delta_version(&self, newest_first: usize) -> VersionRef<'_> {
        assert!(newest_first < self.count, "delta {newest_first} of {}", self.count);
        // SAFETY: `find` initialised the first `count` entries, with pointers that are good under the guard.
        unsafe { VersionRef::new(self.deltas[newest_first].assume_init()) }
    }

    /// Which page it is.
    pub fn id(&self) -> PageId {
        self.base().page
    }

    /// The tree it belongs to.
    pub fn tree(&self) -> TreeId {
        self.base().tree
    }

    /// The base image's payload.
    #[inline]
    pub fn node(&self) -> &[u8] {
        self.base().payload()
    }

    /// How many deltas lie over the base.
    #[inline]
    pub fn delta_count(&self) -> usize {
        self.count
    }

    /// A delta's payload; 0 is the newest.
    #[inline]
    pub fn delta(&self, newest_first: usize) -> &[u8] {
        self.delta_version(newest_first).payload()
    }

    /// The timestamp of the newest thing in it.
    pub fn timestamp(&self) -> Timestamp {
        if self.count > 0 { self.delta_version(0).ts } else { self.base().ts }
    }

    /// An upper bound of the bytes that the page needs as one image.
    pub fn accumulated(&self) -> u32 {
        if self.count > 0 { self.delta_version(0).accumulated } else { self.base().accumulated }
    }

    /// Keeps the base image (`None`) or a delta readable beyond the pin. `None` if users hold so many frames
    /// already that a copy is the better choice.
    #[inline]
    pub fn hold(&self, delta: Option<usize>) -> Option<Held> {
        let version = match delta {
            None if self.base().pool().crowded() => return None,
            None => self.base(),
            Some(newest_first) => self.delta_version(newest_first),
        };
        Some(Held::new(version))
    }

    /// Keeps the whole page readable beyond the pin; `None` as with [`PinnedPage::hold`].
    pub fn hold_all(&self) -> Option<HeldPage> {
        let base = self.hold(None)?;
        let deltas = (0..self.count).map(|index| Held::new(self.delta_version(index))).collect();
        Some(HeldPage { base, deltas })
    }
}

impl<G: Borrow<Guard>> std::fmt::Debug for PinnedPage<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} under {} deltas, pinned", self.base(), self.count)
    }
}

/// The payload of one version, kept alive by a count. Dereferences to the payload's bytes.
pub struct Held(NonNull<Header>);

// SAFETY: the payload is immutable and the count is atomic; the version frees itself on any thread.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    #[inline]
    pub(crate) fn new(version: VersionRef<'_>) -> Held {
        version.hold();
        if version.kind == Kind::Image {
            version.pool().note_hold();
        }
        Held(version.as_ptr())
    }

    fn version(&self) -> VersionRef<'_> {
        // SAFETY: the count that `self` owns keeps the version alive.
        unsafe { VersionRef::new(self.0) }
    }
}

impl Deref for Held {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.version().payload()
    }
}

impl Clone for Held {
    fn clone(&self) -> Held {
        Held::new(self.version())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let version = self.version();
        if version.kind == Kind::Image {
            version.pool().note_release();
        }
        // SAFETY: `self` owns one count and is gone after this.
        unsafe { release(self.0) };
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, held", self.version())
    }
}

/// A whole page, kept alive by counts: what a cursor stands on between calls.
#[derive(Clone, Debug)]
pub struct HeldPage {
    base: Held,
    deltas: Vec<Held>,
}

impl HeldPage {
    /// The base image's payload.
    pub fn node(&self) -> &[u8] {
        &self.base
    }

    /// How many deltas lie over the base.
    pub fn delta_count(&self) -> usize {
        self.deltas.len()
    }

    /// A delta's payload; 0 is the newest.
    pub fn delta(&self, newest_first: usize) -> &[u8] {
        &self.deltas[newest_first]
    }

    /// One part of it, to be kept on its own: the base image (`None`) or a delta.
    pub fn part(&self, delta: Option<usize>) -> Held {
        match delta {
            None => self.base.clone(),
            Some(newest_first) => self.deltas[newest_first].clone(),
        }
    }
}

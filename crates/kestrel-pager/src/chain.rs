//! Chains: how the versions of one page hang together.
//!
//! From the table's link on: deltas, newest first, down to a base, then that base's `next` link, which leads to
//! the older *segment* (deltas down to a base) and so on. A raw disk location may stand only in the table's
//! link, and ends the chain. A segment is valid from its base's timestamp up to the timestamp of the base
//! above it (the first segment: without end).
//!
//! Walking needs an epoch guard; changing anything needs the page's stripe lock as well.

#![allow(unsafe_code)]

use crossbeam_epoch::Guard;
use kestrel_check::sync::MutexGuard;

use crate::link::{Link, Word};
use crate::store::Location;
use crate::version::{Kind, VersionRef, retire};
use crate::{PageId, Timestamp};

/// A run of deltas down to a base.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'g> {
    /// The link that leads here: the table's, or that of the base above.
    pub(crate) link: &'g Link,
    /// The newest version of the segment.
    pub(crate) head: VersionRef<'g>,
    pub(crate) base: VersionRef<'g>,
    /// The timestamp of the base above, if there is one.
    pub(crate) until: Option<Timestamp>,
}

impl<'g> Segment<'g> {
    /// The segment that begins at `link`; `None` at the end of the chain (nothing, or a raw location).
    pub(crate) fn at(link: &'g Link, until: Option<Timestamp>, guard: &'g Guard) -> Option<Segment<'g>> {
        let Word::Version(head) = link.load(guard) else { return None };
        let mut base = head;
        while !base.is_base() {
            let Word::Version(next) = base.header().next.load(guard) else {
                unreachable!("a delta is always followed by a version");
            };
            base = next;
        }
        Some(Segment { link, head, base, until })
    }

    /// The next older segment.
    pub(crate) fn older(&self, guard: &'g Guard) -> Option<Segment<'g>> {
        Segment::at(&self.base.header().next, Some(self.base.ts), guard)
    }

    /// The segment's deltas, newest first.
    pub(crate) fn deltas(&self, guard: &'g Guard) -> impl Iterator<Item = VersionRef<'g>> + use<'g> {
        let mut next = Some(self.head);
        std::iter::from_fn(move || {
            let version = next.take()?;
            if version.is_base() {
                return None;
            }
            if let Word::Version(older) = version.header().next.load(guard) {
                next = Some(older);
            }
            Some(version)
        })
    }

    /// The link that leads to the base: the segment's own, or the oldest delta's.
    pub(crate) fn base_link(&self, guard: &'g Guard) -> &'g Link {
        self.deltas(guard).last().map_or(self.link, |delta| &delta.header().next)
    }

    /// How many versions the segment has.
    pub(crate) fn len(&self, guard: &'g Guard) -> usize {
        self.deltas(guard).count() + 1
    }
}

/// All segments of the chain that begins at `link`, newest first.
pub(crate) fn segments<'g>(link: &'g Link, guard: &'g Guard) -> impl Iterator<Item = Segment<'g>> {
    std::iter::successors(Segment::at(link, None, guard), move |segment| segment.older(guard))
}

/// The right to change the chain of a page: its stripe lock.
pub(crate) struct Stripe<'l>(MutexGuard<'l, ()>);

impl<'l> Stripe<'l> {
    pub(crate) fn new(lock: MutexGuard<'l, ()>) -> Stripe<'l> {
        Stripe(lock)
    }

    /// Takes `count` versions, linked from `first` on, out of the chain: `link`, which leads to `first`, gets `to`
    /// instead. Readers that are under way keep what they see; the versions go when the last of them is done.
    pub(crate) fn cut(
        &self,
        link: &Link,
        (first, count): (VersionRef<'_>, usize),
        to: Word<'_>,
        guard: &Guard,
    ) {
        debug_assert_eq!(link.load(guard), Word::Version(first), "only what hangs there can be cut off");
        let _held = &self.0;
        link.store(to);
        // SAFETY: the run was just unlinked, once, as the link that led to it was changed under the stripe lock; what is
        // unlinked is never changed.
        unsafe { retire(guard, first, count) };
    }
}

/// What a chain shows to a snapshot.
pub(crate) enum State<'g> {
    /// No such page at that time.
    Absent,
    /// Nothing in memory, and no timestamp needed.
    OnDisk(Location),
    /// A segment whose base the snapshot may see. Its newest deltas may be too new for the snapshot.
    In(Segment<'g>),
}

/// The state of a page at `at`.
pub(crate) fn state_at<'g>(link: &'g Link, at: Timestamp, guard: &'g Guard) -> State<'g> {
    if let Word::OnDisk(location) = link.load(guard) {
        return State::OnDisk(location);
    }
    match segments(link, guard).find(|segment| segment.base.ts <= at) {
        Some(segment) if segment.base.kind != Kind::Tombstone => State::In(segment),
        _ => State::Absent,
    }
}

/// The newest timestamp of a chain; zero for a page of which only the disk knows.
pub(crate) fn newest(link: &Link, guard: &Guard) -> Timestamp {
    match link.load(guard) {
        Word::Version(head) => head.ts,
        Word::Empty | Word::OnDisk(_) => Timestamp(0),
    }
}

/// In debug builds: the chain's timestamps fall from newest to oldest, and all of it is of one page.
pub(crate) fn debug_check(link: &Link, page: PageId, guard: &Guard) {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut newer = Timestamp::MAX;
    for segment in segments(link, guard) {
        let mut deltas = 0;
        for version in segment.deltas(guard).chain([segment.base]) {
            assert!(version.ts <= newer, "{page}: {version:?} lies below {newer}");
            assert_eq!(version.page, page, "{version:?} in the chain of {page}");
            newer = version.ts;
            deltas += u32::from(!version.is_base());
        }
        assert_eq!(segment.head.deltas, deltas, "{page}: count of deltas");
    }
}

//! Publishing: how changes get to the top of chains.
//!
//! Under the caller's commit gate, one timestamp at a time, in ascending order. Nothing here can fail. Readers at older
//! timestamps skip what is new, so the order of pages does not matter; readers at the new timestamp begin only when the
//! caller raises the counters of the registry.

use crossbeam_epoch::Guard;
use kestrel_check::planted::{Bug, is_planted};

use crate::chain::{self, Segment};
use crate::link::Word;
use crate::prune::Superseded;
use crate::version::{Kind, OwnedVersion};
use crate::{Location, OwnedFrame, PageId, Pager, Timestamp, TreeId};

/// With so many deltas a page is merged in the background, before a writer has to: every delta is one more place that is
/// not in the processor's cache, for readers and writers alike.
const RIPE: usize = 2;

/// Changes for which one pin of the epoch is kept: pinning costs as much as a change, and a long pin holds up reclamation.
const PINNED: usize = 64;

/// What happens to one page.
#[derive(Debug)]
pub enum Change {
    /// Operations are laid over the newest state, which has room for them (see [`ChainHead`](crate::ChainHead)).
    Delta(OwnedVersion),
    /// A new image.
    Image(OwnedFrame),
    /// A new image that lies on disk already; the live claim goes to the chain.
    Spilled {
        /// Whose image it is.
        page: PageId,
        /// The tree it belongs to.
        tree: TreeId,
        /// Where it lies.
        location: Location,
        /// Packed bytes.
        len: u32,
    },
    /// A large value on disk; the live claim goes to the chain.
    Blob {
        /// The page that stands for it.
        page: PageId,
        /// The tree it belongs to.
        tree: TreeId,
        /// Where it lies.
        location: Location,
        /// Its length.
        len: u32,
    },
    /// The page is freed.
    Free(PageId),
}

impl Change {
    /// Which page it is about.
    #[must_use]
    pub fn page(&self) -> PageId {
        match self {
            Change::Delta(delta) => delta.page(),
            Change::Image(frame) => frame.page(),
            Change::Spilled { page, .. } | Change::Blob { page, .. } | Change::Free(page) => *page,
        }
    }
}

impl Pager {
    /// Publishes changes, at most one a page, as those of the commit at `ts`. Under the commit gate.
    pub fn publish(&self, changes: impl IntoIterator<Item = Change>, ts: Timestamp) {
        let mut noted = Noted::default();
        let mut guard = self.pin();
        let mut dirty = self.dirty.lock();
        for (count, change) in changes.into_iter().enumerate() {
            dirty.insert(change.page());
            if count % PINNED == PINNED - 1 {
                guard.repin();
            }
            self.publish_one(change, ts, &mut noted, &guard);
        }
        drop(dirty);
        drop(guard);
        self.note(noted);
    }

    /// Files what was noted while publishing, each kind under one lock.
    fn note(&self, noted: Noted) {
        let Noted { superseded, with_delta, ripe } = noted;
        if !superseded.is_empty() {
            self.supersede(superseded);
        }
        if !with_delta.is_empty() {
            let mut pages = self.delta_pages.lock();
            with_delta.into_iter().for_each(|page| pages.push(page));
        }
        if !ripe.is_empty() {
            let mut pages = self.ripe_pages.lock();
            ripe.into_iter().for_each(|page| pages.push(page));
        }
    }

    fn publish_one(&self, change: Change, ts: Timestamp, noted: &mut Noted, guard: &Guard) {
        let page = change.page();
        let spilled = matches!(change, Change::Spilled { .. });
        let base = match change {
            Change::Delta(delta) => {
                self.publish_delta(delta, ts, noted, guard);
                return;
            }
            Change::Image(mut frame) => {
                let (level, bound) = {
                    let [front, heap] = self.layout.packed_parts(frame.payload());
                    (self.layout.level(frame.payload()), self.bound(front.len() + heap.len()))
                };
                let header = frame.header_mut();
                header.ts = ts;
                header.level = level;
                header.accumulated = bound;
                Base::Frame(frame)
            }
            Change::Spilled { page, tree, location, len } => {
                let mut stub = OwnedVersion::stub(page, tree, ts, 0, &self.pool);
                stub.header_mut().set_location(location);
                stub.header_mut().accumulated = self.bound(len as usize);
                Base::Heap(stub)
            }
            Change::Blob { page, tree, location, len } => {
                let mut stub = OwnedVersion::stub(page, tree, ts, len, &self.pool);
                stub.header_mut().set_location(location);
                Base::Heap(stub)
            }
            Change::Free(page) => Base::Heap(OwnedVersion::tombstone(page, ts, &self.pool)),
        };
        let link = self.link(page);
        let _stripe = self.stripe(page);
        let below = self.versioned(page, guard);
        let old = Segment::at(link, Some(ts), guard).map(|old| Superseded { page, from: old.base.ts });
        debug_assert!(chain::newest(link, guard) < ts || below == Word::Empty, "timestamps of {page} grow");
        match base {
            Base::Frame(frame) => {
                frame.version().next.store(below);
                link.store(frame.publish(guard));
            }
            Base::Heap(version) => {
                version.version().next.store(below);
                link.store(version.publish(guard));
            }
        }
        chain::debug_check(link, page, guard);
        // A place on disk without anything below will do without a stub one day.
        noted.superseded.extend(old.or_else(|| spilled.then(|| Superseded::stub(page))));
    }

    fn publish_delta(&self, mut delta: OwnedVersion, ts: Timestamp, noted: &mut Noted, guard: &Guard) {
        let page = delta.page();
        let link = self.link(page);
        let deltas = {
            let _stripe = self.stripe(page);
            let Word::Version(head) = self.versioned(page, guard) else {
                unreachable!("a delta over {page}, which does not exist")
            };
            assert!(
                head.kind != Kind::Tombstone && (head.deltas as usize) < crate::MAX_DELTAS,
                "a delta over {head:?}"
            );
            let header = delta.header_mut();
            header.ts = ts;
            // The bytes fit: whoever made the delta checked that against a bound. The bound itself may have grown since,
            // when an image was consolidated or evicted, and then says that nothing more fits.
            let below = if is_planted(Bug::DeltaCostForgotten) { 0 } else { head.accumulated };
            header.accumulated = (header.accumulated + below).min(self.capacity() as u32);
            header.deltas = head.deltas + 1;
            delta.version().next.store(Word::Version(head));
            link.store(delta.publish(guard));
            chain::debug_check(link, page, guard);
            head.deltas as usize + 1
        };
        match deltas {
            1 => noted.with_delta.push(page),
            RIPE => noted.ripe.push(page),
            _ => {}
        }
    }

    /// The page's link, with a raw location turned into a stub: what something can be laid over. Under the stripe lock.
    fn versioned<'g>(&self, page: PageId, guard: &'g Guard) -> Word<'g> {
        let link = self.link(page);
        let word = link.load(guard);
        let Word::OnDisk(location) = word else { return word };
        let mut stub = OwnedVersion::stub(page, TreeId(0), Timestamp(0), 0, &self.pool);
        stub.header_mut().set_location(location);
        stub.header_mut().accumulated = self.bound_on_disk(location);
        let word = stub.publish(guard);
        link.store(word);
        word
    }
}

/// What has to be filed about pages that were published.
#[derive(Default)]
struct Noted {
    superseded: Vec<Superseded>,
    /// Pages that got their first delta.
    with_delta: Vec<PageId>,
    /// Pages that have so many deltas now that they had better be merged.
    ripe: Vec<PageId>,
}

enum Base {
    Frame(OwnedFrame),
    Heap(OwnedVersion),
}

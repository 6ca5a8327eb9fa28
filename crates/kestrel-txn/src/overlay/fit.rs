//! The end of an overlay: whether it fits on the newest state, and what is to be published of it.

use kestrel_btree::{Corruption, PageView, level};
use kestrel_check::planted::{Bug, is_planted};
use kestrel_pager::{Change, Fault, Heads, MAX_DELTAS, OwnedFrame, OwnedVersion, PageId, Timestamp, TreeId};

use super::{Overlay, Private, PrivateBlob};
use crate::page::{Page, ReadError};

/// Whether an overlay can be published over the newest state.
pub(crate) enum Fit {
    Ready,
    /// Somebody changed what it stands on: its operations have to be run again.
    Stale,
    /// This page has to be read to tell.
    NotResident(PageId),
}

impl Overlay {
    /// Leaves that got a private delta with deletions, by a key of each.
    pub(crate) fn thinned_leaves(&self) -> Vec<(TreeId, Vec<u8>)> {
        let thinned = |private: &Private| {
            let (tree, payload) = match private {
                Private::Delta { tree, payload, .. } => (*tree, payload.as_slice()),
                Private::Sealed(delta) => (delta.tree(), delta.payload()),
                _ => return None,
            };
            let op = kestrel_btree::ops(payload).find(|op| op.change == kestrel_btree::Change::Delete)?;
            Some((tree, op.key.to_vec()))
        };
        self.pages.values().filter_map(thinned).collect()
    }

    /// Moves deltas to the memory in which they will be published, so that it need not be had under the commit gate. The overlay
    /// is not changed any more.
    pub(crate) fn seal(&mut self) {
        for (&id, private) in &mut self.pages {
            let Private::Delta { tree, payload, cost } = private else { continue };
            if kestrel_btree::ops(payload).next().is_some() {
                *private = Private::Sealed(self.pager.new_delta(id, *tree, payload, *cost));
            }
        }
    }

    /// Whether the overlay, which is sealed, can be published as it is. Under the commit gate the answer stays true.
    pub(crate) fn fit(&self) -> Fit {
        let mut changed = Vec::new();
        {
            let heads = self.pager.heads();
            for (&id, private) in &self.pages {
                match private {
                    Private::Whole { born: true, .. } | Private::Spilled { born: true, .. } => {}
                    Private::Whole { frame, .. }
                        if is_planted(Bug::ReplaySkipped) && self.could_overwrite(id, frame) => {}
                    Private::Whole { .. } | Private::Spilled { .. } | Private::Freed => {
                        if heads.newest(id) > self.at {
                            return Fit::Stale;
                        }
                    }
                    // Without operations.
                    Private::Delta { .. } => {}
                    Private::Sealed(delta) => match self.has_room(&heads, delta) {
                        None => return Fit::Stale,
                        Some(timestamp) if timestamp > self.at => changed.push(delta),
                        Some(_) => {}
                    },
                }
            }
        }
        for delta in changed {
            match self.still_covers(delta) {
                Fit::Ready => {}
                unfit => return unfit,
            }
        }
        Fit::Ready
    }

    /// Where a stale page could be published without breaking the tree, which would be noticed at once: the newest state of
    /// that leaf has the same bounds. For [`Bug::ReplaySkipped`] only.
    fn could_overwrite(&self, id: PageId, frame: &OwnedFrame) -> bool {
        let Ok(newest) = self.pager.read(id, Timestamp::MAX) else { return false };
        let (newest, stale) = (Page::Published(newest), Page::Private(frame.payload()));
        let bounds = |page: &Page<'_>| {
            let leaf = kestrel_btree::MergedLeaf::new(page).ok().filter(|_| level(page.node()) == 0)?;
            Some((leaf.low_fence(page).to_vec(), leaf.high_fence(page).map(<[u8]>::to_vec)))
        };
        bounds(&stale).is_some_and(|stale| bounds(&newest) == Some(stale))
    }

    /// The newest change of the delta's leaf, if the leaf exists and has room for the delta.
    fn has_room(&self, heads: &Heads<'_>, delta: &OwnedVersion) -> Option<Timestamp> {
        let head = heads.head(delta.page())?;
        let has_room = (head.deltas as usize) < MAX_DELTAS
            && (head.accumulated + delta.cost()) as usize <= self.pager.capacity();
        has_room.then_some(head.timestamp)
    }

    /// Whether a leaf that was changed still is the one that covers a delta's keys. What they held is unchanged: that was
    /// validated.
    fn still_covers(&self, delta: &OwnedVersion) -> Fit {
        let page = match self.pager.read(delta.page(), Timestamp::MAX) {
            Ok(page) => page,
            Err(Fault::NotResident(page)) => return Fit::NotResident(page),
            Err(Fault::Missing(_)) => return Fit::Stale,
        };
        let same_tree = page.tree() == delta.tree();
        let page = Page::Published(page);
        if !same_tree || level(page.node()) > 0 {
            return Fit::Stale;
        }
        let Ok(leaf) = kestrel_btree::MergedLeaf::new(&page) else { return Fit::Stale };
        let (low, high) = (leaf.low_fence(&page), leaf.high_fence(&page));
        let covered = kestrel_btree::ops(delta.payload())
            .all(|op| low <= op.key && high.is_none_or(|high| op.key < high));
        if covered { Fit::Ready } else { Fit::Stale }
    }

    /// What is to be published. Cannot fail.
    pub(crate) fn into_changes(mut self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.pages.len() + self.blobs.len());
        for (id, private) in std::mem::take(&mut self.pages) {
            changes.push(match private {
                Private::Sealed(delta) => Change::Delta(delta),
                Private::Delta { tree, payload, cost } => {
                    if kestrel_btree::ops(&payload).next().is_none() {
                        continue;
                    }
                    Change::Delta(self.pager.new_delta(id, tree, &payload, cost))
                }
                Private::Whole { frame, .. } => Change::Image(frame),
                Private::Spilled { tree, location, len, .. } => {
                    Change::Spilled { page: id, tree, location, len }
                }
                Private::Freed => Change::Free(id),
            });
        }
        for (page, blob) in std::mem::take(&mut self.blobs) {
            if blob.freed {
                self.pager.discard(blob.location, Some(blob.len));
                self.pager.release_page(page);
            } else {
                let PrivateBlob { tree, location, len, .. } = blob;
                changes.push(Change::Blob { page, tree, location, len });
            }
        }
        changes
    }
}

/// A commit seals an overlay after its last change.
pub(super) fn sealed(id: PageId) -> ReadError {
    debug_assert!(false, "{id} was sealed");
    Corruption::at(id, "a page is changed that is about to be published").into()
}

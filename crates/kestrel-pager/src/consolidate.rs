//! Consolidation: merging the deltas of a page's newest segment into a new base. Changes no logical state: the image has
//! the timestamp of the newest delta, and the old segment stays as long as a snapshot may need it.

use kestrel_check::planted::{Bug, is_planted};

use crate::chain::{self, Segment};
use crate::link::Word;
use crate::prune::Superseded;
use crate::snapshots::Need;
use crate::version::Kind;
use crate::{Error, Fault, OwnedFrame, PageId, Pager, Timestamp};

impl Pager {
    /// Merges the deltas of the newest state of a page, if it has any. Returns whether none are left; `false` if another
    /// thread changed the page meanwhile. To be called with nothing pinned.
    ///
    /// # Errors
    /// No frame can be had, or the page cannot be read.
    pub fn consolidate(&self, page: PageId) -> Result<bool, Error> {
        if self.head(page).is_none_or(|head| head.deltas == 0) {
            return Ok(true);
        }
        let frame = self.take_frame(page, crate::TreeId(0))?;
        self.consolidate_into(page, frame)
    }

    /// As [`Pager::consolidate`], with a frame. Getting that may have taken long: the page may have been freed meanwhile, and be
    /// something else by now, a large value even.
    fn consolidate_into(&self, page: PageId, mut frame: OwnedFrame) -> Result<bool, Error> {
        let state = match self.read(page, Timestamp::MAX) {
            Ok(state) => state,
            Err(Fault::Missing(_)) => return Ok(true),
            Err(Fault::NotResident(_)) => {
                drop(frame);
                self.load_newest(page)?;
                return Ok(false);
            }
        };
        if state.delta_count() == 0 {
            return Ok(true);
        }
        let used = state.with_layers(|layers| self.layout.consolidate(layers, frame.payload_mut()))?;
        let (level, bound) = (self.layout.level(frame.payload()), self.bound(used));
        let header = frame.header_mut();
        header.tree = state.tree();
        header.ts = state.timestamp();
        header.level = level;
        header.accumulated = bound;

        let live = self.snapshots.live_set();
        let guard = self.pin();
        let link = self.link(page);
        let kept = {
            let stripe = self.stripe(page);
            let top = Segment::at(link, None, &guard);
            // What was merged is still all there is: same newest delta, same base (which an eviction may have replaced).
            let Some(old) = top.filter(|top| {
                top.head.ts == state.timestamp()
                    && top.head.deltas as usize == state.delta_count()
                    && top.base.kind == Kind::Image
            }) else {
                return Ok(false);
            };
            let from = old.base.ts;
            let unneeded = live.need(from, state.timestamp()) == Need::Nobody;
            if unneeded || is_planted(Bug::ConsolidatedUnderSnapshot) {
                frame.version().next.store(old.base.header().next.load(&guard));
                stripe.cut(link, (old.head, old.len(&guard)), frame.publish(&guard), &guard);
                None
            } else {
                frame.version().next.store(Word::Version(old.head));
                link.store(frame.publish(&guard));
                Some(Superseded { page, from })
            }
        };
        chain::debug_check(link, page, &guard);
        drop(state);
        guard.flush();
        drop(guard);
        if kept.is_some() {
            self.supersede(kept);
        }
        Ok(true)
    }

    /// Merges at most `limit` pages that have got more than one delta. Returns whether there are more.
    ///
    /// # Errors
    /// As [`Pager::consolidate`].
    pub fn merge_ripe(&self, limit: usize) -> Result<bool, Error> {
        for _ in 0..limit {
            let Some(page) = self.ripe_pages.lock().pop() else { return Ok(false) };
            // If somebody is at work on it, it ripens again or is merged by its writer.
            self.consolidate(page)?;
        }
        Ok(true)
    }

    /// Merges pages that have had deltas for the longest time, at most `limit` of them; only while deltas take more than
    /// half of their memory, unless there is time to merge them `all`. Returns whether there is more to do.
    ///
    /// # Errors
    /// As [`Pager::consolidate`].
    pub fn relieve_deltas(&self, limit: usize, all: bool) -> Result<bool, Error> {
        for _ in 0..limit {
            if !all && self.pool.delta_bytes() <= self.pool.delta_limit() / 2 {
                return Ok(false);
            }
            let Some(page) = self.delta_pages.lock().pop() else { return Ok(false) };
            let merged = self.consolidate(page);
            if !matches!(merged, Ok(true)) {
                self.delta_pages.lock().push(page);
            }
            merged?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kestrel_io::MemoryStorage;

    use crate::tests::toy;
    use crate::{Change, Error, Timestamp, TreeId};

    #[test]
    fn a_page_that_became_a_large_value_while_a_frame_was_waited_for_is_left_alone() {
        let pager = toy::fresh(&Arc::new(MemoryStorage::new()), toy::OPTIONS);
        let page = pager.allocate_page().unwrap();
        let (location, _) = pager.write_blob(page, TreeId(1), &[7; 5000]).unwrap();
        let large = Change::Blob { page, tree: TreeId(1), location, len: 5000 };
        pager.publish([large], Timestamp(1));
        let frame = pager.take_frame(page, TreeId(0)).unwrap();
        assert!(!pager.consolidate_into(page, frame).unwrap());
        assert!(pager.consolidate(page).unwrap(), "there is nothing to merge");
        // It is damage to whom a tree leads there.
        assert!(matches!(pager.load(page, Timestamp(1)), Err(Error::Corrupted { .. })));
    }
}

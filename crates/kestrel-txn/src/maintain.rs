//! Background work, in bounded steps that any thread may do.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::Ordering;

use kestrel_btree::{FreeStep, free_tree_step, merge_leaf};

use crate::Error;
use crate::core::Core;
use crate::draft::Draft;

/// Pages of a dropped tree that are freed at once.
const FREED: usize = 64;
/// Pages whose deltas are merged at once.
const RELIEVED: usize = 32;
/// Steps without commits and without other work, after which there is time.
const QUIET: u64 = 8;
/// Leaves that are looked at at once.
const MERGED: usize = 8;

impl Core {
    /// One step: prune what nobody sees, keep frames and delta memory in reserve, prepare the next log segment, merge leaves
    /// that have become small, free dropped trees. Returns whether there is more to do at once.
    pub(crate) fn maintain(&self) -> Result<bool, Error> {
        self.maintain_step().map_err(|error| self.judge(error))
    }

    fn maintain_step(&self) -> Result<bool, Error> {
        let mut more = self.pager.prune(256);
        if self.check_writable().is_err() {
            return Ok(more);
        }
        self.wal.prepare_spare()?;
        if self.pager.is_short_of_frames() {
            self.pager.evict(64)?;
            more |= self.pager.is_short_of_frames();
        }
        self.pager.store().sync_some()?;
        self.pager.warm_frames();
        more |= self.pager.relieve_deltas(RELIEVED, false)?;
        more |= self.merge_thinned()?;
        more |= self.free_dropped()?;
        if !more && self.is_quiet() {
            more = self.pager.relieve_deltas(RELIEVED, true)?;
        }
        Ok(more)
    }

    /// One step of what only makes later calls cheaper: merges pages that have got more than one delta. Returns whether there
    /// is more.
    pub(crate) fn tidy(&self) -> Result<bool, Error> {
        self.check_open()?;
        if self.check_writable().is_err() {
            return Ok(false);
        }
        Ok(self.pager.merge_ripe(RELIEVED)?)
    }

    /// Whether nothing was committed for some steps that found nothing else to do: then there is time to make reading
    /// cheaper.
    fn is_quiet(&self) -> bool {
        let commits = self.counters.commits.load(Ordering::Relaxed);
        if self.counters.commits_seen.swap(commits, Ordering::Relaxed) != commits {
            self.counters.quiet_steps.store(0, Ordering::Relaxed);
        }
        self.counters.quiet_steps.fetch_add(1, Ordering::Relaxed) >= QUIET
    }

    /// Merges leaves that lost entries by deltas; those that were changed in place were merged then.
    fn merge_thinned(&self) -> Result<bool, Error> {
        for _ in 0..MERGED {
            let Some((tree, key)) = self.thinned.lock().pop_front() else { return Ok(false) };
            let snapshot = self.snapshots().begin_applied();
            let Some(state) = self.catalogue.get(tree, snapshot.at()) else { continue };
            let mut draft = Draft::new(&self.pager, &self.catalogue, snapshot.at());
            draft.overlay.work_on(tree);
            if merge_leaf(&mut draft.overlay, state.root, &key)? && !draft.overlay.is_empty() {
                // If somebody was faster, the leaf comes back when it loses more.
                self.publish_structure(draft)?;
                // If an earlier commit is still on its way to the disk, that will raise it.
                self.advance_visible();
            }
        }
        Ok(true)
    }

    /// Frees some pages of a dropped tree that no snapshot sees any more.
    fn free_dropped(&self) -> Result<bool, Error> {
        let freed = self.free_step();
        // Not under the lock of checkpoints, which wakers may want.
        self.advance_visible();
        freed
    }

    fn free_step(&self) -> Result<bool, Error> {
        // A checkpoint must not see a tree in the catalogue without its root.
        let Some(_one) = self.checkpointing.try_lock() else { return Ok(false) };
        let live = self.snapshots().live_set();
        let unseen_from = match is_planted(Bug::DroppedTreeForgottenTooEarly) {
            true => self.snapshots().applied(),
            false => live.oldest(),
        };
        let Some(tree) = self.catalogue.next_to_free(unseen_from) else { return Ok(false) };
        let snapshot = self.snapshots().begin_applied();
        let mut draft = Draft::new(&self.pager, &self.catalogue, snapshot.at());
        draft.overlay.work_on(tree.id);
        let done = free_tree_step(&mut draft.overlay, tree.root, FREED)? == FreeStep::Done;
        if self.publish_structure(draft)? && done {
            self.catalogue.forget(tree.id);
        }
        Ok(true)
    }
}

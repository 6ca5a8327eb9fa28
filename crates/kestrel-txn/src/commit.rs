//! Committing: validate, take a timestamp, append the record, publish; then make it durable and visible.

use kestrel_check::sync::atomic::Ordering;
use std::sync::Arc;

use kestrel_pager::{Change, Timestamp, TreeId};

use crate::core::Core;
use crate::draft::{Adoptable, Draft};
use crate::key_range::{KeyRange, KeySet};
use crate::overlay::Fit;
use crate::window::CommitEntry;
use crate::write_txn::State;
use crate::{Durability, Error, ErrorKind};

/// How often operations are run again outside the gate before that is done inside, where nobody can get in between.
const ATTEMPTS_OUTSIDE: usize = 2;
/// Superseded segments that a commit looks at: a few more than it usually makes.
const PRUNE_MIN: usize = 32;
/// Leaves that wait to be merged; beyond, they are found when they lose more.
const THINNED_MAX: usize = 4096;

impl Core {
    /// Commits a transaction. On an error nothing was published, unless the log failed.
    pub(crate) fn commit(
        self: &Arc<Self>,
        mut state: State,
        durability: Durability,
    ) -> Result<Timestamp, Error> {
        if state.journal.is_empty() {
            // What it read may not be durable yet; the caller may act on it.
            let at = state.snapshot.at();
            drop(state);
            self.visibility.reach(at, &self.wal, self.snapshots()).map_err(|error| self.fail(error))?;
            return Ok(at);
        }
        self.check_writable()?;
        if state.journal.refers_to_blobs {
            // The log is going to say that they are there.
            self.pager.store().sync().map_err(|error| self.fail(error.into()))?;
        }
        let (ts, pruned) = self.publish(&mut state, durability)?;
        drop(state);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        let reached = self.visibility.reach(ts, &self.wal, self.snapshots());
        reached.map_err(|error| self.fail(error))?;
        self.bound_log_buffer()?;
        self.pager.prune(pruned.max(PRUNE_MIN));
        Ok(ts)
    }

    /// Everything that happens under the gate. Returns the timestamp, and how many pages were changed.
    fn publish(
        self: &Arc<Self>,
        state: &mut State,
        durability: Durability,
    ) -> Result<(Timestamp, usize), Error> {
        let mut attempts = 0;
        // Of the newest draft; the transaction's own snapshot stays what validation starts from.
        let mut newer = None;
        let gate = loop {
            let gate = self.gate.lock();
            self.check_open()?;
            self.check_writable()?;
            self.validate(state)?;
            match state.draft.overlay.fit() {
                Fit::Ready => break gate,
                Fit::NotResident(page) if attempts < ATTEMPTS_OUTSIDE => {
                    drop(gate);
                    self.pager.load(page, Timestamp::MAX)?;
                }
                Fit::Stale if attempts < ATTEMPTS_OUTSIDE => {
                    drop(gate);
                    newer = Some(self.replay(state)?);
                }
                _ => {
                    newer = Some(self.replay(state)?);
                    break gate;
                }
            }
            attempts += 1;
        };
        let ts = self.snapshots().applied().next();
        let appended = state.journal.commit(&self.wal, ts)?;
        // From here on nothing fails.
        let draft = std::mem::replace(&mut state.draft, Draft::new(&self.pager, &self.catalogue, ts));
        let Draft { overlay, trees, .. } = draft;
        self.note_thinned(overlay.thinned_leaves());
        let changes = overlay.into_changes();
        let count = changes.len();
        self.pager.publish(changes, ts);
        self.catalogue.apply(&trees, ts, || self.snapshots().live_set());
        self.visibility.add(ts, appended.end, durability == Durability::Immediate);
        {
            let mut window = self.window.lock();
            if window.is_watched() {
                let keys = state.journal.written_keys();
                window.add(CommitEntry::new(ts, keys.into_iter(), state.journal.written_ranges()));
            }
            self.snapshots().set_applied(ts);
        }
        drop(gate);
        drop(newer);
        Ok((ts, count))
    }

    fn validate(&self, state: &State) -> Result<(), Error> {
        let since = state.snapshot.at();
        let window = self.window.lock();
        if !window.has_news(since) {
            return Ok(());
        }
        let written = state.journal.written_keys();
        let read = state.reads.iter().flat_map(KeySet::points);
        let read_ranges = state.reads.iter().flat_map(|reads| reads.ranges().to_vec());
        let ranges: Vec<KeyRange> = state.journal.written_ranges().into_iter().chain(read_ranges).collect();
        let points = written.iter().copied().chain(read);
        window.validate(since, points, ranges.into_iter()).inspect_err(|_| {
            self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Makes the draft again, over the newest state.
    fn replay(&self, state: &mut State) -> Result<kestrel_pager::Snapshot, Error> {
        self.counters.replays.fetch_add(1, Ordering::Relaxed);
        let snapshot = self.snapshots().begin_applied();
        let mut draft = Draft::new(&self.pager, &self.catalogue, snapshot.at());
        let blobs = state.draft.overlay.take_blobs();
        let mut adoptable: Adoptable =
            blobs.into_iter().map(|(location, (page, len))| (location, (Some(page), len))).collect();
        let replayed = state.journal.replay(&self.wal, |operation| draft.apply(operation, &mut adoptable));
        // Values that went to the log whole were written again.
        for (location, (page, len)) in adoptable {
            self.pager.discard(location, Some(len));
            if let Some(page) = page {
                self.pager.release_page(page);
            }
        }
        replayed.map_err(|error| match error.kind() {
            // The tree it wrote to was dropped; validation had no way to tell before the first look.
            ErrorKind::TreeNotFound => Error::conflict("dropped a tree that this one used"),
            _ => error,
        })?;
        state.draft = draft;
        Ok(snapshot)
    }

    /// Hands buffered log records to the system if they are many. Who commits faster than the disk writes, waits here.
    pub(crate) fn bound_log_buffer(&self) -> Result<(), Error> {
        if self.wal.buffered_bytes() > self.options.log_buffer() {
            self.wal.write_buffered().map_err(|error| self.fail(error.into()))?;
        }
        Ok(())
    }

    fn note_thinned(&self, leaves: Vec<(TreeId, Vec<u8>)>) {
        if leaves.is_empty() {
            return;
        }
        let mut thinned = self.thinned.lock();
        for leaf in leaves {
            if thinned.len() < THINNED_MAX {
                thinned.push_back(leaf);
            }
        }
    }

    /// Publishes a change of structure that changes no content: it has a timestamp of its own and no log record, as
    /// recovery makes its own structure. Returns whether it was published; `false` if somebody was faster.
    pub(crate) fn publish_structure(&self, draft: Draft) -> Result<bool, Error> {
        let gate = self.gate.lock();
        self.check_open()?;
        self.check_writable()?;
        if !matches!(draft.overlay.fit(), Fit::Ready) {
            return Ok(false);
        }
        let ts = self.snapshots().applied().next();
        let changes: Vec<Change> = draft.overlay.into_changes();
        self.pager.publish(changes, ts);
        self.visibility.add(ts, self.wal.end(), false);
        self.snapshots().set_applied(ts);
        drop(gate);
        // If an earlier commit is still on its way to the disk, that will raise it.
        self.visibility.advance(&self.wal, self.snapshots());
        Ok(true)
    }
}

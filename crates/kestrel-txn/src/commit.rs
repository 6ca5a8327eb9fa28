//! Committing: validate, take a timestamp, append the record, publish; then make it durable and visible.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::Ordering;
use kestrel_check::sync::{lock_soon, yield_now};
use std::sync::Arc;

use kestrel_pager::{Change, Stay, Timestamp, TreeId};
use kestrel_wal::Lsn;

use crate::conflict::{Access, ConflictPlace};
use crate::core::Core;
use crate::draft::{Adoptable, Draft};
use crate::overlay::Fit;
use crate::state::State;
use crate::validation::Validation;
use crate::{CommitTicket, Durability, Error, ErrorKind};

/// How often operations are run again outside the gate before that is done inside, where nobody can get in between.
const ATTEMPTS_OUTSIDE: usize = 2;
/// Superseded segments that a commit looks at: a few more than it usually makes.
const PRUNE_MIN: usize = 32;
/// Leaves that wait to be merged; beyond, they are found when they lose more.
const THINNED_MAX: usize = 4096;

impl Core {
    /// Commits a transaction. On an error nothing was published, unless the log failed.
    pub(crate) fn commit(self: &Arc<Self>, state: State, durability: Durability) -> Result<Timestamp, Error> {
        if state.journal.is_empty() {
            // What it read may not be durable yet; the caller may act on it.
            let at = self.end_unchanged(state);
            self.reach(at)?;
            return Ok(at);
        }
        let (ts, pruned, _stay) = self.publish_and_end(state, durability)?;
        self.reach(ts)?;
        // It is as durable as was asked for, and visible: if the log fails now, that is for the next commit to say.
        let _ = self.bound_log_buffer();
        self.pager.prune_some(pruned.max(PRUNE_MIN));
        Ok(ts)
    }

    /// Commits a transaction as `Immediate`, and leaves the waiting to a ticket. On an error nothing was published.
    pub(crate) fn commit_async(self: &Arc<Self>, state: State) -> Result<CommitTicket, Error> {
        if state.journal.is_empty() {
            return Ok(CommitTicket::new(Arc::clone(self), self.end_unchanged(state)));
        }
        let (ts, pruned, _stay) = self.publish_and_end(state, Durability::Immediate)?;
        // Another thread may have flushed it before it was published, and could not make it visible then.
        self.advance_visible();
        // From here on only the ticket can fail, and it knows from the log whether it does.
        let _ = self.bound_unsynced();
        self.pager.prune_some(pruned.max(PRUNE_MIN));
        Ok(CommitTicket::new(Arc::clone(self), ts))
    }

    /// Waits for the disk if very much is published and not durable. It is not visible either, so all that it replaced is kept,
    /// and the memory for that is bounded.
    fn bound_unsynced(&self) -> Result<(), Error> {
        self.bound_log_buffer()?;
        let may_wait = self.wal.end().0.saturating_sub(self.options.log_buffer() as u64);
        if self.wal.durable().0 < may_wait { self.flush_log_to(Lsn(may_wait)) } else { Ok(()) }
    }

    /// Returns what a transaction without changes saw.
    fn end_unchanged(&self, state: State) -> Timestamp {
        let at = state.snapshot.at();
        drop(state);
        self.leave_window(at);
        at
    }

    /// Publishes what a transaction did; whatever comes of that, it has ended. The caller, which may write to the files, stays.
    fn publish_and_end(
        self: &Arc<Self>,
        mut state: State,
        durability: Durability,
    ) -> Result<(Timestamp, usize, Stay), Error> {
        let began = state.snapshot.at();
        let published = self.publish(&mut state, durability).map_err(|error| self.judge(error));
        let stay = state.into_snapshot().into_stay();
        let (ts, pruned) = published.inspect_err(|_| self.leave_window(began))?;
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        Ok((ts, pruned, stay))
    }

    /// Everything up to the end of the gate. Returns the timestamp, and how many pages were changed; the transaction then
    /// has left the window. After an error it has not.
    fn publish(
        self: &Arc<Self>,
        state: &mut State,
        durability: Durability,
    ) -> Result<(Timestamp, usize), Error> {
        self.check_writable()?;
        if state.journal.refers_to_blobs && !is_planted(Bug::LargeValueNotSynced) {
            // The log is going to say that they are there.
            self.pager.store().sync()?;
        }
        let began = state.snapshot.at();
        let mut validation = Validation::new(began);
        if self.window.lock().is_watched() {
            validation.written(&state.journal);
        }
        let mut attempts = 0;
        // Of the newest draft; the transaction's own snapshot stays what validation starts from.
        let mut newer = None;
        let gate = loop {
            // All that can be done before the gate; under it, little is left.
            state.draft.overlay.seal();
            self.validate(state, &mut validation)?;
            let gate = lock_soon(&self.gate);
            self.check_open()?;
            self.check_writable()?;
            if validation.is_behind(Timestamp(self.newest_claims.load(Ordering::Acquire))) {
                self.validate(state, &mut validation)?;
            }
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
                    state.draft.overlay.seal();
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
        let thinned = overlay.thinned_leaves();
        let changes = overlay.into_changes();
        let count = changes.len();
        let too_early = is_planted(Bug::TimestampBeforePages);
        if too_early {
            self.visibility.add(ts, appended.end, durability == Durability::Immediate);
            self.snapshots().set_applied(ts);
            yield_now();
        }
        self.pager.publish(changes, ts);
        self.catalogue.apply(&trees, ts, || self.snapshots().live_set());
        if !too_early {
            self.visibility.add(ts, appended.end, durability == Durability::Immediate);
        }
        let (crowded, forgotten) = {
            let mut window = self.window.lock();
            let mut crowded = false;
            if window.is_watched() {
                // Made already, unless the other transaction began a moment ago.
                crowded = window.add(ts, validation.written(&state.journal));
                self.newest_claims.store(ts.0, Ordering::Release);
            }
            self.snapshots().set_applied(ts);
            (crowded, window.close(began))
        };
        drop(gate);
        drop((newer, forgotten));
        self.note_thinned(thinned);
        if crowded {
            self.relieve_window();
        }
        Ok((ts, count))
    }

    /// Makes the draft again, over the newest state.
    fn replay(&self, state: &mut State) -> Result<kestrel_pager::Snapshot, Error> {
        self.counters.replays.fetch_add(1, Ordering::Relaxed);
        let snapshot = self.snapshots().begin_applied();
        let mut draft = Draft::new(&self.pager, &self.catalogue, snapshot.at());
        if is_planted(Bug::CountsKeptOnReplay) {
            draft.trees.entries.clone_from(&state.draft.trees.entries);
        }
        let blobs = state.draft.overlay.take_blobs();
        let mut adoptable: Adoptable =
            blobs.into_iter().map(|(location, (page, len))| (location, (Some(page), len))).collect();
        let replayed = state.journal.replay(&self.wal, |operation| {
            draft.apply(operation, &mut adoptable).map_err(|error| match error.kind() {
                // Dropped since the last validation: the next one would say so, too.
                ErrorKind::TreeNotFound => {
                    self.count_conflict();
                    let tree = operation.tree();
                    let began = state.snapshot.at();
                    state.draft.conflict_at(tree, ConflictPlace::Tree, began, Access::Written, true).into()
                }
                _ => error,
            })
        });
        // Values that went to the log whole were written again.
        for (location, (page, len)) in adoptable {
            self.pager.discard(location, Some(len));
            if let Some(page) = page {
                self.pager.release_page(page);
            }
        }
        replayed?;
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
    /// recovery makes its own structure. Returns whether it was published; `false` if somebody was faster. The caller
    /// advances `visible`, when it holds no lock any more.
    pub(crate) fn publish_structure(&self, mut draft: Draft) -> Result<bool, Error> {
        draft.overlay.seal();
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
        Ok(true)
    }
}

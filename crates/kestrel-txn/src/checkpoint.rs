//! Checkpoints: what they hold besides pages, and when the log may forget.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::Ordering;

use kestrel_pager::CheckpointState;
use kestrel_wal::Lsn;

use crate::Error;
use crate::core::Core;

/// Log segments that a closed database keeps to be used again.
const SPARES_CLOSED: usize = 2;
/// Room of replaced values that is not worth a checkpoint, however small the database is.
const WAITING_MIN: u64 = 16 << 20;

impl Core {
    /// Whether a checkpoint is due: the log has grown so much, or large values that were replaced take so much room that
    /// only a checkpoint can free.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        let since = self.wal.end().0.saturating_sub(self.checkpoint_lsn.load(Ordering::Relaxed));
        let waiting = self.pager.store().waiting_bytes();
        since + waiting >= self.options.checkpoint_log_bytes
            || waiting >= WAITING_MIN.max(self.pager.store().live_bytes() / 2)
    }

    /// Writes a checkpoint of the newest state. Nobody is blocked but other checkpoints.
    ///
    /// 1. Begin: blobs that are released from here on wait for the next checkpoint.
    /// 2. Under the gate: choose C and L, take the dirty set, the catalogue, and the oldest fragment of a running
    ///    transaction.
    /// 3. Flush the log to L: a checkpoint is never ahead of the log.
    /// 4. Write pages.
    /// 5. Finish: durable.
    /// 6. Let the log forget what lies before L and before that fragment, as its transaction may commit behind L.
    ///
    /// A crash before the end of 5 leaves the previous checkpoint and a log that reaches back to it.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        let written = self.or_fail_by_panic(|| self.write_checkpoint());
        // Whom step 3 passed is woken now: wakers are foreign code, which may want to checkpoint, or to close.
        self.advance_visible();
        // A lack of room or of memory, damage, and what could not be read leave everything as it was.
        written.map_err(|error| self.judge(error))
    }

    fn write_checkpoint(&self) -> Result<(), Error> {
        let _one = self.checkpointing.lock();
        self.check_writable()?;
        let mut writer = self.pager.store().begin_checkpoint().map_err(Error::from)?;
        let (snapshot, dirty, state, keep) = {
            let _gate = self.gate.lock();
            let lsn = self.wal.end();
            let snapshot = self.snapshots().begin_applied();
            let state = CheckpointState {
                lsn: lsn.0,
                timestamp: snapshot.at(),
                next_page: self.pager.page_limit(),
                user: self.catalogue.encode(snapshot.at()),
            };
            let oldest = self.fragments.lock().keys().next().copied();
            let oldest = oldest.filter(|_| !is_planted(Bug::FragmentsForgotten));
            (snapshot, self.pager.take_dirty(), state, oldest.map_or(lsn, |fragment| fragment.min(lsn)))
        };
        let lsn = Lsn(state.lsn);
        let written = self
            .flush_log_quietly(lsn)
            .and_then(|()| Ok(self.pager.write_dirty(&dirty, snapshot.at(), &mut writer, |_| {})?))
            .and_then(|()| {
                if is_planted(Bug::LogForgottenTooEarly) {
                    self.wal.recycle(keep, SPARES_CLOSED)?;
                }
                Ok(writer.finish(&state)?)
            });
        if let Err(error) = written {
            self.pager.restore_dirty(&dirty);
            return Err(error);
        }
        drop(snapshot);
        self.checkpoint_lsn.store(lsn.0, Ordering::Relaxed);
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        // As many as are used until the next checkpoint: none of them has to be filled with zeros then. A closed database keeps few.
        let spares =
            if self.check_open().is_err() { SPARES_CLOSED } else { self.options.log_spares(&self.wal) };
        self.wal.recycle(keep, spares).map_err(Error::from)?;
        Ok(())
    }
}

//! The engine: one open database.

use kestrel_check::sync::atomic::Ordering;
use std::sync::Arc;

use kestrel_io::Storage;

use crate::core::{self, Core};
use crate::reader::Reader;
use crate::share::Shares;
use crate::{EngineOptions, Error, Isolation, ReadTxn, TreeRef, Value, VerifyReport, WriteTxn, recovery};

/// An open database. Clones are handles of the same; all methods may be called from any thread.
///
/// The engine starts no threads: somebody has to call [`Engine::flush_log`], [`Engine::maintain`] and
/// [`Engine::checkpoint`] now and then.
#[derive(Clone, Debug)]
pub struct Engine {
    core: Arc<Core>,
    /// For transactions, which begin and end often.
    shares: Shares<Core>,
}

/// Figures of an engine as of now; counts are since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions that committed changes.
    pub commits: u64,
    /// Commits that were refused because of a conflict.
    pub conflicts: u64,
    /// Commits whose operations were run again because others had changed their pages.
    pub replays: u64,
    /// Checkpoints that were completed.
    pub checkpoints: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages and large values that exist.
    pub pages: u64,
    /// Pages that memory has room for.
    pub frames: u64,
    /// Of these, how many hold nothing.
    pub free_frames: u64,
    /// Bytes of changes that were not merged into pages yet.
    pub delta_bytes: u64,
    /// Bytes of notes about pages that are not in memory.
    pub stub_bytes: u64,
    /// Bytes of memory that the engine may take.
    pub memory_budget: u64,
    /// Bytes of the data file.
    pub data_file_bytes: u64,
    /// Bytes of it that are free.
    pub data_free_bytes: u64,
    /// Bytes of log that is kept.
    pub log_bytes: u64,
    /// Syncs of the log.
    pub log_syncs: u64,
    /// Bytes that were appended to the log.
    pub log_appended_bytes: u64,
    /// Bytes of it that are in memory only.
    pub log_buffered_bytes: u64,
    /// Pages that were read from the data file.
    pub page_loads: u64,
    /// Pages that were written to the data file.
    pub page_writes: u64,
    /// Snapshots that are in use.
    pub live_snapshots: u64,
    /// By how many commits the oldest of them lags behind.
    pub oldest_snapshot_lag: u64,
    /// Superseded states of pages that are kept.
    pub superseded: u64,
    /// The newest commit that new read transactions see.
    pub visible: u64,
}

impl Engine {
    /// Opens the database in a storage, or creates it.
    ///
    /// # Errors
    /// Another process has it open; it is damaged, of a newer format, or no database; the options make no sense; or the
    /// storage failed.
    pub fn open(storage: Arc<dyn Storage>, options: &EngineOptions) -> Result<Engine, Error> {
        let core = Arc::new(recovery::open(storage, options)?);
        let shares = Shares::new(&core);
        Ok(Engine { core, shares })
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Begins a read transaction at the newest visible commit. Takes constant time.
    ///
    /// # Errors
    /// The database was closed.
    pub fn begin_read(&self) -> Result<ReadTxn, Error> {
        ReadTxn::new(self.shares.take())
    }

    /// The value under a key in the newest visible state: as a read transaction for this one call, at less cost.
    ///
    /// # Errors
    /// The database was closed, the tree was dropped, or a page cannot be read.
    pub fn get(&self, tree: &TreeRef, key: &[u8]) -> Result<Option<Value>, Error> {
        let snapshot = core::begin_visible(&*self.core)?;
        Reader::new(&snapshot).get(tree.root_at(snapshot.at())?, key)
    }

    /// Whether a key is there in the newest visible state.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn contains(&self, tree: &TreeRef, key: &[u8]) -> Result<bool, Error> {
        let snapshot = core::begin_visible(&*self.core)?;
        Reader::new(&snapshot).contains(tree.root_at(snapshot.at())?, key)
    }

    /// Begins a write transaction at the newest commit, visible or not.
    ///
    /// # Errors
    /// The database was closed, or takes no writes after a failure.
    pub fn begin_write(&self, isolation: Isolation) -> Result<WriteTxn, Error> {
        WriteTxn::new(&self.core, isolation)
    }

    /// Makes every commit so far durable.
    ///
    /// # Errors
    /// The database was closed; or the log could not be written or synced, and takes no more writes then.
    pub fn flush_log(&self) -> Result<(), Error> {
        let _stay = self.core.stay()?;
        self.core.flush_log()
    }

    /// Does one bounded step of background work. Returns whether there is more to do at once.
    ///
    /// # Errors
    /// The database was closed, or reading or writing failed.
    pub fn maintain(&self) -> Result<bool, Error> {
        let _stay = self.core.stay()?;
        self.core.maintain()
    }

    /// Does one bounded step of background work that only makes later calls cheaper, and that writers do by themselves when it
    /// becomes urgent: for processors that have nothing else to do. Returns whether there is more.
    ///
    /// # Errors
    /// The database was closed, or reading failed.
    pub fn tidy(&self) -> Result<bool, Error> {
        self.core.tidy()
    }

    /// Whether the log has grown so much that a checkpoint is due.
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        self.core.is_checkpoint_due()
    }

    /// Writes a checkpoint; readers and writers go on meanwhile.
    ///
    /// # Errors
    /// The database was closed, or reading or writing failed; the previous checkpoint then stays in force.
    pub fn checkpoint(&self) -> Result<(), Error> {
        let _stay = self.core.stay()?;
        self.core.checkpoint()
    }

    /// Makes everything durable, writes a checkpoint, and refuses all further calls. Transactions that are open can still
    /// read; when the last of them has ended, and the last call that is under way in another thread, the files may be opened
    /// again.
    ///
    /// # Errors
    /// What kept the log or the checkpoint from being written. What was acknowledged is safe all the same.
    pub fn close(&self) -> Result<(), Error> {
        let first = {
            let _gate = self.core.gate.lock();
            self.core.set_closed()
        };
        if !first {
            return Ok(());
        }
        let closed = self.core.flush_log().and_then(|()| self.core.checkpoint());
        self.core.release_lock();
        closed
    }

    /// Figures as of now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let core = &*self.core;
        let (pager, log) = (core.pager.statistics(), core.wal.stats());
        let live = core.snapshots().live_set();
        let count = |counter: &kestrel_check::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            commits: count(&core.counters.commits),
            conflicts: count(&core.counters.conflicts),
            replays: count(&core.counters.replays),
            checkpoints: count(&core.counters.checkpoints),
            page_size: core.pager.store().page_size().into(),
            pages: pager.pages,
            frames: pager.frames,
            free_frames: pager.free_frames,
            delta_bytes: pager.delta_bytes,
            stub_bytes: pager.stub_bytes,
            memory_budget: core.options.memory_budget,
            data_file_bytes: core.pager.store().file_bytes(),
            data_free_bytes: core.pager.store().free_bytes(),
            log_bytes: core.wal.retained_bytes(),
            log_syncs: log.syncs,
            log_appended_bytes: log.appended_bytes,
            log_buffered_bytes: core.wal.buffered_bytes() as u64,
            page_loads: pager.page_loads,
            page_writes: pager.page_writes,
            live_snapshots: core.snapshots().live() as u64,
            oldest_snapshot_lag: live.visible().0.saturating_sub(live.oldest().0),
            superseded: pager.superseded,
            visible: live.visible().0,
        }
    }

    /// Reads everything and checks every rule that can be checked. Calls `progress` with the number of pages done and,
    /// about, of all pages. Damage is reported, not an error.
    ///
    /// # Errors
    /// The database was closed, or memory could not be had.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, Error> {
        let _stay = self.core.stay()?;
        self.core.verify(progress)
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.core.pager.store().page_size()
    }

    /// The longest key, in bytes.
    #[must_use]
    pub fn max_key_len(&self) -> usize {
        kestrel_btree::max_key(self.core.pager.capacity())
    }

    /// The longest value, in bytes.
    #[must_use]
    pub fn max_value_len(&self) -> u64 {
        u32::MAX.into()
    }
}

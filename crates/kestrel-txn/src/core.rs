//! What all handles of one open database share.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use kestrel_check::sync::Mutex;
use kestrel_io::{Storage, StorageLock};
use kestrel_pager::{Pager, Snapshot, Snapshots, Stay, Timestamp, TreeId};
use kestrel_wal::{Lsn, Wal};

use crate::catalogue::Catalogue;
use crate::share::Share;
use crate::visibility::Visibility;
use crate::window::Window;
use crate::{EngineOptions, Error, ErrorKind};

/// The database. Locks are taken in the order `checkpointing`, `gate`, `window`, and those of a room last. None of them is held
/// while wakers are called: whoever [flushes](Core::flush_log), [advances](Core::advance_visible) or [fails](Core::fail) has
/// let go of them.
///
/// What commits write is on cache lines of its own: a get reads `pager` and `closed`.
pub(crate) struct Core {
    pub(crate) options: EngineOptions,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) pager: Arc<Pager>,
    pub(crate) wal: CachePadded<Wal>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) visibility: CachePadded<Visibility>,
    /// The commit gate: one thread at a time validates, takes a timestamp, appends and publishes.
    pub(crate) gate: CachePadded<Mutex<()>>,
    pub(crate) window: CachePadded<Mutex<Window>>,
    /// The newest commit that the window ever held. Written under the gate, so under the gate it tells without the window's
    /// lock whether anything came.
    pub(crate) newest_claims: CachePadded<AtomicU64>,
    pub(crate) checkpointing: Mutex<()>,
    /// First fragments of transactions that are still running: the log must reach back to them.
    pub(crate) fragments: CachePadded<Mutex<BTreeMap<Lsn, usize>>>,
    /// Leaves that lost entries, to be merged in the background, by a key of each.
    pub(crate) thinned: CachePadded<Mutex<Thinned>>,
    /// From where the log is needed.
    pub(crate) checkpoint_lsn: AtomicU64,
    /// Set once.
    closed: AtomicBool,
    /// Set once, when there is a failure: so that commits need not ask for its lock.
    failed: AtomicBool,
    /// Why nothing can be written any more.
    failure: CachePadded<Mutex<Option<Error>>>,
    pub(crate) counters: CachePadded<Counters>,
    /// While it lives nobody else may open the files. Closing hands it to the registry of snapshots, so that it goes when no
    /// transaction is left.
    lock: Mutex<Option<Box<dyn StorageLock>>>,
}

/// Leaves by a key of each.
pub(crate) type Thinned = VecDeque<(TreeId, Vec<u8>)>;

/// Counted events since the database was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    /// `commits` when the background last looked.
    pub(crate) commits_seen: AtomicU64,
    /// Steps in the background since then.
    pub(crate) quiet_steps: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) replays: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
}

impl Core {
    pub(crate) fn new(
        options: EngineOptions,
        storage: Arc<dyn Storage>,
        (pager, wal, catalogue): (Arc<Pager>, Wal, Arc<Catalogue>),
        checkpoint_lsn: Lsn,
        lock: Box<dyn StorageLock>,
    ) -> Core {
        let window = Window::new(options.window_bytes());
        Core {
            options,
            storage,
            pager,
            wal: CachePadded::new(wal),
            catalogue,
            visibility: CachePadded::default(),
            gate: CachePadded::default(),
            window: CachePadded::new(Mutex::new(window)),
            checkpointing: Mutex::new(()),
            fragments: CachePadded::default(),
            thinned: CachePadded::default(),
            checkpoint_lsn: AtomicU64::new(checkpoint_lsn.0),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            newest_claims: CachePadded::default(),
            failure: CachePadded::default(),
            counters: CachePadded::default(),
            lock: Mutex::new(Some(lock).filter(|_| !is_planted(Bug::LockLetGo))),
        }
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots> {
        self.pager.snapshots()
    }

    /// The files may be opened again when the last open transaction has ended. After [`Core::set_closed`]: no transaction begins
    /// any more.
    pub(crate) fn release_lock(&self) {
        let lock = self.lock.lock().take();
        if let Some(lock) = lock {
            self.snapshots().entrust(Box::new(lock));
        }
    }

    /// Holds the locks that are private here.
    #[cfg(test)]
    pub(crate) fn lock_for_tests(&self) -> impl Sized + '_ {
        (self.failure.lock(), self.lock.lock())
    }

    /// Makes everything in the log durable, and what was waiting for that visible.
    pub(crate) fn flush_log(&self) -> Result<(), Error> {
        self.flush_log_to(self.wal.end())
    }

    /// The same up to a place.
    pub(crate) fn flush_log_to(&self, to: Lsn) -> Result<(), Error> {
        self.sync_log(to)?;
        self.advance_visible();
        Ok(())
    }

    /// Returns once `visible` has reached a published timestamp, making durable what stands in the way.
    pub(crate) fn reach(&self, ts: Timestamp) -> Result<(), Error> {
        debug_assert!(self.snapshots().applied() >= ts, "nothing else can become visible");
        while self.snapshots().visible() < ts {
            match self.advance_visible() {
                Some(end) => self.sync_log(end)?,
                None => debug_assert!(self.snapshots().visible() >= ts, "all that is published was passed"),
            }
        }
        Ok(())
    }

    /// See [`Visibility::advance`].
    pub(crate) fn advance_visible(&self) -> Option<Lsn> {
        self.visibility.advance(&self.wal, self.snapshots())
    }

    /// The same for who holds a lock that wakers may want: wakes nobody. When that is free again, the caller
    /// [advances](Core::advance_visible) or, after an error, [fails](Core::fail).
    pub(crate) fn flush_log_quietly(&self, to: Lsn) -> Result<(), Error> {
        self.wal.flush(to)?;
        self.visibility.raise(&self.wal, self.snapshots());
        Ok(())
    }

    /// The caller advances `visible` if it succeeds.
    fn sync_log(&self, to: Lsn) -> Result<(), Error> {
        // Whoever waited for this finds `visible` raised when it wakes up, and asks for no lock.
        let mut led = false;
        let synced = self.or_fail_by_panic(|| {
            self.wal.flush_with(to, || {
                self.visibility.raise(&self.wal, self.snapshots());
                led = true;
            })
        });
        if led {
            self.advance_visible();
        }
        synced.map_err(|error| self.fail(error.into()))
    }

    /// Does something that writes and syncs. If the storage panics, nobody is left waiting.
    pub(crate) fn or_fail_by_panic<T>(&self, write: impl FnOnce() -> T) -> T {
        let unfinished = Unfinished { core: self };
        let written = write();
        std::mem::forget(unfinished);
        written
    }

    /// An error if the database was closed. A transaction looks after it has registered its snapshot: see
    /// [`Snapshots`], "The last one out".
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::closed()) } else { Ok(()) }
    }

    /// For calls that may write to the files or read them: nobody else may open these meanwhile. An error if the database was
    /// closed.
    pub(crate) fn stay(&self) -> Result<Stay<&Snapshots>, Error> {
        let stay = Stay::begin(&**self.snapshots());
        self.check_open()?;
        Ok(stay)
    }

    /// Under the commit gate. Returns whether it was open.
    pub(crate) fn set_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// An error if nothing can be written.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(self.pager.store().check_usable()?);
        }
        match &*self.failure.lock() {
            None => Ok(()),
            Some(failure) => Err(Error::new(
                ErrorKind::ReadOnly,
                format!(
                    "the database takes no more writes since {failure}; check the disk and open it again"
                ),
            )),
        }
    }

    /// What an error of something that may have written means. If it left in doubt what the files hold, it is the
    /// database's [last](Core::fail); all others concern the call that met them. As for [`Core::fail`], no lock is held.
    pub(crate) fn judge(&self, error: Error) -> Error {
        let in_doubt =
            self.wal.is_poisoned() || self.wal.names_in_doubt() || self.pager.store().check_usable().is_err();
        if in_doubt { self.fail(error) } else { error }
    }

    /// After a write or sync whose outcome is unknown: nothing is written any more, what is there can be read. Calls wakers, so
    /// no lock is held that these may want.
    pub(crate) fn fail(&self, error: Error) -> Error {
        let first = self.failure.lock().get_or_insert_with(|| error.clone()).clone();
        self.failed.store(!is_planted(Bug::FailureForgotten), Ordering::Release);
        // Otherwise what is in the log can still become durable.
        if self.wal.is_poisoned() {
            self.visibility.fail(&first, &self.wal, self.snapshots());
        }
        error.ending_writes()
    }
}

impl AsRef<Snapshots> for Core {
    fn as_ref(&self) -> &Snapshots {
        self.pager.snapshots()
    }
}

impl AsRef<Snapshots> for Share<Core> {
    fn as_ref(&self) -> &Snapshots {
        self.pager.snapshots()
    }
}

/// A snapshot of what is visible, which counts no reference but what `core` is; an error if the database was closed.
#[inline]
pub(crate) fn begin_visible<R>(core: R) -> Result<Snapshot<R>, Error>
where
    R: AsRef<Snapshots> + Deref<Target = Core>,
{
    let snapshot = Snapshot::visible(core);
    snapshot.registry().check_open()?;
    Ok(snapshot)
}

/// Dropped by a panic of the storage, it tells those who wait for the log that there is nothing to wait for.
struct Unfinished<'a> {
    core: &'a Core,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.core.fail(Error::new(ErrorKind::Io, "a write or sync panicked"));
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("pager", &self.pager).field("wal", &self.wal).finish_non_exhaustive()
    }
}

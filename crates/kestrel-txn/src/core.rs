//! What all handles of one open database share.

use kestrel_check::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kestrel_check::sync::Mutex;
use kestrel_io::StorageLock;
use kestrel_pager::{Pager, Snapshots, TreeId};
use kestrel_wal::{Lsn, Wal};

use crate::catalogue::Catalogue;
use crate::visibility::Visibility;
use crate::window::Window;
use crate::{EngineOptions, Error, ErrorKind};

/// The database. Locks are taken in the order `checkpointing`, `gate`, `window`, and those of a room last.
pub(crate) struct Core {
    pub(crate) options: EngineOptions,
    pub(crate) pager: Arc<Pager>,
    pub(crate) wal: Wal,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) visibility: Visibility,
    /// The commit gate: one thread at a time validates, takes a timestamp, appends and publishes.
    pub(crate) gate: Mutex<()>,
    pub(crate) window: Mutex<Window>,
    pub(crate) checkpointing: Mutex<()>,
    /// First fragments of transactions that are still running: the log must reach back to them.
    pub(crate) fragments: Mutex<BTreeMap<Lsn, usize>>,
    /// Leaves that lost entries, to be merged in the background, by a key of each.
    pub(crate) thinned: Mutex<VecDeque<(TreeId, Vec<u8>)>>,
    /// From where the log is needed.
    pub(crate) checkpoint_lsn: AtomicU64,
    closed: AtomicBool,
    /// Why nothing can be written any more.
    failure: Mutex<Option<Error>>,
    pub(crate) counters: Counters,
    /// Taken away by closing; each open transaction has a share of it.
    lock: Mutex<Option<SharedLock>>,
}

/// Nobody else may open the files while a share of it lives.
pub(crate) type SharedLock = Arc<dyn StorageLock>;

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
        (pager, wal, catalogue): (Arc<Pager>, Wal, Arc<Catalogue>),
        checkpoint_lsn: Lsn,
        lock: Box<dyn StorageLock>,
    ) -> Core {
        let window = Window::new(options.window_bytes());
        Core {
            options,
            pager,
            wal,
            catalogue,
            visibility: Visibility::default(),
            gate: Mutex::new(()),
            window: Mutex::new(window),
            checkpointing: Mutex::new(()),
            fragments: Mutex::default(),
            thinned: Mutex::default(),
            checkpoint_lsn: AtomicU64::new(checkpoint_lsn.0),
            closed: AtomicBool::new(false),
            failure: Mutex::new(None),
            counters: Counters::default(),
            lock: Mutex::new(Some(lock.into())),
        }
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots> {
        self.pager.snapshots()
    }

    /// A share of the lock on the files; an error if the database was closed.
    pub(crate) fn share_lock(&self) -> Result<SharedLock, Error> {
        self.check_open()?;
        self.lock.lock().clone().ok_or_else(Error::closed)
    }

    /// The files may be opened again when the last open transaction has ended.
    pub(crate) fn release_lock(&self) {
        *self.lock.lock() = None;
    }

    pub(crate) fn flush_log(&self) -> Result<(), Error> {
        self.wal.flush(self.wal.end()).map_err(|error| self.fail(error.into()))
    }

    /// An error if the database was closed.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::closed()) } else { Ok(()) }
    }

    /// Under the commit gate. Returns whether it was open.
    pub(crate) fn set_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// An error if nothing can be written.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        match &*self.failure.lock() {
            None => Ok(self.pager.store().check_usable()?),
            Some(failure) => Err(Error::new(
                ErrorKind::ReadOnly,
                format!(
                    "the database takes no more writes since {failure}; check the disk and open it again"
                ),
            )),
        }
    }

    /// After a write or sync whose outcome is unknown: nothing is written any more, what is there can be read.
    pub(crate) fn fail(&self, error: Error) -> Error {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            *failure = Some(error.clone());
        }
        error
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("pager", &self.pager).field("wal", &self.wal).finish_non_exhaustive()
    }
}

//! Write transactions.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::{AtomicU64, Ordering};
use std::ops::Bound;
use std::sync::Arc;

use kestrel_btree::{BlobRef, Seek, TOGETHER};
use kestrel_check::sync::Mutex;
use kestrel_pager::{Timestamp, TreeId};
use kestrel_wal::Lsn;

use crate::catalogue::TreeInfo;
use crate::core::Core;
use crate::cursor::{Cursor, Source};
use crate::draft::{Draft, check_name, tree_not_found};
use crate::journal::Journal;
use crate::key_range::{KeyRange, limits};
use crate::operation::Operation;
use crate::page::LeafView;
use crate::scan_claim::{Reads, ScanClaim, SharedClaim};
use crate::state::State;
use crate::undo::{Compensation, SavepointId, Undo};
use crate::{CommitTicket, Durability, Error, ErrorKind, Isolation, Value};

/// A write transaction: a snapshot, and changes that nobody else sees before it commits. Any number can be open at once;
/// whether they conflict is found out when they commit. Dropping it aborts it.
///
/// After an error that is not the fault of an argument (a full disk, an exhausted budget, damage) the transaction can
/// only be aborted; the database is as it was before the transaction.
#[derive(Debug)]
pub struct WriteTxn {
    shared: Arc<Shared>,
}

/// What a transaction and its cursors share.
pub(crate) struct Shared {
    core: Arc<Core>,
    /// `None` once the transaction has ended.
    state: Mutex<Option<State>>,
    /// Counts changes, so that cursors know when to look again.
    generation: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl WriteTxn {
    pub(crate) fn new(core: &Arc<Core>, isolation: Isolation) -> Result<WriteTxn, Error> {
        core.check_open()?;
        core.check_writable()?;
        let snapshot = {
            let mut window = core.window.lock();
            let snapshot = core.snapshots().begin_applied();
            window.open(snapshot.at());
            snapshot
        };
        let limit = core.options.operation_buffer(core.wal.max_payload());
        let state = State {
            draft: Draft::new(&core.pager, &core.catalogue, snapshot.at()),
            journal: Journal::new(limit),
            reads: (isolation == Isolation::Serializable).then(|| Reads::new(limit)),
            undo: Undo::new(core.options.undo_bytes()),
            broken: None,
            snapshot,
        };
        let shared =
            Shared { core: Arc::clone(core), state: Mutex::new(Some(state)), generation: AtomicU64::new(0) };
        let txn = WriteTxn { shared: Arc::new(shared) };
        // Now that its snapshot is registered. If the database was closed meanwhile, dropping the transaction ends it.
        core.check_open()?;
        Ok(txn)
    }

    /// The newest commit that its snapshot contains.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.shared.state.lock().as_ref().map_or(Timestamp(0), |state| state.snapshot.at())
    }

    /// The tree of that name, if there is one. Takes time proportional to the number of trees.
    ///
    /// # Errors
    /// The transaction failed before.
    pub fn tree(&self, name: &str) -> Result<Option<TreeId>, Error> {
        self.shared.with(|state| Ok(state.find_tree(name)))
    }

    /// All trees, by name.
    ///
    /// # Errors
    /// The transaction failed before.
    pub fn trees(&self) -> Result<Vec<TreeInfo>, Error> {
        self.shared.with(|state| {
            let trees = state.draft.list();
            if let Some(reads) = &mut state.reads {
                reads.keys.add_range(KeyRange::whole(TreeId::CATALOGUE));
                // Their numbers of entries as well.
                for tree in &trees {
                    reads.keys.add_range(KeyRange::whole(tree.id));
                }
            }
            Ok(trees)
        })
    }

    /// The value under a key, as this transaction left it.
    ///
    /// # Errors
    /// There is no such tree, or a page cannot be read.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Value>, Error> {
        self.shared.with(|state| {
            state.note_read(tree, key);
            state.draft.get(tree, key)
        })
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// There is no such tree, or a page cannot be read.
    pub fn contains(&self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        self.shared.with(|state| {
            state.note_read(tree, key);
            state.draft.contains(tree, key)
        })
    }

    /// How many keys a tree holds. Takes constant time. Under serializable isolation, a later commit that writes to the
    /// tree is a conflict.
    ///
    /// # Errors
    /// There is no such tree.
    pub fn len(&self, tree: TreeId) -> Result<u64, Error> {
        self.shared.with(|state| {
            if let Some(reads) = &mut state.reads {
                reads.keys.add_range(KeyRange::whole(tree));
            }
            state.draft.len(tree)
        })
    }

    /// The entries of a tree whose keys lie within bounds, in order, from both ends, as the transaction leaves them while
    /// the cursor moves.
    ///
    /// # Errors
    /// There is no such tree.
    pub fn range(&self, tree: TreeId, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Result<Cursor, Error> {
        self.shared.with(|state| state.draft.len(tree))?;
        Cursor::new(Source::Write(Arc::clone(&self.shared)), tree, low, high)
    }

    /// Stores a value under a key, whether it was there or not.
    ///
    /// # Errors
    /// There is no such tree, the key or the value is too long, or no room was left.
    pub fn put(&self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.shared.put(tree, key, value)
    }

    /// Stores a value under a key and returns the one before.
    ///
    /// # Errors
    /// As [`WriteTxn::put`].
    pub fn insert(&self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<Option<Value>, Error> {
        self.shared.change(|core, state| {
            state.draft.check_key(key)?;
            state.note_read(tree, key);
            let old = state.draft.get(tree, key)?;
            state.put(core, tree, key, value)?;
            Ok(old)
        })
    }

    /// Removes a key and returns its value.
    ///
    /// # Errors
    /// There is no such tree, or no room was left.
    pub fn remove(&self, tree: TreeId, key: &[u8]) -> Result<Option<Value>, Error> {
        self.shared.change(|_, state| {
            state.note_read(tree, key);
            let old = state.draft.get(tree, key)?;
            if old.is_some() {
                state.delete(tree, key)?;
            }
            Ok(old)
        })
    }

    /// Removes a key; returns whether it was there.
    ///
    /// # Errors
    /// There is no such tree, or no room was left.
    pub fn delete(&self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        self.shared.change(|_, state| {
            state.note_read(tree, key);
            state.delete(tree, key)
        })
    }

    /// Removes the keys within bounds; returns how many there were. Whole leaves go without a look at single keys.
    ///
    /// # Errors
    /// There is no such tree, or no room was left.
    pub fn remove_range(&self, tree: TreeId, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Result<u64, Error> {
        for bound in [low, high] {
            if let Bound::Included(key) | Bound::Excluded(key) = bound {
                self.shared.with(|state| state.draft.check_key(key))?;
            }
        }
        let Some((low, high)) = limits(low, high) else {
            // That there is such a tree is seen all the same.
            return self.range(tree, low, high).map(|_| 0);
        };
        self.shared.change(|_, state| {
            state.note_old_range(tree, &low, high.as_deref())?;
            let removed = state.draft.delete_range(tree, &low, high.as_deref())?;
            state.journal.add(&Operation::DeleteRange { tree, low: &low, high: high.as_deref() });
            Ok(removed)
        })
    }

    /// Creates a tree.
    ///
    /// # Errors
    /// There is one of that name, or the name is empty or longer than 1024 bytes.
    pub fn create_tree(&self, name: &str) -> Result<TreeId, Error> {
        check_name(name)?;
        self.shared.change(|core, state| {
            if state.find_tree(name).is_some() {
                return Err(tree_exists(name));
            }
            let id = core.catalogue.allocate_id();
            state.draft.create_tree(id, name)?;
            if !is_planted(Bug::SavepointForgetsTree) {
                state.note_undo(Compensation::Drop(id));
            }
            state.journal.add(&Operation::CreateTree { tree: id, name });
            Ok(id)
        })
    }

    /// Drops a tree with all its entries. Takes constant time; its pages are freed in the background.
    ///
    /// # Errors
    /// There is no tree of that name.
    pub fn drop_tree(&self, name: &str) -> Result<(), Error> {
        self.shared.change(|_, state| {
            let id = state.find_tree(name).ok_or_else(|| tree_not_found(&format!("tree {name:?}")))?;
            state.draft.drop_tree(id)?;
            state.note_undo(Compensation::Restore { tree: id, name: name.to_owned() });
            state.journal.add(&Operation::DropTree { tree: id });
            Ok(())
        })
    }

    /// Gives a tree another name.
    ///
    /// # Errors
    /// There is no tree of the old name, there is one of the new name, or that is empty or longer than 1024 bytes.
    pub fn rename_tree(&self, from: &str, to: &str) -> Result<(), Error> {
        check_name(to)?;
        self.shared.change(|_, state| {
            let id = state.find_tree(from).ok_or_else(|| tree_not_found(&format!("tree {from:?}")))?;
            if state.find_tree(to).is_some_and(|other| other != id) {
                return Err(tree_exists(to));
            }
            state.draft.rename_tree(id, to)?;
            state.note_undo(Compensation::Rename { tree: id, name: from.to_owned() });
            state.journal.add(&Operation::RenameTree { tree: id, name: to });
            Ok(())
        })
    }

    /// Marks a place to which the transaction can be rolled back. While one is open, changes cost a look at what they
    /// replace.
    ///
    /// # Errors
    /// The transaction failed before.
    pub fn savepoint(&self) -> Result<SavepointId, Error> {
        self.shared.with(|state| Ok(state.undo.savepoint()))
    }

    /// Takes back everything since a savepoint, which stays; later ones are gone. Costs what the undone work cost.
    ///
    /// # Errors
    /// The savepoint is gone, or no room was left.
    pub fn rollback_to(&self, savepoint: SavepointId) -> Result<(), Error> {
        self.shared.change(|core, state| {
            for compensation in state.undo.roll_back(savepoint)? {
                state.compensate(core, compensation)?;
                state.stream_if_full(core)?;
            }
            Ok(())
        })
    }

    /// Forgets a savepoint and those after it; what was done since stays.
    ///
    /// # Errors
    /// The savepoint is gone.
    pub fn release(&self, savepoint: SavepointId) -> Result<(), Error> {
        self.shared.with(|state| state.undo.release(savepoint))
    }

    /// Publishes the changes, all or none. Returns the commit's timestamp.
    ///
    /// # Errors
    /// A conflict, after which the transaction is to be run again; no room in the log; or a failed write, after which the
    /// database takes no more writes, and whether the commit survives is known when it is opened again.
    pub fn commit(self, durability: Durability) -> Result<Timestamp, Error> {
        self.end(|core, state| core.commit(state, durability))
    }

    /// Publishes the changes, all or none, without waiting for the disk: the ticket resolves once they are durable and
    /// visible. Only if very much is on its way to the disk, or large values are among the changes, the call itself waits.
    ///
    /// # Errors
    /// A conflict, after which the transaction is to be run again; or no room in the log. Nothing was published then.
    pub fn commit_async(self) -> Result<CommitTicket, Error> {
        self.end(Core::commit_async)
    }

    fn end<T>(self, commit: impl FnOnce(&Arc<Core>, State) -> Result<T, Error>) -> Result<T, Error> {
        let state = self.shared.state.lock().take();
        let Some(mut state) = state else { return Err(Error::closed()) };
        let core = &self.shared.core;
        let at = state.snapshot.at();
        let fragment = state.journal.first_fragment();
        let ready = match state.broken.take() {
            Some(error) => Err(failed_before(&error)),
            None => state.settle(),
        };
        let result = match ready {
            Ok(()) => commit(core, state),
            Err(error) => {
                drop(state);
                core.leave_window(at);
                Err(error)
            }
        };
        // Only now that it is published or gone: a checkpoint that begins later holds what it did.
        core.forget_fragment(fragment);
        result
    }

    /// Throws the changes away; what dropping does, too.
    pub fn abort(self) {}
}

impl Drop for WriteTxn {
    fn drop(&mut self) {
        let state = self.shared.state.lock().take();
        if let Some(state) = state {
            let (at, fragment) = (state.snapshot.at(), state.journal.first_fragment());
            drop(state);
            self.shared.core.leave_window(at);
            self.shared.core.forget_fragment(fragment);
        }
    }
}

impl Core {
    /// A write transaction needs no validation any more. Its draft is gone already.
    pub(crate) fn leave_window(&self, at: Timestamp) {
        // Dropped outside of the lock.
        let _forgotten = self.window.lock().close(at);
    }

    /// The log need not reach back to a transaction's first fragment any more.
    fn forget_fragment(&self, first: Option<Lsn>) {
        if let Some(lsn) = first {
            self.fragments.lock().remove(&lsn);
        }
    }
}

impl Shared {
    /// Uses the state for something that changes nothing, or only what is remembered.
    fn with<T>(&self, use_state: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        self.with_unsettled(|state| {
            state.settle()?;
            use_state(state)
        })
    }

    /// As [`Shared::with`], where the draft need not know of the puts that wait.
    fn with_unsettled<T>(&self, use_state: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.state.lock();
        let state = state.as_mut().ok_or_else(ended)?;
        match &state.broken {
            Some(error) => Err(failed_before(error)),
            None => {
                let used = use_state(state);
                if used.as_ref().is_err_and(|error| error.kind() == ErrorKind::TreeNotFound) {
                    state.note_absence();
                }
                used
            }
        }
    }

    /// Puts wait for others and go down the tree together, unless something has to be known of them before.
    fn put(&self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let put = self.with_unsettled(|state| {
            state.draft.check_key(key)?;
            if state.undo.is_on() || !state.draft.is_small(key, value) {
                return Ok(Put::Alone);
            }
            state.draft.check_tree(tree)?;
            self.generation.fetch_add(1, Ordering::Release);
            let waiting = state.journal.add_waiting(&Operation::Put { tree, key, value });
            Ok(if waiting < TOGETHER && !state.journal.is_full() { Put::Waits } else { Put::CompletesGroup })
        })?;
        match put {
            Put::Waits => Ok(()),
            Put::CompletesGroup => self.change(|_, _| Ok(())),
            Put::Alone => self.change(|core, state| state.put(core, tree, key, value)),
        }
    }

    fn change<T>(&self, make: impl FnOnce(&Core, &mut State) -> Result<T, Error>) -> Result<T, Error> {
        self.with(|state| {
            let noted = state.undo.len();
            self.generation.fetch_add(1, Ordering::Release);
            let made =
                make(&self.core, state).and_then(|made| state.stream_if_full(&self.core).map(|()| made));
            made.inspect_err(|error| {
                state.undo.forget_from(noted);
                if !is_harmless(error.kind()) {
                    state.broken = Some(error.clone());
                }
            })
        })
    }

    pub(crate) fn leaf(&self, tree: TreeId, seek: Seek<'_>) -> Result<LeafView, Error> {
        self.with(|state| state.draft.leaf(tree, seek))
    }

    /// A place for a cursor to note what it has seen, if reads count.
    pub(crate) fn begin_scan(&self, claim: impl FnOnce() -> ScanClaim) -> Result<Option<SharedClaim>, Error> {
        self.with(|state| Ok(state.reads.as_mut().map(|reads| reads.begin_scan(claim()))))
    }

    pub(crate) fn read_blob(&self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        self.with(|state| state.draft.overlay.read_blob(blob))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// What becomes of a put.
enum Put {
    Waits,
    CompletesGroup,
    Alone,
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the transaction has ended; begin another")
}

fn failed_before(error: &Error) -> Error {
    Error::new(error.kind(), format!("the transaction failed before ({error}); abort it and run it again"))
}

fn tree_exists(name: &str) -> Error {
    Error::new(ErrorKind::TreeExists, format!("there is a tree {name:?} already; choose another name"))
}

/// Errors that are found before anything changes.
fn is_harmless(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::KeyTooLong
            | ErrorKind::ValueTooLong
            | ErrorKind::TreeExists
            | ErrorKind::TreeNotFound
            | ErrorKind::SavepointGone
            | ErrorKind::InvalidArgument
    )
}

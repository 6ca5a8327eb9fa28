//! Opening: creating the files, or finding the newest checkpoint and running what the log has behind it.
//!
//! Creation: 1. A marker file, synced. 2. The log. 3. The data file under another name, which gets its own when it is
//! complete. 4. The marker goes. A crash before the end of 3 leaves the marker and no data file: the next opening
//! starts afresh. A data file with a marker is complete. Log files with neither are those of a database whose data file
//! was lost: they are left alone.
//!
//! Recovery changes nothing that is durable: it writes only to free space, so it can crash at any depth.

// Bytes from a disk are met here: nothing is indexed, cut short or added up without a check.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use kestrel_check::planted::{Bug, is_planted};
use kestrel_io::{LockError, Storage};
use kestrel_pager::{CheckpointState, PageStore, Pager, StoreOptions, Timestamp, TreeId};
use kestrel_wal::{LogOptions, Lsn, Recovery, Wal};

use crate::catalogue::Catalogue;
use crate::core::Core;
use crate::draft::{Adoptable, Draft, check_name};
use crate::layout::NodeLayout;
use crate::operation::{Operation, operations};
use crate::record::{COMMIT, FRAGMENT, RecordHeader, damaged, fragments, read_fragment};
use crate::{EngineOptions, Error, ErrorKind};

const LOCK: &str = "kestrel.lock";
const MARKER: &str = "kestrel.creating";
const LOG_PREFIX: &str = "kestrel.log.";

pub(crate) fn open(storage: Arc<dyn Storage>, options: &EngineOptions) -> Result<Core, Error> {
    options.check()?;
    let lock = storage.lock(LOCK).map_err(|error| locked(&*storage, error))?;
    if !PageStore::exists(&*storage)? {
        create(&storage, options)?;
    }
    remove_marker(&*storage)?;
    let (store, state) = PageStore::open(&*storage)?;
    let segment_size = options.segment_size(store.page_size());
    let log = LogOptions { segment_size, database: store.database() };
    let recovery = Wal::recover(Arc::clone(&storage), &log, Lsn(state.lsn))?;
    options.check_budget(store.page_size())?;
    let pager_options = options.pager(store.page_size());
    let pager = Arc::new(Pager::new(store, &state, pager_options, Box::new(NodeLayout))?);
    let catalogue = Arc::new(Catalogue::decode(&state.user, state.timestamp)?);
    replay(&recovery, &pager, &catalogue, &state)?;
    let wal = recovery.into_wal()?;
    Ok(Core::new(options.clone(), storage, (pager, wal, catalogue), Lsn(state.lsn), lock))
}

fn locked(storage: &dyn Storage, error: LockError) -> Error {
    match error {
        LockError::Held { holder } => {
            let holder = holder.unwrap_or_else(|| "another process".to_owned());
            let place = storage.describe();
            Error::new(ErrorKind::Locked, format!("{place} is open in {holder}; close it there first"))
        }
        LockError::Io(error) => io_error("locking the database", &error),
    }
}

pub(crate) fn io_error(what: &str, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("{what} failed: {error}"))
}

fn create(storage: &Arc<dyn Storage>, options: &EngineOptions) -> Result<(), Error> {
    let names = storage.list().map_err(|error| io_error("listing the directory", &error))?;
    let place = storage.describe();
    let unfinished = names.iter().any(|name| name == MARKER);
    if !unfinished && names.iter().any(|name| name.starts_with(LOG_PREFIX)) {
        let message = format!("{place} holds a log but no data file; restore kestrel.data from a backup");
        return Err(Error::new(ErrorKind::Corrupted, message));
    }
    if !options.create {
        let message = format!("there is no database in {place}; check the path, or let it be created");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    if !unfinished {
        if let Some(other) = names.iter().find(|name| !name.starts_with("kestrel.") && !name.starts_with('.'))
        {
            let message =
                format!("{place} holds other files ({other:?}) and no database; give a directory of its own");
            return Err(Error::new(ErrorKind::NotADatabase, message));
        }
        storage.create(MARKER).map_err(|error| io_error("creating a file", &error))?;
        storage.sync_directory().map_err(|error| io_error("syncing the directory", &error))?;
    }
    let database = options.simulated.map_or_else(new_database_id, |simulated| simulated.database);
    let log = LogOptions { segment_size: options.segment_size(options.page_size), database };
    let wal = Wal::create(Arc::clone(storage), &log, Lsn(0))?;
    let state = CheckpointState { lsn: wal.end().0, ..CheckpointState::default() };
    PageStore::create(&**storage, StoreOptions { page_size: options.page_size }, database, &state)?;
    Ok(())
}

fn remove_marker(storage: &dyn Storage) -> Result<(), Error> {
    match storage.remove(MARKER) {
        Ok(()) => storage.sync_directory().map_err(|error| io_error("syncing the directory", &error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("removing a file", &error)),
    }
}

/// Tells the files of one database from those of another. The standard library's hash keys are random.
fn new_database_id() -> u128 {
    let random = || std::hash::RandomState::new().build_hasher().finish();
    (u128::from(random()) << 64) | u128::from(random())
}

/// Runs every commit behind the checkpoint, at the timestamp it had.
fn replay(
    recovery: &Recovery,
    pager: &Arc<Pager>,
    catalogue: &Arc<Catalogue>,
    state: &CheckpointState,
) -> Result<(), Error> {
    let mut adoptable = reserve_blobs(recovery, pager)?;
    let mut last = state.timestamp;
    for record in recovery.records() {
        let record = record?;
        match record.kind {
            COMMIT => {}
            FRAGMENT => continue,
            other => return Err(damaged(&format!("the log has a record of unknown kind {other}"))),
        }
        let (header, _) = RecordHeader::decode(&record.payload)?;
        if header.timestamp <= last || header.timestamp > Timestamp::LAST_ON_DISK {
            return Err(damaged("commits in the log are out of order"));
        }
        let before = std::mem::replace(&mut last, header.timestamp);
        let mut draft = Draft::new(pager, catalogue, pager.snapshots().applied());
        for_each_operation(recovery, &record.payload, |operation| {
            check_trees(operation, catalogue, before)?;
            match operation {
                Operation::DeleteRange { .. } if is_planted(Bug::RangeRemovalNotReplayed) => return Ok(()),
                Operation::RestoreTree { .. } if is_planted(Bug::RestoredTreeNotReplayed) => return Ok(()),
                _ => {}
            }
            draft.apply(operation, &mut adoptable).map_err(impossible)
        })?;
        let ts = match is_planted(Bug::TimestampsReused) {
            true => pager.snapshots().applied().next(),
            false => header.timestamp,
        };
        publish(draft, ts, pager, catalogue);
    }
    Ok(())
}

/// Makes sure that an operation names a new tree as a transaction does: with an id that was never given out, and a name that may
/// be one.
fn check_trees(operation: &Operation<'_>, catalogue: &Catalogue, before: Timestamp) -> Result<(), Error> {
    match *operation {
        Operation::CreateTree { tree, name } => {
            if tree == TreeId::CATALOGUE || catalogue.get(tree, before).is_some() {
                return Err(damaged("the log creates a tree that exists"));
            }
            if !is_planted(Bug::TreeIdsReused) {
                catalogue.note_id(tree);
            }
            check_name(name).map_err(impossible)
        }
        Operation::RenameTree { name, .. } => check_name(name).map_err(impossible),
        _ => Ok(()),
    }
}

/// What can go wrong with an operation of the log. It was done once, so if it cannot be done the log, or the checkpoint
/// below it, is not what it was.
fn impossible(error: Error) -> Error {
    match error.kind() {
        ErrorKind::TreeNotFound
        | ErrorKind::KeyTooLong
        | ErrorKind::ValueTooLong
        | ErrorKind::InvalidArgument => damaged(&format!("the log says what cannot be done: {error}")),
        _ => error,
    }
}

fn publish(draft: Draft, ts: Timestamp, pager: &Pager, catalogue: &Catalogue) {
    let Draft { overlay, trees, .. } = draft;
    pager.publish(overlay.into_changes(), ts);
    catalogue.apply(&trees, ts, || pager.snapshots().live_set());
    pager.snapshots().set_applied(ts);
    pager.snapshots().raise_visible(ts);
    while pager.prune(1024) {}
}

/// Calls `each` with every operation of a commit, those of its fragments first.
fn for_each_operation(
    recovery: &Recovery,
    payload: &[u8],
    mut each: impl FnMut(&Operation<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (header, last) = RecordHeader::decode(payload)?;
    let streamed = header.previous.filter(|_| !is_planted(Bug::FragmentsNotReplayed));
    for lsn in fragments(streamed, |lsn| read_fragment(recovery, lsn))? {
        let payload = read_fragment(recovery, lsn)?;
        let (_, bytes) = RecordHeader::decode(&payload)?;
        for operation in operations(bytes) {
            each(&operation?)?;
        }
    }
    for operation in operations(last) {
        each(&operation?)?;
    }
    Ok(())
}

/// Claims the extents of all large values that committed records name, before anything is written.
///
/// Also makes sure that each fragment belongs to one commit. A log whose commits share theirs could make recovery run for as
/// long as its length squared.
fn reserve_blobs(recovery: &Recovery, pager: &Pager) -> Result<Adoptable, Error> {
    let mut adoptable = Adoptable::new();
    let mut taken = HashSet::new();
    for record in recovery.records() {
        let record = record?;
        if record.kind != COMMIT {
            continue;
        }
        let (header, _) = RecordHeader::decode(&record.payload)?;
        // Walked here as far as the first that is known already, so all commits together walk over each fragment once.
        fragments(header.previous, |lsn| {
            if !taken.insert(lsn) {
                return Err(damaged("two commits in the log share a fragment"));
            }
            read_fragment(recovery, lsn)
        })?;
        for_each_operation(recovery, &record.payload, |operation| {
            if let Operation::PutBlob { location, len, .. } = *operation {
                pager.store().reserve_blob(location, len)?;
                adoptable.insert(location, (None, len));
            }
            Ok(())
        })?;
    }
    Ok(adoptable)
}

//! What can be done about a damaged database that is not open.

use std::path::Path;
use std::sync::Arc;

use kestrel_io::{FileStorage, LockError, Storage, StorageLock};
use kestrel_txn::{SalvageOptions, SalvageReport, VerifyReport};

use crate::{Builder, Error, ErrorKind, Result};

const LOCK: &str = "kestrel.lock";
const DATA_FILE: &str = "kestrel.data";

/// Saves what is left of the damaged database in the directory `source` into a new one in the directory `target`, and says what is
/// gone. The source is not changed, but for the text of its lock file; nobody may have it open.
///
/// Every key whose page and value are intact is saved with its newest value. What may be missing lies in the ranges that
/// the report calls lost; what may be out of date, in those that it calls doubtful.
///
/// ```
/// use kestreldb::{Database, Error};
///
/// # fn main() -> Result<(), Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let (old, new) = (directory.path().join("old"), directory.path().join("new"));
/// let db = Database::open(&old)?;
/// db.tree("stock")?.put("apple", "3")?;
/// db.close()?;
///
/// let report = kestreldb::salvage(&old, &new)?;
/// assert!(report.lost.is_empty());
/// assert_eq!(Database::open(&new)?.tree("stock")?.get("apple")?.unwrap(), "3");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The source has no data file, is open, or is of a newer format; the target exists, or could not be written. Damage is no error.
pub fn salvage(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<SalvageReport> {
    let source = open(source.as_ref())?;
    let target = new_place(target.as_ref())?;
    salvage_with(&source, target, SalvageOptions::default(), Builder::new(), |_, _| {})
}

/// As [`salvage`], from one storage to another, with options. The new database is made as `builder` says; unless that gives a page size, it
/// has that of the old one. `progress` is told about how much of how much is done.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_with(
    source: &Arc<dyn Storage>,
    target: Arc<dyn Storage>,
    options: SalvageOptions,
    mut builder: Builder,
    mut progress: impl FnMut(u64, u64),
) -> Result<SalvageReport> {
    check_source(&**source)?;
    let _lock = lock(&**source)?;
    builder.page_size.get_or_insert(kestrel_txn::surveyed_page_size(&**source)?);
    let names = target.list().map_err(|error| Error::io(ErrorKind::Io, "listing the target", error))?;
    if names.iter().any(|name| name == DATA_FILE) {
        let message = format!("there is a database in {} already; give a new place", target.describe());
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let db = builder.create(true).open_with_storage(target)?;
    let report = db.salvage_from(source, options, &mut progress)?;
    db.close()?;
    Ok(report)
}

/// Checks a database that is not open, also if it cannot be opened because of its damage: then everything that can be said
/// is in the report. The files are not changed, unless the database can be opened, which may end a log torn by a crash. `progress` is
/// told about how much of how much is done.
///
/// # Errors
/// There is no database, somebody has it open, or it is of a newer format. Damage is no error.
pub fn verify_files(
    storage: &Arc<dyn Storage>,
    builder: Builder,
    mut progress: impl FnMut(u64, u64),
) -> Result<VerifyReport> {
    check_source(&**storage)?;
    let opened = builder.create(false).background(false).open_with_storage(Arc::clone(storage));
    let refused = match opened {
        Ok(db) => return db.verify_with(progress),
        Err(refused) if refused.kind() == ErrorKind::Corrupted => refused,
        Err(other) => return Err(other),
    };
    let _lock = lock(&**storage)?;
    let mut report = kestrel_txn::diagnose(storage, &mut progress)?;
    if report.damages.is_empty() {
        // Whatever it is, it keeps the database from being opened.
        report.damages.push((&refused).into());
    }
    Ok(report)
}

fn new_place(path: &Path) -> Result<Arc<dyn Storage>> {
    match FileStorage::open_or_create(path) {
        Ok(storage) => Ok(Arc::new(storage)),
        Err(error) => Err(Error::io(ErrorKind::Io, format!("making {}", path.display()), error)),
    }
}

fn open(path: &Path) -> Result<Arc<dyn Storage>> {
    let message = || format!("there is no database at {}", path.display());
    match FileStorage::open(path) {
        Ok(storage) => Ok(Arc::new(storage)),
        Err(error) => Err(Error::io(ErrorKind::NotFound, message(), error)),
    }
}

fn check_source(source: &dyn Storage) -> Result<()> {
    let names = source.list().map_err(|error| Error::io(ErrorKind::Io, "listing the database", error))?;
    if names.iter().any(|name| name == DATA_FILE) {
        return Ok(());
    }
    let message =
        format!("there is no database in {}: kestrel.data is missing; check the path", source.describe());
    Err(Error::new(ErrorKind::NotFound, message))
}

/// Keeps others from opening it. On a medium that cannot be written nobody can.
fn lock(storage: &dyn Storage) -> Result<Option<Box<dyn StorageLock>>> {
    match storage.lock(LOCK) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { holder }) => {
            let holder = holder.unwrap_or_else(|| "another process".to_owned());
            let message = format!("{} is open in {holder}; close it there first", storage.describe());
            Err(Error::new(ErrorKind::Locked, message))
        }
        Err(LockError::Io(_)) => Ok(None),
    }
}

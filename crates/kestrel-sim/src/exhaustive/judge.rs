//! Whether what a crash left is what it may leave.

use std::sync::Arc;

use kestrel_io::{CrashStorage, Storage};
use kestreldb::{Database, Error};

use super::scene::{Record, builder};
use crate::judge::contents;
use crate::model::Contents;
use crate::work::Trouble;

/// Opens an image and compares: which of the possible states is there, or what is wrong.
pub(super) fn judge(image: &CrashStorage, record: &Record) -> Result<Contents, String> {
    judge_in(Arc::new(image.clone()), record, |db| {
        // Nothing that closing would write is of interest.
        image.stop_at(image.operations().total());
        drop(db);
    })
}

/// As [`judge`], through any storage; `end` gets the open database.
pub(super) fn judge_in(
    storage: Arc<dyn Storage>,
    record: &Record,
    end: impl FnOnce(Database),
) -> Result<Contents, String> {
    let db = builder().open_with_storage(storage).map_err(|error| format!("it cannot be opened: {error}"))?;
    let found = check(&db, record);
    end(db);
    found
}

/// What a database shows, which has to be possible and in order.
pub(super) fn check(db: &Database, record: &Record) -> Result<Contents, String> {
    let found = read(db).map_err(|error| format!("it cannot be read: {error}"))??;
    if !record.possible().any(|state| *state == found) {
        return Err(difference(&found, record));
    }
    let damages = verify(db).map_err(|error| format!("it cannot be verified: {error}"))?;
    if damages.is_empty() { Ok(found) } else { Err(damages.join("; ")) }
}

/// All that a database shows; `Err` within: it contradicts itself.
pub(super) fn read(db: &Database) -> Result<Result<Contents, String>, Error> {
    match db.begin_read().map_err(Trouble::from).and_then(|snapshot| contents(&snapshot, false)) {
        Ok(found) => Ok(Ok(found)),
        Err(Trouble::Wrong(wrong)) => Ok(Err(wrong)),
        Err(Trouble::Error(error)) => Err(error),
    }
}

pub(super) fn verify(db: &Database) -> Result<Vec<String>, Error> {
    Ok(db.verify()?.damages.iter().map(ToString::to_string).collect())
}

pub(super) fn difference(found: &Contents, record: &Record) -> String {
    let number = record.states.len() - record.durable;
    if let Some(lost) = record.states[..record.durable].iter().rposition(|state| state == found) {
        return format!("{} commits that were promised to be durable are lost", record.durable - lost);
    }
    let expected = record.newest();
    let mut differing = Vec::new();
    for name in expected.keys().chain(found.keys()) {
        match (expected.get(name), found.get(name)) {
            (Some(expected), Some(found)) => {
                let keys = expected.keys().chain(found.keys());
                let differs = keys.filter(|key| expected.get(*key) != found.get(*key)).take(3);
                differing.extend(differs.map(|key| format!("{name}/{}", String::from_utf8_lossy(key))));
            }
            _ => differing.push(format!("tree {name}")),
        }
    }
    format!(
        "it is in none of the {number} states that may be; it differs from the newest at {}",
        differing.join(", ")
    )
}

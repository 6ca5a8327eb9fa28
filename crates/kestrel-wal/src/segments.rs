//! The files of a log: segments by name, spares, and how one becomes the other.
//!
//! Invariants:
//! 1. A file named as a segment has its full length and a valid header with the base its name says, all durable since
//!    before it got the name. So a segment whose header is bad is damage, never a crash's doing.
//! 2. A segment is in the table only once its name is durable, and so are all segments before it: there are no gaps.
//! 3. A spare that was a segment is reused only once its old name is durably gone. Otherwise a crash could show the old
//!    name with the new header.
//!
//! Making a segment, and what a crash after each step leaves:
//! 1. Take a spare, or create one and fill it with zeros: a spare, whole or not; it is checked again when used.
//! 2. Write the header, sync: a spare with some header, which nobody reads.
//! 3. Rename to the segment's name, sync the directory: a spare, or an empty segment that follows the last.
//!
//! Zeros are written because a sync of blocks that were allocated and written before need not touch the file system's
//! own structures. A recycled segment has such blocks already, so its old bytes stay: their LSNs give them away.
//!
//! 4. After a sync of the directory that failed, no segment is made or given up any more: which names a crash leaves is
//!    unknown until the log is opened anew. A failure of any other step changes nothing that counts, and may be tried again.
//!
//! Locks: `upkeep` is held across I/O, `table` never. `upkeep` comes first.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::Mutex;
use kestrel_check::sync::atomic::{AtomicBool, Ordering};
use kestrel_io::{Storage, StorageFile};

use crate::error::Error;
use crate::format::{Layout, SEGMENT_HEADER, SegmentHeader};

const SEGMENT_PREFIX: &str = "kestrel.log.";
const SPARE_PREFIX: &str = "kestrel.spare.";
/// Enough digits for every LSN, so that names sort as the log does.
const SEGMENT_DIGITS: usize = 20;

pub(crate) fn segment_name(base: u64) -> String {
    format!("{SEGMENT_PREFIX}{base:020}")
}

fn spare_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number}")
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The files of a log that lie in a storage.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Base LSNs, ascending.
    pub(crate) bases: Vec<u64>,
    /// Numbers of spares.
    pub(crate) spares: Vec<u64>,
}

impl Listing {
    pub(crate) fn read(storage: &dyn Storage) -> Result<Self, Error> {
        let mut listing = Listing::default();
        let names = storage.list().map_err(|e| Error::storage("listing the log's files", e))?;
        for name in names {
            if let Some(digits) = name.strip_prefix(SEGMENT_PREFIX)
                && digits.len() == SEGMENT_DIGITS
            {
                listing.bases.extend(number(digits));
            } else if let Some(digits) = name.strip_prefix(SPARE_PREFIX) {
                // Only names that would be written the same way again, and that leave numbers for others.
                let ours = |&n: &u64| n <= u64::from(u32::MAX) && spare_name(n) == name;
                listing.spares.extend(number(digits).filter(ours));
            }
        }
        listing.bases.sort_unstable();
        listing.spares.sort_unstable();
        Ok(listing)
    }
}

#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) layout: Layout,
    table: Mutex<BTreeMap<u64, Arc<dyn StorageFile>>>,
    upkeep: Mutex<Upkeep>,
    names_in_doubt: AtomicBool,
}

#[derive(Debug)]
struct Upkeep {
    /// Numbers of the files that wait to become segments.
    spares: Vec<u64>,
    next_number: u64,
}

impl Segments {
    /// Manages files that are open and durable already.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        layout: Layout,
        table: BTreeMap<u64, Arc<dyn StorageFile>>,
        spares: Vec<u64>,
    ) -> Self {
        let next_number = spares.iter().max().map_or(0, |max| max.saturating_add(1));
        let upkeep = Mutex::new(Upkeep { spares, next_number });
        Self { storage, layout, table: Mutex::new(table), upkeep, names_in_doubt: AtomicBool::new(false) }
    }

    /// Whether a sync of the directory failed.
    pub(crate) fn names_in_doubt(&self) -> bool {
        self.names_in_doubt.load(Ordering::Acquire)
    }

    fn check_names(&self) -> Result<(), Error> {
        if self.names_in_doubt() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Makes all changes of names durable. A failure is for good.
    fn sync_names(&self) -> Result<(), Error> {
        self.storage.sync_directory().map_err(|e| {
            self.names_in_doubt.store(true, Ordering::Release);
            Error::Io { what: "syncing the log's directory".to_owned(), source: Arc::new(e) }
        })
    }

    /// The base and the file of the segment that holds a place.
    pub(crate) fn holding(&self, lsn: u64) -> Option<(u64, Arc<dyn StorageFile>)> {
        let table = self.table.lock();
        let (&base, file) = table.range(..=lsn).next_back()?;
        (lsn - base < self.layout.segment_size).then(|| (base, Arc::clone(file)))
    }

    /// All segments, in order.
    pub(crate) fn all(&self) -> Vec<(u64, Arc<dyn StorageFile>)> {
        self.table.lock().iter().map(|(&base, file)| (base, Arc::clone(file))).collect()
    }

    pub(crate) fn oldest(&self) -> Option<u64> {
        self.table.lock().keys().next().copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.table.lock().len()
    }

    /// Makes sure that the segment at `base` exists, durably; `false` if it does already. A failure changes nothing.
    pub(crate) fn ensure(&self, base: u64, incarnation: u32) -> Result<bool, Error> {
        if self.table.lock().contains_key(&base) {
            return Ok(false);
        }
        let mut upkeep = self.upkeep.lock();
        if self.table.lock().contains_key(&base) {
            return Ok(false);
        }
        self.check_names()?;
        let number = match self.take_spare(&mut upkeep) {
            Some(number) => number,
            None => self.create_spare(&mut upkeep)?,
        };
        let file = self.promote(number, base, incarnation).inspect_err(|_| {
            // What its sync left undone is unknown, so it is not used again.
            let _ = self.storage.remove(&spare_name(number));
        })?;
        self.table.lock().insert(base, file);
        Ok(true)
    }

    /// A spare of the right length, if there is one; others are removed.
    fn take_spare(&self, upkeep: &mut Upkeep) -> Option<u64> {
        while let Some(number) = upkeep.spares.pop() {
            let name = spare_name(number);
            let len = self.storage.open(&name).and_then(|file| file.len());
            if len.is_ok_and(|len| len == self.layout.segment_size) {
                return Some(number);
            }
            // It is only a spare: if it cannot be removed either, it stays until the next opening.
            let _ = self.storage.remove(&name);
        }
        None
    }

    fn create_spare(&self, upkeep: &mut Upkeep) -> Result<u64, Error> {
        let failed = |e| Error::storage("making a log segment", e);
        loop {
            let number = upkeep.next_number;
            upkeep.next_number =
                number.checked_add(1).ok_or_else(|| failed(io::Error::other("no number left")))?;
            let name = spare_name(number);
            let file = match self.storage.create(&name) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed(error)),
            };
            if let Err(error) = self.fill(&*file) {
                let _ = self.storage.remove(&name);
                return Err(failed(error));
            }
            return Ok(number);
        }
    }

    fn fill(&self, file: &dyn StorageFile) -> io::Result<()> {
        let size = self.layout.segment_size;
        // Claimed at once: a full disk is noticed before anything is written.
        file.preallocate(0, size)?;
        let zeros = vec![0; (1 << 20).min(size as usize)];
        let mut at = 0;
        while at < size {
            let n = (size - at).min(zeros.len() as u64);
            file.write_all_at(&zeros[..n as usize], at)?;
            at += n;
        }
        Ok(())
    }

    /// Steps 2 and 3.
    fn promote(&self, number: u64, base: u64, incarnation: u32) -> Result<Arc<dyn StorageFile>, Error> {
        let Layout { database, segment_size, .. } = self.layout;
        let header = SegmentHeader { incarnation, database, base, segment_size };
        let prepare = || {
            let file = self.storage.open(&spare_name(number))?;
            // A spare that a crash left half-made may have holes.
            file.preallocate(0, segment_size)?;
            file.write_all_at(&header.encode(), 0)?;
            file.sync_data()?;
            self.storage.rename(&spare_name(number), &segment_name(base))?;
            Ok(file)
        };
        let file = prepare().map_err(|e| Error::storage("making a log segment", e))?;
        if !is_planted(Bug::SegmentNameNotSynced) {
            self.sync_names()?;
        }
        Ok(file)
    }

    /// Turns the segments that end at or before `before` into spares, or deletes them where there are `spares_max` already;
    /// deletes spares beyond that.
    pub(crate) fn recycle(&self, before: u64, spares_max: usize) -> Result<(), Error> {
        let mut upkeep = self.upkeep.lock();
        self.check_names()?;
        let size = self.layout.segment_size;
        let mut renamed = Vec::new();
        let mut changed = false;
        let mut outcome = Ok(());
        loop {
            let mut table = self.table.lock();
            let done_with = |base: &u64| base.checked_add(size).is_some_and(|end| end <= before);
            let Some(oldest) = table.first_entry().filter(|entry| done_with(entry.key())) else { break };
            let (base, file) = oldest.remove_entry();
            drop(table);
            if let Err(error) = self.retire(base, spares_max, &mut upkeep, &mut renamed) {
                self.table.lock().insert(base, file);
                outcome = Err(error);
                break;
            }
            changed = true;
        }
        if changed {
            // Without this sync nobody may write into the renamed files; the next opening finds them.
            self.sync_names()?;
            upkeep.spares.append(&mut renamed);
        }
        while upkeep.spares.len() > spares_max {
            let Some(number) = upkeep.spares.pop() else { break };
            // If it stays, the next opening finds it.
            let _ = self.storage.remove(&spare_name(number));
        }
        outcome
    }

    fn retire(
        &self,
        base: u64,
        spares_max: usize,
        upkeep: &mut Upkeep,
        renamed: &mut Vec<u64>,
    ) -> Result<(), Error> {
        let name = segment_name(base);
        let retired = if upkeep.spares.len() + renamed.len() < spares_max {
            let number = upkeep.next_number;
            upkeep.next_number = number.saturating_add(1);
            self.storage.rename(&name, &spare_name(number)).map(|()| renamed.push(number))
        } else {
            self.storage.remove(&name)
        };
        match retired {
            // An attempt before this one succeeded, though it was told otherwise.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            retired => retired.map_err(|e| Error::storage("recycling the log", e)),
        }
    }
}

/// Removes every file of a log, and makes sure they do not come back.
pub(crate) fn remove_all(storage: &dyn Storage) -> Result<(), Error> {
    let listing = Listing::read(storage)?;
    let segments = listing.bases.into_iter().map(segment_name);
    let spares = listing.spares.into_iter().map(spare_name);
    for name in segments.chain(spares) {
        storage.remove(&name).map_err(|e| Error::storage("removing an old log", e))?;
    }
    storage.sync_directory().map_err(|e| Error::storage("removing an old log", e))
}

impl Segments {
    /// The log's files in the storage that are neither segments in use nor spares.
    pub(crate) fn strangers(&self) -> Result<Vec<String>, Error> {
        // Nobody makes or gives up a segment meanwhile.
        let _upkeep = self.upkeep.lock();
        let listing = Listing::read(&*self.storage)?;
        let table = self.table.lock();
        Ok(listing.bases.into_iter().filter(|base| !table.contains_key(base)).map(segment_name).collect())
    }
}

/// Reads and checks nothing but a segment's header.
pub(crate) fn read_header(file: &dyn StorageFile) -> io::Result<[u8; SEGMENT_HEADER]> {
    let mut bytes = [0; SEGMENT_HEADER];
    match file.read_exact_at(&mut bytes, 0) {
        // A file too short for a header has a bad one.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok([0; SEGMENT_HEADER]),
        result => result.map(|()| bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kestrel_io::MemoryStorage;

    #[test]
    fn only_names_of_the_log_are_listed() {
        let storage = MemoryStorage::new();
        for name in [
            &segment_name(u64::MAX),
            &segment_name(64),
            "kestrel.log.99999999999999999999",
            "kestrel.log.64",
            "kestrel.log.+0000000000000000064",
            "kestrel.spare.7",
            "kestrel.spare.07",
            "kestrel.spare.",
            "kestrel.data",
        ] {
            storage.create(name).unwrap();
        }
        let listing = Listing::read(&storage).unwrap();
        assert_eq!(listing.bases, [64, u64::MAX]);
        assert_eq!(listing.spares, [7]);
    }

    #[test]
    fn spares_of_the_wrong_length_are_replaced_and_their_number_is_bounded() {
        let storage = MemoryStorage::new();
        storage.create("kestrel.spare.3").unwrap().write_all_at(b"half made", 0).unwrap();
        let layout = Layout::new(1, 65536);
        let segments = Segments::new(Arc::new(storage.clone()), layout, BTreeMap::new(), vec![3]);
        for base in [0, 65536, 131_072, 196_608] {
            assert!(segments.ensure(base, 1).unwrap());
            assert!(!segments.ensure(base, 1).unwrap());
        }
        assert_eq!(Listing::read(&storage).unwrap().spares, []);
        segments.recycle(196_608 + 100, 2).unwrap();
        let listing = Listing::read(&storage).unwrap();
        assert_eq!((listing.bases, listing.spares.len()), (vec![196_608], 2));
        assert!(segments.ensure(262_144, 1).unwrap());
        assert_eq!(Listing::read(&storage).unwrap().spares.len(), 1, "a spare was used");
        assert_eq!(segments.holding(262_144 + 65_535).unwrap().0, 262_144);
        assert!(segments.holding(262_144 + 65_536).is_none());
        assert!(segments.holding(100).is_none());
    }
}

//! Finding the end of a log after a crash.
//!
//! 1. Sync the segments from `from` on and the directory. After a killed process their contents may lie in the system's
//!    cache only; what is read next must not be forgotten later.
//! 2. Check their headers: each follows the one before, and belongs to this database.
//! 3. Learn from the records before `from` in its segment which incarnation wrote last: the record at `from` could be a
//!    left-over of an older one. (`from` is where a record of this segment ended, or where its first one begins.)
//! 4. Read records from `from` on up to the first that is not valid, at X: bad checksum, wrong place, or of an older
//!    incarnation than one before it.
//! 5. Search everything behind X for a valid record, not of an older incarnation, that says it was written when something
//!    behind X was durable. If there is one, X was durable too and is now damaged: refuse. If there is none, nobody was
//!    ever told that X is durable: the log ends there.
//! 6. Write the records behind the last place known to be durable once more, byte for byte, and sync. If a sync failed
//!    before this opening, the system may hold them in its cache, call them clean, and lose them later; step 1 does not
//!    help against that. A crash in this step leaves each sector as it was or as it should be.
//!
//! The next incarnation is newer than every one seen, in valid records behind X too: those could otherwise come back
//! to life when the log grows up to them again.
//!
//! A crash at any step leaves a log for which the same holds, and the same answer or one that ends sooner at a place that
//! nobody relied on.

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

use std::collections::BTreeMap;
use std::sync::Arc;

use kestrel_check::planted::{Bug, is_planted};
use kestrel_io::{Storage, StorageFile};

use crate::cursor::{self, Cursor, Step};
use crate::error::Error;
use crate::format::{
    ALIGNMENT, DecodedHeader, FORMAT_VERSION, Layout, RECORD_HEADER, RecordHeader, SEGMENT_HEADER,
    SegmentHeader, to_usize,
};
use crate::lsn::Lsn;
use crate::options::{BASE_MAX, LogOptions};
use crate::segments::{Listing, Segments, read_header, segment_name};
use crate::wal::Wal;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What [`Wal::append`] was given.
    pub kind: u8,
    /// The parts that [`Wal::append`] was given, joined.
    pub payload: Vec<u8>,
    /// Where it lies.
    pub start: Lsn,
    /// The place right behind it.
    pub end: Lsn,
}

impl Record {
    pub(crate) fn new(header: &RecordHeader, payload: Vec<u8>) -> Self {
        Self { kind: header.kind, payload, start: Lsn(header.lsn), end: Lsn(header.end()) }
    }
}

/// A log whose end is known, before anything is appended to it.
#[derive(Debug)]
pub struct Recovery {
    segments: Segments,
    from: u64,
    end: u64,
    tail: u64,
    torn: bool,
    incarnation: u32,
}

/// What step 4 found.
struct Scan {
    /// X, and the base of its segment.
    end: u64,
    tail: u64,
    torn: bool,
    /// The incarnation of the last valid record.
    floor: u32,
    /// The last place that a valid record calls durable.
    durable: u64,
}

impl Wal {
    /// Finds the end of the log that lies in `storage`, of which everything from `from` on is wanted: the
    /// [end](Wal::end) of the log at some earlier time that was durable, for example at the last checkpoint.
    ///
    /// Nothing the log says is changed. Reads the log from `from` to its end once.
    pub fn recover(storage: Arc<dyn Storage>, options: &LogOptions, from: Lsn) -> Result<Recovery, Error> {
        let (segments, newest_header) = open_segments(storage, options, from.0)?;
        let floor = search_before(&segments, from.0)?;
        let mut scan = scan(&segments, from.0, floor)?;
        let newest_behind = search_rest(&segments, &scan)?;
        scan.torn |= newest_behind.is_some_and(|newest| newest >= scan.floor);
        let newest = newest_behind.unwrap_or(0).max(newest_header).max(scan.floor);
        if !is_planted(Bug::LogEndNotRewritten) {
            rewrite(&segments, scan.durable.max(from.0), scan.end)?;
        }
        let incarnation = newest.checked_add(1).ok_or_else(|| {
            Error::damaged(scan.end, segment_name(scan.tail), "the number of openings has run out")
        })?;
        let Scan { end, tail, torn, .. } = scan;
        Ok(Recovery { segments, from: from.0, end, tail, torn, incarnation })
    }
}

/// Steps 1 and 2; also the newest incarnation that a header names.
fn open_segments(
    storage: Arc<dyn Storage>,
    options: &LogOptions,
    from: u64,
) -> Result<(Segments, u32), Error> {
    let listing = Listing::read(&*storage)?;
    let missing =
        || Error::damaged(from, segment_name(from), "no segment holds the position to recover from");
    let &first = listing.bases.iter().rfind(|&&base| base <= from).ok_or_else(missing)?;
    let mut table: BTreeMap<u64, Arc<dyn StorageFile>> = BTreeMap::new();
    for &base in &listing.bases {
        let name = segment_name(base);
        let file = storage.open(&name).map_err(|e| Error::storage(format!("opening {name}"), e))?;
        if base >= first {
            file.sync_data().map_err(|e| Error::storage(format!("syncing {name}"), e))?;
        }
        table.insert(base, file);
    }
    storage.sync_directory().map_err(|e| Error::storage("syncing the log's directory", e))?;

    let mut newest = 0;
    let mut expected: Option<(u64, u64)> = None;
    for (&base, file) in table.range(first..) {
        let header = check_header(&**file, base, options.database)?;
        if let Some((next, size)) = expected
            && (next != base || size != header.segment_size)
        {
            return Err(Error::damaged(
                next,
                segment_name(next),
                "the segment is missing, but a later one is there",
            ));
        }
        newest = newest.max(header.incarnation);
        if base > BASE_MAX {
            return Err(Error::damaged(base, segment_name(base), "no log is that long"));
        }
        expected = Some((base.saturating_add(header.segment_size), header.segment_size));
    }
    let segment_size = expected.map(|(_, size)| size).ok_or_else(missing)?;
    let offset = from.saturating_sub(first);
    if offset.saturating_add(RECORD_HEADER as u64) > segment_size || !from.is_multiple_of(ALIGNMENT) {
        return Err(missing());
    }
    let layout = Layout::new(options.database, segment_size);
    Ok((Segments::new(storage, layout, table, listing.spares), newest))
}

fn check_header(file: &dyn StorageFile, base: u64, database: u128) -> Result<SegmentHeader, Error> {
    let name = segment_name(base);
    let bytes = read_header(file).map_err(|e| Error::storage(format!("reading {name}"), e))?;
    let header = match SegmentHeader::decode(&bytes) {
        DecodedHeader::Valid(header) => header,
        DecodedHeader::Newer(found) => return Err(Error::NewerFormat { found, supported: FORMAT_VERSION }),
        DecodedHeader::Invalid => return Err(Error::damaged(base, name, "its header is invalid")),
    };
    if header.database != database {
        return Err(Error::damaged(base, name, "it belongs to another database"));
    }
    if header.base != base {
        return Err(Error::damaged(
            base,
            name,
            format!("it is the segment at position {} renamed", header.base),
        ));
    }
    let len = file.len().map_err(|e| Error::storage(format!("measuring {name}"), e))?;
    if len != header.segment_size {
        let detail = format!("it has {len} bytes instead of {}", header.segment_size);
        return Err(Error::damaged(base, name, detail));
    }
    Ok(header)
}

/// Step 3: the newest incarnation before `from` in its segment. Nothing there is needed, so damage there is no error; it
/// could only hide that something behind is a left-over.
fn search_before(segments: &Segments, from: u64) -> Result<u32, Error> {
    let mut newest = 0;
    if let Some((base, _)) = segments.holding(from) {
        let mut budget = segments.layout.segment_size.saturating_mul(2);
        let range = SEGMENT_HEADER as u64..from.saturating_sub(base);
        cursor::search(segments, base, range, &mut budget, &mut |header| {
            newest = newest.max(header.incarnation);
            true
        })?;
    }
    Ok(newest)
}

/// Step 4.
fn scan(segments: &Segments, from: u64, floor: u32) -> Result<Scan, Error> {
    let mut cursor = Cursor::new(segments, from, floor, false);
    let mut durable = 0;
    let torn = loop {
        match cursor.step()? {
            Step::Record(header, _) | Step::Filler(header) => durable = durable.max(header.durable),
            Step::Nothing { torn } => break torn,
        }
    };
    let end = cursor.position();
    let (tail, _) = segments
        .holding(end)
        .ok_or_else(|| Error::damaged(end, segment_name(end), "the segment that must follow is missing"))?;
    debug_assert!(durable <= end, "a record was valid that says more was durable than lay before it");
    Ok(Scan { end, tail, torn, floor: cursor.floor(), durable })
}

/// Step 5: refuses, or returns the newest incarnation of all valid records behind the end.
fn search_rest(segments: &Segments, scan: &Scan) -> Result<Option<u32>, Error> {
    let size = segments.layout.segment_size;
    let mut newest = None;
    let mut proof = None;
    let mut base = scan.tail;
    let mut offset = scan.end.saturating_sub(scan.tail);
    while segments.holding(base).is_some() {
        let mut budget = size.saturating_mul(2);
        cursor::search(segments, base, offset..size, &mut budget, &mut |header| {
            newest = newest.max(Some(header.incarnation));
            if header.incarnation >= scan.floor && header.durable > scan.end {
                proof = Some(*header);
            }
            proof.is_none()
        })?;
        if let Some(header) = proof.filter(|_| !is_planted(Bug::HoleEndsLog)) {
            let detail = format!(
                "the record there is invalid, but the one at {} says that everything before {} was durable",
                header.lsn, header.durable
            );
            return Err(Error::damaged(scan.end, segment_name(scan.tail), detail));
        }
        base = base.saturating_add(size);
        offset = SEGMENT_HEADER as u64;
    }
    Ok(newest)
}

/// Step 6: writes what lies between two places once more.
fn rewrite(segments: &Segments, start: u64, end: u64) -> Result<(), Error> {
    let failed = |e| Error::storage("writing the end of the log once more", e);
    let mut buffer = Vec::new();
    let mut at = start;
    while at < end {
        let Some((base, file)) = segments.holding(at) else { break };
        let stop = end.min(base.saturating_add(segments.layout.segment_size));
        while let Some(left) = stop.checked_sub(at).filter(|left| *left > 0) {
            buffer.resize(to_usize(left).min(1 << 20), 0);
            let offset = at.saturating_sub(base);
            file.read_exact_at(&mut buffer, offset).map_err(failed)?;
            file.write_all_at(&buffer, offset).map_err(failed)?;
            at = at.saturating_add(buffer.len() as u64);
        }
        file.sync_data().map_err(failed)?;
    }
    Ok(())
}

impl Recovery {
    /// Where the log ends: what is appended next lies there or later.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.end)
    }

    /// Whether the log ended in a record that was not completely written. Nobody was told that it was durable.
    #[must_use]
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// All records from the place given to [`Wal::recover`] on, read again at each call. Ends after the first error.
    pub fn records(&self) -> Records<'_> {
        let cursor = Cursor::new(&self.segments, self.from, 0, true);
        Records { cursor, end: self.end, failed: false }
    }

    /// Reads the record that starts at `lsn`, which may also lie before the place given to [`Wal::recover`] if its segment
    /// was not recycled.
    pub fn read(&self, lsn: Lsn) -> Result<Record, Error> {
        if lsn.0 >= self.end {
            return Err(Error::damaged(lsn.0, segment_name(self.tail), "the log ends before this position"));
        }
        let (header, payload) = cursor::read_record(&self.segments, lsn.0)?;
        Ok(Record::new(&header, payload))
    }

    /// Goes on with the log at its end.
    pub fn into_wal(self) -> Result<Wal, Error> {
        Ok(Wal::resume(self.segments, self.incarnation, self.tail, self.end))
    }
}

/// The records of a [`Recovery`].
#[derive(Debug)]
pub struct Records<'a> {
    cursor: Cursor<'a>,
    end: u64,
    failed: bool,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed && self.cursor.position() < self.end {
            match self.cursor.step() {
                Ok(Step::Record(header, payload)) => return Some(Ok(Record::new(&header, payload))),
                Ok(Step::Filler(_)) => {}
                // Moving over a segment's header may have led to the end.
                Ok(Step::Nothing { .. }) if self.cursor.position() >= self.end => return None,
                Ok(Step::Nothing { .. }) => {
                    self.failed = true;
                    let at = self.cursor.position();
                    return Some(Err(Error::damaged(
                        at,
                        segment_name(at),
                        "the record changed since it was checked",
                    )));
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

//! Reading segments: one record at a place, the records from a place on, or whatever looks like a record.

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

use std::io;
use std::ops::Range;

use kestrel_check::planted::{Bug, is_planted};
use kestrel_io::StorageFile;

use crate::error::Error;
use crate::format::{ALIGNMENT, Layout, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, lsn_field, to_usize};
use crate::segments::{Segments, segment_name};

/// How much is read at once.
const WINDOW: usize = 256 << 10;

/// A segment file and the part of it that was read last.
struct Window<'a> {
    file: &'a dyn StorageFile,
    base: u64,
    segment_size: u64,
    bytes: Vec<u8>,
    at: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn StorageFile, base: u64, segment_size: u64) -> Self {
        Self { file, base, segment_size, bytes: Vec::new(), at: 0 }
    }

    /// The bytes at `offset`, as many as asked or as the segment has.
    fn get(&mut self, offset: u64, len: usize) -> Result<&[u8], Error> {
        let left = self.segment_size.saturating_sub(offset);
        let len = len.min(to_usize(left));
        let skip = offset.checked_sub(self.at).map(to_usize);
        let wanted = skip.and_then(|skip| Some(skip..skip.checked_add(len)?));
        let inside = wanted.filter(|wanted| wanted.end <= self.bytes.len());
        let wanted = if let Some(inside) = inside {
            inside
        } else {
            self.bytes.resize(len.max(WINDOW).min(to_usize(left)), 0);
            self.at = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, offset) {
                self.bytes.clear();
                return Err(read_failed(error, self.base.saturating_add(offset), self.base));
            }
            0..len
        };
        Ok(self.bytes.get(wanted).unwrap_or_default())
    }

    /// The valid record at `offset`, if there is one: its header and the bytes it covers.
    fn record(&mut self, layout: &Layout, offset: u64) -> Result<Option<(RecordHeader, &[u8])>, Error> {
        let base = self.base;
        let Some(header) = layout.decode_record(self.get(offset, RECORD_HEADER)?, base, offset) else {
            return Ok(None);
        };
        let covered = self.get(offset, header.covered())?;
        if covered.len() < header.covered() {
            return Ok(None);
        }
        let intact = layout.is_intact(&header, covered) || is_planted(Bug::RecordChecksumIgnored);
        Ok(intact.then_some((header, covered)))
    }
}

fn read_failed(error: io::Error, lsn: u64, base: u64) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::damaged(lsn, segment_name(base), "the file is shorter than a segment");
    }
    Error::storage("reading the log", error)
}

/// Reads the one record at `lsn` from its file.
pub(crate) fn read_record(segments: &Segments, lsn: u64) -> Result<(RecordHeader, Vec<u8>), Error> {
    let Some((base, file)) = segments.holding(lsn) else {
        return Err(Error::damaged(lsn, segment_name(lsn), "no segment holds this position"));
    };
    let offset = lsn.saturating_sub(base);
    let behind_header = offset.saturating_add(RECORD_HEADER as u64);
    let invalid = || Error::damaged(lsn, segment_name(base), "there is no valid record");
    if behind_header > segments.layout.segment_size {
        return Err(invalid());
    }
    let mut bytes = vec![0; RECORD_HEADER];
    file.read_exact_at(&mut bytes, offset).map_err(|e| read_failed(e, lsn, base))?;
    let header = segments.layout.decode_record(&bytes, base, offset).ok_or_else(invalid)?;
    bytes.resize(header.covered(), 0);
    let rest = bytes.get_mut(RECORD_HEADER..).unwrap_or_default();
    file.read_exact_at(rest, behind_header).map_err(|e| read_failed(e, lsn, base))?;
    if header.is_filler() || !segments.layout.is_intact(&header, &bytes) {
        return Err(invalid());
    }
    bytes.drain(..RECORD_HEADER);
    bytes.truncate(header.len as usize);
    Ok((header, bytes))
}

/// What lies at a cursor's place.
pub(crate) enum Step {
    /// A record; its payload.
    Record(RecordHeader, Vec<u8>),
    /// A valid record that ends the segment; the cursor went on to the next.
    Filler(RecordHeader),
    /// No valid record of this log. `torn`: there is the beginning of one.
    Nothing { torn: bool },
}

/// Walks over the records from a place on.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    segments: &'a Segments,
    position: u64,
    /// Records of an older incarnation than one before them are left-overs of a torn tail.
    floor: u32,
    keep_payloads: bool,
    window: Vec<u8>,
    window_lsn: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(segments: &'a Segments, position: u64, floor: u32, keep_payloads: bool) -> Self {
        Self { segments, position, floor, keep_payloads, window: Vec::new(), window_lsn: 0 }
    }

    /// The place it is at. At the beginning of a segment that is where its first record is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn floor(&self) -> u32 {
        self.floor
    }

    /// Reads what is at the place and, if that is a record, moves behind it.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        let Some((base, file)) = self.segments.holding(self.position) else {
            let segment = segment_name(self.position);
            return Err(Error::damaged(self.position, segment, "the segment that must follow is missing"));
        };
        self.position = self.position.max(base.saturating_add(SEGMENT_HEADER as u64));
        let layout = &self.segments.layout;
        let mut window = Window::new(&*file, base, layout.segment_size);
        if let Some(at) = self.window_lsn.checked_sub(base).filter(|&at| at < layout.segment_size) {
            window.bytes = std::mem::take(&mut self.window);
            window.at = at;
        }
        let offset = self.position.saturating_sub(base);
        let is_left_over =
            |header: &RecordHeader| header.incarnation < self.floor && !is_planted(Bug::LeftOverRecordsTaken);
        let found = window.record(layout, offset)?.filter(|(header, _)| !is_left_over(header));
        let step = match found {
            Some((header, _)) if header.is_filler() => {
                self.position = header.end();
                Step::Filler(header)
            }
            Some((header, covered)) => {
                self.position = header.end();
                let payload = if self.keep_payloads { header.payload(covered) } else { None };
                Step::Record(header, payload.unwrap_or_default().to_vec())
            }
            None => {
                let here = lsn_field(window.get(offset, RECORD_HEADER)?, 0);
                Step::Nothing { torn: here == Some(self.position) }
            }
        };
        if let Step::Record(header, _) | Step::Filler(header) = &step {
            self.floor = header.incarnation;
        }
        self.window_lsn = base.saturating_add(window.at);
        self.window = window.bytes;
        Ok(step)
    }
}

/// Looks at every place in a range of offsets of a segment for valid records; `visit` says whether to go on.
///
/// Checksums are computed over at most `budget` bytes, which a log written by this crate never needs: its records do not
/// overlap. Bytes made to look like many overlapping records run out of it, and are reported as damage.
pub(crate) fn search(
    segments: &Segments,
    base: u64,
    range: Range<u64>,
    budget: &mut u64,
    visit: &mut dyn FnMut(&RecordHeader) -> bool,
) -> Result<(), Error> {
    let layout = &segments.layout;
    let Some((_, file)) = segments.holding(base) else { return Ok(()) };
    file.will_need(range.start, range.end.saturating_sub(range.start));
    // Recovery refuses a file that was cut; a survey looks at what is left of it.
    let len = file.len().map_err(|e| Error::storage("measuring the log", e))?;
    let size = len.min(layout.segment_size);
    let range = range.start..range.end.min(size);
    let mut outer = Window::new(&*file, base, size);
    let mut inner = Window::new(&*file, base, size);
    let mut next = range.start;
    while let Some(left) = range.end.checked_sub(next).filter(|left| *left >= RECORD_HEADER as u64) {
        let bytes = outer.get(next, to_usize(left).min(WINDOW))?;
        let before = next;
        for place in bytes.windows(RECORD_HEADER).step_by(to_usize(ALIGNMENT)) {
            let offset = next;
            next = next.saturating_add(ALIGNMENT);
            let lsn = base.saturating_add(offset);
            if lsn_field(place, 0) != Some(lsn) {
                continue;
            }
            let Some(header) = layout.decode_record(place, base, offset) else { continue };
            *budget = budget.checked_sub(header.covered() as u64).ok_or_else(|| {
                Error::damaged(lsn, segment_name(base), "records overlap as no program writes them")
            })?;
            if let Some((header, _)) = inner.record(layout, offset)?
                && !visit(&header)
            {
                return Ok(());
            }
        }
        debug_assert!(before < next, "there was room for a header");
        if before == next {
            break;
        }
    }
    Ok(())
}

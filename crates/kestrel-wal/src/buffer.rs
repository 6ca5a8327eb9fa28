//! Records that were appended and not yet written.
//!
//! The bytes lie back to back; a *run* is a piece of them that is contiguous in the log too. A new run begins where the
//! log goes on in the next segment, so each run lies within one segment.

use std::collections::TryReserveError;

use kestrel_check::planted::{Bug, is_planted};

use crate::format::{ALIGNMENT, FILLER_KIND, Layout, RECORD_HEADER, RecordHeader, record_size};

/// A buffer that is reused keeps at most this much memory.
const KEPT_CAPACITY_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    /// The LSN right behind the last byte.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    lsn: u64,
    at: usize,
}

/// Where and by whom a record is written: the part of its header that does not depend on the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) lsn: u64,
    pub(crate) incarnation: u32,
    pub(crate) durable: u64,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes room, so that pushing as many bytes cannot fail.
    pub(crate) fn reserve(&mut self, additional: u64) -> Result<(), TryReserveError> {
        self.bytes.try_reserve(additional as usize)
    }

    /// Adds a record whose payload is `parts`, `len` bytes together.
    pub(crate) fn push(&mut self, layout: &Layout, place: Placement, kind: u8, parts: &[&[u8]], len: u32) {
        debug_assert_eq!(len as usize, parts.iter().map(|part| part.len()).sum::<usize>());
        let at = self.begin(place, kind, len);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.resize(at + record_size(len) as usize, 0);
        self.seal(layout, at);
        self.end = place.lsn + record_size(len);
    }

    /// Adds the header of a filler that stands for `size` bytes; the bytes behind it are left as they are on disk.
    pub(crate) fn push_filler(&mut self, layout: &Layout, place: Placement, size: u64) {
        debug_assert!(size >= RECORD_HEADER as u64);
        let missing = if is_planted(Bug::FillerTooShort) { ALIGNMENT } else { 0 };
        let at = self.begin(place, FILLER_KIND, (size - RECORD_HEADER as u64).saturating_sub(missing) as u32);
        self.seal(layout, at);
        self.end = place.lsn + RECORD_HEADER as u64;
    }

    fn begin(&mut self, place: Placement, kind: u8, len: u32) -> usize {
        let at = self.bytes.len();
        if self.runs.is_empty() || self.end != place.lsn {
            debug_assert!(self.runs.is_empty() || self.end < place.lsn, "the log only grows");
            self.runs.push(Run { lsn: place.lsn, at });
        }
        let Placement { lsn, incarnation, durable } = place;
        let header = RecordHeader { checksum: 0, len, lsn, kind, incarnation, durable };
        self.bytes.extend_from_slice(&header.encode());
        at
    }

    fn seal(&mut self, layout: &Layout, at: usize) {
        let checksum = layout.checksum(&self.bytes[at + 4..]);
        self.bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// The runs: where each begins in the log, and its bytes.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.runs.iter().enumerate().map(|(i, run)| {
            let end = self.runs.get(i + 1).map_or(self.bytes.len(), |next| next.at);
            (run.lsn, &self.bytes[run.at..end])
        })
    }

    /// The bytes from `lsn` to the end of its run.
    pub(crate) fn find(&self, lsn: u64) -> Option<&[u8]> {
        self.runs().find_map(|(start, bytes)| {
            let skip = usize::try_from(lsn.checked_sub(start)?).ok()?;
            bytes.get(skip..).filter(|rest| !rest.is_empty())
        })
    }

    /// Empties the buffer for reuse; memory beyond a bound is given back.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY_MAX);
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lsn: u64) -> Placement {
        Placement { lsn, incarnation: 1, durable: 64 }
    }

    #[test]
    fn a_jump_begins_a_run_and_bytes_are_found_by_place() {
        let layout = Layout::new(0, 65536);
        let mut buffer = Buffer::default();
        buffer.push(&layout, place(64), 1, &[b"abc", b"de"], 5);
        buffer.push(&layout, place(104), 1, &[], 0);
        buffer.push_filler(&layout, place(136), 65536 - 136);
        buffer.push(&layout, place(65600), 2, &[b"x"], 1);
        let runs: Vec<_> = buffer.runs().map(|(lsn, bytes)| (lsn, bytes.len())).collect();
        assert_eq!(runs, [(64, 40 + 32 + 32), (65600, 40)]);
        assert_eq!(buffer.find(104).unwrap().len(), 64);
        assert_eq!(buffer.find(65600).unwrap()[32], b'x');
        assert!(buffer.find(63).is_none() && buffer.find(168).is_none() && buffer.find(65640).is_none());
        let header = layout.decode_record(buffer.find(64).unwrap(), 0, 64).unwrap();
        assert!(layout.is_intact(&header, &buffer.find(64).unwrap()[..40]));
        buffer.clear();
        assert!(buffer.is_empty() && buffer.find(64).is_none());
    }
}

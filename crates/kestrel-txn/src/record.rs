//! Log records: a commit, or a fragment of a transaction that is still running.
//!
//! Payload: `| timestamp u64 (fragments: 0) | previous fragment u64 | operations |`. The previous fragment is given by the
//! LSN of its record plus one; zero means that there is none. So a commit leads to all its fragments, last first, and
//! fragments to which no commit leads are those of transactions that never ended.

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

use kestrel_pager::Timestamp;
use kestrel_wal::{Lsn, Recovery};

use crate::operation::Reader;
use crate::{Error, ErrorKind};

pub(crate) const COMMIT: u8 = 1;
pub(crate) const FRAGMENT: u8 = 2;
const HEADER: usize = 16;

/// What stands before the operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) timestamp: Timestamp,
    pub(crate) previous: Option<Lsn>,
}

impl RecordHeader {
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.timestamp.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.previous.map_or(0, |lsn| lsn.0.saturating_add(1)).to_le_bytes());
        bytes
    }

    /// The header of a payload, and the operations behind it.
    pub(crate) fn decode(payload: &[u8]) -> Result<(RecordHeader, &[u8]), Error> {
        let mut reader = Reader(payload);
        let header = (|| {
            let timestamp = Timestamp(reader.u64()?);
            let previous = reader.u64()?.checked_sub(1).map(Lsn);
            Some(RecordHeader { timestamp, previous })
        })();
        match header {
            Some(header) => Ok((header, reader.0)),
            None => Err(damaged("a log record is too short")),
        }
    }
}

/// Where the fragments of a commit lie, the oldest first.
pub(crate) fn fragments(
    mut previous: Option<Lsn>,
    mut read: impl FnMut(Lsn) -> Result<Vec<u8>, Error>,
) -> Result<Vec<Lsn>, Error> {
    let mut all: Vec<Lsn> = Vec::new();
    while let Some(lsn) = previous {
        if all.last().is_some_and(|&later| lsn >= later) {
            return Err(damaged("fragments of a transaction do not follow each other"));
        }
        all.push(lsn);
        previous = RecordHeader::decode(&read(lsn)?)?.0.previous;
    }
    all.reverse();
    Ok(all)
}

/// Reads a fragment's payload during recovery.
pub(crate) fn read_fragment(recovery: &Recovery, lsn: Lsn) -> Result<Vec<u8>, Error> {
    let record = recovery.read(lsn)?;
    if record.kind != FRAGMENT {
        return Err(damaged("a commit refers to a record that is no fragment"));
    }
    Ok(record.payload)
}

pub(crate) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Corrupted, format!("{what}; restore the log from a backup"))
}

//! What a log's files say, read as `docs/file-format.md` has it, and not by the engine's own code.

use std::ops::Range;

use super::data_file::extent;
use super::fields::{u16_at, u32_at, u64_at};

pub(crate) const HEADER: u64 = 64;
const RECORD_HEADER: usize = 32;
pub(crate) const FILLER: u8 = 0xFF;
pub(crate) const COMMIT: u8 = 1;
pub(crate) const FRAGMENT: u8 = 2;

/// The base that a segment's name tells.
pub(crate) fn base(name: &str) -> Option<u64> {
    name.strip_prefix("kestrel.log.")?.parse().ok()
}

pub(crate) fn is_spare(name: &str) -> bool {
    name.starts_with("kestrel.spare.")
}

/// Whether a segment begins with the header of this base and length.
pub(crate) fn has_header(segment: &[u8], base: u64) -> bool {
    segment.starts_with(b"KESTRLOG")
        && u64_at(segment, 32) == Some(base)
        && u64_at(segment, 40) == Some(segment.len() as u64)
        && u32_at(segment, 60) == Some(crc32fast::hash(&segment[..60]))
}

/// A record as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'b> {
    pub(crate) lsn: u64,
    pub(crate) kind: u8,
    pub(crate) durable: u64,
    payload: &'b [u8],
}

/// The records that some bytes are; an error if they are anything else.
pub(crate) fn records(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let broken = || format!("{} bytes are no record", bytes.len());
        let fields = (u32_at(bytes, 4), u64_at(bytes, 8), u64_at(bytes, 24), bytes.get(16));
        let (Some(len), Some(lsn), Some(durable), Some(&kind)) = fields else { return Err(broken()) };
        // Of a filler only the header is written.
        let len = if kind == FILLER { 0 } else { len as usize };
        let payload = bytes.get(RECORD_HEADER..RECORD_HEADER + len).ok_or_else(broken)?;
        found.push(Record { lsn, kind, durable, payload });
        bytes = bytes.get((RECORD_HEADER + len).next_multiple_of(8)..).ok_or_else(broken)?;
    }
    Ok(found)
}

impl Record<'_> {
    /// Where the transaction's fragment before this one lies.
    pub(crate) fn previous(&self) -> Option<u64> {
        u64_at(self.payload, 8)?.checked_sub(1)
    }

    /// The places of the large values that it names.
    pub(crate) fn blobs(&self) -> Result<Vec<Range<u64>>, String> {
        let mut rest = self.payload.get(16..).unwrap_or_default();
        let mut blobs = Vec::new();
        while let Some(&kind) = rest.first() {
            let broken = || format!("the record at {} holds no operations", self.lsn);
            let key = usize::from(u16_at(rest, 5).ok_or_else(broken)?);
            let at = 7 + key;
            let more = match kind {
                1 => 4 + u32_at(rest, at).ok_or_else(broken)? as usize,
                2 => {
                    let (location, len) = (u64_at(rest, at), u32_at(rest, at + 8));
                    blobs.push(extent(location.ok_or_else(broken)?, len.ok_or_else(broken)?));
                    16
                }
                4 => 3 + usize::from(u16_at(rest, at + 1).ok_or_else(broken)?),
                3 | 5..=8 => 0,
                _ => return Err(broken()),
            };
            rest = rest.get(at + more..).ok_or_else(broken)?;
        }
        Ok(blobs)
    }
}

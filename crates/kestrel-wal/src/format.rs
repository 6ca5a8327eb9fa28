//! The bytes of segments and records, for writer and reader. Diagrams: `docs/file-format.md`.
//!
//! Everything is little-endian. Decoding is total: any bytes give a value or `None`.

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

use kestrel_check::planted::{Bug, is_planted};

use crate::options::is_segment_size;

/// The version of the format that this crate writes.
pub const FORMAT_VERSION: u32 = 1;

/// The kind of the record that ends a segment. [`Wal::append`](crate::Wal::append) does not take it.
pub const FILLER_KIND: u8 = 0xFF;

/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// Bytes before a record's payload.
pub(crate) const RECORD_HEADER: usize = 32;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;

const MAGIC: [u8; 8] = *b"KESTRLOG";

const _: () = assert!((SEGMENT_HEADER as u64).is_multiple_of(ALIGNMENT));
const _: () = assert!((RECORD_HEADER as u64).is_multiple_of(ALIGNMENT));

/// The `N` bytes at `at`, if they are there.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The header of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) incarnation: u32,
    pub(crate) database: u128,
    pub(crate) base: u64,
    pub(crate) segment_size: u64,
}

/// What a segment header turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodedHeader {
    Valid(SegmentHeader),
    /// Intact, but of this later version.
    Newer(u32),
    Invalid,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.database.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.segment_size.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Magic, version and checksum keep their places in every version, so a later version is told from damage.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> DecodedHeader {
        Self::decode_fields(bytes).unwrap_or(DecodedHeader::Invalid)
    }

    fn decode_fields(bytes: &[u8; SEGMENT_HEADER]) -> Option<DecodedHeader> {
        if field::<8>(bytes, 0)? != MAGIC || crc32fast::hash(&bytes[..60]).to_le_bytes() != field(bytes, 60)?
        {
            return None;
        }
        let version = u32::from_le_bytes(field(bytes, 8)?);
        if version > FORMAT_VERSION {
            return Some(DecodedHeader::Newer(version));
        }
        let header = SegmentHeader {
            incarnation: u32::from_le_bytes(field(bytes, 12)?),
            database: u128::from_le_bytes(field(bytes, 16)?),
            base: u64::from_le_bytes(field(bytes, 32)?),
            segment_size: u64::from_le_bytes(field(bytes, 40)?),
        };
        let sound = version == FORMAT_VERSION
            && header.base.is_multiple_of(ALIGNMENT)
            && is_segment_size(header.segment_size)
            && bytes[48..60].iter().all(|&b| b == 0);
        sound.then_some(DecodedHeader::Valid(header))
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) checksum: u32,
    pub(crate) len: u32,
    pub(crate) lsn: u64,
    pub(crate) kind: u8,
    pub(crate) incarnation: u32,
    /// Everything before this was durable when the record was appended.
    pub(crate) durable: u64,
}

impl RecordHeader {
    pub(crate) fn encode(&self) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[0..4].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[16] = self.kind;
        bytes[20..24].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        if field::<3>(bytes, 17)? != [0; 3] {
            return None;
        }
        Some(Self {
            checksum: u32::from_le_bytes(field(bytes, 0)?),
            len: u32::from_le_bytes(field(bytes, 4)?),
            lsn: u64::from_le_bytes(field(bytes, 8)?),
            kind: field::<1>(bytes, 16)?[0],
            incarnation: u32::from_le_bytes(field(bytes, 20)?),
            durable: u64::from_le_bytes(field(bytes, 24)?),
        })
    }

    pub(crate) fn is_filler(&self) -> bool {
        self.kind == FILLER_KIND
    }

    /// How many bytes the checksum is about: header, payload and padding; of a filler the header only.
    pub(crate) fn covered(&self) -> usize {
        if self.is_filler() { RECORD_HEADER } else { to_usize(record_size(self.len)) }
    }

    /// The payload, of the bytes that are covered.
    pub(crate) fn payload<'a>(&self, covered: &'a [u8]) -> Option<&'a [u8]> {
        covered.get(RECORD_HEADER..RECORD_HEADER.checked_add(self.len as usize)?)
    }

    /// Where the next record begins (for a filler: the next segment).
    pub(crate) fn end(&self) -> u64 {
        self.lsn.saturating_add(record_size(self.len))
    }
}

/// What a record takes up: header, payload, padding.
pub(crate) fn record_size(payload: u32) -> u64 {
    const PADDING: u64 = ALIGNMENT - 1;
    const MORE: u64 = RECORD_HEADER as u64 + PADDING;
    // Less than 2^33, so it cannot overflow.
    u64::from(payload).saturating_add(MORE) & !PADDING
}

/// A number that a file may have chosen, as a length or an index: what memory cannot hold becomes what nothing is as long as.
pub(crate) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The LSN field of the record that would begin at `at` of `bytes`: the quick test when searching.
pub(crate) fn lsn_field(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(field(bytes, at.checked_add(8)?)?))
}

/// What all segments of a log have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) database: u128,
    pub(crate) segment_size: u64,
    /// Record checksums start from this, so that another database's records, and bytes made up by somebody who does
    /// not know the id, are no records.
    seed: u32,
}

impl Layout {
    pub(crate) fn new(database: u128, segment_size: u64) -> Self {
        debug_assert!(is_segment_size(segment_size));
        Self { database, segment_size, seed: crc32fast::hash(&database.to_le_bytes()) }
    }

    /// A quarter of a segment, so that ending a segment early wastes at most that.
    pub(crate) fn payload_max(&self) -> usize {
        to_usize(self.segment_size / 4).saturating_sub(RECORD_HEADER)
    }

    /// Whether a record of this size fits at an offset, leaving room for the filler that ends the segment.
    pub(crate) fn fits(&self, offset: u64, record_size: u64) -> bool {
        offset
            .checked_add(record_size)
            .and_then(|end| end.checked_add(RECORD_HEADER as u64))
            .is_some_and(|end| end <= self.segment_size)
    }

    /// The checksum of a record's header (from its length on), payload and padding.
    pub(crate) fn checksum(&self, after_checksum: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.seed);
        hasher.update(after_checksum);
        hasher.finalize()
    }

    /// The record header at `offset` of the segment at `base`, if it belongs there. The checksum is still to be checked.
    pub(crate) fn decode_record(&self, bytes: &[u8], base: u64, offset: u64) -> Option<RecordHeader> {
        let header = RecordHeader::decode(bytes)?;
        if header.lsn != base.checked_add(offset)? || header.durable > header.lsn {
            return None;
        }
        let fits = if header.is_filler() {
            offset.checked_add(record_size(header.len)) == Some(self.segment_size)
        } else {
            let behind = if is_planted(Bug::FullSegmentRefused) { SEGMENT_HEADER as u64 } else { 0 };
            header.len as usize <= self.payload_max()
                && self.fits(offset, record_size(header.len).saturating_add(behind))
        };
        fits.then_some(header)
    }

    /// Whether the bytes (a header and all it [covers](RecordHeader::covered)) carry the right checksum.
    pub(crate) fn is_intact(&self, header: &RecordHeader, covered: &[u8]) -> bool {
        debug_assert_eq!(covered.len(), header.covered());
        covered.get(4..).is_some_and(|rest| self.checksum(rest) == header.checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: SegmentHeader =
        SegmentHeader { incarnation: 3, database: 1 << 100, base: 640, segment_size: 65536 };

    #[test]
    fn segment_headers_come_back_and_any_flipped_bit_is_seen() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), DecodedHeader::Valid(HEADER));
        for bit in 0..SEGMENT_HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), DecodedHeader::Invalid, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = HEADER.encode();
        bytes[8] = 9;
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), DecodedHeader::Newer(9));
    }

    #[test]
    fn the_largest_payload_fits_a_fresh_segment_four_times_less_overhead() {
        let layout = Layout::new(0, 65536);
        let size = record_size(u32::try_from(layout.payload_max()).unwrap());
        assert!(size <= 65536 / 4);
        assert!(layout.fits(SEGMENT_HEADER as u64 + 2 * size, size));
        assert!(!layout.fits(u64::MAX - 8, 40));
        assert!(layout.fits(65536 - 32 - 40, 40));
        assert!(!layout.fits(65536 - 32 - 32, 40));
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..80), base: u64, offset: u64) {
            let layout = Layout::new(5, 65536);
            let offset = offset % 65536;
            if let Some(header) = layout.decode_record(&bytes, base, offset) {
                prop_assert_eq!(header.lsn, base + offset);
            }
            if let Ok(bytes) = <&[u8; SEGMENT_HEADER]>::try_from(&bytes[..bytes.len().min(SEGMENT_HEADER)]) {
                prop_assert_eq!(SegmentHeader::decode(bytes), DecodedHeader::Invalid);
            }
        }

        #[test]
        fn record_headers_come_back(len in 0u32..16000, kind in 0u8..255, incarnation: u32, checksum: u32) {
            let layout = Layout::new(5, 65536);
            let header = RecordHeader { checksum, len, lsn: 65536 + 64, kind, incarnation, durable: 65536 };
            prop_assert_eq!(layout.decode_record(&header.encode(), 65536, 64), Some(header));
            prop_assert_eq!(layout.decode_record(&header.encode(), 65536, 72), None);
        }
    }
}

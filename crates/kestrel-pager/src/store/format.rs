//! The bytes of images, blobs, directory chunks and roots, for writer and reader. Diagrams: `docs/file-format.md`.
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

use crc32fast::Hasher;
use kestrel_check::planted::{Bug, is_planted};

use super::location::Location;
use super::{CheckpointState, DirectoryEntry, ImageHeader};
use crate::{PageId, Timestamp, TreeId};

/// The file's name.
pub(crate) const FILE: &str = "kestrel.data";
/// Its name while it is created.
pub(crate) const FILE_IN_CREATION: &str = "kestrel.data.new";

/// Bytes of the unit of allocation, and of what a disk is assumed to write as one.
pub(crate) const SECTOR: u64 = 512;
/// The sectors before this one are reserved for superblocks.
pub(crate) const FIRST_SECTOR: u64 = 128;
/// Bytes behind the payload of an image or blob, at the very end of its extent.
pub(crate) const FOOTER: usize = 32;
/// Entries of a directory chunk.
pub(crate) const CHUNK_ENTRIES: usize = 256;
/// Bytes of a directory entry, and of a root's reference to a chunk.
pub(crate) const ENTRY: usize = 16;
/// Bytes of a directory chunk.
pub(crate) const CHUNK: usize = CHUNK_ENTRIES * ENTRY;
/// Sectors of a directory chunk.
pub(crate) const CHUNK_SECTORS: u64 = CHUNK as u64 / SECTOR;
/// Bytes of a root before the chunk references.
pub(crate) const ROOT_HEADER: usize = 16;
/// The most chunks there can be: those of all page ids.
pub(crate) const CHUNKS_MAX: usize = (1 << 32) / CHUNK_ENTRIES;

const IMAGE_MAGIC: [u8; 4] = *b"KIMG";
const BLOB_MAGIC: [u8; 4] = *b"KBLB";
const ROOT_MAGIC: [u8; 4] = *b"KROT";

const _: () = assert!((CHUNK as u64).is_multiple_of(SECTOR) && (FOOTER as u64) < SECTOR);

/// The `N` bytes at `at`, if they are there.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Sectors of the extent of a payload of `len` bytes.
pub(crate) fn sectors_for(len: u64) -> u64 {
    len.saturating_add(FOOTER as u64).div_ceil(SECTOR)
}

/// What the checksums of a database's images, blobs, chunks and roots start from, so that another database's are
/// wrong here.
pub(crate) fn seed(database: u128) -> u32 {
    crc32fast::hash(&database.to_le_bytes())
}

/// The checksum of the concatenation of `runs`.
pub(crate) fn checksum(seed: u32, runs: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    for run in runs {
        hasher.update(run);
    }
    hasher.finalize()
}

/// What stands at the end of the extent of an image or a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Of the rest of the footer, behind the payload if this is an image.
    pub(crate) checksum: u32,
    pub(crate) page: PageId,
    pub(crate) header: ImageHeader,
    /// The checksum of a blob's bytes; `None`: an image.
    pub(crate) blob_checksum: Option<u32>,
}

impl Footer {
    /// A footer without its checksum.
    pub(crate) fn new(page: PageId, header: ImageHeader, blob_checksum: Option<u32>) -> Footer {
        Footer { checksum: 0, page, header, blob_checksum }
    }

    /// Fills in the checksum and encodes; `payload` is not looked at for a blob.
    pub(crate) fn seal(&mut self, seed: u32, payload: &[&[u8]]) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        let magic = if self.blob_checksum.is_some() { BLOB_MAGIC } else { IMAGE_MAGIC };
        bytes[4..8].copy_from_slice(&magic);
        bytes[8..12].copy_from_slice(&self.page.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.header.tree.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.header.timestamp.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.header.len.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.blob_checksum.unwrap_or(0).to_le_bytes());
        self.checksum = match (self.blob_checksum, payload) {
            (None, [first, second]) => checksum(seed, &[first, second, &bytes[4..]]),
            (None, _) => checksum(seed, &[&payload.concat(), &bytes[4..]]),
            (Some(_), _) => checksum(seed, &[&bytes[4..]]),
        };
        bytes[0..4].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Takes an extent apart; an error says what is wrong with it. Of a blob, the bytes are not checked.
    pub(crate) fn open(seed: u32, extent: &[u8]) -> Result<Footer, &'static str> {
        let (payload, bytes) = extent.split_last_chunk::<FOOTER>().ok_or("it is too short")?;
        let footer = Self::decode(bytes).ok_or("there is no image")?;
        let expected = match footer.blob_checksum {
            Some(_) => checksum(seed, &[&bytes[4..]]),
            None => {
                let payload = payload.get(..footer.header.len as usize).ok_or("its length is wrong")?;
                checksum(seed, &[payload, &bytes[4..]])
            }
        };
        if expected != footer.checksum && !is_planted(Bug::ImageChecksumIgnored) {
            return Err("the checksum is wrong");
        }
        Ok(footer)
    }

    pub(crate) fn decode(bytes: &[u8; FOOTER]) -> Option<Footer> {
        let rest = u32::from_le_bytes(field(bytes, 28)?);
        let blob_checksum = match field::<4>(bytes, 4)? {
            BLOB_MAGIC => Some(rest),
            IMAGE_MAGIC if rest == 0 => None,
            _ => return None,
        };
        let header = ImageHeader {
            tree: TreeId(u32::from_le_bytes(field(bytes, 12)?)),
            timestamp: Timestamp(u64::from_le_bytes(field(bytes, 16)?)),
            len: u32::from_le_bytes(field(bytes, 24)?),
        };
        Some(Footer {
            checksum: u32::from_le_bytes(field(bytes, 0)?),
            page: PageId(u32::from_le_bytes(field(bytes, 8)?)),
            header,
            blob_checksum,
        })
    }
}

/// Encodes a directory entry; zeros stand for no page.
pub(crate) fn encode_entry(entry: Option<DirectoryEntry>) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    if let Some(entry) = entry {
        bytes[0..8].copy_from_slice(&entry.location.to_bits().to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.checksum.to_le_bytes());
        bytes[12..16].copy_from_slice(&entry.blob_len.unwrap_or(0).to_le_bytes());
    }
    bytes
}

/// Decodes a directory entry: `None` if it makes no sense, `Some(None)` if there is no page.
pub(crate) fn decode_entry(bytes: &[u8]) -> Option<Option<DirectoryEntry>> {
    if field::<ENTRY>(bytes, 0)? == [0; ENTRY] {
        return Some(None);
    }
    let location = Location::checked_from_bits(u64::from_le_bytes(field(bytes, 0)?))?;
    let checksum = u32::from_le_bytes(field(bytes, 8)?);
    let len = u32::from_le_bytes(field(bytes, 12)?);
    let blob_len = location.is_blob().then_some(len);
    let sound = location.tag() == super::location::tag_of(checksum) && (blob_len.is_some() || len == 0);
    sound.then_some(Some(DirectoryEntry { location, blob_len, checksum }))
}

/// Where a directory chunk lies; without one, none of its pages exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkReference {
    pub(crate) sector: u64,
    pub(crate) checksum: u32,
}

/// Encodes the block that a superblock points to.
pub(crate) fn encode_root(chunks: &[Option<ChunkReference>], state: &CheckpointState) -> Vec<u8> {
    debug_assert!(chunks.len() <= CHUNKS_MAX);
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&ROOT_MAGIC);
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&(state.user.len() as u64).to_le_bytes());
    for chunk in chunks {
        let mut reference = [0; ENTRY];
        if let Some(chunk) = chunk {
            reference[0..8].copy_from_slice(&chunk.sector.to_le_bytes());
            reference[8..12].copy_from_slice(&chunk.checksum.to_le_bytes());
        }
        bytes.extend_from_slice(&reference);
    }
    bytes.extend_from_slice(&state.user);
    bytes
}

/// Decodes a root whose checksum was right: the chunk references and the opaque bytes.
pub(crate) fn decode_root(bytes: &[u8]) -> Option<(Vec<Option<ChunkReference>>, &[u8])> {
    if field::<4>(bytes, 0)? != ROOT_MAGIC {
        return None;
    }
    let count = u32::from_le_bytes(field(bytes, 4)?) as usize;
    let user = u64::from_le_bytes(field(bytes, 8)?);
    let rest = bytes.get(ROOT_HEADER..)?;
    let (references, rest) = rest.split_at_checked(count.checked_mul(ENTRY)?)?;
    if count > CHUNKS_MAX || rest.len() as u64 != user {
        return None;
    }
    let chunks = references.chunks_exact(ENTRY).map(decode_reference).collect::<Option<Vec<_>>>()?;
    Some((chunks, rest))
}

fn decode_reference(bytes: &[u8]) -> Option<Option<ChunkReference>> {
    if field::<ENTRY>(bytes, 0)? == [0; ENTRY] {
        return Some(None);
    }
    let sector = u64::from_le_bytes(field(bytes, 0)?);
    let sound = (FIRST_SECTOR..Location::SECTORS).contains(&sector) && field(bytes, 12)? == [0; 4];
    sound.then_some(Some(ChunkReference { sector, checksum: u32::from_le_bytes(field(bytes, 8)?) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let header =
            ImageHeader { tree: TreeId(3), timestamp: Timestamp(1 << 40), len: payload.len() as u32 };
        let footer = Footer::new(PageId(9), header, None).seal(77, &[payload, &[]]);
        let mut extent = payload.to_vec();
        extent.resize(sectors_for(payload.len() as u64) as usize * 512 - FOOTER, 0);
        extent.extend_from_slice(&footer);
        extent
    }

    #[test]
    fn any_flipped_bit_of_payload_or_footer_is_seen() {
        let extent = image(b"some bytes");
        let footer = Footer::open(77, &extent).unwrap();
        assert_eq!((footer.page, footer.header.len, footer.blob_checksum), (PageId(9), 10, None));
        assert!(Footer::open(78, &extent).is_err(), "another database's image");
        for byte in (0..10).chain(extent.len() - FOOTER..extent.len()) {
            for bit in 0..8 {
                let mut flipped = extent.clone();
                flipped[byte] ^= 1 << bit;
                assert!(Footer::open(77, &flipped).is_err(), "byte {byte} bit {bit}");
            }
        }
    }

    #[test]
    fn payload_runs_are_one() {
        let header = ImageHeader { tree: TreeId(3), timestamp: Timestamp(4), len: 5 };
        let mut footer = Footer::new(PageId(9), header, None);
        let whole = footer.seal(1, &[b"abcde"]);
        assert_eq!(footer.seal(1, &[b"ab", b"cde"]), whole);
        assert_eq!(footer.seal(1, &[b"", b"abcd", b"e"]), whole);
    }

    #[test]
    fn roots_come_back() {
        let chunks = [None, Some(ChunkReference { sector: 128, checksum: 5 }), None];
        let state = CheckpointState { user: b"trees".to_vec(), ..CheckpointState::default() };
        let bytes = encode_root(&chunks, &state);
        assert_eq!(decode_root(&bytes), Some((chunks.to_vec(), &b"trees"[..])));
        for len in 0..bytes.len() {
            assert_eq!(decode_root(&bytes[..len]), None);
        }
    }

    proptest! {
        #[test]
        fn entries_come_back(sector in FIRST_SECTOR..Location::SECTORS, sectors: u8, checksum: u32, len: u32) {
            let location = Location::new(sector, sectors, checksum as u16);
            let entry = DirectoryEntry { location, blob_len: (sectors == 0).then_some(len), checksum };
            let bytes = encode_entry(Some(entry));
            prop_assert_eq!(decode_entry(&bytes), Some(Some(entry)));
            let mut wrong = bytes;
            wrong[8] ^= 1;
            prop_assert_eq!(decode_entry(&wrong), None, "tag and checksum disagree");
        }

        #[test]
        fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..600), seed: u32) {
            let _ = decode_root(&bytes);
            let _ = decode_entry(&bytes);
            prop_assert!(Footer::open(seed, &bytes).is_err());
        }
    }
}

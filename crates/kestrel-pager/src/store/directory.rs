//! The directory: what the newest durable checkpoint says of every page, in memory as on disk.
//!
//! Entries come in chunks of 256, kept encoded: 16 bytes a page. A checkpoint changes copies of chunks, and puts them
//! here once it is durable; so whoever reads the directory sees durable checkpoints only.

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

use super::DirectoryEntry;
use super::format::{self, CHUNK, CHUNK_ENTRIES, CHUNK_SECTORS, ChunkReference, ENTRY};
use super::location::Extent;
use crate::PageId;

/// The entries of 256 consecutive pages.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Chunk(Box<[u8; CHUNK]>);

impl Chunk {
    /// A chunk without pages.
    pub(crate) fn new() -> Chunk {
        Chunk(Box::new([0; CHUNK]))
    }

    /// Takes over a chunk's bytes; the index of an entry that makes no sense if there is one.
    pub(crate) fn decode(bytes: &[u8; CHUNK]) -> Result<Chunk, usize> {
        match bytes.chunks_exact(ENTRY).position(|entry| format::decode_entry(entry).is_none()) {
            Some(index) => Err(index),
            None => Ok(Chunk(Box::new(*bytes))),
        }
    }

    /// The bytes on disk.
    pub(crate) fn bytes(&self) -> &[u8; CHUNK] {
        &self.0
    }

    pub(crate) fn get(&self, index: usize) -> Option<DirectoryEntry> {
        format::decode_entry(self.entry_bytes().get(index)?).flatten()
    }

    fn entry_bytes(&self) -> &[[u8; ENTRY]] {
        self.0.as_chunks().0
    }

    pub(crate) fn set(&mut self, index: usize, entry: Option<DirectoryEntry>) {
        let (entries, _) = self.0.as_chunks_mut::<ENTRY>();
        debug_assert!(index < CHUNK_ENTRIES, "no chunk has an entry {index}");
        if let Some(place) = entries.get_mut(index) {
            *place = format::encode_entry(entry);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    /// All entries, with their indexes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, DirectoryEntry)> {
        let entries = self.entry_bytes().iter().enumerate();
        entries.filter_map(|(index, bytes)| Some((index, format::decode_entry(bytes).flatten()?)))
    }

    /// The checksum that the root has of the chunk.
    pub(crate) fn checksum(seed: u32, bytes: &[u8; CHUNK]) -> u32 {
        format::checksum(seed, &[bytes])
    }
}

/// What the newest durable checkpoint says.
pub(crate) struct Directory {
    /// The checkpoint's number.
    pub(crate) number: u64,
    pub(crate) root: Extent,
    /// Where the chunks lie; as long as `chunks`, and `None` at the same places.
    pub(crate) references: Vec<Option<ChunkReference>>,
    pub(crate) chunks: Vec<Option<Chunk>>,
}

impl Directory {
    pub(crate) fn chunk(&self, number: usize) -> Option<&Chunk> {
        self.chunks.get(number)?.as_ref()
    }

    pub(crate) fn get(&self, page: PageId) -> Option<DirectoryEntry> {
        let (chunk, index) = position(page);
        self.chunk(chunk)?.get(index)
    }

    /// All pages that exist, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (PageId, DirectoryEntry)> {
        let chunks = self.chunks.iter().enumerate();
        let chunks = chunks.filter_map(|(number, chunk)| Some((number, chunk.as_ref()?)));
        chunks.flat_map(|(number, chunk)| {
            chunk.entries().map(move |(index, entry)| (page_at(number, index), entry))
        })
    }

    /// The extents of the root and the chunks.
    pub(crate) fn own_extents(&self) -> impl Iterator<Item = Extent> {
        std::iter::once(self.root).chain(self.references.iter().flatten().map(ChunkReference::extent))
    }
}

impl ChunkReference {
    pub(crate) fn extent(&self) -> Extent {
        Extent { sector: self.sector, sectors: CHUNK_SECTORS }
    }
}

impl DirectoryEntry {
    pub(crate) fn extent(&self) -> Extent {
        self.location.extent(self.blob_len)
    }
}

/// A page's chunk, and its place there.
pub(crate) fn position(page: PageId) -> (usize, usize) {
    let page = page.0 as usize;
    (page / CHUNK_ENTRIES, page % CHUNK_ENTRIES)
}

/// The inverse of [`position`].
pub(crate) fn page_at(chunk: usize, index: usize) -> PageId {
    // There are no more chunks than page ids have room for.
    let number = chunk.saturating_mul(CHUNK_ENTRIES).saturating_add(index);
    PageId(u32::try_from(number).unwrap_or(u32::MAX))
}

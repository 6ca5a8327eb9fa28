//! The directory: what the newest durable checkpoint says of every page, in memory as on disk.
//!
//! Entries come in chunks of 256, kept encoded: 16 bytes a page. A checkpoint changes copies of chunks, and puts them
//! here once it is durable; so whoever reads the directory sees durable checkpoints only.

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
        format::decode_entry(self.0.get(index * ENTRY..)?).flatten()
    }

    pub(crate) fn set(&mut self, index: usize, entry: Option<DirectoryEntry>) {
        self.0[index * ENTRY..][..ENTRY].copy_from_slice(&format::encode_entry(entry));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    /// All entries, with their indexes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, DirectoryEntry)> {
        let entries = self.0.chunks_exact(ENTRY).enumerate();
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
    PageId((chunk * CHUNK_ENTRIES + index) as u32)
}

//! Reading a data file that may be damaged: what is intact, without taking anything for granted. Nothing is written.
//!
//! Three sources, from the best to the worst: the newest superblock with its root and chunks, which say with certainty which images
//! count; the other superblock; and the images themselves, which are found by their footers wherever they lie. What an image says is
//! true, but not that it still counted: an older image of a page, or one of a page that was freed, is as intact as the newest.

use std::collections::BTreeMap;
use std::ops::Range;

use kestrel_io::Storage;

use super::directory::{Chunk, page_at};
use super::format::{self, CHUNK, CHUNK_ENTRIES, FILE, FOOTER, Footer, SECTOR, field, sectors_for};
use super::superblock::{self, SLOT, SLOTS, Superblock};
use super::{CheckpointState, DirectoryEntry, ImageHeader, Location, PageStore};
use crate::{Error, PageId};

/// How much is read at once when the whole file is.
const WINDOW: u64 = 1 << 20;
/// A root that is found by its first bytes is believed up to this size.
const ROOT_MAX: usize = 16 << 20;

/// A data file as it lies in a storage.
pub struct FileSurvey {
    store: PageStore,
    /// The valid superblocks, the newest first.
    superblocks: Vec<Superblock>,
    damages: Vec<Error>,
}

/// What one checkpoint says, as far as it can be read.
#[derive(Debug, Default)]
pub struct SurveyedCheckpoint {
    /// Where the log is replayed from, and so on; `user` is empty if the root is damaged.
    pub state: CheckpointState,
    /// Its number.
    pub number: u64,
    /// Whether its root is intact, so that all it does not name does not exist.
    pub has_root: bool,
    /// What it says of pages.
    pub entries: BTreeMap<PageId, DirectoryEntry>,
    /// Pages of which it can no longer be read what it says.
    pub unknown: Vec<Range<u32>>,
    /// What is damaged in it.
    pub damages: Vec<Error>,
}

/// An image or a large value that was found by its footer.
#[derive(Clone, Copy, Debug)]
pub struct FoundImage {
    /// Whose it is.
    pub page: PageId,
    /// What else it says of itself.
    pub header: ImageHeader,
    /// Where it lies.
    pub location: Location,
    /// The checksum of a large value's bytes, which were not checked; `None`: it is a page's image, and intact.
    pub blob_checksum: Option<u32>,
}

/// Something that a [scan](FileSurvey::scan) came across.
#[derive(Debug)]
pub enum Sighting {
    /// An image or large value.
    Image(FoundImage),
    /// The opaque bytes of what looks like a root.
    Root(Vec<u8>),
}

impl FileSurvey {
    /// Looks at the superblocks. `database` is the id that the log has, for a file without any.
    ///
    /// # Errors
    /// There is no data file, it cannot be read, or a newer program wrote it.
    pub fn open(storage: &dyn Storage, database: Option<u128>) -> Result<FileSurvey, Error> {
        let file = storage.open(FILE).map_err(|e| Error::io("opening the data file", e))?;
        let len = file.len().map_err(|e| Error::io("measuring the data file", e))?;
        let mut head = vec![0; len.min((SLOT * SLOTS) as u64) as usize];
        file.read_exact_at(&mut head, 0).map_err(|e| Error::io("reading the superblocks", e))?;
        let mut superblocks: Vec<Superblock> = superblock::valid(&head).into_iter().flatten().collect();
        superblocks.sort_by_key(|superblock| std::cmp::Reverse(superblock.number));
        if let Err(newer @ Error::NewerFormat { .. }) = superblock::choose(&head) {
            return Err(newer);
        }
        let mut damages = Vec::new();
        let newest = superblocks.first().copied();
        superblocks.retain(|other| newest.is_some_and(|newest| newest.database == other.database));
        for (slot, problem) in superblock::problems(&head, newest.map_or(0, |newest| newest.number)) {
            let detail = format!("superblock {slot} is damaged: {problem}");
            damages.push(Error::corrupted(None, (slot * SLOT) as u64, detail));
        }
        let id = newest.map_or(database.unwrap_or(0), |newest| newest.database);
        // Without a superblock: the largest, which bounds what an image may hold.
        let page_size = newest.map_or(65_536, |newest| newest.page_size);
        Ok(FileSurvey { store: PageStore::new(file, page_size, id, len), superblocks, damages })
    }

    /// The id of the database.
    #[must_use]
    pub fn database(&self) -> u128 {
        self.store.database
    }

    /// Bytes of a page; the largest possible if no superblock says it.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.store.page_size
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.store.file_bytes()
    }

    /// What is wrong with the superblocks.
    #[must_use]
    pub fn damages(&self) -> &[Error] {
        &self.damages
    }

    /// What the intact superblocks name, the newest first.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<SurveyedCheckpoint> {
        self.superblocks.iter().map(|superblock| self.checkpoint(superblock)).collect()
    }

    fn checkpoint(&self, superblock: &Superblock) -> SurveyedCheckpoint {
        let Superblock { lsn, timestamp, next_page, number, .. } = *superblock;
        let state = CheckpointState { lsn, timestamp, next_page, user: Vec::new() };
        let mut checkpoint = SurveyedCheckpoint { state, number, ..SurveyedCheckpoint::default() };
        let root = match self.read_root(superblock) {
            Ok(root) => root,
            Err(error) => {
                checkpoint.damages.push(error);
                checkpoint.unknown.push(0..next_page);
                return checkpoint;
            }
        };
        let Some((references, user)) = format::decode_root(&root) else {
            let detail = "the directory's root makes no sense";
            checkpoint.damages.push(Error::corrupted(None, superblock.root_sector * SECTOR, detail));
            checkpoint.unknown.push(0..next_page);
            return checkpoint;
        };
        checkpoint.has_root = true;
        checkpoint.state.user = user.to_vec();
        for (number, reference) in references.iter().enumerate() {
            let Some(reference) = reference else { continue };
            let offset = reference.sector * SECTOR;
            match self.read_chunk(offset, reference.checksum) {
                Ok(chunk) => {
                    let entries = chunk.entries().map(|(index, entry)| (page_at(number, index), entry));
                    checkpoint.entries.extend(entries.filter(|(page, _)| page.0 < next_page));
                }
                Err(error) => {
                    let first = page_at(number, 0).0;
                    let unknown = first..first.saturating_add(CHUNK_ENTRIES as u32).min(next_page);
                    let pages = format!("pages {} to {}", unknown.start, unknown.end.saturating_sub(1));
                    let detail = match error {
                        Error::Corrupted { detail, .. } => detail,
                        other => other.to_string(),
                    };
                    let detail = format!("directory chunk {number}, which says where {pages} lie: {detail}");
                    checkpoint.damages.push(Error::corrupted(None, offset, detail));
                    checkpoint.unknown.push(unknown);
                }
            }
        }
        checkpoint
    }

    fn read_root(&self, superblock: &Superblock) -> Result<Vec<u8>, Error> {
        let offset = superblock.root_sector * SECTOR;
        let damage = |detail: &str| Error::corrupted(None, offset, detail);
        if superblock.root_len > self.file_bytes().saturating_sub(offset) {
            return Err(damage("the directory's root reaches behind the end of the file"));
        }
        let mut bytes = vec![0; superblock.root_len as usize];
        self.store.read(&mut bytes, offset, None)?;
        if format::checksum(self.store.seed, &[&bytes]) != superblock.root_checksum {
            return Err(damage("the checksum of the directory's root is wrong"));
        }
        Ok(bytes)
    }

    fn read_chunk(&self, offset: u64, checksum: u32) -> Result<Chunk, Error> {
        let mut bytes = [0; CHUNK];
        self.store.read(&mut bytes, offset, None)?;
        if Chunk::checksum(self.store.seed, &bytes) != checksum {
            return Err(Error::corrupted(None, offset, "its checksum is wrong"));
        }
        Chunk::decode(&bytes).map_err(|_| Error::corrupted(None, offset, "an entry makes no sense"))
    }

    /// Reads the image that a checkpoint names.
    ///
    /// # Errors
    /// It is not there, or another one is.
    pub fn read_image(
        &self,
        page: PageId,
        entry: &DirectoryEntry,
        out: &mut Vec<u8>,
    ) -> Result<ImageHeader, Error> {
        let footer = self.store.read_sealed_image(page, entry.location, out)?;
        if footer.checksum != entry.checksum {
            return Err(Error::corrupted(Some(page), entry.location.offset(), "this is an older image"));
        }
        Ok(footer.header)
    }

    /// Reads an image that was [found](FileSurvey::scan).
    ///
    /// # Errors
    /// It changed, or cannot be read any more.
    pub fn read_found(&self, found: &FoundImage, out: &mut Vec<u8>) -> Result<ImageHeader, Error> {
        Ok(self.store.read_sealed_image(found.page, found.location, out)?.header)
    }

    /// Reads a large value of that length and checksum.
    ///
    /// # Errors
    /// It is not there.
    pub fn read_blob(&self, page: PageId, at: Location, len: u32, checksum: u32) -> Result<Vec<u8>, Error> {
        self.store.read_blob(page, at, len, checksum)
    }

    /// Reads the whole file for what bears a footer of this database. `visit` is also told how many bytes are done.
    ///
    /// # Errors
    /// Reading failed otherwise than by the file's end; parts that cannot be read are skipped.
    pub fn scan(&self, mut visit: impl FnMut(u64, Option<Sighting>)) {
        let len = self.file_bytes();
        let mut window = vec![0; WINDOW as usize];
        let mut extent = Vec::new();
        let mut at = 0;
        while at < len {
            let size = (len - at).min(WINDOW) as usize;
            let bytes = &mut window[..size];
            // Sector by sector where the disk refuses some.
            if self.store.read(bytes, at, None).is_err() {
                for (index, sector) in bytes.chunks_mut(SECTOR as usize).enumerate() {
                    if self.store.read(sector, at + index as u64 * SECTOR, None).is_err() {
                        sector.fill(0);
                    }
                }
            }
            for (index, sector) in bytes.chunks_exact(SECTOR as usize).enumerate() {
                let offset = at + index as u64 * SECTOR;
                let footer = sector.last_chunk::<FOOTER>();
                if let Some(found) = footer.and_then(|footer| self.look(offset, footer, &mut extent)) {
                    visit(at, Some(Sighting::Image(found)));
                }
                if let Some(user) = self.look_for_root(offset, sector) {
                    visit(at, Some(Sighting::Root(user)));
                }
            }
            at += size as u64;
            visit(at, None);
        }
    }

    /// What ends with these bytes at the end of the sector at `offset`.
    fn look(&self, offset: u64, footer: &[u8; FOOTER], extent: &mut Vec<u8>) -> Option<FoundImage> {
        let footer = Footer::decode(footer)?;
        let sectors = sectors_for(footer.header.len.into());
        let sector = (offset / SECTOR + 1).checked_sub(sectors).filter(|&s| s >= format::FIRST_SECTOR)?;
        let is_blob = footer.blob_checksum.is_some();
        let read = if is_blob { 1 } else { sectors };
        if !is_blob && footer.header.len > self.store.image_capacity() {
            return None;
        }
        extent.resize((read * SECTOR) as usize, 0);
        self.store.read(extent, offset + SECTOR - read * SECTOR, None).ok()?;
        let footer = Footer::open(self.store.seed, extent).ok()?;
        let tag = footer.blob_checksum.unwrap_or(footer.checksum) as u16;
        let location = Location::new(sector, if is_blob { 0 } else { u8::try_from(sectors).ok()? }, tag);
        let Footer { page, header, blob_checksum, .. } = footer;
        Some(FoundImage { page, header, location, blob_checksum })
    }

    /// A root has no checksum of its own. It is believed if a chunk that it names is where it says.
    fn look_for_root(&self, offset: u64, sector: &[u8]) -> Option<Vec<u8>> {
        if field::<4>(sector, 0)? != *b"KROT" {
            return None;
        }
        let count = u32::from_le_bytes(field(sector, 4)?) as usize;
        let user = usize::try_from(u64::from_le_bytes(field(sector, 8)?)).ok()?;
        let len = count.checked_mul(format::ENTRY)?.checked_add(user)?.checked_add(format::ROOT_HEADER)?;
        if len > ROOT_MAX || len as u64 > self.file_bytes().saturating_sub(offset) {
            return None;
        }
        let mut bytes = vec![0; len];
        self.store.read(&mut bytes, offset, None).ok()?;
        let (references, user) = format::decode_root(&bytes)?;
        let stands =
            |chunk: &format::ChunkReference| self.read_chunk(chunk.sector * SECTOR, chunk.checksum).is_ok();
        references.iter().flatten().any(stands).then(|| user.to_vec())
    }
}

impl std::fmt::Debug for FileSurvey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSurvey").field("superblocks", &self.superblocks).finish_non_exhaustive()
    }
}

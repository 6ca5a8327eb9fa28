//! Writing a checkpoint.
//!
//! 1. [`PageStore::begin_checkpoint`]: from here on, blobs that are released wait for the next checkpoint.
//! 2. [`CheckpointWriter::set`], for each changed page: takes the durable claim at once and changes a copy of the
//!    directory chunk. The extents of the previous checkpoint keep their durable claims.
//! 3. [`CheckpointWriter::finish`]: changed chunks and a new root are written to free sectors and synced. A crash (or
//!    an error) up to here leaves the superblock and all it refers to untouched; an error gives the new claims back.
//! 4. The slot of the superblock before the newest is overwritten and synced. A crash in between leaves that slot
//!    old, torn or new; the newest slot is intact and its extents as well, so either checkpoint is whole. After an
//!    error nobody knows which of them the next opening finds: both keep their claims, and no checkpoint follows.
//! 5. The copies become the directory, and what only the previous checkpoint needed is released. A crash here only
//!    forgets bookkeeping.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::Ordering;
use std::collections::BTreeMap;

use super::directory::{Chunk, page_at, position};
use super::format::{CHUNK_SECTORS, ChunkReference, SECTOR, encode_root};
use super::location::Extent;
use super::space::RunWriter;
use super::superblock::Superblock;
use super::{CheckpointState, Claim, DirectoryEntry, Location, PageStore};
use crate::{Error, PageId};

/// A checkpoint being written. Dropped without [`CheckpointWriter::finish`], it gives its claims back.
pub struct CheckpointWriter<'s> {
    store: &'s PageStore,
    /// Copies of the chunks that change.
    chunks: BTreeMap<usize, Chunk>,
    /// Pages whose checksum has to be read back.
    unresolved: Vec<PageId>,
    /// Extents of blobs that were released before the checkpoint began.
    ripe: Vec<Extent>,
    /// What may be in a superblock must keep its claims.
    in_doubt: bool,
}

/// What a checkpoint adds to the file besides images.
pub(crate) struct WrittenDirectory {
    pub(crate) references: Vec<Option<ChunkReference>>,
    pub(crate) root: Extent,
    pub(crate) superblock: Superblock,
}

impl PageStore {
    /// Begins a checkpoint. To be called before its log position and timestamp are chosen: a blob that is released after
    /// that could still be named by a log record behind that position.
    ///
    /// # Panics
    /// If a checkpoint is being written.
    pub fn begin_checkpoint(&self) -> Result<CheckpointWriter<'_>, Error> {
        self.check_usable()?;
        let was_busy = self.in_checkpoint.swap(true, Ordering::AcqRel);
        assert!(!was_busy, "one checkpoint at a time");
        let ripe = std::mem::take(&mut *self.waiting.lock());
        Ok(CheckpointWriter {
            store: self,
            chunks: BTreeMap::new(),
            unresolved: Vec::new(),
            ripe,
            in_doubt: false,
        })
    }

    /// Writes changed chunks and a root that describes all. Every extent that is claimed on the way is added to `claimed`,
    /// also if this fails.
    pub(crate) fn write_directory<'c>(
        &self,
        changed: impl Iterator<Item = (usize, &'c Chunk)>,
        mut references: Vec<Option<ChunkReference>>,
        (number, state): (u64, &CheckpointState),
        claimed: &mut Vec<Extent>,
    ) -> Result<WrittenDirectory, Error> {
        let mut to_write = Vec::new();
        for (number, chunk) in changed {
            if references.len() <= number {
                references.resize(number + 1, None);
            }
            if chunk.is_empty() {
                references[number] = None;
            } else {
                to_write.push((number, chunk));
            }
        }
        let extents = self.allocate(&vec![CHUNK_SECTORS; to_write.len()], Claim::Durable)?;
        claimed.extend_from_slice(&extents);
        let mut run = RunWriter::new(self);
        for ((number, chunk), extent) in to_write.into_iter().zip(extents) {
            run.add(extent, |buffer| buffer.extend_from_slice(chunk.bytes()))?;
            let checksum = Chunk::checksum(self.seed, chunk.bytes());
            references[number] = Some(ChunkReference { sector: extent.sector, checksum });
        }
        run.flush()?;

        let mut bytes = encode_root(&references, state);
        let (root_len, root_checksum) = (bytes.len() as u64, super::format::checksum(self.seed, &[&bytes]));
        bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
        let sectors = bytes.len() as u64 / SECTOR;
        let root = self.allocate_one(sectors, Claim::Durable)?;
        claimed.push(root);
        self.write(&bytes, root.offset())?;
        let superblock = Superblock {
            page_size: self.page_size,
            database: self.database,
            number,
            lsn: state.lsn,
            timestamp: state.timestamp,
            next_page: state.next_page,
            root_sector: root.sector,
            root_len,
            root_checksum,
        };
        Ok(WrittenDirectory { references, root, superblock })
    }
}

impl CheckpointWriter<'_> {
    /// Says where the page's state at the checkpoint lies, or that it does not exist. Pages that are not set stay as the
    /// previous checkpoint has them. The extent must have a claim: a live one that cannot end during the call, or
    /// [`Claim::Durable`].
    pub fn set(&mut self, page: PageId, at: Option<(Location, Option<u32>)>) {
        let (number, index) = position(page);
        let (durable, chunk) = {
            let directory = self.store.directory.read();
            let copy = || directory.chunk(number).cloned().unwrap_or_else(Chunk::new);
            (directory.get(page), self.chunks.entry(number).or_insert_with(copy))
        };
        let before = chunk.get(index);
        let is_at = |entry: &DirectoryEntry| Some((entry.location, entry.blob_len)) == at;
        if before.as_ref().is_some_and(is_at) {
            return;
        }
        let entry = at.map(|(location, blob_len)| {
            let remembered = self.store.fresh.lock().set(location);
            self.store.allocator.lock().claim_durable(location.extent(blob_len));
            let checksum = durable.filter(is_at).map(|entry| entry.checksum).or(remembered);
            if checksum.is_none() {
                self.unresolved.push(page);
            }
            let checksum = checksum.unwrap_or(u32::from(location.tag()));
            DirectoryEntry { location, blob_len, checksum }
        });
        chunk.set(index, entry);
        // What this checkpoint said before is superseded at once; what the previous one says only in the end.
        let at_once = |before: &DirectoryEntry| {
            durable.is_none_or(|d| d.location != before.location) || is_planted(Bug::ExtentsFreedTooEarly)
        };
        if let Some(before) = before.filter(at_once) {
            self.store.release(&[before.extent()], Claim::Durable);
        }
    }

    /// Writes the checkpoint; on return it is durable. After an error the previous one is in force, unless it came from
    /// the superblock itself: then either may be, and the store refuses further checkpoints.
    ///
    /// # Panics
    /// If a page was set that is not below `state.next_page`.
    pub fn finish(mut self, state: &CheckpointState) -> Result<(), Error> {
        self.store.check_usable()?;
        self.resolve()?;
        self.forget_unchanged();
        self.assert_pages_below(state.next_page);
        let (references, number) = {
            let directory = self.store.directory.read();
            (directory.references.clone(), directory.number + 1)
        };
        let mut claimed = Vec::new();
        let changed = self.chunks.iter().map(|(number, chunk)| (*number, chunk));
        let written = self.store.write_directory(changed, references, (number, state), &mut claimed);
        let sync = || if is_planted(Bug::SuperblockBeforeData) { Ok(()) } else { self.store.sync() };
        let written = match written.and_then(|written| sync().map(|()| written)) {
            Ok(written) => written,
            Err(error) => {
                if !is_planted(Bug::CheckpointRoomLeaks) {
                    self.store.release(&claimed, Claim::Durable);
                }
                return Err(error);
            }
        };
        self.in_doubt = true;
        self.store.write_superblock(&written.superblock)?;
        self.in_doubt = false;
        self.install(written);
        Ok(())
    }

    /// Reads back the checksums that are not remembered. The extents have durable claims by now, so they stay.
    fn resolve(&mut self) -> Result<(), Error> {
        let mut scratch = Vec::new();
        for batch in std::mem::take(&mut self.unresolved).chunks(64) {
            for entry in batch.iter().filter_map(|page| self.changed(*page)) {
                // Of a blob, the footer at its end is all that is read.
                let bytes = entry.extent().bytes().min(u64::from(self.store.page_size));
                self.store.file.will_need(entry.extent().end() * SECTOR - bytes, bytes);
            }
            for &page in batch {
                let Some(mut entry) = self.changed(page) else { continue };
                entry.checksum = match entry.blob_len {
                    Some(len) => self.store.read_blob_checksum(page, entry.location, len)?,
                    None => self.store.read_sealed_image(page, entry.location, &mut scratch)?.checksum,
                };
                let (number, index) = position(page);
                if let Some(chunk) = self.chunks.get_mut(&number) {
                    chunk.set(index, Some(entry));
                }
            }
        }
        Ok(())
    }

    /// What this checkpoint says of a page that was set.
    fn changed(&self, page: PageId) -> Option<DirectoryEntry> {
        let (number, index) = position(page);
        self.chunks.get(&number)?.get(index)
    }

    /// Drops copies in which nothing changed in the end.
    fn forget_unchanged(&mut self) {
        let directory = self.store.directory.read();
        self.chunks.retain(|&number, copy| match directory.chunk(number) {
            Some(chunk) => chunk != copy,
            None => !copy.is_empty(),
        });
    }

    fn assert_pages_below(&self, next_page: u32) {
        if let Some((&number, chunk)) = self.chunks.last_key_value()
            && let Some((index, _)) = chunk.entries().last()
        {
            let page = page_at(number, index);
            assert!(page.0 < next_page, "{page} is not below {next_page}");
        }
    }

    /// The checkpoint is durable: it becomes the directory, and the previous one's extents are released.
    fn install(&mut self, written: WrittenDirectory) {
        let mut superseded = Vec::new();
        {
            let mut directory = self.store.directory.write();
            superseded.push(directory.root);
            for (number, chunk) in std::mem::take(&mut self.chunks) {
                superseded
                    .extend(directory.references.get(number).copied().flatten().map(|old| old.extent()));
                if directory.chunks.len() <= number {
                    directory.chunks.resize(number + 1, None);
                }
                if let Some(old) = &directory.chunks[number] {
                    superseded.extend(replaced(old, Some(&chunk)));
                }
                directory.chunks[number] = Some(chunk).filter(|chunk| !chunk.is_empty());
            }
            directory.root = written.root;
            directory.number = written.superblock.number;
            directory.references = written.references;
            debug_assert_eq!(directory.references.len(), directory.chunks.len());
        }
        self.store.release(&superseded, Claim::Durable);
        let freed: u64 = self.ripe.iter().map(|extent| extent.bytes()).sum();
        self.store.waiting_bytes.fetch_sub(freed, Ordering::Relaxed);
        self.store.release(&std::mem::take(&mut self.ripe), Claim::Live);
    }
}

impl Drop for CheckpointWriter<'_> {
    fn drop(&mut self) {
        self.store.waiting.lock().append(&mut self.ripe);
        let unset = self.store.fresh.lock().take_unset();
        let unset: Vec<Extent> = unset.into_iter().map(|location| location.extent(None)).collect();
        self.store.release(&unset, Claim::Durable);
        if !self.in_doubt && !is_planted(Bug::CheckpointRoomLeaks) {
            let mut claimed = Vec::new();
            let directory = self.store.directory.read();
            for (&number, copy) in &self.chunks {
                claimed.extend(replaced(copy, directory.chunk(number)));
            }
            drop(directory);
            self.store.release(&claimed, Claim::Durable);
        }
        self.store.in_checkpoint.store(false, Ordering::Release);
    }
}

/// The extents in `old` that `new` does not have at the same page.
fn replaced(old: &Chunk, new: Option<&Chunk>) -> impl Iterator<Item = Extent> {
    old.entries().filter_map(move |(index, entry)| {
        let kept = new.and_then(|new| new.get(index)).is_some_and(|new| new.location == entry.location);
        (!kept).then(|| entry.extent())
    })
}

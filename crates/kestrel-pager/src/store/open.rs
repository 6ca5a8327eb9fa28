//! Creating a data file, opening one, and the superblock.

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
use kestrel_check::sync::atomic::{AtomicBool, AtomicU64};
use std::io;
use std::sync::Arc;

use kestrel_check::sync::{Mutex, RwLock};
use kestrel_io::{Storage, StorageFile};

use super::allocator::{Allocator, REGION_BYTES};
use super::directory::{Chunk, Directory, page_at};
use super::format::{self, CHUNK, ChunkReference, FILE, FILE_IN_CREATION, SECTOR};
use super::location::Extent;
use super::superblock::{self, SECTOR_BYTES, SLOT, SLOTS, Superblock};
use super::{CheckpointState, Claim, PageStore, StoreOptions};
use crate::{Error, PageId};

/// The largest read of neighbouring directory chunks.
const READ_MAX: usize = 1 << 20;

impl PageStore {
    /// Whether the storage has a data file.
    pub fn exists(storage: &dyn Storage) -> Result<bool, Error> {
        let names = storage.list().map_err(|e| Error::io("listing the database's files", e))?;
        Ok(names.iter().any(|name| name == FILE))
    }

    /// Creates the data file of a database without pages. On return it is durable; a crash before leaves a file under
    /// another name, which the next attempt removes.
    pub fn create(
        storage: &dyn Storage,
        options: StoreOptions,
        database: u128,
        initial: &CheckpointState,
    ) -> Result<PageStore, Error> {
        if !superblock::is_page_size(options.page_size) {
            let detail =
                format!("{} is not a page size: a power of two from 4096 to 65536 is", options.page_size);
            return Err(Error::io(
                "creating the data file",
                io::Error::new(io::ErrorKind::InvalidInput, detail),
            ));
        }
        if Self::exists(storage)? {
            return Err(Error::io("creating the data file", io::ErrorKind::AlreadyExists.into()));
        }
        match storage.remove(FILE_IN_CREATION) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("removing an unfinished data file", e));
            }
            _ => {}
        }
        let created = Self::create_unnamed(storage, options.page_size, database, initial);
        if created.is_err() {
            // For the space; if it stays, the next attempt removes it.
            let _ = storage.remove(FILE_IN_CREATION);
        }
        created
    }

    fn create_unnamed(
        storage: &dyn Storage,
        page_size: u32,
        database: u128,
        initial: &CheckpointState,
    ) -> Result<PageStore, Error> {
        let file =
            storage.create(FILE_IN_CREATION).map_err(|e| Error::storing("creating the data file", 0, e))?;
        let preallocated = file.preallocate(0, REGION_BYTES);
        preallocated.map_err(|e| Error::storing("creating the data file", REGION_BYTES, e))?;
        let mut store = Self::new(file, page_size, database, REGION_BYTES);
        let written = store.write_directory(std::iter::empty(), Vec::new(), (0, initial), &mut Vec::new())?;
        // Both slots, so that the file survives the loss of one from the beginning.
        for number in 0..SLOTS as u64 {
            store.write_slot(&Superblock { number, ..written.superblock })?;
        }
        store.sync()?;
        storage.rename(FILE_IN_CREATION, FILE).map_err(|e| Error::storing("naming the data file", 0, e))?;
        storage.sync_directory().map_err(|e| Error::io("syncing the database's directory", e))?;
        let directory = store.directory.get_mut();
        directory.root = written.root;
        directory.number = const { SLOTS as u64 - 1 };
        Ok(store)
    }

    /// Opens the data file at its newest checkpoint. All images and blobs of the checkpoint have live and durable claims
    /// on return; what else the file holds is free.
    pub fn open(storage: &dyn Storage) -> Result<(PageStore, CheckpointState), Error> {
        let file = storage.open(FILE).map_err(|e| Error::io("opening the data file", e))?;
        let len = file.len().map_err(|e| Error::io("measuring the data file", e))?;
        let mut head = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(SLOT * SLOTS)];
        file.read_exact_at(&mut head, 0).map_err(|e| Error::io("reading the superblocks", e))?;
        let superblock = superblock::choose(&head)?;
        // What is about to be trusted, to let the log be recycled and what older checkpoints held be overwritten, has to be
        // durable. A process that was killed may have left the superblock, or the file's name, in the system's cache
        // only. If its sync failed, the system may even call the cached superblock clean, and sync it no more: so it is
        // written once more. These are the same bytes, so a crash meanwhile leaves the slot as it was or as it should be. All
        // that it names was durable before it was written the first time.
        let slot = superblock.encode();
        let slot = slot.first_chunk::<SECTOR_BYTES>().unwrap_or(&[0; SECTOR_BYTES]);
        file.write_all_at(slot, superblock.offset())
            .map_err(|e| Error::storing("writing the superblock once more", SECTOR, e))?;
        file.sync_data().map_err(|e| Error::io("syncing the data file", e))?;
        storage.sync_directory().map_err(|e| Error::io("syncing the database's directory", e))?;
        let mut store = Self::new(file, superblock.page_size, superblock.database, len);
        let user = store.load(&superblock)?;
        let Superblock { lsn, timestamp, next_page, .. } = superblock;
        Ok((store, CheckpointState { lsn, timestamp, next_page, user }))
    }

    pub(crate) fn new(
        file: Arc<dyn StorageFile>,
        page_size: u32,
        database: u128,
        file_bytes: u64,
    ) -> PageStore {
        // The last region of a file that was cut may be incomplete; writing there makes the file grow.
        let allocator = Allocator::new(file_bytes.div_ceil(REGION_BYTES));
        let root = Extent { sector: 0, sectors: 0 };
        PageStore {
            file,
            page_size,
            database,
            seed: format::seed(database),
            growth: Mutex::default(),
            syncing: Mutex::default(),
            allocator: Mutex::new(allocator),
            fresh: Mutex::default(),
            waiting: Mutex::default(),
            directory: RwLock::new(Directory { number: 0, root, references: vec![], chunks: vec![] }),
            file_bytes: AtomicU64::new(file_bytes),
            waiting_bytes: AtomicU64::new(0),
            in_checkpoint: AtomicBool::new(false),
            unsynced_bytes: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// Loads the directory and claims all it names; the root's opaque bytes.
    fn load(&mut self, superblock: &Superblock) -> Result<Vec<u8>, Error> {
        let offset = superblock.root_sector.saturating_mul(SECTOR);
        let damage = |detail: &str| Error::corrupted(None, offset, detail);
        // Before memory is asked for.
        if superblock.root_len > self.file_bytes().saturating_sub(offset) {
            return Err(damage("the directory's root reaches behind the end of the file"));
        }
        let sectors = superblock.root_len.div_ceil(SECTOR);
        let root = Extent { sector: superblock.root_sector, sectors };
        self.claim_loaded(root, Claim::Durable, None)?;
        let root_len = usize::try_from(superblock.root_len)
            .map_err(|_| damage("the directory's root is longer than memory"))?;
        let mut bytes = vec![0; root_len];
        self.read(&mut bytes, offset, None)?;
        if format::checksum(self.seed, &[&bytes]) != superblock.root_checksum {
            return Err(damage("the checksum of the directory's root is wrong"));
        }
        let (references, user) =
            format::decode_root(&bytes).ok_or_else(|| damage("the directory's root makes no sense"))?;
        let chunks = self.load_chunks(&references)?;
        let directory = Directory { number: superblock.number, root, references, chunks };
        for (page, entry) in directory.entries() {
            if page.0 >= superblock.next_page {
                return Err(Error::corrupted(Some(page), offset, "the page's id was never given out"));
            }
            self.claim_loaded(entry.extent(), Claim::Both, Some(page))?;
        }
        *self.directory.get_mut() = directory;
        Ok(user.to_vec())
    }

    /// Reads all chunks, neighbours at once.
    fn load_chunks(&mut self, references: &[Option<ChunkReference>]) -> Result<Vec<Option<Chunk>>, Error> {
        let mut present: Vec<(usize, ChunkReference)> =
            references.iter().enumerate().filter_map(|(number, chunk)| Some((number, (*chunk)?))).collect();
        present.sort_by_key(|(_, chunk)| chunk.sector);
        // Claimed first: chunks that do not overlap take no more memory than the file is long.
        for (_, chunk) in &present {
            self.claim_loaded(chunk.extent(), Claim::Durable, None)?;
        }
        // Each with the place where it begins.
        let runs: Vec<(u64, &[(usize, ChunkReference)])> = present
            .chunk_by(|(_, a), (_, b)| a.extent().end() == b.sector)
            .flat_map(|run| run.chunks(READ_MAX / CHUNK))
            .filter_map(|run| Some((run.first()?.1.extent().offset(), run)))
            .collect();
        let bytes_of = |run: &[(usize, ChunkReference)]| run.len().saturating_mul(CHUNK);
        let mut chunks = vec![None; references.len()];
        let mut buffer = Vec::new();
        for window in runs.chunks(64) {
            for (offset, run) in window {
                self.file.will_need(*offset, bytes_of(run) as u64);
            }
            for (offset, run) in window {
                buffer.resize(bytes_of(run), 0);
                self.read(&mut buffer, *offset, None)?;
                let (pieces, _) = buffer.as_chunks::<CHUNK>();
                for ((number, reference), bytes) in run.iter().zip(pieces) {
                    let chunk = self.check_chunk(*number, *reference, bytes)?;
                    if let Some(place) = chunks.get_mut(*number) {
                        *place = Some(chunk);
                    }
                }
            }
        }
        Ok(chunks)
    }

    fn check_chunk(&self, number: usize, chunk: ChunkReference, bytes: &[u8; CHUNK]) -> Result<Chunk, Error> {
        let offset = chunk.extent().offset();
        if Chunk::checksum(self.seed, bytes) != chunk.checksum {
            let detail = format!("the checksum of directory chunk {number} is wrong");
            return Err(Error::corrupted(None, offset, detail));
        }
        Chunk::decode(bytes).map_err(|index| {
            Error::corrupted(Some(page_at(number, index)), offset, "its directory entry makes no sense")
        })
    }

    /// Claims what the newest checkpoint names.
    fn claim_loaded(&mut self, extent: Extent, claim: Claim, page: Option<PageId>) -> Result<(), Error> {
        if extent.end().saturating_mul(SECTOR) > self.file_bytes() {
            return Err(Error::corrupted(page, extent.offset(), "the file ends before"));
        }
        if extent.sectors == 0 || !self.allocator.get_mut().try_claim(extent, claim) {
            return Err(Error::corrupted(
                page,
                extent.offset(),
                "the checkpoint says that something else lies there",
            ));
        }
        Ok(())
    }

    /// Writes and syncs a superblock. If that fails, nobody knows whether it is in force.
    pub(crate) fn write_superblock(&self, superblock: &Superblock) -> Result<(), Error> {
        self.check_usable()?;
        self.write_slot(superblock).map_err(|error| self.poison(error))?;
        if is_planted(Bug::SuperblockNotSynced) { Ok(()) } else { self.sync() }
    }

    fn write_slot(&self, superblock: &Superblock) -> Result<(), Error> {
        let result = self.file.write_all_at(&superblock.encode(), superblock.offset());
        // A lack of room is no different: the slot may hold a part of what was written.
        result.map_err(|e| Error::io("writing a superblock", e))
    }
}

//! The page store: page images, blobs and checkpoints in one data file.
//!
//! The file is divided into regions of 1 MiB and sectors of 512 bytes. Images are packed back to back into free
//! sectors and never overwritten; a checkpoint names the image of every page at one moment. The bytes are described
//! in `docs/file-format.md`.
//!
//! Invariants:
//! 1. Every sector is free, or has a live claim (one owner in memory), a durable claim (the newest durable
//!    checkpoint, or the one being written), or both. Only a sector without claims is ever written to.
//! 2. A claim is taken in the same critical section that found the sector free, before anything is written there.
//! 3. The extent of a blob whose live claim was released stays claimed until a checkpoint that *began* after the
//!    release has completed: until then a log record that would be replayed may name it.
//! 4. After a failed sync, or a write that failed for another reason than a lack of room, nothing is ever written
//!    again: what the file holds is unknown until it is opened anew. So it is after any failure of a superblock's write,
//!    which may or may not have happened.
//!
//! Thread safety: everything takes `&self`. `growth` is held across I/O, by the one thread that extends the file. The
//! other locks never are, but `syncing`; where two are held, they were taken in the order `growth`, `directory`, `allocator`.

mod allocator;
mod blobs;
mod checkpoint;
mod directory;
mod format;
mod images;
mod location;
mod open;
mod space;
mod superblock;
mod survey;
mod verify;

use kestrel_check::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::fmt;
use std::sync::Arc;

use kestrel_check::sync::{Mutex, RwLock};
use kestrel_io::StorageFile;

use crate::{Error, PageId, Timestamp, TreeId};

use allocator::Allocator;
use directory::Directory;
use location::Extent;
use space::Fresh;

pub use checkpoint::CheckpointWriter;
pub use location::Location;
pub use survey::{FileSurvey, FoundImage, Sighting, SurveyedCheckpoint};

/// So much is written before it is synced, outside of checkpoints too.
const SYNCED_BYTES: u64 = 8 << 20;

/// What is decided when a data file is created.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Bytes of a page in memory: a power of two from 4096 to 65536. An image carries up to 64 bytes less.
    pub page_size: u32,
}

/// What a checkpoint says besides where the pages lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointState {
    /// The log position from which recovery replays.
    pub lsn: u64,
    /// The newest commit that the checkpoint contains.
    pub timestamp: Timestamp,
    /// All page ids in use are smaller.
    pub next_page: u32,
    /// The tree table and whatever else the layers above keep; opaque, of any length.
    pub user: Vec<u8>,
}

/// An image to be written.
#[derive(Clone, Copy, Debug)]
pub struct ImageWrite<'a> {
    /// Whose image it is.
    pub page: PageId,
    /// The tree the page belongs to.
    pub tree: TreeId,
    /// The newest commit that the image contains.
    pub timestamp: Timestamp,
    /// The packed bytes, in two runs.
    pub parts: [&'a [u8]; 2],
}

/// Which claims a written image gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// One owner in memory, who calls [`PageStore::release_live`] one day.
    Live,
    /// The checkpoint being written; to be followed by [`CheckpointWriter::set`], without which the claim ends with the
    /// checkpoint.
    Durable,
    /// Both.
    Both,
}

/// What an image says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageHeader {
    /// The tree the page belongs to.
    pub tree: TreeId,
    /// The newest commit that the image contains.
    pub timestamp: Timestamp,
    /// Packed bytes.
    pub len: u32,
}

/// What the newest durable checkpoint says of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryEntry {
    /// Where it lies.
    pub location: Location,
    /// The blob's length, if it is one.
    pub blob_len: Option<u32>,
    /// The checksum of the image, or of the blob's bytes.
    pub checksum: u32,
}

/// One data file.
pub struct PageStore {
    // Constant after construction.
    file: Arc<dyn StorageFile>,
    page_size: u32,
    database: u128,
    /// What all checksums but the superblock's start from.
    seed: u32,
    // Protected by their lock.
    growth: Mutex<()>,
    /// Held across a sync and what follows from its outcome: a system reports a failed write to one sync only, so no
    /// other may succeed before that failure is known.
    syncing: Mutex<()>,
    allocator: Mutex<Allocator>,
    fresh: Mutex<Fresh>,
    /// Extents of blobs that were released, see invariant 3.
    waiting: Mutex<Vec<Extent>>,
    directory: RwLock<Directory>,
    // Atomic.
    file_bytes: AtomicU64,
    waiting_bytes: AtomicU64,
    /// Bytes of images that were written since the last sync, about.
    unsynced_bytes: AtomicU64,
    in_checkpoint: AtomicBool,
    poisoned: AtomicBool,
    /// What poisoned it. After every other lock.
    failure: Mutex<Option<String>>,
}

impl PageStore {
    /// Bytes of a page in memory.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// The database's id, given when it was created.
    #[must_use]
    pub fn database(&self) -> u128 {
        self.database
    }

    /// What the newest durable checkpoint says of the page.
    #[must_use]
    pub fn durable_entry(&self, page: PageId) -> Option<DirectoryEntry> {
        self.directory.read().get(page)
    }

    /// Calls `visit` for every page of the newest durable checkpoint, in order. `visit` must not call the store.
    pub fn for_each_durable(&self, mut visit: impl FnMut(PageId, DirectoryEntry)) {
        for (page, entry) in self.directory.read().entries() {
            visit(page, entry);
        }
    }

    /// Makes all that was written durable. After a failure it is never tried again: what a system reports as synced
    /// then may not be.
    pub fn sync(&self) -> Result<(), Error> {
        let _one = self.syncing.lock();
        self.check_usable()?;
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        self.file.sync_data().map_err(|e| self.poison(Error::io("syncing the data file", e)))
    }

    /// Ends all writing, because of this error.
    pub(crate) fn poison(&self, error: Error) -> Error {
        self.failure.lock().get_or_insert_with(|| error.to_string());
        self.poisoned.store(true, Ordering::Release);
        error
    }

    /// Syncs if so much was written since the last time. Nothing depends on it; but what evictions leave to the system until the
    /// next checkpoint, that would have to sync at once, and keep the disk from commits for as long as that takes.
    pub fn sync_some(&self) -> Result<(), Error> {
        if self.unsynced_bytes.load(Ordering::Relaxed) < SYNCED_BYTES { Ok(()) } else { self.sync() }
    }

    /// An error after a sync or write that failed: what was written since may be lost. See invariant 4.
    pub fn check_usable(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) {
            let failure = self.failure.lock().clone().unwrap_or_default();
            return Err(Error::ReadOnly { failure });
        }
        Ok(())
    }
}

impl fmt::Debug for PageStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageStore")
            .field("file", &self.file)
            .field("page_size", &self.page_size)
            .field("file_bytes", &self.file_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

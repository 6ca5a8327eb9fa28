//! Room in the file: extents for what is to be written, growth, and the end of claims.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::Ordering;
use std::collections::{BTreeSet, HashMap};

use super::allocator::{CAPACITY_MAX, REGION_BYTES};
use super::format::SECTOR;
use super::location::Extent;
use super::{Claim, Location, PageStore};
use crate::Error;

/// The most that the file grows at once, room permitting.
const STEP_MAX: u64 = 16 * REGION_BYTES;
/// The largest buffer for images that lie back to back.
const RUN_MAX: usize = 1 << 20;
/// How many checksums are remembered. Others are read back by the checkpoint that needs them.
const CHECKSUMS_MAX: usize = 1 << 16;

/// What was written and no checkpoint knows yet.
#[derive(Default)]
pub(crate) struct Fresh {
    /// Checksums of images and blobs, as locations hold only a part of them.
    checksums: HashMap<Location, u32>,
    /// Extents with a durable claim that the checkpoint being written has not been told of.
    unset: BTreeSet<Location>,
}

impl Fresh {
    pub(crate) fn insert(&mut self, location: Location, checksum: u32, claim: Claim) {
        if self.checksums.len() < CHECKSUMS_MAX {
            self.checksums.insert(location, checksum);
        }
        if claim != Claim::Live {
            self.unset.insert(location);
        }
    }

    /// A checkpoint was told of the location: its checksum, if it is remembered.
    pub(crate) fn set(&mut self, location: Location) -> Option<u32> {
        self.unset.remove(&location);
        self.checksums.remove(&location)
    }

    /// No checkpoint will be told of the location.
    pub(crate) fn forget(&mut self, location: Location) {
        self.checksums.remove(&location);
    }

    /// The images that were written for a checkpoint that was never told of them.
    pub(crate) fn take_unset(&mut self) -> BTreeSet<Location> {
        let unset = std::mem::take(&mut self.unset);
        for location in &unset {
            self.checksums.remove(location);
        }
        unset
    }
}

impl PageStore {
    /// Ends a live claim. An image's extent is free at once unless a checkpoint holds it; a blob's, which log records
    /// may name, only after a checkpoint that begins from now on has completed.
    pub fn release_live(&self, location: Location, blob_len: Option<u32>) {
        let extent = location.extent(blob_len);
        // First, as somebody else may get the same location as soon as the extent is free.
        self.fresh.lock().forget(location);
        if blob_len.is_some() && !is_planted(Bug::LargeValueFreedTooEarly) {
            self.waiting_bytes.fetch_add(extent.bytes(), Ordering::Relaxed);
            self.waiting.lock().push(extent);
        } else {
            self.allocator.lock().release(extent, Claim::Live);
        }
    }

    /// Adds a live claim to an extent that the newest durable checkpoint holds and that has no live one.
    pub fn claim_live(&self, location: Location, blob_len: Option<u32>) {
        self.allocator.lock().claim_live(location.extent(blob_len));
    }

    /// In recovery: takes the live claim on the extent of a blob that a log record names. Everything that is to be
    /// reserved must be, before the first write. It is damage if the extent is in use, or not within the file.
    pub fn reserve_blob(&self, location: Location, len: u32) -> Result<(), Error> {
        if !location.is_blob() {
            return Err(Error::corrupted(None, location.offset(), "the log names a page image as a blob"));
        }
        let extent = location.extent(Some(len));
        if extent.end() * SECTOR > self.file_bytes() {
            return Err(Error::corrupted(
                None,
                location.offset(),
                "the log names a blob behind the file's end",
            ));
        }
        if !self.allocator.lock().try_claim(extent, Claim::Live) {
            let detail = "the log names a blob where something else lies";
            return Err(Error::corrupted(None, location.offset(), detail));
        }
        Ok(())
    }

    /// Bytes of the data file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the data file that can be written to.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.allocator.lock().free() * SECTOR
    }

    /// Bytes of released blobs that the next checkpoint will free.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Bytes with a live claim.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.allocator.lock().live() * SECTOR
    }

    /// Claims an extent of each size (in sectors), growing the file if needed: all of them, or none.
    pub(crate) fn allocate(&self, sizes: &[u64], claim: Claim) -> Result<Vec<Extent>, Error> {
        let mut extents = Vec::with_capacity(sizes.len());
        let mut squeeze = false;
        loop {
            let regions = {
                let mut allocator = self.allocator.lock();
                let missing = sizes.iter().skip(extents.len()).copied();
                let refused = missing.into_iter().find(|&sectors| {
                    let extent = allocator.allocate(sectors, claim, squeeze);
                    extents.extend(extent);
                    extent.is_none()
                });
                match refused {
                    None => return Ok(extents),
                    Some(sectors) => allocator.capacity_for(sectors),
                }
            };
            match self.grow(regions) {
                Ok(()) => {}
                // Regions that are not worth filling otherwise are better than none.
                Err(Error::DiskFull { .. }) if !squeeze => squeeze = true,
                Err(error) => {
                    self.release(&extents, claim);
                    return Err(error);
                }
            }
        }
    }

    /// Claims one extent, growing the file if needed.
    pub(crate) fn allocate_one(&self, sectors: u64, claim: Claim) -> Result<Extent, Error> {
        // As many extents as sizes.
        self.allocate(&[sectors], claim).map(|extents| extents[0])
    }

    /// Ends the same claim of several extents.
    pub(crate) fn release(&self, extents: &[Extent], claim: Claim) {
        let mut allocator = self.allocator.lock();
        for &extent in extents {
            allocator.release(extent, claim);
        }
    }

    /// Makes room for at least so many regions.
    fn grow(&self, regions: u64) -> Result<(), Error> {
        let _growing = self.growth.lock();
        if self.allocator.lock().capacity() >= regions {
            // Somebody else was faster.
            return Ok(());
        }
        let from = self.file_bytes();
        let needed = regions * REGION_BYTES - from.min(regions * REGION_BYTES);
        if regions > CAPACITY_MAX {
            return Err(Error::DiskFull { needed });
        }
        let step = (from / 8).clamp(REGION_BYTES, STEP_MAX);
        let generous = (from + step).next_multiple_of(REGION_BYTES) - from;
        let mut grown = generous.max(needed);
        let mut result = self.file.preallocate(from, grown);
        if result.is_err() && grown > needed {
            grown = needed;
            result = self.file.preallocate(from, grown);
        }
        result.map_err(|e| Error::storing("growing the data file", needed, e))?;
        self.file_bytes.fetch_max(from + grown, Ordering::Relaxed);
        self.allocator.lock().set_capacity((from + grown) / REGION_BYTES);
        Ok(())
    }
}

/// Collects extents that lie back to back, and writes them together.
pub(crate) struct RunWriter<'s> {
    store: &'s PageStore,
    buffer: Vec<u8>,
    /// Where the buffer belongs, in bytes.
    offset: u64,
}

impl<'s> RunWriter<'s> {
    pub(crate) fn new(store: &'s PageStore) -> Self {
        Self { store, buffer: Vec::new(), offset: 0 }
    }

    /// Adds an extent, whose bytes `fill` appends.
    pub(crate) fn add(&mut self, extent: Extent, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let follows = extent.offset() == self.offset + self.buffer.len() as u64;
        if !follows || self.buffer.len() as u64 + extent.bytes() > RUN_MAX as u64 {
            self.flush()?;
            self.offset = extent.offset();
        }
        let before = self.buffer.len() as u64;
        fill(&mut self.buffer);
        debug_assert_eq!(self.buffer.len() as u64 - before, extent.bytes());
        Ok(())
    }

    /// Writes what was added.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.store.write(&self.buffer, self.offset)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl PageStore {
    /// Writes into claimed sectors that nothing refers to yet. So a lack of room has changed nothing, and is passed on; any
    /// other failure ends all writing.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        debug_assert!(offset.is_multiple_of(SECTOR) && (bytes.len() as u64).is_multiple_of(SECTOR));
        self.check_usable()?;
        let result = self.file.write_all_at(bytes, offset);
        result.map_err(|e| match Error::storing("writing the data file", bytes.len() as u64, e) {
            full @ Error::DiskFull { .. } => full,
            error => self.poison(error),
        })?;
        // A file that was cut within its last region grows again.
        self.file_bytes.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

//! Blobs: values too large for a page, each in one contiguous extent of its own.

use kestrel_check::planted::{Bug, is_planted};

use super::format::{FOOTER, Footer, SECTOR, sectors_for};
use super::location::Extent;
use super::{Claim, ImageHeader, Location, PageStore};
use crate::{Error, PageId, Timestamp, TreeId};

/// Blobs up to this size are copied to be written at once, larger ones written from where they are.
const COPIED_MAX: usize = 64 * 1024;

impl PageStore {
    /// Writes a blob and takes the live claim on its extent. Not synced. Returns where it lies and the CRC-32 of its
    /// bytes, both of which reading it takes. If it fails, nothing stays claimed.
    ///
    /// # Panics
    /// If the blob is of 4 GiB or more.
    pub fn write_blob(
        &self,
        page: PageId,
        tree: TreeId,
        timestamp: Timestamp,
        data: &[u8],
    ) -> Result<(Location, u32), Error> {
        let len = u32::try_from(data.len()).expect("a blob is smaller than 4 GiB");
        let checksum = crc32fast::hash(data);
        let footer =
            Footer::new(page, ImageHeader { tree, timestamp, len }, Some(checksum)).seal(self.seed, &[]);
        let extent = self.allocate_one(sectors_for(len.into()), Claim::Live)?;
        if let Err(error) = self.write_sealed_blob(extent, data, &footer) {
            // No log record can name it, so nothing has to wait.
            self.release(&[extent], Claim::Live);
            return Err(error);
        }
        let location = Location::new(extent.sector, 0, checksum as u16);
        self.fresh.lock().insert(location, checksum, Claim::Live);
        Ok((location, checksum))
    }

    /// Reads and checks a blob. What is not the blob of that page, length and checksum is damage.
    pub fn read_blob(&self, page: PageId, at: Location, len: u32, checksum: u32) -> Result<Vec<u8>, Error> {
        let damage = |detail: &str| Error::corrupted(Some(page), at.offset(), detail);
        if !at.is_blob() || at.tag() != checksum as u16 {
            return Err(damage("its location is not that of the blob"));
        }
        let extent = at.extent(Some(len));
        // Before memory is asked for.
        if extent.end() * SECTOR > self.file_bytes() {
            return Err(damage("it reaches behind the end of the file"));
        }
        let mut bytes = Vec::new();
        let needed = extent.bytes();
        let reserved = usize::try_from(needed).is_ok_and(|n| bytes.try_reserve_exact(n).is_ok());
        if !reserved {
            return Err(Error::BudgetExhausted { needed, what: "a large value" });
        }
        bytes.resize(needed as usize, 0);
        self.read(&mut bytes, extent.offset(), Some(page))?;
        self.check_blob_footer(page, at, len, checksum, &bytes)?;
        bytes.truncate(len as usize);
        if crc32fast::hash(&bytes) != checksum && !is_planted(Bug::LargeValueChecksumIgnored) {
            return Err(damage("the checksum is wrong"));
        }
        Ok(bytes)
    }

    /// The checksum of a blob's bytes, as its footer has it. The bytes are not read.
    pub(crate) fn read_blob_checksum(&self, page: PageId, at: Location, len: u32) -> Result<u32, Error> {
        let extent = at.extent(Some(len));
        let mut bytes = [0; SECTOR as usize];
        self.read(&mut bytes, (extent.end() - 1) * SECTOR, Some(page))?;
        let damage = |detail: &str| Error::corrupted(Some(page), at.offset(), detail);
        let checksum = Footer::open(self.seed, &bytes).map_err(damage)?.blob_checksum;
        let checksum = checksum.ok_or_else(|| damage("a page image lies there"))?;
        self.check_blob_footer(page, at, len, checksum, &bytes)?;
        Ok(checksum)
    }

    fn check_blob_footer(
        &self,
        page: PageId,
        at: Location,
        len: u32,
        checksum: u32,
        extent: &[u8],
    ) -> Result<(), Error> {
        let damage = |detail: &str| Error::corrupted(Some(page), at.offset(), detail);
        // Not compared: the page id. Recovery gives a blob that a log record names a new one, and checksum and length
        // tell it from others.
        let footer = Footer::open(self.seed, extent).map_err(damage)?;
        if (footer.header.len, footer.blob_checksum) != (len, Some(checksum)) || at.tag() != checksum as u16 {
            return Err(damage("another blob lies there"));
        }
        Ok(())
    }

    fn write_sealed_blob(&self, extent: Extent, data: &[u8], footer: &[u8; FOOTER]) -> Result<(), Error> {
        let sector = SECTOR as usize;
        let direct = if data.len() <= COPIED_MAX { 0 } else { data.len() / sector * sector };
        let (head, rest) = data.split_at(direct);
        if !head.is_empty() {
            self.write(head, extent.offset())?;
        }
        let mut tail = Vec::with_capacity(extent.bytes() as usize - direct);
        tail.extend_from_slice(rest);
        tail.resize(extent.bytes() as usize - direct - FOOTER, 0);
        tail.extend_from_slice(footer);
        if is_planted(Bug::LargeValueCutShort) {
            tail.truncate(tail.len() - sector);
        }
        self.write(&tail, extent.offset() + direct as u64)
    }
}

//! Pages and large values of a transaction that nobody else knows yet.

use kestrel_check::sync::atomic::Ordering;

use crate::chain::{self, State};
use crate::evict::PackedImage;
use crate::pinned::Held;
use crate::{Error, Location, OwnedFrame, PageId, Pager, Timestamp, TreeId};

impl Pager {
    /// Counts frames that transactions keep for themselves.
    pub fn note_private_frames(&self, more: usize, fewer: usize) {
        self.private_frames.fetch_add(more, Ordering::Relaxed);
        self.private_frames.fetch_sub(fewer, Ordering::Relaxed);
    }

    /// Whether private frames take so much of the pool that their owners should spill some.
    #[must_use]
    pub fn is_short_of_private_frames(&self) -> bool {
        self.private_frames.load(Ordering::Relaxed) > self.pool.frames() / 2
    }

    /// Whether private frames take so much of the pool that no transaction may take another one, as readers need some.
    #[must_use]
    pub fn is_out_of_private_frames(&self) -> bool {
        self.private_frames.load(Ordering::Relaxed) >= self.pool.frames() / 4 * 3
    }

    /// Writes private pages to where nothing lies. The caller owns the live claims; a crash forgets them. Not synced.
    ///
    /// # Errors
    /// The disk is full, or writing failed; nothing stays claimed.
    pub fn spill(&self, frames: &[OwnedFrame]) -> Result<Vec<(Location, u32)>, Error> {
        let images: Vec<PackedImage> = frames
            .iter()
            .map(|frame| PackedImage {
                page: frame.page(),
                tree: frame.tree(),
                ts: Timestamp(0),
                bytes: self.layout.packed_parts(frame.payload()).concat(),
            })
            .collect();
        let locations = self.write_packed(&images)?;
        Ok(locations
            .into_iter()
            .zip(&images)
            .map(|(location, image)| (location, image.bytes.len() as u32))
            .collect())
    }

    /// Reads a spilled page back. The claim stays with the caller.
    ///
    /// # Errors
    /// No frame can be had, or the image cannot be read.
    pub fn unspill(&self, page: PageId, tree: TreeId, location: Location) -> Result<OwnedFrame, Error> {
        let mut frame = self.take_frame(page, tree)?;
        let mut packed = Vec::new();
        self.store.read_image(page, location, &mut packed)?;
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.unpack(page, location, &packed, &mut frame)?;
        Ok(frame)
    }

    /// Gives back the live claim on a spilled page (`blob_len` is `None`) or a large value that was never published.
    pub fn discard(&self, location: Location, blob_len: Option<u32>) {
        self.store.release_live(location, blob_len);
    }

    /// Writes a large value. The caller owns the live claim. Not synced. Returns its place and checksum.
    ///
    /// # Errors
    /// The disk is full, or writing failed; nothing stays claimed.
    pub fn write_blob(&self, page: PageId, tree: TreeId, data: &[u8]) -> Result<(Location, u32), Error> {
        self.store.write_blob(page, tree, Timestamp(0), data)
    }

    /// Reads a large value as a snapshot at `at` sees it.
    ///
    /// # Errors
    /// It cannot be read, is not there, or is not the one with this length and checksum.
    pub fn read_blob(&self, page: PageId, at: Timestamp, len: u32, checksum: u32) -> Result<Vec<u8>, Error> {
        let (location, _held) = self.find_blob(page, at).ok_or_else(|| {
            Error::corrupted(Some(page), 0, "a large value is referred to that does not exist")
        })?;
        self.store.read_blob(page, location, len, checksum)
    }

    /// Where a large value lies. What is returned with it keeps the extent from being reused.
    fn find_blob(&self, page: PageId, at: Timestamp) -> Option<(Location, Held)> {
        let guard = self.pin();
        let State::In(segment) = chain::state_at(self.table.get(page)?, at, &guard) else { return None };
        segment.base.blob_len()?;
        Some((segment.base.location()?, Held::new(segment.base)))
    }
}

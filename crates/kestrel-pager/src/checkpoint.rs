//! Checkpoints: writing every page that changed as it was at one moment.
//!
//! The caller registers a snapshot at C and takes the dirty set in one critical section of its commit gate, so each page
//! that differs from the last checkpoint is in the set, and its state at C cannot go away. For each page:
//!
//! | its state at C | what the directory gets |
//! |---|---|
//! | absent | nothing |
//! | a base with a place, no deltas | that place |
//! | a base without a place, no deltas | written; the image gets the place too |
//! | deltas, and nothing newer | consolidated in memory first, then as above |
//! | deltas, and something newer | merged aside, written, the live claim given back |
//!
//! Durable claims are taken under the stripe lock, while the live claim's owner cannot let go.

use kestrel_check::planted::{Bug, is_planted};

use crate::chain::{self, State};
use crate::dirty::DirtyPages;
use crate::evict::PackedImage;
use crate::store::CheckpointWriter;
use crate::version::Kind;
use crate::{Error, Fault, Location, PageId, Pager, Timestamp};

/// Images that are written at once.
const BATCH: usize = 64;

/// What a look at a page led to.
enum Outcome {
    /// The directory says it.
    Set,
    /// It has to be written.
    Write(PackedImage),
    /// It has to be loaded first.
    Load,
    /// Its newest state is to be consolidated first.
    Consolidate,
    /// Its deltas are to be merged aside.
    Merge,
}

impl Pager {
    /// The pages that changed since this was last called. Under the commit gate.
    pub fn take_dirty(&self) -> DirtyPages {
        std::mem::take(&mut *self.dirty.lock())
    }

    /// Gives a set back after a checkpoint that failed.
    pub fn restore_dirty(&self, pages: &DirtyPages) {
        if !is_planted(Bug::DirtyPagesForgotten) {
            self.dirty.lock().merge(pages);
        }
    }

    /// Writes what is not on disk of the pages' states at `at`, and tells the checkpoint where each of them lies. A
    /// snapshot at `at` must live until the checkpoint is finished. Calls `progress` with the number of pages done.
    ///
    /// # Errors
    /// Reading or writing failed, or no frame could be had.
    pub fn write_dirty(
        &self,
        pages: &DirtyPages,
        at: Timestamp,
        writer: &mut CheckpointWriter<'_>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), Error> {
        let mut batch = Vec::with_capacity(BATCH);
        for (done, page) in pages.iter().enumerate() {
            if let Some(image) = self.checkpoint_page(page, at, writer)? {
                batch.push(image);
            }
            if batch.len() == BATCH {
                self.write_batch(&mut batch, at, writer)?;
                self.store.sync_some()?;
                progress(done as u64);
            }
        }
        self.write_batch(&mut batch, at, writer)
    }

    /// Sets the page's entry, or returns what has to be written for it.
    fn checkpoint_page(
        &self,
        page: PageId,
        at: Timestamp,
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<Option<PackedImage>, Error> {
        let mut attempts = 0;
        loop {
            match self.look_for_checkpoint(page, at, attempts, writer) {
                Outcome::Set => return Ok(None),
                Outcome::Write(image) => return Ok(Some(image)),
                Outcome::Load => self.load(page, at)?,
                Outcome::Consolidate => {
                    self.consolidate(page)?;
                    attempts += 1;
                }
                Outcome::Merge => {
                    if let Some(image) = self.merge_aside(page, at)? {
                        return Ok(Some(image));
                    }
                }
            }
        }
    }

    fn look_for_checkpoint(
        &self,
        page: PageId,
        at: Timestamp,
        attempts: usize,
        writer: &mut CheckpointWriter<'_>,
    ) -> Outcome {
        let guard = self.pin();
        let link = self.link(page);
        let _stripe = self.stripe(page);
        let segment = match chain::state_at(link, at, &guard) {
            State::Absent => {
                writer.set(page, None);
                return Outcome::Set;
            }
            State::OnDisk(location) => {
                writer.set(page, Some((location, None)));
                return Outcome::Set;
            }
            State::In(segment) => segment,
        };
        let base = segment.base;
        if segment.deltas(&guard).any(|delta| delta.ts <= at) {
            let newest = segment.until.is_none() && segment.head.ts <= at;
            return match base.kind {
                Kind::Image if newest && attempts < 4 => Outcome::Consolidate,
                Kind::Image => Outcome::Merge,
                _ => Outcome::Load,
            };
        }
        match base.location() {
            Some(location) => {
                writer.set(page, Some((location, base.blob_len())));
                Outcome::Set
            }
            None => Outcome::Write(self.pack(&segment)),
        }
    }

    /// The page's state at `at` as one image; `None` if it has to be loaded, which is then done.
    fn merge_aside(&self, page: PageId, at: Timestamp) -> Result<Option<PackedImage>, Error> {
        let state = match self.read(page, at) {
            Ok(state) => state,
            Err(Fault::NotResident(_)) => {
                self.load(page, at)?;
                return Ok(None);
            }
            Err(Fault::Missing(_)) => return Ok(None),
        };
        let mut merged = vec![0; self.capacity()];
        state.with_layers(|layers| self.layout.consolidate(layers, &mut merged))?;
        let bytes = self.layout.packed_parts(&merged).concat();
        Ok(Some(PackedImage { page, tree: state.tree(), ts: state.timestamp(), bytes }))
    }

    fn write_batch(
        &self,
        batch: &mut Vec<PackedImage>,
        at: Timestamp,
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<(), Error> {
        let locations = if batch.is_empty() { Vec::new() } else { self.write_packed(batch)? };
        for (image, location) in batch.drain(..).zip(locations) {
            self.set_written(&image, location, at, writer);
        }
        Ok(())
    }

    /// Tells the checkpoint of an image that was written, and gives the live claim to its version in memory, if there is
    /// one that has none; else back.
    fn set_written(
        &self,
        image: &PackedImage,
        location: Location,
        at: Timestamp,
        writer: &mut CheckpointWriter<'_>,
    ) {
        let guard = self.pin();
        let link = self.link(image.page);
        let _stripe = self.stripe(image.page);
        if let State::In(segment) = chain::state_at(link, at, &guard) {
            let whole = segment.base.ts == image.ts && segment.deltas(&guard).all(|delta| delta.ts > at);
            match segment.base.location() {
                Some(other) if whole => {
                    // Somebody else wrote the same image meanwhile.
                    writer.set(image.page, Some((other, segment.base.blob_len())));
                    self.store.release_live(location, None);
                    return;
                }
                None if whole && segment.base.kind == Kind::Image => {
                    segment.base.set_location(location);
                    writer.set(image.page, Some((location, None)));
                    return;
                }
                _ => {}
            }
        }
        writer.set(image.page, Some((location, None)));
        self.store.release_live(location, None);
    }
}

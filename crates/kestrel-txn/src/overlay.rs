//! The overlay: the pages of one write transaction, over a snapshot.
//!
//! A touched page is a *private delta* over its published state (few operations on a leaf), a *whole* private page, a
//! whole page *spilled* to disk, or *freed*. Pages born here are known to nobody else; dropping the overlay gives back
//! all that it owns. Small transactions thus never copy a page, large ones build their part of the tree privately.
//!
//! Invariant: base bytes and costs of all deltas over a page never exceed a page's capacity, the private delta included,
//! so that it can be made whole at any time.

mod fit;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use kestrel_btree::{
    BlobRef, Corruption, Delta, LeafOp, ReadPages, WritePages, consolidate, delta_cost, level,
};
use kestrel_pager::{
    Fault, Location, MAX_DELTAS, OwnedFrame, OwnedVersion, PageId, Pager, PinnedPage, Timestamp, TreeId,
};

use crate::page::{Page, ReadError};
use crate::restarts::Restarts;
use crate::{Error, ErrorKind};

pub(crate) use fit::Fit;
use fit::sealed;

/// Bytes of a delta besides its operations.
const DELTA_HEADER: usize = 64;
/// Whole pages that are spilled at once.
const SPILL: usize = 128;

/// What the transaction made of a page.
enum Private {
    Delta {
        tree: TreeId,
        payload: Vec<u8>,
        cost: u32,
    },
    /// A delta in the memory in which it will be published.
    Sealed(OwnedVersion),
    Whole {
        frame: OwnedFrame,
        born: bool,
    },
    Spilled {
        tree: TreeId,
        location: Location,
        len: u32,
        born: bool,
    },
    Freed,
}

/// A large value that the transaction wrote.
struct PrivateBlob {
    tree: TreeId,
    location: Location,
    len: u32,
    /// Nothing in the overlay refers to it any more. It stays readable until the transaction ends.
    freed: bool,
}

/// See the module's description.
pub(crate) struct Overlay {
    pager: Arc<Pager>,
    at: Timestamp,
    /// The tree that the current operation works on.
    tree: TreeId,
    pages: HashMap<PageId, Private, BuildHasherDefault<PageIdHasher>>,
    blobs: BTreeMap<PageId, PrivateBlob>,
    /// Whole pages in the order in which they became whole, for spilling.
    whole: VecDeque<PageId>,
    frames: usize,
    /// Payload bytes of private deltas.
    delta_bytes: usize,
    /// The published page that was fetched last: its bound of bytes, and its deltas.
    recent: Option<(PageId, u32, usize)>,
}

impl Overlay {
    pub(crate) fn new(pager: Arc<Pager>, at: Timestamp) -> Overlay {
        let (pages, blobs, whole) = Default::default();
        Overlay {
            pager,
            at,
            tree: TreeId::CATALOGUE,
            pages,
            blobs,
            whole,
            frames: 0,
            delta_bytes: 0,
            recent: None,
        }
    }

    /// Names the tree that the next operations work on.
    pub(crate) fn work_on(&mut self, tree: TreeId) {
        self.tree = tree;
    }

    /// Makes a page that [`ReadPages::page`] called not resident so.
    pub(crate) fn make_resident(&mut self, id: PageId) -> Result<(), Error> {
        match self.pages.get(&id) {
            Some(Private::Spilled { .. }) => self.unspill(id),
            _ => Ok(self.pager.load(id, self.at)?),
        }
    }

    /// A published page, loaded if need be.
    fn pin(&self, id: PageId) -> Result<PinnedPage, ReadError> {
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            match self.pager.read(id, self.at) {
                Ok(page) => return Ok(page),
                Err(Fault::NotResident(page)) => self.pager.load(page, self.at).map_err(Error::from)?,
                Err(fault @ Fault::Missing(_)) => return Err(fault.into()),
            }
        }
    }

    /// A private frame; others are spilled if the transaction has too many.
    fn take_frame(&mut self, id: PageId) -> Result<OwnedFrame, Error> {
        self.make_room()?;
        Ok(self.pager.take_frame(id, self.tree)?)
    }

    /// Spills if transactions keep too many frames; an error if that does not help, so that readers find some.
    fn make_room(&mut self) -> Result<(), Error> {
        if self.frames >= 4 && self.pager.is_short_of_private_frames() {
            self.spill()?;
        }
        if self.pager.is_out_of_private_frames() {
            let message =
                "open transactions hold all the memory that there is for them; end some, or raise the budget";
            return Err(Error::new(ErrorKind::OverBudget, message));
        }
        Ok(())
    }

    fn keep_whole(&mut self, id: PageId, frame: OwnedFrame, born: bool) {
        self.pager.note_private_frames(1, 0);
        self.frames += 1;
        self.whole.push_back(id);
        self.pages.insert(id, Private::Whole { frame, born });
    }

    /// Writes some whole pages to disk, those that have been whole for the longest time; inner nodes last.
    fn spill(&mut self) -> Result<(), Error> {
        let mut frames = Vec::new();
        let mut born_of = Vec::new();
        for _ in 0..self.whole.len() {
            if frames.len() == SPILL {
                break;
            }
            let Some(id) = self.whole.pop_front() else { break };
            let Entry::Occupied(entry) = self.pages.entry(id) else { continue };
            let Private::Whole { frame, .. } = entry.get() else { continue };
            if level(frame.payload()) > 0 {
                self.whole.push_back(id);
            } else if let Private::Whole { frame, born } = entry.remove() {
                frames.push(frame);
                born_of.push(born);
            }
        }
        if frames.is_empty() {
            return Ok(());
        }
        match self.pager.spill(&frames) {
            Ok(places) => {
                self.pager.note_private_frames(0, frames.len());
                self.frames -= frames.len();
                for ((frame, (location, len)), born) in frames.into_iter().zip(places).zip(born_of) {
                    let spilled = Private::Spilled { tree: frame.tree(), location, len, born };
                    self.pages.insert(frame.page(), spilled);
                }
                Ok(())
            }
            Err(error) => {
                for (frame, born) in frames.into_iter().zip(born_of) {
                    self.whole.push_back(frame.page());
                    self.pages.insert(frame.page(), Private::Whole { frame, born });
                }
                Err(error.into())
            }
        }
    }

    fn unspill(&mut self, id: PageId) -> Result<(), Error> {
        self.make_room()?;
        let Some(&Private::Spilled { tree, location, born, .. }) = self.pages.get(&id) else { return Ok(()) };
        let frame = self.pager.unspill(id, tree, location)?;
        self.pager.discard(location, None);
        self.keep_whole(id, frame, born);
        Ok(())
    }

    fn note_delta(&mut self, more: usize, fewer: usize) {
        self.delta_bytes = self.delta_bytes + more - fewer;
        self.pager.note_private_deltas(more, fewer);
    }

    /// Merges the page's state, a private delta included, into a private frame.
    fn make_whole(&mut self, id: PageId) -> Result<(), ReadError> {
        let mut frame = self.take_frame(id)?;
        match self.pages.remove(&id) {
            Some(Private::Delta { payload, tree, cost }) => {
                self.note_delta(0, delta_bytes(&payload));
                let page = Page::Layered(self.pin(id)?, &payload);
                if let Err(error) = consolidate(&page, frame.payload_mut()) {
                    drop(page);
                    self.note_delta(delta_bytes(&payload), 0);
                    self.pages.insert(id, Private::Delta { tree, payload, cost });
                    return Err(Corruption::from(error).on(id).into());
                }
            }
            _ => {
                let page = Page::Published(self.pin(id)?);
                consolidate(&page, frame.payload_mut()).map_err(|error| Corruption::from(error).on(id))?;
            }
        }
        self.keep_whole(id, frame, false);
        Ok(())
    }

    /// Writes a large value and keeps it for the transaction.
    pub(crate) fn write_blob(&mut self, value: &[u8]) -> Result<(BlobRef, Location), Error> {
        let page = self.pager.allocate_page()?;
        let (location, checksum) = match self.pager.write_blob(page, self.tree, value) {
            Ok(written) => written,
            Err(error) => {
                self.pager.release_page(page);
                return Err(error.into());
            }
        };
        let len = value.len() as u32;
        self.blobs.insert(page, PrivateBlob { tree: self.tree, location, len, freed: false });
        Ok((BlobRef { page, len, checksum }, location))
    }

    /// Takes over a large value that lies on disk already, with its live claim.
    pub(crate) fn adopt_blob(
        &mut self,
        location: Location,
        len: u32,
        checksum: u32,
        page: Option<PageId>,
    ) -> Result<BlobRef, Error> {
        let page = page.map_or_else(|| self.pager.allocate_page(), Ok)?;
        self.blobs.insert(page, PrivateBlob { tree: self.tree, location, len, freed: false });
        Ok(BlobRef { page, len, checksum })
    }

    /// Gives the large values up to another overlay: by place, page and length.
    pub(crate) fn take_blobs(&mut self) -> BTreeMap<Location, (PageId, u32)> {
        let blobs = std::mem::take(&mut self.blobs);
        blobs.into_iter().map(|(page, blob)| (blob.location, (page, blob.len))).collect()
    }

    /// Reads a large value, private or published.
    pub(crate) fn read_blob(&self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        let BlobRef { page, len, checksum } = blob;
        Ok(match self.blobs.get(&page) {
            Some(private) => self.pager.store().read_blob(page, private.location, len, checksum)?,
            None => self.pager.read_blob(page, self.at, len, checksum)?,
        })
    }

    /// Whether nothing was changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.blobs.is_empty()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        for (id, private) in self.pages.drain() {
            match private {
                Private::Whole { born: true, .. } => self.pager.release_page(id),
                Private::Spilled { location, born, .. } => {
                    self.pager.discard(location, None);
                    if born {
                        self.pager.release_page(id);
                    }
                }
                _ => {}
            }
        }
        for (page, blob) in std::mem::take(&mut self.blobs) {
            self.pager.discard(blob.location, Some(blob.len));
            self.pager.release_page(page);
        }
        self.pager.note_private_frames(0, self.frames);
        self.pager.note_private_deltas(0, self.delta_bytes);
    }
}

impl ReadPages for Overlay {
    type Error = ReadError;
    type Page<'a> = Page<'a>;

    fn page(&self, id: PageId) -> Result<Page<'_>, ReadError> {
        match self.pages.get(&id) {
            None => Ok(Page::Published(self.pager.read(id, self.at)?)),
            Some(Private::Delta { payload, .. }) => Ok(Page::Layered(self.pager.read(id, self.at)?, payload)),
            Some(Private::Sealed(delta)) => Ok(Page::Layered(self.pager.read(id, self.at)?, delta.payload())),
            Some(Private::Whole { frame, .. }) => Ok(Page::Private(frame.payload())),
            Some(Private::Spilled { .. }) => Err(ReadError::NotResident(id)),
            Some(Private::Freed) => Err(Corruption::at(id, "a page that was freed is referred to").into()),
        }
    }

    fn prefetch_place(&self, id: PageId) {
        self.pager.prefetch_word(id);
    }

    fn prefetch(&self, id: PageId, depth: usize) {
        self.pager.prefetch_version(id, depth);
    }
}

impl WritePages for Overlay {
    fn fetch(&mut self, id: PageId) -> Result<Page<'_>, ReadError> {
        if let Some(Private::Spilled { .. }) = self.pages.get(&id) {
            self.unspill(id)?;
        }
        match self.pages.get(&id) {
            None => {
                let page = self.pin(id)?;
                self.recent = Some((id, page.accumulated(), page.delta_count()));
                Ok(Page::Published(page))
            }
            Some(Private::Delta { payload, .. }) => Ok(Page::Layered(self.pin(id)?, payload)),
            _ => self.page(id),
        }
    }

    fn buffer(&mut self, leaf: PageId, op: LeafOp<'_>) -> Result<bool, ReadError> {
        let existing = match self.pages.get(&leaf) {
            None => &[][..],
            Some(Private::Delta { payload, .. }) => payload.as_slice(),
            Some(_) => return Ok(false),
        };
        let capacity = self.pager.capacity();
        let bytes = existing.len() + op.key.len() + kestrel_btree::op_cost(&op) as usize;
        if bytes > capacity / 4 || self.pager.deltas_full() {
            return Ok(false);
        }
        let (below, deltas) = match self.recent {
            Some((recent, below, deltas)) if recent == leaf => (below, deltas),
            _ => {
                let state = self.pin(leaf)?;
                (state.accumulated(), state.delta_count())
            }
        };
        // A chain of deltas costs every reader; past a point an image is the better choice.
        if deltas + 1 >= MAX_DELTAS {
            return Ok(false);
        }
        let payload = Delta::with(existing, op);
        let cost = delta_cost(&payload);
        if (below + cost) as usize > capacity {
            return Ok(false);
        }
        let (more, fewer) =
            (delta_bytes(&payload), if existing.is_empty() { 0 } else { delta_bytes(existing) });
        self.note_delta(more, fewer);
        self.pages.insert(leaf, Private::Delta { tree: self.tree, payload, cost });
        Ok(true)
    }

    fn edit(&mut self, id: PageId) -> Result<&mut [u8], ReadError> {
        match self.pages.get(&id) {
            Some(Private::Whole { .. }) => {}
            Some(Private::Spilled { .. }) => self.unspill(id)?,
            Some(Private::Freed) => {
                return Err(Corruption::at(id, "a page that was freed is referred to").into());
            }
            Some(Private::Delta { .. }) | None => self.make_whole(id)?,
            Some(Private::Sealed(_)) => return Err(sealed(id)),
        }
        match self.pages.get_mut(&id) {
            Some(Private::Whole { frame, .. }) => Ok(frame.payload_mut()),
            _ => Err(Corruption::at(id, "a page did not become private").into()),
        }
    }

    fn allocate(&mut self) -> Result<PageId, ReadError> {
        let id = self.pager.allocate_page().map_err(Error::from)?;
        match self.take_frame(id) {
            Ok(mut frame) => {
                frame.payload_mut().fill(0);
                self.keep_whole(id, frame, true);
                Ok(id)
            }
            Err(error) => {
                self.pager.release_page(id);
                Err(ReadError::Failed(error))
            }
        }
    }

    fn free(&mut self, id: PageId) -> Result<(), ReadError> {
        let born = match self.pages.remove(&id) {
            Some(Private::Whole { born, .. }) => {
                self.pager.note_private_frames(0, 1);
                self.frames -= 1;
                born
            }
            Some(Private::Spilled { location, born, .. }) => {
                self.pager.discard(location, None);
                born
            }
            Some(Private::Delta { payload, .. }) => {
                self.note_delta(0, delta_bytes(&payload));
                false
            }
            Some(Private::Sealed(_)) => return Err(sealed(id)),
            Some(Private::Freed) | None => false,
        };
        if born {
            self.pager.release_page(id);
        } else {
            self.pages.insert(id, Private::Freed);
        }
        Ok(())
    }

    fn free_blob(&mut self, blob: BlobRef) -> Result<(), ReadError> {
        match self.blobs.get_mut(&blob.page) {
            Some(private) => private.freed = true,
            None => {
                self.pages.insert(blob.page, Private::Freed);
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.pager.capacity()
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> ReadError {
        ReadError::Failed(error)
    }
}

/// What a private delta will take once it is published.
fn delta_bytes(payload: &[u8]) -> usize {
    DELTA_HEADER + payload.len()
}

/// Page ids are dense numbers: a multiplication spreads them.
#[derive(Default)]
struct PageIdHasher(u64);

impl Hasher for PageIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}

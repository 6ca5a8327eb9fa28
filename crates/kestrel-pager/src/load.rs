//! Loading: bringing a page's image back into memory.
//!
//! 1. Take a frame, unpinned.
//! 2. Pin; find the raw location or stub that the snapshot meets.
//! 3. Read and check. The extent cannot be reused meanwhile: it is released through the epoch.
//! 4. Under the stripe lock, if the chain still has the same, put the image in its place; it takes over the live claim.
//!    Otherwise start over.

use kestrel_check::sync::atomic::Ordering;

use crossbeam_epoch::Guard;

use crate::chain::{self, State};
use crate::link::Word;
use crate::version::{Kind, VersionRef};
use crate::{Error, Location, OwnedFrame, PageId, Pager, Timestamp, TreeId};

/// An image that lies on disk only.
struct Missing<'g> {
    location: Location,
    /// The stub that stands for it, unless the table holds the raw location.
    stub: Option<VersionRef<'g>>,
}

impl Pager {
    /// Makes the page's state at `at` resident, if there is one. To be called with nothing pinned.
    ///
    /// # Errors
    /// No frame can be had, or the image cannot be read.
    pub fn load(&self, page: PageId, at: Timestamp) -> Result<(), Error> {
        self.load_node(page, at, || {
            // Whoever reads at a snapshot came here along a tree.
            Err("a large value where a node belongs")
        })
    }

    /// As [`Pager::load`], of the newest state, for somebody whom no tree led here: nobody keeps the page from being freed
    /// meanwhile, and its id from being given to a large value. That is not loaded.
    pub(crate) fn load_newest(&self, page: PageId) -> Result<(), Error> {
        self.load_node(page, Timestamp::MAX, || Ok(()))
    }

    /// `large`: what it means that the page is a large value.
    fn load_node(
        &self,
        page: PageId,
        at: Timestamp,
        large: impl Fn() -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let mut packed = Vec::new();
        loop {
            if self.find_missing(page, at, &self.pin(), &large)?.is_none() {
                return Ok(());
            }
            let mut frame = self.take_frame(page, TreeId(0))?;
            let guard = self.pin();
            let Some(missing) = self.find_missing(page, at, &guard, &large)? else { return Ok(()) };
            let header = self.store.read_image(page, missing.location, &mut packed)?;
            self.loads.fetch_add(1, Ordering::Relaxed);
            self.unpack(page, missing.location, &packed, &mut frame)?;
            if missing.stub.is_some_and(|stub| stub.tree != TreeId(0) && stub.tree != header.tree) {
                return Err(Error::corrupted(
                    Some(page),
                    missing.location.offset(),
                    format!("an image of {} lies there", header.tree),
                ));
            }
            self.complete(&mut frame, &missing, header.tree, packed.len());
            if self.install(frame, &missing, &guard) {
                return Ok(());
            }
        }
    }

    /// Announces that a page will be read soon, if it is not in memory.
    pub fn will_need(&self, page: PageId) {
        let guard = self.pin();
        if let Some(Word::OnDisk(location)) = self.table.get(page).map(|link| link.load(&guard)) {
            self.store.will_need(location);
        }
    }

    /// Rebuilds and checks a node from its packed bytes.
    pub(crate) fn unpack(
        &self,
        page: PageId,
        location: Location,
        packed: &[u8],
        frame: &mut OwnedFrame,
    ) -> Result<(), Error> {
        self.layout
            .unpack(packed, frame.payload_mut())
            .map_err(|detail| Error::corrupted(Some(page), location.offset(), detail))
    }

    fn find_missing<'g>(
        &'g self,
        page: PageId,
        at: Timestamp,
        guard: &'g Guard,
        large: &impl Fn() -> Result<(), &'static str>,
    ) -> Result<Option<Missing<'g>>, Error> {
        loop {
            let Some(link) = self.table.get(page) else { return Ok(None) };
            let stub = match chain::state_at(link, at, guard) {
                State::OnDisk(location) => return Ok(Some(Missing { location, stub: None })),
                State::In(segment) if segment.base.kind == Kind::Stub => segment.base,
                State::In(_) | State::Absent => return Ok(None),
            };
            let Some(location) = stub.location() else {
                // The claim is just going to an image, which will be there in an instant.
                kestrel_check::sync::spin_loop();
                continue;
            };
            if stub.blob_len().is_some() {
                let wrong = |detail| Error::corrupted(Some(page), location.offset(), detail);
                return large().map(|()| None).map_err(wrong);
            }
            return Ok(Some(Missing { location, stub: Some(stub) }));
        }
    }

    fn complete(&self, frame: &mut OwnedFrame, missing: &Missing<'_>, tree: TreeId, used: usize) {
        let (level, bound) = (self.layout.level(frame.payload()), self.bound(used));
        let header = frame.header_mut();
        header.tree = tree;
        header.level = level;
        header.accumulated = bound;
        if let Some(stub) = missing.stub {
            header.ts = stub.ts;
        }
    }

    /// Puts an image in the place of what stands for it; `false` if something else is there by now.
    fn install(&self, frame: OwnedFrame, missing: &Missing<'_>, guard: &Guard) -> bool {
        let page = frame.page();
        let link = self.link(page);
        let stripe = self.stripe(page);
        match missing.stub {
            None => {
                if link.load(guard) != Word::OnDisk(missing.location) {
                    return false;
                }
                frame.version().set_location(missing.location);
                link.store(frame.publish(guard));
            }
            Some(stub) => {
                // From the top: the stub may have left the chain together with what led to it.
                let found = chain::segments(link, guard).find(|segment| segment.base == stub);
                let (Some(segment), Some(location)) = (found, stub.location()) else { return false };
                stub.take_location();
                frame.version().set_location(location);
                frame.version().next.store(stub.header().next.load(guard));
                stripe.cut(segment.base_link(guard), (stub, 1), frame.publish(guard), guard);
            }
        }
        chain::debug_check(link, page, guard);
        true
    }
}

//! Eviction: a clock hand goes over the frames and takes those that nobody used lately.
//!
//! A victim without a place on disk is written first, in a batch with others: its packed bytes are copied under the
//! stripe lock, written without any lock, and the place is noted under the lock again, if the image still is there.
//! Then its link is replaced: by the raw location where invariant 2 of the [`Pager`] allows that, else by a stub.

use kestrel_check::sync::atomic::Ordering;

use crossbeam_epoch::Guard;

use crate::chain::{self, Segment, Stripe};
use crate::link::Word;
use crate::prune::Superseded;
use crate::snapshots::LiveSet;
use crate::store::{Claim, ImageWrite};
use crate::version::{Kind, OwnedVersion};
use crate::{Error, Location, PageId, Pager, Timestamp, TreeId};

/// Where the hand stands.
#[derive(Default)]
pub(crate) struct ClockHand {
    position: usize,
}

/// The packed bytes of an image that has no place on disk.
pub(crate) struct PackedImage {
    pub(crate) page: PageId,
    pub(crate) tree: TreeId,
    pub(crate) ts: Timestamp,
    pub(crate) bytes: Vec<u8>,
}

/// What the hand does about a frame.
enum Look {
    /// It is free, private, held by a user, or was used lately.
    Spared,
    /// It was let go.
    Evicted,
    /// It can be let go once it was written.
    Dirty(PackedImage),
}

impl Pager {
    /// Lets go of about `wanted` frames. Returns how many it let go; they become free when no reader can see them any
    /// more. To be called with nothing pinned.
    ///
    /// # Errors
    /// Writing changed pages failed, and no other page could be let go.
    pub fn evict(&self, wanted: usize) -> Result<usize, Error> {
        let live = self.snapshots.live_set();
        let mut dirty = Vec::new();
        let mut evicted = self.sweep(wanted, Some(&mut dirty), &live);
        let mut failed = None;
        if !dirty.is_empty() {
            match self.write_and_evict(&mut dirty, &live) {
                Ok(written) => evicted += written,
                Err(error) => failed = Some(error),
            }
        }
        if let (Some(error), 0) = (failed, evicted) {
            // Reading goes on as long as there are pages that need not be written.
            evicted = self.sweep(wanted, None, &live);
            if evicted == 0 {
                return Err(error);
            }
        }
        // Frames must not wait in this thread's bag while others look for one.
        self.pin().flush();
        Ok(evicted)
    }

    /// Moves the hand: once round for as many frames as are wanted, and if there were none, whose chances are gone by then, on
    /// to the first. Pages that would have to be written are collected, or spared.
    fn sweep(&self, wanted: usize, mut dirty: Option<&mut Vec<PackedImage>>, live: &LiveSet) -> usize {
        let frames = self.pool.frames();
        let mut evicted = 0;
        let mut collected = 0;
        for step in 0..4 * frames {
            let enough = if step < frames { wanted } else { 1 };
            if evicted + collected >= enough {
                break;
            }
            match self.look(self.advance_hand(), dirty.is_some(), live) {
                Look::Evicted => evicted += 1,
                Look::Dirty(image) => {
                    if let Some(dirty) = &mut dirty {
                        dirty.push(image);
                        collected += 1;
                    }
                }
                Look::Spared => {}
            }
        }
        evicted
    }

    fn advance_hand(&self) -> usize {
        let mut hand = self.hand.lock();
        let at = hand.position;
        hand.position = (at + 1) % self.pool.frames();
        at
    }

    fn look(&self, frame: usize, writing: bool, live: &LiveSet) -> Look {
        let Some(page) = self.pool.owner(frame) else { return Look::Spared };
        let guard = self.pin();
        let Some(link) = self.table.get(page) else { return Look::Spared };
        let stripe = self.stripe(page);
        let holds =
            |segment: &Segment<'_>| segment.base.kind == Kind::Image && segment.base.frame as usize == frame;
        let Some(segment) = chain::segments(link, &guard).find(holds) else {
            // Out of its chain, but not free: a user holds it, or readers are about to let go.
            return Look::Spared;
        };
        let image = segment.base;
        if image.refs.count() > 1 {
            return Look::Spared;
        }
        let chances = image.chances.load(Ordering::Relaxed);
        if chances > 0 {
            image.chances.store(chances - 1, Ordering::Relaxed);
            return Look::Spared;
        }
        if image.location().is_none() {
            return if writing { Look::Dirty(self.pack(&segment)) } else { Look::Spared };
        }
        self.let_go(&segment, &stripe, live, &guard);
        Look::Evicted
    }

    /// Copies the packed bytes of a segment's base.
    pub(crate) fn pack(&self, segment: &Segment<'_>) -> PackedImage {
        let image = segment.base;
        let [front, heap] = self.layout.packed_parts(image.payload());
        PackedImage { page: image.page, tree: image.tree, ts: image.ts, bytes: [front, heap].concat() }
    }

    fn write_and_evict(&self, images: &mut [PackedImage], live: &LiveSet) -> Result<usize, Error> {
        let mut evicted = 0;
        for (image, location) in images.iter().zip(self.write_packed(images)?) {
            let guard = self.pin();
            let stripe = self.stripe(image.page);
            let noted = self.note_location(image, location, &stripe, &guard);
            if let Some(segment) = noted.filter(|segment| segment.base.refs.count() == 1) {
                self.let_go(&segment, &stripe, live, &guard);
                evicted += 1;
            }
        }
        Ok(evicted)
    }

    /// Writes images and takes the live claims.
    pub(crate) fn write_packed(&self, images: &[PackedImage]) -> Result<Vec<Location>, Error> {
        let writes: Vec<ImageWrite<'_>> = images
            .iter()
            .map(|image| ImageWrite {
                page: image.page,
                tree: image.tree,
                timestamp: image.ts,
                parts: [&image.bytes, &[]],
            })
            .collect();
        self.writes.fetch_add(writes.len() as u64, Ordering::Relaxed);
        self.store.write_images(&writes, Claim::Live)
    }

    /// Gives an image that was written its place, if it still is there and has none; else the place is released. Two
    /// images of a page with one timestamp have the same content, so it does not matter which of them was written.
    fn note_location<'g>(
        &'g self,
        image: &PackedImage,
        location: Location,
        _stripe: &Stripe<'_>,
        guard: &'g Guard,
    ) -> Option<Segment<'g>> {
        let link = self.link(image.page);
        let found = chain::segments(link, guard).find(|segment| segment.base.ts <= image.ts);
        let found = found.filter(|segment| {
            segment.base.ts == image.ts
                && segment.base.kind == Kind::Image
                && segment.base.location().is_none()
        });
        match found {
            Some(segment) => segment.base.set_location(location),
            None => self.store.release_live(location, None),
        }
        found
    }

    /// Replaces an image by its place on disk. Under the stripe lock.
    fn let_go(&self, segment: &Segment<'_>, stripe: &Stripe<'_>, live: &LiveSet, guard: &Guard) {
        let image = segment.base;
        let Some(location) = image.take_location() else { return };
        let link = segment.base_link(guard);
        let older = image.header().next.load(guard);
        let top_alone = segment.until.is_none() && segment.head == image && older == Word::Empty;
        if top_alone && image.ts <= live.oldest() {
            stripe.cut(link, (image, 1), Word::OnDisk(location), guard);
            return;
        }
        let mut stub = OwnedVersion::stub(image.page, image.tree, image.ts, 0, &self.pool);
        let header = stub.header_mut();
        header.set_location(location);
        header.accumulated = image.accumulated;
        header.next.store(older);
        stripe.cut(link, (image, 1), stub.publish(guard), guard);
        chain::debug_check(self.link(image.page), image.page, guard);
        if top_alone {
            self.supersede([Superseded::stub(image.page)]);
        }
    }
}

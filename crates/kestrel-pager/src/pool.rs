//! The pool: who may use which frame, and how much memory versions take.
//!
//! A frame is *free* (on the free list), *private* (an [`OwnedFrame`]), or *published* (an image of a chain,
//! possibly held by users). `owner` names the page of a published frame, for the clock hand; it is a hint, the
//! truth is the page's chain. All memory of versions is accounted here: frames by count, deltas by bytes.
//! Stubs and tombstones are, like the page table, a cost per page of the file and only counted.

#![allow(unsafe_code)]

use kestrel_check::sync::atomic::{AtomicIsize, AtomicU32, AtomicUsize, Ordering};
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_epoch::Guard;
use crossbeam_utils::CachePadded;
use kestrel_check::sync::Mutex;

use crate::arena::Arena;
use crate::link::Word;
use crate::store::{Location, PageStore};
use crate::version::{HEADER_BYTES, Header, Kind, VersionRef, release};
use crate::{Error, PageId, Timestamp, TreeId, thread_number};

/// Groups of threads that count what they hold.
const SHARDS: usize = if cfg!(miri) { 4 } else { 64 };

/// What one group of threads holds: a cache line that no other group writes to.
#[derive(Default)]
struct Holds {
    now: AtomicIsize,
    /// How much of it is in the sum.
    summed: AtomicIsize,
}

/// Frames and heap bytes of all versions of one database.
pub(crate) struct Pool {
    // Constant after construction.
    arena: Arena,
    delta_limit: usize,
    store: Arc<PageStore>,
    owners: Box<[AtomicU32]>,
    // What changes is kept off the cache lines of what does not, which every get reads.
    // Protected by their mutex.
    free: CachePadded<Mutex<Vec<u32>>>,
    // Atomic.
    counts: CachePadded<Counts>,
    /// Images that users hold, counted per group of threads.
    holds: Box<[CachePadded<Holds>]>,
    /// Their sum, about: each group adds what is new when that is worth it.
    held: CachePadded<AtomicIsize>,
}

#[derive(Default)]
struct Counts {
    free: AtomicUsize,
    /// Frames from this number on were never used, so the system has not given them memory yet.
    untouched_from: AtomicUsize,
    delta_bytes: AtomicUsize,
    stub_bytes: AtomicUsize,
    /// Deltas that transactions have not published.
    private_delta_bytes: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(
        page_size: usize,
        frames: usize,
        delta_limit: usize,
        store: Arc<PageStore>,
    ) -> Result<Arc<Pool>, Error> {
        let arena = Arena::new(page_size, frames)?;
        let count = u32::try_from(frames)
            .map_err(|_| Error::BudgetExhausted { needed: frames as u64, what: "frame numbers" })?;
        Ok(Arc::new(Pool {
            arena,
            delta_limit,
            store,
            owners: (0..frames).map(|_| AtomicU32::new(0)).collect(),
            // Popped from the end: low frames first, so that an arena larger than the data stays untouched.
            free: CachePadded::new(Mutex::new((0..count).rev().collect())),
            counts: CachePadded::new(Counts { free: AtomicUsize::new(frames), ..Counts::default() }),
            holds: (0..SHARDS).map(|_| CachePadded::default()).collect(),
            held: CachePadded::default(),
        }))
    }

    /// Payload bytes of an image.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.arena.frame_bytes() - HEADER_BYTES
    }

    pub(crate) fn frames(&self) -> usize {
        self.arena.frames()
    }

    pub(crate) fn free_frames(&self) -> usize {
        self.counts.free.load(Ordering::Relaxed)
    }

    pub(crate) fn delta_bytes(&self) -> usize {
        self.counts.delta_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn note_private_deltas(&self, more: usize, fewer: usize) {
        self.counts.private_delta_bytes.fetch_add(more, Ordering::Relaxed);
        self.counts.private_delta_bytes.fetch_sub(fewer, Ordering::Relaxed);
    }

    /// Whether published and private deltas together have reached their bound.
    pub(crate) fn deltas_full(&self) -> bool {
        self.delta_bytes() + self.counts.private_delta_bytes.load(Ordering::Relaxed) >= self.delta_limit
    }

    pub(crate) fn stub_bytes(&self) -> usize {
        self.counts.stub_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn delta_limit(&self) -> usize {
        self.delta_limit
    }

    /// Whether users hold so many images (one held twice counts twice) that further values had better be copied. Late by
    /// a small part of the frames at most.
    #[inline]
    pub(crate) fn crowded(&self) -> bool {
        self.held.load(Ordering::Relaxed) > (self.frames() / 8) as isize
    }

    /// A user holds an image.
    #[inline]
    pub(crate) fn note_hold(&self) {
        self.count_holds(1);
    }

    /// A user has let go of an image, maybe in another thread than the one that held it: only the sum has a meaning.
    #[inline]
    pub(crate) fn note_release(&self) {
        self.count_holds(-1);
    }

    /// A group's count goes into the sum when it has moved so far that a thread that holds a value and lets go of it again
    /// and again never gets there. Where the sum matters for few frames, it is exact.
    #[inline]
    fn count_holds(&self, more: isize) {
        let frames = self.frames();
        let step = if frames < 512 { 1 } else { (frames / (32 * SHARDS)).clamp(2, 64) } as isize;
        let holds = &self.holds[thread_number() % SHARDS];
        let now = holds.now.fetch_add(more, Ordering::Relaxed) + more;
        if (now - holds.summed.load(Ordering::Relaxed)).abs() >= step {
            self.sum_holds(holds, now);
        }
    }

    /// Whatever threads of one group do at once, the sum grows by the difference of what was there and what is there.
    #[cold]
    fn sum_holds(&self, holds: &Holds, now: isize) {
        let before = holds.summed.swap(now, Ordering::Relaxed);
        self.held.fetch_add(now - before, Ordering::Relaxed);
    }

    /// What is in the sum, for tests.
    #[cfg(test)]
    pub(crate) fn held(&self) -> isize {
        self.held.load(Ordering::Relaxed)
    }

    /// The page whose image the frame held when last looked at.
    pub(crate) fn owner(&self, frame: usize) -> Option<PageId> {
        self.owners[frame].load(Ordering::Relaxed).checked_sub(1).map(PageId)
    }

    /// A private frame for `page`, or `None` if none is free.
    pub(crate) fn take_frame(self: &Arc<Pool>, page: PageId, tree: TreeId) -> Option<OwnedFrame> {
        let number = {
            let mut free = self.free.lock();
            let number = free.pop()?;
            self.counts.free.store(free.len(), Ordering::Relaxed);
            number
        };
        self.counts.untouched_from.fetch_max(number as usize + 1, Ordering::Relaxed);
        let mut header = Header::new(Kind::Image, page, tree, Timestamp(0), self);
        header.frame = number;
        let pointer = self.arena.frame(number).cast::<Header>();
        // SAFETY: a frame off the free list belongs to nobody else; it is aligned to 4 KiB and larger than a header.
        unsafe { pointer.write(header) };
        Some(OwnedFrame(pointer))
    }

    /// Uses some frames for the first time, if few are left that were used before. A first use costs the system more than
    /// all else that a writer does with a page, so somebody who has time had better do it.
    pub(crate) fn warm(self: &Arc<Pool>) {
        const RESERVE: usize = 4096;
        const STEP: usize = 1024;
        let untouched = self.frames() - self.counts.untouched_from.load(Ordering::Relaxed).min(self.frames());
        let free = self.free_frames();
        let warm = free.saturating_sub(untouched);
        // Not where frames are so few that somebody may miss those taken here.
        if warm < RESERVE && untouched >= STEP && free >= 4 * (RESERVE + STEP) {
            let taken: Vec<_> =
                (0..warm + STEP).map_while(|_| self.take_frame(PageId(0), TreeId(0))).collect();
            drop(taken);
        }
    }

    /// Called with the last count of an image gone.
    pub(crate) fn free_frame(&self, number: u32) {
        self.owners[number as usize].store(0, Ordering::Relaxed);
        let mut free = self.free.lock();
        debug_assert!(free.len() < self.frames(), "a frame is freed once");
        free.push(number);
        self.counts.free.store(free.len(), Ordering::Relaxed);
    }

    pub(crate) fn release_extent(&self, location: Location, blob_len: Option<u32>) {
        self.store.release_live(location, blob_len);
    }

    pub(crate) fn account_allocated(&self, kind: Kind, bytes: usize) {
        self.counter(kind).fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn account_freed(&self, kind: Kind, bytes: usize) {
        self.counter(kind).fetch_sub(bytes, Ordering::Relaxed);
    }

    fn counter(&self, kind: Kind) -> &AtomicUsize {
        if kind == Kind::Delta { &self.counts.delta_bytes } else { &self.counts.stub_bytes }
    }
}

/// A frame that only its owner knows: a page being built.
pub struct OwnedFrame(NonNull<Header>);

// SAFETY: exclusively owned memory without thread affinity.
unsafe impl Send for OwnedFrame {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for OwnedFrame {}

impl OwnedFrame {
    /// The page it is meant for.
    pub fn page(&self) -> PageId {
        self.version().page
    }

    /// The tree of that page.
    pub fn tree(&self) -> TreeId {
        self.version().tree
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.version().payload()
    }

    /// The payload, to be written. Its bytes are whatever the frame's last user left there.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let capacity = self.version().pool().capacity();
        // SAFETY: exclusively owned; the arena's memory is zeroed by the kernel, hence always initialised.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(1).cast::<u8>().as_ptr(), capacity) }
    }

    pub(crate) fn version(&self) -> VersionRef<'_> {
        // SAFETY: owned, so it lives as long as `self`.
        unsafe { VersionRef::new(self.0) }
    }

    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: exclusively owned.
        unsafe { self.0.as_mut() }
    }

    /// Gives the frame to a chain: the caller stores the result in a link of the frame's page.
    pub(crate) fn publish<'g>(self, _guard: &'g Guard) -> Word<'g> {
        let pointer = self.0;
        let version = self.version();
        version.pool().owners[version.frame as usize].store(version.page.0 + 1, Ordering::Relaxed);
        std::mem::forget(self);
        // SAFETY: the chain that takes it over hands it to the epoch when it lets go.
        Word::Version(unsafe { VersionRef::new(pointer) })
    }
}

impl Drop for OwnedFrame {
    fn drop(&mut self) {
        // SAFETY: the only count.
        unsafe { release(self.0) };
    }
}

impl std::fmt::Debug for OwnedFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.version().fmt(f)
    }
}

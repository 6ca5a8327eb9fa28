//! The pager: every page's chain, the memory they live in, and the file below.
//!
//! Invariants:
//! 1. A chain changes only under its page's stripe lock; readers take none. Stripe locks are held for some dozens of
//!    instructions, never across I/O, never two at a time.
//! 2. A raw location in the table belongs to a page whose newest state every live snapshot may see.
//! 3. A live claim on an extent has one owner: a table word, a version's location, or a private page.
//! 4. No thread does I/O or waits for a frame while it pins an epoch, except a load that owns its frame already.

#![allow(unsafe_code)]

use kestrel_check::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use crossbeam_epoch::Guard;
use crossbeam_utils::CachePadded;
use kestrel_check::sync::{Mutex, YIELDS, wait_a_little};

use crate::chain::Stripe;
use crate::dirty::DirtyPages;
use crate::epoch;
use crate::link::{Link, Word};
use crate::page_ids::PageIds;
use crate::page_queue::PageQueue;
use crate::pool::Pool;
use crate::prune::Retired;
use crate::table::PageTable;
use crate::version::{OwnedVersion, retire};
use crate::{
    CheckpointState, DirectoryEntry, Error, Fault, Layout, OwnedFrame, PageId, PageStore, PinnedPage,
    Snapshots, Timestamp, TreeId, chain,
};

const STRIPES: usize = if cfg!(any(miri, kestrel_shuttle)) { 4 } else { 1024 };

/// How much memory a pager may take.
#[derive(Clone, Copy, Debug)]
pub struct PagerOptions {
    /// Frames of the page size.
    pub frames: usize,
    /// Bytes of deltas.
    pub delta_bytes: usize,
    /// Whether one thread does all: then nobody waits for what another thread may let go of.
    pub alone: bool,
}

/// Figures of a pager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagerStatistics {
    /// Frames of the pool.
    pub frames: u64,
    /// Frames that hold nothing.
    pub free_frames: u64,
    /// Heap bytes of deltas.
    pub delta_bytes: u64,
    /// Heap bytes of stubs and tombstones, which stand for pages that are not resident.
    pub stub_bytes: u64,
    /// Page ids in use.
    pub pages: u64,
    /// Images read from disk.
    pub page_loads: u64,
    /// Images written to disk.
    pub page_writes: u64,
    /// Superseded segments that somebody may still look at, or that were not pruned yet.
    pub superseded: u64,
}

/// What a writer has to know of a page before it lays something over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The newest commit that changed the page; zero if that is older than every live snapshot.
    pub timestamp: Timestamp,
    /// An upper bound of the bytes that its newest state needs as one image.
    pub accumulated: u32,
    /// How many deltas lie over its newest base.
    pub deltas: u32,
}

/// A look at the tops of chains, under one pin of the epoch: nothing that waits may happen while it lasts.
pub struct Heads<'p> {
    pager: &'p Pager,
    guard: Guard,
}

impl Heads<'_> {
    /// What lies at the top of a page's chain; `None` if the page does not exist in its newest state.
    #[must_use]
    pub fn head(&self, page: PageId) -> Option<ChainHead> {
        match self.pager.table.get(page)?.load(&self.guard) {
            Word::Empty => None,
            Word::OnDisk(location) => Some(ChainHead {
                timestamp: Timestamp(0),
                accumulated: self.pager.bound_on_disk(location),
                deltas: 0,
            }),
            Word::Version(head) if head.kind == crate::version::Kind::Tombstone => None,
            Word::Version(head) => {
                Some(ChainHead { timestamp: head.ts, accumulated: head.accumulated, deltas: head.deltas })
            }
        }
    }

    /// The newest timestamp of a page's chain, also if it was freed.
    #[must_use]
    pub fn newest(&self, page: PageId) -> Timestamp {
        self.pager.table.get(page).map_or(Timestamp(0), |link| chain::newest(link, &self.guard))
    }
}

/// All pages of one database.
pub struct Pager {
    // Constant after construction.
    /// Under whose pins pages are looked at.
    epoch: usize,
    /// Whether there are no other threads to wait for.
    alone: bool,
    pub(crate) pool: Arc<Pool>,
    pub(crate) store: Arc<PageStore>,
    pub(crate) layout: Box<dyn Layout>,
    pub(crate) snapshots: Arc<Snapshots>,
    // Each page's link is protected by its stripe. Every get reads it, so it has a cache line apart from what changes.
    pub(crate) table: CachePadded<PageTable>,
    stripes: Box<[CachePadded<Mutex<()>>]>,
    // Protected by their mutex.
    pub(crate) ids: Mutex<PageIds>,
    pub(crate) retired: Mutex<Retired>,
    pub(crate) dirty: Mutex<DirtyPages>,
    pub(crate) hand: Mutex<crate::evict::ClockHand>,
    /// Pages with deltas, and those with so many that they had better be merged soon.
    pub(crate) delta_pages: Mutex<PageQueue>,
    pub(crate) ripe_pages: Mutex<PageQueue>,
    // Atomic.
    /// Superseded segments that wait for no live snapshot, as of the last change.
    pub(crate) superseded: AtomicUsize,
    pub(crate) private_frames: AtomicUsize,
    pub(crate) loads: AtomicU64,
    pub(crate) writes: AtomicU64,
}

impl Pager {
    /// A pager over an opened store: every page of its newest checkpoint is there, none in memory.
    ///
    /// # Errors
    /// The memory cannot be had.
    pub fn new(
        store: PageStore,
        state: &CheckpointState,
        options: PagerOptions,
        layout: Box<dyn Layout>,
    ) -> Result<Pager, Error> {
        let store = Arc::new(store);
        let pool =
            Pool::new(store.page_size() as usize, options.frames, options.delta_bytes, Arc::clone(&store))?;
        let table = PageTable::new();
        let (epoch, guard) = epoch::pin_own();
        let mut ids = PageIds::default();
        let mut outside = None;
        store.for_each_durable(|page, entry| {
            // A stub of length zero would pass for a page.
            if entry.blob_len == Some(0) || page.0 >= state.next_page {
                outside = Some((page, entry));
                return;
            }
            ids.push_used(page);
            table.get_or_grow(page).store(Self::durable_word(page, entry, &pool, &guard));
        });
        if let Some((page, entry)) = outside {
            let detail = "the checkpoint holds an empty value, or a page beyond its last page id";
            return Err(Error::corrupted(Some(page), entry.location.offset(), detail));
        }
        ids.start();
        Ok(Pager {
            epoch,
            alone: options.alone,
            pool,
            store,
            layout,
            snapshots: Snapshots::new(state.timestamp),
            table: CachePadded::new(table),
            stripes: (0..STRIPES).map(|_| CachePadded::new(Mutex::new(()))).collect(),
            ids: Mutex::new(ids),
            retired: Mutex::default(),
            superseded: AtomicUsize::new(0),
            dirty: Mutex::default(),
            hand: Mutex::default(),
            delta_pages: Mutex::default(),
            ripe_pages: Mutex::default(),
            private_frames: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        })
    }

    /// What the table says of a page that only the disk knows. The store has taken the live claim for it.
    fn durable_word<'g>(page: PageId, entry: DirectoryEntry, pool: &Arc<Pool>, guard: &'g Guard) -> Word<'g> {
        match entry.blob_len {
            None => Word::OnDisk(entry.location),
            Some(len) => {
                let mut stub = OwnedVersion::stub(page, TreeId(0), Timestamp(0), len, pool);
                stub.header_mut().set_location(entry.location);
                stub.publish(guard)
            }
        }
    }

    /// Payload bytes of a page.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.pool.capacity()
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.pool.frames()
    }

    /// The registry of the database's snapshots.
    #[must_use]
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// The file below.
    #[must_use]
    pub fn store(&self) -> &PageStore {
        &self.store
    }

    /// Pins the epoch: what the caller sees stays until it lets go of the pin. It may wait for nothing meanwhile.
    ///
    /// # Panics
    /// The thread that opened the database [stands apart](crate::stand_apart), and this is another one.
    #[inline]
    #[must_use]
    pub fn pin(&self) -> Guard {
        epoch::pin(self.epoch).expect("a database of a thread that stands apart is used by that thread only")
    }

    /// A page as a snapshot at `at` shows it. Takes no lock; some loads from memory for each newer version.
    ///
    /// # Errors
    /// See [`Fault`].
    #[inline]
    pub fn read(&self, page: PageId, at: Timestamp) -> Result<PinnedPage, Fault> {
        let guard = self.pin();
        let link = self.table.get(page).ok_or(Fault::Missing(page))?;
        PinnedPage::find(link, page, at, guard)
    }

    /// As [`Pager::read`], under a pin that the caller has already: one pin costs about as much as all else that is done
    /// for a page in the processor's cache, so whoever reads several pages in a row pins once.
    ///
    /// # Errors
    /// See [`Fault`]. The caller lets go of its pin before it loads anything.
    #[inline]
    pub fn read_under<'g>(
        &self,
        guard: &'g Guard,
        page: PageId,
        at: Timestamp,
    ) -> Result<PinnedPage<&'g Guard>, Fault> {
        let link = self.table.get(page).ok_or(Fault::Missing(page))?;
        PinnedPage::find(link, page, at, guard)
    }

    /// Calls `visit` for every page that exists in the state at `at`. A snapshot at `at` must live.
    pub fn for_each_page(&self, at: Timestamp, mut visit: impl FnMut(PageId)) {
        for id in 0..self.page_limit() {
            let page = PageId(id);
            let guard = self.pin();
            let exists = self
                .table
                .get(page)
                .is_some_and(|link| !matches!(chain::state_at(link, at, &guard), chain::State::Absent));
            drop(guard);
            if exists {
                visit(page);
            }
        }
    }

    /// What lies at the top of a page's chain; `None` if the page does not exist in its newest state.
    #[must_use]
    pub fn head(&self, page: PageId) -> Option<ChainHead> {
        self.heads().head(page)
    }

    /// A look at the tops of many chains.
    #[must_use]
    pub fn heads(&self) -> Heads<'_> {
        Heads { pager: self, guard: self.pin() }
    }

    /// At most so many bytes does the image there have.
    pub(crate) fn bound_on_disk(&self, location: crate::Location) -> u32 {
        location.image_bytes_max().min(self.capacity() as u32)
    }

    /// What counts as the bytes of an image of `used` packed bytes: no less than what will be known of it when only its
    /// place on disk is, so that an eviction never takes away room that somebody counted on.
    pub(crate) fn bound(&self, used: usize) -> u32 {
        crate::Location::image_bound(used as u32).min(self.capacity() as u32)
    }

    /// A new page id.
    ///
    /// # Errors
    /// All are in use.
    pub fn allocate_page(&self) -> Result<PageId, Error> {
        self.ids.lock().allocate()
    }

    /// Gives back an id under which nothing was ever published.
    pub fn release_page(&self, page: PageId) {
        self.ids.lock().release(page);
    }

    /// All page ids in use are smaller.
    #[must_use]
    pub fn page_limit(&self) -> u32 {
        self.ids.lock().limit()
    }

    /// A private frame, its bytes whatever its last user left. Evicts if none is free.
    ///
    /// # Errors
    /// All frames are held, or evicting failed.
    pub fn take_frame(&self, page: PageId, tree: TreeId) -> Result<OwnedFrame, Error> {
        // Some hundred milliseconds: as long as threads that are in each other's way need on a machine that has other things to
        // do, for one that pins the epoch and does not run keeps frames from becoming free. After a failed write too:
        // what was let go before can still become free.
        const PATIENCE: usize = if cfg!(miri) { 200 } else { YIELDS + 500 };
        // Of a thread that is alone: so often that the epoch has moved on and everything was looked at.
        const PATIENCE_ALONE: usize = 12;
        let mut failed = None;
        for attempt in 0..if self.alone { PATIENCE_ALONE } else { PATIENCE } {
            if let Some(frame) = self.pool.take_frame(page, tree) {
                return Ok(frame);
            }
            // Under shuttle all threads are one to the epoch, and another may have pinned it.
            debug_assert!(cfg!(kestrel_shuttle) || !epoch::is_pinned(), "a frame is waited for under a pin");
            if self.alone || attempt % 64 < 2 || attempt > YIELDS {
                match self.evict((self.frames() / 32).clamp(1, 64)) {
                    Ok(_) => failed = None,
                    Err(error) => failed = Some(error),
                }
                self.prune(256);
            }
            // What was evicted becomes free when the epoch has moved on twice.
            self.pin().flush();
            if attempt > 4 && !self.alone {
                wait_a_little(attempt);
            }
        }
        Err(failed.unwrap_or(Error::BudgetExhausted { needed: self.store.page_size().into(), what: "pages" }))
    }

    /// A delta for a page, to be published. `cost` is its share in the bound of the page's bytes.
    #[must_use]
    pub fn new_delta(&self, page: PageId, tree: TreeId, payload: &[u8], cost: u32) -> OwnedVersion {
        OwnedVersion::delta(page, tree, payload, cost, &self.pool)
    }

    /// Whether the memory for deltas is used up, so that whole images have to be published instead.
    #[must_use]
    pub fn deltas_full(&self) -> bool {
        self.pool.deltas_full()
    }

    /// Counts bytes of deltas that transactions keep for themselves.
    pub fn note_private_deltas(&self, more: usize, fewer: usize) {
        self.pool.note_private_deltas(more, fewer);
    }

    /// Makes the system give memory to some frames that writers will want soon.
    pub fn warm_frames(&self) {
        self.pool.warm();
    }

    /// Whether frames are so few that it is time to [evict](Pager::evict).
    #[must_use]
    pub fn is_short_of_frames(&self) -> bool {
        self.pool.free_frames() < (self.pool.frames() / 32).max(4)
    }

    /// Figures as of now.
    #[must_use]
    pub fn statistics(&self) -> PagerStatistics {
        PagerStatistics {
            frames: self.pool.frames() as u64,
            free_frames: self.pool.free_frames() as u64,
            delta_bytes: self.pool.delta_bytes() as u64,
            stub_bytes: self.pool.stub_bytes() as u64,
            pages: self.ids.lock().in_use().into(),
            page_loads: self.loads.load(Ordering::Relaxed),
            page_writes: self.writes.load(Ordering::Relaxed),
            superseded: self.retired.lock().len() as u64,
        }
    }

    /// The lock under which a page's chain changes.
    pub(crate) fn stripe(&self, page: PageId) -> Stripe<'_> {
        // Neighbouring pages are changed together, so they had better not share a stripe.
        Stripe::new(self.stripes[page.0 as usize % STRIPES].lock())
    }

    pub(crate) fn link(&self, page: PageId) -> &Link {
        self.table.get_or_grow(page)
    }
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pager").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}

impl Drop for Pager {
    /// Gives every version back. Nobody reads any more, but user-held values may outlive the pager: they keep their
    /// version, and through it the pool, alive.
    fn drop(&mut self) {
        // Otherwise its memory is lost: nobody knows when those who look at it have ended.
        let Some(guard) = epoch::pin(self.epoch) else { return };
        let limit = self.ids.lock().limit();
        self.table.for_each(limit, |_, link| {
            let all: Vec<_> =
                chain::segments(link, &guard).map(|segment| (segment.head, segment.len(&guard))).collect();
            link.store(Word::Empty);
            for (head, count) in all {
                // SAFETY: the whole chain was just unlinked, and nobody else changes it: the pager is being dropped.
                unsafe { retire(&guard, head, count) };
            }
        });
        guard.flush();
        drop(guard);
        // It goes, and the memory and the open file with it, when the epoch has moved on twice. Nobody may come by for long to do
        // that. If a thread of another database pins the epoch meanwhile, it does, later.
        for _ in 0..4 {
            let _ = epoch::pin(self.epoch).map(|guard| guard.flush());
        }
    }
}

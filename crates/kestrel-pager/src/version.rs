//! Versions: what a page's chain is made of.
//!
//! Every version starts with a 64-byte [`Header`], one cache line. A **delta** (heap) carries the operations of
//! one commit on one leaf; an **image** (a frame of the arena) carries a whole node; a **stub** (heap) stands
//! for an image that lies on disk only; a **tombstone** (heap) says that the page was freed. The last three are
//! *bases*: a reader that meets one it may see looks no further.
//!
//! Invariants:
//! 1. Payload bytes and the plain fields of a header never change once the version is published.
//! 2. `refs` counts the chain (one) and every value that a user holds. Whoever unlinks a version gives the
//!    chain's count to the epoch, so a version reachable under a guard has a count of at least one until that
//!    guard is gone.
//! 3. A non-zero `location` owns the live claim on that extent; moving the claim to another version zeroes it.
//! 4. Each version keeps its pool alive: values may outlive the database.

#![allow(unsafe_code)]

use kestrel_check::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::link::{Link, Word};
use crate::pool::Pool;
use crate::refs::RefCount;
use crate::store::Location;
use crate::{PageId, Timestamp, TreeId};

/// Bytes before a version's payload.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

/// What a version is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Delta,
    Image,
    Stub,
    Tombstone,
}

/// The fixed part of a version: as long as a cache line. Frames align it to one; heap versions only as far as the
/// allocator does by itself, for asking for more costs more than it gains.
#[repr(C)]
pub(crate) struct Header {
    // Constant once published.
    pub(crate) kind: Kind,
    /// Height of the node above the leaves; decides how readily an image is evicted.
    pub(crate) level: u8,
    /// How many more times the clock hand passes before the image may be evicted.
    pub(crate) chances: AtomicU8,
    /// Payload bytes of a delta; length of the blob that a stub stands for (zero: a page image).
    pub(crate) len: u32,
    pub(crate) refs: RefCount,
    pub(crate) page: PageId,
    pub(crate) tree: TreeId,
    /// Number of the frame (images only).
    pub(crate) frame: u32,
    pub(crate) ts: Timestamp,
    /// Where the image lies on disk, with the live claim on it; zero: nowhere.
    location: AtomicU64,
    /// Delta: the next older version. Base: the older segment.
    pub(crate) next: Link,
    pool: *const Pool,
    /// An upper bound of the bytes that this version and everything down to its base need as one node.
    pub(crate) accumulated: u32,
    /// Deltas from here down to the base, this one included.
    pub(crate) deltas: u32,
}

// Not with loom's atomics, which are larger.
const _: () = assert!(cfg!(kestrel_loom) || HEADER_BYTES == 64);

impl Header {
    /// A header that nobody else knows yet; it keeps the pool alive.
    pub(crate) fn new(kind: Kind, page: PageId, tree: TreeId, ts: Timestamp, pool: &Arc<Pool>) -> Header {
        Header {
            kind,
            level: 0,
            chances: AtomicU8::new(0),
            len: 0,
            refs: RefCount::one(),
            page,
            tree,
            frame: 0,
            ts,
            location: AtomicU64::new(0),
            next: Link::default(),
            pool: Arc::into_raw(Arc::clone(pool)),
            accumulated: 0,
            deltas: 0,
        }
    }

    /// Where the image lies on disk, if it does.
    pub(crate) fn location(&self) -> Option<Location> {
        match self.location.load(Ordering::Acquire) {
            0 => None,
            bits => Some(Location::from_bits(bits)),
        }
    }

    /// Takes over the live claim on `location`. Under the stripe lock, or before publication.
    pub(crate) fn set_location(&self, location: Location) {
        debug_assert!(self.location().is_none(), "a version owns one claim at most");
        self.location.store(location.to_bits(), Ordering::Release);
    }

    /// Gives the live claim away. Under the stripe lock, or before publication.
    pub(crate) fn take_location(&self) -> Option<Location> {
        match self.location.swap(0, Ordering::AcqRel) {
            0 => None,
            bits => Some(Location::from_bits(bits)),
        }
    }

    /// Whether a reader that may see this version looks no further.
    #[inline]
    pub(crate) fn is_base(&self) -> bool {
        self.kind != Kind::Delta
    }

    /// The blob's length, if this is the stub of one.
    pub(crate) fn blob_len(&self) -> Option<u32> {
        (self.kind == Kind::Stub && self.len != 0).then_some(self.len)
    }
}

/// A version that stays readable for `'g`: an epoch guard, a held count, or exclusive ownership.
#[derive(Clone, Copy)]
pub(crate) struct VersionRef<'g> {
    pointer: NonNull<Header>,
    lifetime: PhantomData<&'g Header>,
}

impl PartialEq for VersionRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.pointer == other.pointer
    }
}

impl Eq for VersionRef<'_> {}

impl std::fmt::Debug for VersionRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} at {}", self.kind, self.page, self.ts)
    }
}

impl<'g> VersionRef<'g> {
    /// # Safety
    /// `pointer` is a version with the provenance of its whole allocation, and it is not freed during `'g`.
    #[inline]
    pub(crate) unsafe fn new(pointer: NonNull<Header>) -> VersionRef<'g> {
        VersionRef { pointer, lifetime: PhantomData }
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> NonNull<Header> {
        self.pointer
    }

    /// The header, for as long as the version is readable.
    #[inline]
    pub(crate) fn header(self) -> &'g Header {
        // SAFETY: by the contract of `new`; published headers are only changed through their atomics.
        unsafe { self.pointer.as_ref() }
    }

    /// The payload: a delta's bytes, or an image's whole capacity. Empty for other kinds.
    #[inline]
    pub(crate) fn payload(self) -> &'g [u8] {
        let len = match self.kind {
            Kind::Delta => self.len as usize,
            Kind::Image => self.pool().capacity(),
            Kind::Stub | Kind::Tombstone => 0,
        };
        // SAFETY: a delta is allocated with `len` bytes behind its header and a frame has `capacity` bytes
        // there; both are initialised before publication and never written to afterwards (invariant 1).
        unsafe { std::slice::from_raw_parts(self.pointer.add(1).cast::<u8>().as_ptr(), len) }
    }

    #[inline]
    pub(crate) fn pool(self) -> &'g Pool {
        // SAFETY: the version owns a strong count of its pool (invariant 4).
        unsafe { &*self.header().pool }
    }

    /// Lets the clock hand pass an image some more times, inner nodes more often. Readers share the header, so it is
    /// written only after the hand has taken the image's last chance: once for each time that the hand comes
    /// round that often (or a few times, if several readers find it so at the same moment), and never while frames are
    /// free, as the hand then rests.
    #[inline]
    pub(crate) fn touch(self) {
        if self.chances.load(Ordering::Relaxed) == 0 {
            self.chances.store(if self.level > 0 { 3 } else { 1 }, Ordering::Relaxed);
        }
    }

    /// Adds a count for a user. The version must be reachable (its count is not zero).
    pub(crate) fn hold(self) {
        self.refs.hold();
    }
}

impl Deref for VersionRef<'_> {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        self.header()
    }
}

/// Gives a count back, and with the last one the memory and the live claim.
///
/// # Safety
/// The caller owns one count of the version and does not use it again.
pub(crate) unsafe fn release(pointer: NonNull<Header>) {
    // SAFETY: the count that the caller owns keeps the version alive up to here.
    let header = unsafe { pointer.as_ref() };
    if header.refs.release() {
        // SAFETY: that was the last count, so nobody else knows the version any more.
        unsafe { free(pointer) };
    }
}

/// # Safety
/// Nobody else knows the version.
unsafe fn free(pointer: NonNull<Header>) {
    // SAFETY: exclusive by contract.
    let header = unsafe { pointer.as_ref() };
    // SAFETY: `Header::new` made this count with `Arc::into_raw`; it is given back once, here.
    let pool = unsafe { Arc::from_raw(header.pool) };
    if let Some(location) = header.take_location() {
        pool.release_extent(location, header.blob_len());
    }
    if header.kind == Kind::Image {
        pool.free_frame(header.frame);
    } else {
        let layout = heap_layout(header);
        pool.account_freed(header.kind, layout.size());
        // SAFETY: allocated in `allocate` with the same layout.
        unsafe { std::alloc::dealloc(pointer.as_ptr().cast(), layout) };
    }
}

fn heap_layout(header: &Header) -> Layout {
    let payload = if header.kind == Kind::Delta { header.len as usize } else { 0 };
    layout_for(payload)
}

fn layout_for(payload: usize) -> Layout {
    Layout::from_size_align(HEADER_BYTES + payload, align_of::<Header>()).expect("a version is small")
}

/// Hands the chain's counts of `count` versions, linked from `first` on, to the epoch.
///
/// # Safety
/// The versions were just unlinked, each of them once, and their `next` links no longer change.
pub(crate) unsafe fn retire(guard: &Guard, first: VersionRef<'_>, count: usize) {
    let address = first.as_ptr().as_ptr().expose_provenance();
    let release_all = move || {
        let mut pointer = std::ptr::with_exposed_provenance_mut::<Header>(address);
        for left in (0..count).rev() {
            let version = NonNull::new(pointer).expect("a run of linked versions");
            if left > 0 {
                // SAFETY: the chain's count, owned by this closure, keeps the version alive.
                pointer = unsafe { version.as_ref() }.next.raw();
            }
            // SAFETY: this closure owns the chain's count.
            unsafe { release(version) };
        }
    };
    // SAFETY: the closure owns what it touches: counts on heap memory and a pool that they keep alive. It may run
    // on any thread; versions are `Send` (raw bytes and atomics).
    unsafe { guard.defer_unchecked(release_all) };
}

/// A heap version that is not published yet.
pub struct OwnedVersion(NonNull<Header>);

// SAFETY: exclusively owned memory without thread affinity.
unsafe impl Send for OwnedVersion {}
// SAFETY: a shared reference gives nothing but reads of constant fields.
unsafe impl Sync for OwnedVersion {}

impl OwnedVersion {
    /// A delta of `payload` on `page`, with `cost` its share in the size bound of the page.
    pub(crate) fn delta(
        page: PageId,
        tree: TreeId,
        payload: &[u8],
        cost: u32,
        pool: &Arc<Pool>,
    ) -> OwnedVersion {
        let mut header = Header::new(Kind::Delta, page, tree, Timestamp(0), pool);
        header.len = u32::try_from(payload.len()).expect("a delta is smaller than a page");
        header.accumulated = cost;
        Self::allocate(header, payload, pool)
    }

    /// A stub; the caller gives it its location.
    pub(crate) fn stub(
        page: PageId,
        tree: TreeId,
        ts: Timestamp,
        blob_len: u32,
        pool: &Arc<Pool>,
    ) -> OwnedVersion {
        let mut header = Header::new(Kind::Stub, page, tree, ts, pool);
        header.len = blob_len;
        Self::allocate(header, &[], pool)
    }

    /// A tombstone.
    pub(crate) fn tombstone(page: PageId, ts: Timestamp, pool: &Arc<Pool>) -> OwnedVersion {
        Self::allocate(Header::new(Kind::Tombstone, page, TreeId(0), ts, pool), &[], pool)
    }

    fn allocate(header: Header, payload: &[u8], pool: &Arc<Pool>) -> OwnedVersion {
        let layout = layout_for(payload.len());
        pool.account_allocated(header.kind, layout.size());
        // SAFETY: the layout's size is not zero.
        let raw = unsafe { std::alloc::alloc(layout) };
        let Some(pointer) = NonNull::new(raw.cast::<Header>()) else {
            std::alloc::handle_alloc_error(layout)
        };
        // SAFETY: fresh memory of the header's size and alignment, followed by room for the payload.
        unsafe {
            pointer.write(header);
            std::ptr::copy_nonoverlapping(
                payload.as_ptr(),
                pointer.add(1).cast::<u8>().as_ptr(),
                payload.len(),
            );
        }
        OwnedVersion(pointer)
    }

    /// The page it belongs to.
    pub fn page(&self) -> PageId {
        self.version().page
    }

    /// The tree of that page.
    pub fn tree(&self) -> TreeId {
        self.version().tree
    }

    /// A delta's payload.
    pub fn payload(&self) -> &[u8] {
        self.version().payload()
    }

    /// A delta's share in the size bound of the page.
    pub fn cost(&self) -> u32 {
        self.version().accumulated
    }

    pub(crate) fn version(&self) -> VersionRef<'_> {
        // SAFETY: owned, so it lives as long as `self`.
        unsafe { VersionRef::new(self.0) }
    }

    /// The header, to be filled in before publication.
    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: exclusively owned.
        unsafe { self.0.as_mut() }
    }

    /// Gives the count to a chain: the caller stores the result in a link.
    pub(crate) fn publish<'g>(self, _guard: &'g Guard) -> Word<'g> {
        let pointer = self.0;
        std::mem::forget(self);
        // SAFETY: the chain that takes it over hands it to the epoch when it lets go.
        Word::Version(unsafe { VersionRef::new(pointer) })
    }
}

impl Drop for OwnedVersion {
    fn drop(&mut self) {
        // SAFETY: the only count.
        unsafe { release(self.0) };
    }
}

impl std::fmt::Debug for OwnedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.version().fmt(f)
    }
}

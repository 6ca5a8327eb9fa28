//! The page table: page id to link, without a hash.
//!
//! Entries live in chunks that are allocated when first needed and never move or shrink while the table
//! lives, so a reference to a link stays good. The top level is one fixed array of chunk pointers.

#![allow(unsafe_code)]

use kestrel_check::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::alloc::Layout;
use std::ptr::NonNull;

use crate::PageId;
use crate::link::Link;

const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Chunks at most; enough for every page id. (A smaller table where each access is interpreted, or a table made for each
/// of many short runs.)
const CHUNKS: usize = if cfg!(any(miri, kestrel_shuttle)) { 16 } else { 1 << (32 - CHUNK_BITS) };

/// Links by page id.
pub(crate) struct PageTable {
    /// `CHUNKS` pointers, constant after construction.
    #[cfg(not(any(miri, kestrel_shuttle, kestrel_loom)))]
    top: NonNull<AtomicPtr<Link>>,
    #[cfg(any(miri, kestrel_shuttle, kestrel_loom))]
    top: Box<[AtomicPtr<Link>]>,
    /// All chunks that exist have smaller indices.
    grown: AtomicUsize,
    /// What `top` points into. A mapping is zero without being written to, however often tables are made; an allocation
    /// of this size need not be.
    #[cfg(not(any(miri, kestrel_shuttle, kestrel_loom)))]
    _mapping: memmap2::MmapMut,
}

// SAFETY: `top` points into what the table owns, and is used as a slice of atomics only.
unsafe impl Send for PageTable {}
// SAFETY: as above.
unsafe impl Sync for PageTable {}

impl PageTable {
    /// An empty table. The top level is address space only until it is touched.
    ///
    /// # Panics
    /// If the process cannot have 8 MiB more of address space.
    #[cfg(not(any(miri, kestrel_shuttle, kestrel_loom)))]
    pub(crate) fn new() -> PageTable {
        let bytes = CHUNKS * size_of::<AtomicPtr<Link>>();
        let mut mapping = memmap2::MmapMut::map_anon(bytes).expect("address space for the page table");
        // A mapping begins at a page, and so is aligned; zeros are null pointers, which are valid.
        let top = NonNull::new(mapping.as_mut_ptr().cast()).expect("a mapping is never at address zero");
        PageTable { top, grown: AtomicUsize::new(0), _mapping: mapping }
    }

    /// An empty table.
    #[cfg(any(miri, kestrel_shuttle, kestrel_loom))]
    pub(crate) fn new() -> PageTable {
        let top = (0..CHUNKS).map(|_| AtomicPtr::default()).collect();
        PageTable { top, grown: AtomicUsize::new(0) }
    }

    #[cfg(any(miri, kestrel_shuttle, kestrel_loom))]
    fn chunks(&self) -> &[AtomicPtr<Link>] {
        &self.top
    }

    #[cfg(not(any(miri, kestrel_shuttle, kestrel_loom)))]
    #[inline]
    fn chunks(&self) -> &[AtomicPtr<Link>] {
        // SAFETY: the mapping holds that many pointers and lives as long as the table; nobody has it mutably.
        unsafe { std::slice::from_raw_parts(self.top.as_ptr(), CHUNKS) }
    }

    /// The page's link, if its chunk exists.
    #[inline]
    pub(crate) fn get(&self, id: PageId) -> Option<&Link> {
        let slot = self.chunks().get((id.0 >> CHUNK_BITS) as usize)?;
        let chunk = NonNull::new(slot.load(Ordering::Acquire))?;
        // SAFETY: a published chunk has CHUNK entries and lives as long as the table; the index is below CHUNK.
        Some(unsafe { chunk.add(id.0 as usize & (CHUNK - 1)).as_ref() })
    }

    /// The page's link; its chunk is made if it does not exist yet.
    pub(crate) fn get_or_grow(&self, id: PageId) -> &Link {
        if self.get(id).is_none() {
            self.grow((id.0 >> CHUNK_BITS) as usize);
        }
        self.get(id).expect("the chunk was just made")
    }

    fn grow(&self, index: usize) {
        // Before the chunk is there: so a table that is dropped knows of it.
        self.grown.fetch_max(index + 1, Ordering::Relaxed);
        let slot = &self.chunks()[index];
        // SAFETY: the layout's size is not zero; an all-zero link is an empty link.
        let fresh = unsafe { std::alloc::alloc_zeroed(Self::chunk_layout()) }.cast::<Link>();
        if fresh.is_null() {
            std::alloc::handle_alloc_error(Self::chunk_layout());
        }
        // Loom's atomics are not made of zeros.
        #[cfg(kestrel_loom)]
        for index in 0..CHUNK {
            // SAFETY: room for so many links, and not shared yet.
            unsafe { fresh.add(index).write(Link::default()) };
        }
        if slot.compare_exchange(std::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: allocated above with this layout and never shared: another thread was faster.
            unsafe { std::alloc::dealloc(fresh.cast(), Self::chunk_layout()) };
        }
    }

    /// Calls `visit` for the link of every page id below `limit` whose chunk exists.
    pub(crate) fn for_each(&self, limit: u32, mut visit: impl FnMut(PageId, &Link)) {
        for index in 0..(limit as usize).div_ceil(CHUNK).min(CHUNKS) {
            if self.chunks()[index].load(Ordering::Acquire).is_null() {
                continue;
            }
            let first = (index as u32) << CHUNK_BITS;
            let last = first.saturating_add(CHUNK as u32 - 1).min(limit - 1);
            for id in first..=last {
                if let Some(link) = self.get(PageId(id)) {
                    visit(PageId(id), link);
                }
            }
        }
    }

    fn chunk_layout() -> Layout {
        Layout::array::<Link>(CHUNK).expect("a chunk is small")
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        for slot in &self.chunks()[..self.grown.load(Ordering::Relaxed)] {
            let chunk = slot.load(Ordering::Relaxed);
            if !chunk.is_null() {
                // SAFETY: allocated in `grow` with this layout; links need no drop (the pager releases versions).
                unsafe { std::alloc::dealloc(chunk.cast(), Self::chunk_layout()) };
            }
        }
    }
}

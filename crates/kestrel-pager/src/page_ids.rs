//! Which page ids are in use.

use crate::{Error, PageId};

/// Page ids, given out lowest first so that the page table and the directory stay dense.
#[derive(Debug)]
pub(crate) struct PageIds {
    /// All ids in use are smaller.
    next: u32,
    /// Ids below `next` that are not in use, to be popped from the end.
    free: Vec<u32>,
}

impl PageIds {
    /// Ids below `next` except those in `free`, which are listed in descending order, are in use.
    pub(crate) fn new(next: u32, free: Vec<u32>) -> PageIds {
        PageIds { next, free }
    }

    /// An id that nobody uses.
    pub(crate) fn allocate(&mut self) -> Result<PageId, Error> {
        if let Some(id) = self.free.pop() {
            return Ok(PageId(id));
        }
        if self.next == u32::MAX {
            return Err(Error::PageIdsExhausted);
        }
        self.next += 1;
        Ok(PageId(self.next - 1))
    }

    /// Takes an id back that no state refers to.
    pub(crate) fn release(&mut self, id: PageId) {
        debug_assert!(id.0 < self.next);
        self.free.push(id.0);
    }

    /// All ids in use are smaller.
    pub(crate) fn limit(&self) -> u32 {
        self.next
    }

    /// How many ids are in use.
    pub(crate) fn in_use(&self) -> u32 {
        self.next - self.free.len() as u32
    }
}

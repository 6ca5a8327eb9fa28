//! Which page ids are in use.

use std::ops::Range;

use crate::{Error, PageId};

/// Page ids, given out lowest first so that the page table and the directory stay dense.
///
/// What it takes in memory follows from the pages that are in use: free ids are kept as stretches, and those behind the last
/// page in use are not kept at all. So a file that lies about how many ids there are cannot make it large.
#[derive(Debug, Default)]
pub(crate) struct PageIds {
    /// All ids in use are smaller.
    next: u32,
    /// Stretches of ids below `next` that are not in use, to be taken from the end. None is empty.
    free: Vec<Range<u32>>,
    /// How many ids those are.
    free_count: u32,
}

impl PageIds {
    /// The next id in use, in ascending order: for a start.
    pub(crate) fn push_used(&mut self, id: PageId) {
        debug_assert!(id.0 >= self.next, "ids come in order");
        if self.next < id.0 {
            self.free.push(self.next..id.0);
            self.free_count += id.0 - self.next;
        }
        self.next = id.0.saturating_add(1);
    }

    /// All in use are known: the lowest are to be given out first.
    pub(crate) fn start(&mut self) {
        self.free.reverse();
    }

    /// An id that nobody uses.
    pub(crate) fn allocate(&mut self) -> Result<PageId, Error> {
        if let Some(lowest) = self.free.last_mut() {
            let id = lowest.start;
            lowest.start += 1;
            if lowest.start == lowest.end {
                self.free.pop();
            }
            self.free_count -= 1;
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
        self.free_count += 1;
        match self.free.last_mut() {
            Some(last) if last.start.checked_sub(1) == Some(id.0) => last.start = id.0,
            Some(last) if last.end == id.0 => last.end += 1,
            _ => self.free.push(id.0..id.0 + 1),
        }
    }

    /// All ids in use are smaller.
    pub(crate) fn limit(&self) -> u32 {
        self.next
    }

    /// How many ids are in use.
    pub(crate) fn in_use(&self) -> u32 {
        self.next - self.free_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_given_out_once_and_the_lowest_first() {
        let mut ids = PageIds::default();
        [2, 3, 7].into_iter().for_each(|id| ids.push_used(PageId(id)));
        ids.start();
        assert_eq!((ids.limit(), ids.in_use()), (8, 3));
        let given: Vec<u32> = (0..7).map(|_| ids.allocate().unwrap().0).collect();
        assert_eq!(given, [0, 1, 4, 5, 6, 8, 9]);
        assert_eq!((ids.limit(), ids.in_use()), (10, 10));
        for id in [4, 5, 3, 8, 0] {
            ids.release(PageId(id));
        }
        assert_eq!((ids.in_use(), ids.free.len()), (5, 3));
        let mut again: Vec<u32> = (0..5).map(|_| ids.allocate().unwrap().0).collect();
        again.sort_unstable();
        assert_eq!((again, ids.allocate().unwrap(), ids.free_count), (vec![0, 3, 4, 5, 8], PageId(10), 0));
    }

    #[test]
    fn distant_ids_take_no_memory_and_run_out_at_last() {
        let mut ids = PageIds::default();
        ids.push_used(PageId(u32::MAX - 2));
        ids.start();
        assert_eq!((ids.free.len(), ids.in_use(), ids.limit()), (1, 1, u32::MAX - 1));
        ids.free.clear();
        assert_eq!(ids.allocate().unwrap(), PageId(u32::MAX - 1));
        assert!(matches!(ids.allocate(), Err(Error::PageIdsExhausted)));
    }
}

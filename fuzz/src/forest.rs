//! Pages in memory for the tree's code: private pages with deltas, as an overlay keeps them.

use std::collections::BTreeMap;

use kestrel_btree::{
    BlobRef, Corruption, Delta, LeafOp, MergedLeaf, PageView, ReadPages, WritePages, check, check_delta,
    consolidate, delta_cost, ops, packed_len,
};
use kestrel_pager::PageId;

/// A base and deltas, the newest first.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) node: Vec<u8>,
    pub(crate) deltas: Vec<Vec<u8>>,
}

impl PageView for &Page {
    fn node(&self) -> &[u8] {
        &self.node
    }

    fn delta_count(&self) -> usize {
        self.deltas.len()
    }

    fn delta(&self, newest_first: usize) -> &[u8] {
        &self.deltas[newest_first]
    }
}

impl Page {
    /// A bound of what base and deltas need as one node.
    fn bound(&self) -> usize {
        packed_len(&self.node) + self.deltas.iter().map(|delta| delta_cost(delta) as usize).sum::<usize>()
    }

    /// Whether everything in it passed the checks that stand between a disk and the tree. Deltas never lie on a disk, so
    /// nothing but their form is hostile: their keys are the leaf's.
    pub(crate) fn is_checked(&self) -> bool {
        if check(&self.node).is_err() || !self.deltas.iter().all(|delta| check_delta(delta).is_ok()) {
            return false;
        }
        let view = &self;
        let covers = |merged: MergedLeaf| {
            let (low, high) = (merged.low_fence(view), merged.high_fence(view));
            let mut keys = self.deltas.iter().flat_map(|delta| ops(delta)).map(|op| op.key);
            keys.all(|key| low <= key && high.is_none_or(|high| key < high))
        };
        self.deltas.is_empty() || MergedLeaf::new(view).is_ok_and(covers)
    }
}

/// Pages by id.
pub(crate) struct Forest {
    pub(crate) pages: BTreeMap<PageId, Page>,
    pub(crate) max_deltas: usize,
    next_page: u32,
    capacity: usize,
}

impl Forest {
    pub(crate) fn new(page_size: usize, max_deltas: usize) -> Forest {
        Forest { pages: BTreeMap::new(), max_deltas, next_page: 0, capacity: page_size - 64 }
    }

    pub(crate) fn blob(&mut self, len: u32) -> BlobRef {
        self.next_page += 1;
        BlobRef { page: PageId(self.next_page), len, checksum: len ^ 0x5555 }
    }
}

fn missing(id: PageId) -> Corruption {
    Corruption::at(id, "no such page")
}

impl ReadPages for Forest {
    type Error = Corruption;
    type Page<'a> = &'a Page;

    fn page(&self, id: PageId) -> Result<&Page, Corruption> {
        self.pages.get(&id).ok_or_else(|| missing(id))
    }
}

impl WritePages for Forest {
    fn fetch(&mut self, id: PageId) -> Result<&Page, Corruption> {
        self.page(id)
    }

    fn buffer(&mut self, leaf: PageId, op: LeafOp<'_>) -> Result<bool, Corruption> {
        let (capacity, max_deltas) = (self.capacity, self.max_deltas);
        let page = self.pages.get_mut(&leaf).ok_or_else(|| missing(leaf))?;
        if page.deltas.len() >= max_deltas {
            return Ok(false);
        }
        page.deltas.insert(0, Delta::with(&[], op));
        let fits = page.bound() <= capacity;
        if !fits {
            page.deltas.remove(0);
        }
        Ok(fits)
    }

    fn edit(&mut self, id: PageId) -> Result<&mut [u8], Corruption> {
        let page = self.pages.get_mut(&id).ok_or_else(|| missing(id))?;
        if !page.deltas.is_empty() {
            let mut out = vec![0xAA; page.node.len()];
            consolidate(&&*page, &mut out).map_err(|error| Corruption::from(error).on(id))?;
            page.node = out;
            page.deltas.clear();
        }
        Ok(&mut page.node)
    }

    fn allocate(&mut self) -> Result<PageId, Corruption> {
        self.next_page += 1;
        let id = PageId(self.next_page);
        self.pages.insert(id, Page { node: vec![0; self.capacity], deltas: Vec::new() });
        Ok(id)
    }

    fn free(&mut self, id: PageId) -> Result<(), Corruption> {
        self.pages.remove(&id).map(drop).ok_or_else(|| missing(id))
    }

    fn free_blob(&mut self, _: BlobRef) -> Result<(), Corruption> {
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

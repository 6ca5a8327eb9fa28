//! A page store in a hash map, for tests: both page traits, deltas included, and a tally of what was freed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use kestrel_pager::PageId;

use crate::{
    BlobRef, Cell, Corruption, Delta, Found, FoundCell, Layer, LeafOp, MergedLeaf, PageView, ReadPages, Seek,
    TreeReport, TreeVisitor, WritePages, check, check_tree, consolidate, delta_cost, find, leaf_for, ops,
    packed_len,
};

/// A page: a base and deltas, the newest first.
pub(crate) struct ToyPage {
    pub(crate) node: Vec<u8>,
    pub(crate) deltas: Vec<Vec<u8>>,
    /// Edited in place since the last [`ToyPages::publish`].
    whole: bool,
    /// The newest delta still takes operations.
    open: bool,
}

impl ToyPage {
    pub(crate) fn new(node: Vec<u8>, deltas: Vec<Vec<u8>>) -> ToyPage {
        ToyPage { node, deltas, whole: false, open: false }
    }
}

impl PageView for &ToyPage {
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

pub(crate) struct ToyPages {
    pub(crate) pages: HashMap<PageId, ToyPage>,
    pub(crate) blobs: BTreeSet<BlobRef>,
    next_page: u32,
    capacity: usize,
    /// How many operations a delta may have; zero: everything is edited in place.
    max_ops: usize,
    max_deltas: usize,
}

impl ToyPages {
    pub(crate) fn new(page_size: usize, max_ops: usize) -> ToyPages {
        let (pages, blobs) = (HashMap::new(), BTreeSet::new());
        ToyPages { pages, blobs, next_page: 0, capacity: page_size - 64, max_ops, max_deltas: 4 }
    }

    pub(crate) fn blob(&mut self, len: u32) -> BlobRef {
        self.next_page += 1;
        let blob = BlobRef { page: PageId(self.next_page), len, checksum: self.next_page ^ 0x5555 };
        self.blobs.insert(blob);
        blob
    }

    /// Ends private deltas and pages, and consolidates long chains, all of which must fit.
    pub(crate) fn publish(&mut self) {
        let max_deltas = self.max_deltas;
        for page in self.pages.values_mut() {
            page.whole = false;
            page.open = false;
            check(&page.node).expect("a published node is sound");
            if page.deltas.len() > max_deltas {
                consolidate_page(page).expect("a chain within the bound fits");
            }
        }
    }

    /// The bound of invariant I8 for a chain.
    fn bound(page: &ToyPage) -> usize {
        packed_len(&page.node) + page.deltas.iter().map(|delta| delta_cost(delta) as usize).sum::<usize>()
    }
}

fn consolidate_page(page: &mut ToyPage) -> Result<(), Corruption> {
    let mut out = vec![0xaa; page.node.len()];
    let used = consolidate(&&*page, &mut out)?;
    assert!(used <= ToyPages::bound(page), "the size bound is broken");
    assert_eq!(used, packed_len(&out));
    check(&out).expect("a consolidated node is sound");
    page.node = out;
    page.deltas.clear();
    Ok(())
}

impl ReadPages for ToyPages {
    type Error = Corruption;
    type Page<'a> = &'a ToyPage;

    fn page(&self, id: PageId) -> Result<&ToyPage, Corruption> {
        self.pages.get(&id).ok_or_else(|| Corruption::at(id, "no such page"))
    }
}

impl WritePages for ToyPages {
    fn fetch(&mut self, id: PageId) -> Result<&ToyPage, Corruption> {
        self.page(id)
    }

    fn buffer(&mut self, leaf: PageId, op: LeafOp<'_>) -> Result<bool, Corruption> {
        let (capacity, max_ops) = (self.capacity, self.max_ops);
        let page = self.pages.get_mut(&leaf).ok_or_else(|| Corruption::at(leaf, "no such page"))?;
        let found = crate::lookup(&&*page, op.key);
        assert_eq!(found.is_some(), op.existed, "an operation knows whether its key exists");
        if page.whole {
            return Ok(false);
        }
        let mut newest = if page.open { page.deltas[0].clone() } else { Vec::new() };
        newest = Delta::with(&newest, op);
        let old = if page.open { page.deltas.remove(0) } else { Vec::new() };
        page.deltas.insert(0, newest);
        if ToyPages::bound(page) > capacity || ops(&page.deltas[0]).count() > max_ops {
            page.deltas.remove(0);
            if page.open {
                page.deltas.insert(0, old);
            }
            return Ok(false);
        }
        page.open = true;
        Ok(true)
    }

    fn edit(&mut self, id: PageId) -> Result<&mut [u8], Corruption> {
        let page = self.pages.get_mut(&id).ok_or_else(|| Corruption::at(id, "no such page"))?;
        if !page.whole {
            consolidate_page(page)?;
            page.whole = true;
            page.open = false;
        }
        Ok(&mut page.node)
    }

    fn allocate(&mut self) -> Result<PageId, Corruption> {
        self.next_page += 1;
        let id = PageId(self.next_page);
        let page = ToyPage { node: vec![0; self.capacity], deltas: Vec::new(), whole: true, open: false };
        self.pages.insert(id, page);
        Ok(id)
    }

    fn free(&mut self, id: PageId) -> Result<(), Corruption> {
        self.pages.remove(&id).map(drop).ok_or_else(|| Corruption::at(id, "freed twice"))
    }

    fn free_blob(&mut self, blob: BlobRef) -> Result<(), Corruption> {
        if self.blobs.remove(&blob) { Ok(()) } else { Err(Corruption::at(blob.page, "blob freed twice")) }
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

/// What a test expects under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Inline(Vec<u8>),
    Blob(BlobRef),
}

impl Value {
    pub(crate) fn cell(&self) -> Cell<'_> {
        match self {
            Value::Inline(value) => Cell::Inline(value),
            Value::Blob(blob) => Cell::Blob(*blob),
        }
    }
}

/// Collects what the checker hears.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) pages: BTreeSet<PageId>,
    pub(crate) blobs: BTreeSet<BlobRef>,
    pub(crate) damages: Vec<Corruption>,
}

impl TreeVisitor<Corruption> for Heard {
    fn page(&mut self, page: PageId) -> bool {
        let first = self.pages.insert(page);
        if !first {
            self.damages.push(Corruption::at(page, "reached twice"));
        }
        first
    }

    fn blob(&mut self, leaf: PageId, blob: BlobRef) {
        if !self.blobs.insert(blob) {
            self.damages.push(Corruption::at(leaf, "blob reached twice"));
        }
    }

    fn damage(&mut self, damage: Corruption) {
        self.damages.push(damage);
    }

    fn unreadable(&mut self, _page: PageId, error: Corruption) -> Result<(), Corruption> {
        self.damages.push(error);
        Ok(())
    }
}

/// Checks a tree's structure, that it reaches exactly the pages and blobs there are, and its content, forwards,
/// backwards and by key.
pub(crate) fn verify(pages: &ToyPages, root: PageId, model: &BTreeMap<Vec<u8>, Value>) -> TreeReport {
    let mut heard = Heard::default();
    let report = check_tree(pages, root, &mut heard).expect("the toy's errors are swallowed");
    assert_eq!(heard.damages, Vec::new());
    assert_eq!(heard.pages, pages.pages.keys().copied().collect());
    assert_eq!(heard.blobs, pages.blobs);
    assert_eq!(report.entries, model.len() as u64);

    let forwards = scan(pages, root, true);
    let expected: Vec<_> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert!(forwards == expected, "a scan shows other entries");
    let mut backwards = scan(pages, root, false);
    backwards.reverse();
    assert_eq!(forwards, backwards);

    for (key, value) in model {
        assert_eq!(get(pages, root, key).as_ref(), Some(value), "{key:?}");
        let mut absent = key.clone();
        absent.push(0);
        if !model.contains_key(&absent) {
            assert_eq!(get(pages, root, &absent), None);
        }
        check_lower_bound(pages, root, &absent, model);
    }
    report
}

fn check_lower_bound(pages: &ToyPages, root: PageId, key: &[u8], model: &BTreeMap<Vec<u8>, Value>) {
    let (_, page) = leaf_for(pages, root, Seek::At(key)).expect("readable");
    let merged = MergedLeaf::new(&page).expect("sound");
    let low = merged.low_fence(&page).to_vec();
    let below = model.range::<[u8], _>((Bound::Included(low.as_slice()), Bound::Excluded(key))).count();
    assert_eq!(merged.lower_bound(&page, key), below, "{key:?} in {low:?}");
}

pub(crate) fn get(pages: &ToyPages, root: PageId, key: &[u8]) -> Option<Value> {
    find(pages, root, key).expect("readable").map(|(page, found)| value_at(page, &found))
}

fn value_at(page: &ToyPage, found: &Found) -> Value {
    let payload = match found.layer {
        Layer::Base => &page.node,
        Layer::Delta(newest_first) => &page.deltas[newest_first],
    };
    match &found.cell {
        FoundCell::Inline(range) => Value::Inline(payload[range.clone()].to_vec()),
        FoundCell::Blob(blob) => Value::Blob(*blob),
    }
}

fn scan(pages: &ToyPages, root: PageId, forwards: bool) -> Vec<(Vec<u8>, Value)> {
    let mut all = Vec::new();
    let mut fence: Option<Vec<u8>> = None;
    loop {
        let seek = match &fence {
            None if forwards => Seek::First,
            None => Seek::Last,
            Some(fence) if forwards => Seek::At(fence),
            Some(fence) => Seek::Before(fence),
        };
        let (_, page) = leaf_for(pages, root, seek).expect("readable");
        let merged = MergedLeaf::new(&page).expect("sound");
        let mut key = Vec::new();
        for step in 0..merged.len() {
            let index = if forwards { step } else { merged.len() - 1 - step };
            merged.key_into(index, &page, &mut key);
            all.push((key.clone(), value_at(page, &merged.found(index, &page))));
        }
        fence = if forwards {
            merged.high_fence(&page).map(<[u8]>::to_vec)
        } else {
            Some(merged.low_fence(&page).to_vec()).filter(|low| !low.is_empty())
        };
        if fence.is_none() {
            return all;
        }
    }
}

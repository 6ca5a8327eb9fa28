//! Reading one key, and finding leaves.

use std::ops::Range;

use kestrel_pager::PageId;

use crate::cell::{BLOB_REF_LEN, BlobRef, Cell, Change};
use crate::format::MAX_LEVEL;
use crate::node::Node;
use crate::{Corruption, PageView, ReadPages, delta};

/// Which of a leaf's layers holds a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// The base node.
    Base,
    /// A delta, counted from the newest.
    Delta(usize),
}

/// A cell by its place, so that a caller may keep the page instead of copying the value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FoundCell {
    /// The value's bytes within the layer's payload.
    Inline(Range<usize>),
    /// A large value.
    Blob(BlobRef),
}

/// Where in a leaf a key's cell lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The layer that holds it.
    pub layer: Layer,
    /// Its place within the layer.
    pub cell: FoundCell,
}

impl Found {
    pub(crate) fn new(layer: Layer, cell: Cell<'_>, cell_at: usize) -> Found {
        let cell = match cell {
            Cell::Inline(value) => FoundCell::Inline(cell_at..cell_at + value.len()),
            Cell::Blob(blob) => FoundCell::Blob(blob),
        };
        Found { layer, cell }
    }

    /// The cell's bytes and reference, read from the view in which it was found.
    pub fn resolve<'v>(&self, view: &'v impl PageView) -> Cell<'v> {
        let payload = match self.layer {
            Layer::Base => view.node(),
            Layer::Delta(index) => view.delta(index),
        };
        match &self.cell {
            FoundCell::Inline(range) => Cell::Inline(payload.get(range.clone()).unwrap_or(&[])),
            FoundCell::Blob(blob) => Cell::Blob(*blob),
        }
    }

    pub(crate) fn blob(&self) -> Option<BlobRef> {
        match &self.cell {
            FoundCell::Inline(_) => None,
            FoundCell::Blob(blob) => Some(*blob),
        }
    }

    /// Length of the value that the cell stands for.
    #[must_use]
    pub fn value_len(&self) -> usize {
        match &self.cell {
            FoundCell::Inline(range) => range.len(),
            FoundCell::Blob(blob) => blob.len as usize,
        }
    }
}

/// Which leaf to look for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seek<'a> {
    /// The leaf with the least keys.
    First,
    /// The leaf with the greatest keys.
    Last,
    /// The leaf that covers a key.
    At(&'a [u8]),
    /// The leaf that covers the keys just before a key: for a leaf's low fence, the leaf before it. Before the empty
    /// key there is nothing; it leads to the first leaf.
    Before(&'a [u8]),
}

/// Finds a key's cell, and the leaf that holds it. Allocates nothing.
///
/// # Errors
/// What reading a page reports, and damage to the tree's structure.
pub fn find<'p, P: ReadPages>(
    pages: &'p P,
    root: PageId,
    key: &[u8],
) -> Result<Option<(P::Page<'p>, Found)>, P::Error> {
    let (_, page) = leaf_for(pages, root, Seek::At(key))?;
    let found = lookup(&page, key);
    Ok(found.map(|found| (page, found)))
}

/// Finds a leaf.
///
/// # Errors
/// What reading a page reports, and damage to the tree's structure.
pub fn leaf_for<'p, P: ReadPages>(
    pages: &'p P,
    root: PageId,
    seek: Seek<'_>,
) -> Result<(PageId, P::Page<'p>), P::Error> {
    let mut id = root;
    let mut parent = None;
    loop {
        let page = pages.page(id)?;
        match step(id, page.node(), &mut parent, seek)? {
            None => return Ok((id, page)),
            Some(child) => id = child,
        }
    }
}

/// The leaves that a scan meets after the one it looks for, in its direction, as far as that leaf's parent knows them and
/// at most `count`: what had better be read ahead.
///
/// # Errors
/// What reading a page reports, and damage to the tree's structure.
pub fn leaves_ahead<P: ReadPages>(
    pages: &P,
    root: PageId,
    seek: Seek<'_>,
    count: usize,
) -> Result<Vec<PageId>, P::Error> {
    let mut id = root;
    let mut parent = None;
    loop {
        let page = pages.page(id)?;
        let node = Node::new(page.node());
        let Some(child) = step(id, page.node(), &mut parent, seek)? else { return Ok(Vec::new()) };
        if node.level() > 1 {
            id = child;
            continue;
        }
        let children = (0..=node.count()).map(|index| node.child(index));
        return Ok(match seek {
            Seek::First | Seek::At(_) => {
                children.skip_while(|&page| page != child).skip(1).take(count).collect()
            }
            Seek::Last | Seek::Before(_) => {
                children.rev().skip_while(|&page| page != child).skip(1).take(count).collect()
            }
        });
    }
}

/// One step down: the child to go to, or `None` in a leaf. `parent` is the level above and is moved down, so that a
/// descent ends after at most as many steps as there are levels, whatever the pages hold.
#[inline]
pub(crate) fn step(
    id: PageId,
    node: &[u8],
    parent: &mut Option<u8>,
    seek: Seek<'_>,
) -> Result<Option<PageId>, Corruption> {
    let node = Node::new(node);
    let level = node.level();
    let fits = match *parent {
        None => level <= MAX_LEVEL,
        Some(above) => level.checked_add(1) == Some(above),
    };
    if !fits {
        return Err(Corruption::at(id, format!("node of level {level} below level {parent:?}")));
    }
    *parent = Some(level);
    if level == 0 {
        return Ok(None);
    }
    let index = match seek {
        Seek::First => 0,
        Seek::Last => node.count(),
        Seek::At(key) => node.child_index(key),
        Seek::Before(key) => node.child_index_before(key),
    };
    Ok(Some(node.child(index)))
}

/// Finds a key in a leaf that covers it: the newest delta that speaks of it decides, else the base.
pub fn lookup(view: &impl PageView, key: &[u8]) -> Option<Found> {
    for newest_first in 0..view.delta_count() {
        if let Some((op, cell_at)) = delta::search(view.delta(newest_first), key) {
            return match op.change {
                Change::Delete => None,
                Change::Put(cell) => Some(Found::new(Layer::Delta(newest_first), cell, cell_at)),
            };
        }
    }
    let node = Node::new(view.node());
    let index = node.search(key).ok()?;
    let entry = node.entry(index);
    debug_assert!(!entry.is_blob || entry.cell.len() == BLOB_REF_LEN);
    Some(Found::new(Layer::Base, entry.cell(), entry.cell_at))
}

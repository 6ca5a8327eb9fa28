//! Changing one key.

use kestrel_pager::PageId;

use crate::cell::{Change, fits_inline, max_key};
use crate::find::{Seek, lookup, step};
use crate::merge::merge_under_full;
use crate::node::Node;
use crate::split::split_leaf;
use crate::write::NodeWriter;
use crate::{BlobRef, Cell, Corruption, LeafOp, PageView, Previous, WritePages, edit};

/// Makes an empty tree: one leaf. Returns the root's id, which stays the root for the tree's whole life.
///
/// # Errors
/// What the pages report.
pub fn create_root<P: WritePages>(pages: &mut P) -> Result<PageId, P::Error> {
    let root = pages.allocate()?;
    match NodeWriter::leaf(pages.edit(root)?, &[], None, 0) {
        Ok(writer) => writer.finish(),
        Err(_) => return Err(Corruption::at(root, "page too small for a leaf").into()),
    };
    Ok(root)
}

/// A leaf that covers a key, and what it holds there.
struct Place {
    leaf: PageId,
    existed: bool,
    blob: Option<BlobRef>,
}

impl Place {
    /// A key's place in a page; `None` if that is no leaf, or does not cover the key.
    fn in_leaf(id: PageId, page: &impl PageView, key: &[u8]) -> Option<Place> {
        let node = Node::new(page.node());
        if !node.is_leaf() || node.low() > key || node.high().is_some_and(|high| high <= key) {
            return None;
        }
        let found = lookup(page, key);
        Some(Place { leaf: id, existed: found.is_some(), blob: found.and_then(|found| found.blob()) })
    }
}

fn locate<P: WritePages>(pages: &mut P, root: PageId, key: &[u8]) -> Result<Place, P::Error> {
    let mut id = root;
    let mut parent = None;
    loop {
        let page = pages.fetch(id)?;
        match step(id, page.node(), &mut parent, Seek::At(key))? {
            Some(child) => id = child,
            None => {
                return Place::in_leaf(id, &page, key)
                    .ok_or_else(|| Corruption::at(id, "leaf: does not cover a key that leads to it").into());
            }
        }
    }
}

/// The place of a key in a leaf that was found for it before; `None` if it is not its leaf any more.
fn locate_at<P: WritePages>(pages: &mut P, leaf: PageId, key: &[u8]) -> Result<Option<Place>, P::Error> {
    Ok(Place::in_leaf(leaf, &pages.fetch(leaf)?, key))
}

/// Stores a cell under a key, replacing what is there; a blob that is replaced is freed.
///
/// # Errors
/// What the pages report, and damage to the tree's structure.
///
/// # Panics
/// If the key is longer than [`max_key`], or an inline value longer than [`fits_inline`] allows.
pub fn put<P: WritePages>(
    pages: &mut P,
    root: PageId,
    key: &[u8],
    cell: Cell<'_>,
) -> Result<Previous, P::Error> {
    put_at(pages, root, None, key, cell)
}

/// As [`put`], given a leaf of the tree, if one is known, that covered the key. Since it was found, no page of the tree may have
/// been freed; leaves may have been split.
///
/// # Errors
/// As [`put`].
///
/// # Panics
/// As [`put`].
pub fn put_at<P: WritePages>(
    pages: &mut P,
    root: PageId,
    leaf: Option<PageId>,
    key: &[u8],
    cell: Cell<'_>,
) -> Result<Previous, P::Error> {
    let capacity = pages.capacity();
    assert!(key.len() <= max_key(capacity), "key longer than a page can hold");
    if let Cell::Inline(value) = cell {
        assert!(fits_inline(capacity, key.len(), value.len()), "inline value longer than a page can hold");
    }
    let known = match leaf {
        Some(leaf) => locate_at(pages, leaf, key)?,
        None => None,
    };
    let Place { leaf, existed, blob } = match known {
        Some(place) => place,
        None => locate(pages, root, key)?,
    };
    if !pages.buffer(leaf, LeafOp { key, change: Change::Put(cell), existed })? {
        put_in_place(pages, root, leaf, key, cell)?;
    }
    if let Some(old) = blob.filter(|old| cell.blob() != Some(*old)) {
        pages.free_blob(old)?;
    }
    Ok(if existed { Previous::Present } else { Previous::Absent })
}

fn put_in_place<P: WritePages>(
    pages: &mut P,
    root: PageId,
    mut leaf: PageId,
    key: &[u8],
    cell: Cell<'_>,
) -> Result<(), P::Error> {
    while edit::put(pages.edit(leaf)?, key, cell).is_err() {
        // Every split leaves fewer entries beside the key, and the key alone fits.
        if !split_leaf(pages, root, key)? {
            return Err(Corruption::at(leaf, "leaf: no room for a single entry").into());
        }
        leaf = locate(pages, root, key)?.leaf;
    }
    Ok(())
}

/// Removes a key; its blob is freed.
///
/// # Errors
/// What the pages report, and damage to the tree's structure.
pub fn remove<P: WritePages>(pages: &mut P, root: PageId, key: &[u8]) -> Result<Previous, P::Error> {
    let Place { leaf, existed, blob } = locate(pages, root, key)?;
    if !existed {
        return Ok(Previous::Absent);
    }
    if !pages.buffer(leaf, LeafOp { key, change: Change::Delete, existed })? {
        let node = pages.edit(leaf)?;
        let view = Node::new(node);
        let Ok(index) = view.search(key) else {
            return Err(Corruption::at(leaf, "leaf: consolidation lost a key").into());
        };
        let before = view.live_len();
        edit::remove_range(node, index, index + 1);
        merge_under_full(pages, root, leaf, key, before)?;
    }
    if let Some(old) = blob {
        pages.free_blob(old)?;
    }
    Ok(Previous::Present)
}

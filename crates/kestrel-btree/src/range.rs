//! Removing ranges of keys, and whole trees bit by bit.

use std::ops::{Bound, Range};

use kestrel_check::planted::{Bug, is_planted};
use kestrel_pager::PageId;

use crate::cell::Change;
use crate::children::{Children, store};
use crate::key::successor;
use crate::merge::{merge_leaf, merge_under_full};
use crate::node::Node;
use crate::path::{Fences, Path, path_to};
use crate::write::NodeWriter;
use crate::{BlobRef, Corruption, LeafOp, MergedLeaf, PageView, WritePages, edit};

/// Up to so many entries of one leaf are offered to the overlay's delta one by one before the leaf is edited.
const BUFFERED_MAX: usize = 16;

/// How far [`free_tree_step`] got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeStep {
    /// The tree is gone, its root page freed.
    Done,
    /// There is more to free; what is left is a valid tree under the same root.
    More,
}

/// The keys from `low` on, up to but not including `high`.
struct Limits {
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

impl Limits {
    /// `None` for a range without keys.
    fn new(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Option<Limits> {
        let low = match lower {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => successor(key),
        };
        let high = match upper {
            Bound::Unbounded => None,
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Included(key) => Some(successor(key)),
        };
        high.as_ref().is_none_or(|high| low < *high).then_some(Limits { low, high })
    }

    /// Whether all keys below `fence` and not below the lower limit are in the range.
    fn reach(&self, fence: Option<&[u8]>) -> bool {
        match (&self.high, fence) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(high), Some(fence)) => fence <= high.as_slice(),
        }
    }
}

/// Removes all keys in a range; their blobs are freed. Returns how many there were.
///
/// Leaves that lie in the range are freed whole after a look at their entries, to count them and to free blobs; inner
/// nodes are changed once for all their leaves. Every call leaves a valid tree.
///
/// # Errors
/// What the pages report, and damage to the tree's structure.
pub fn remove_range<P: WritePages>(
    pages: &mut P,
    root: PageId,
    lower: Bound<&[u8]>,
    upper: Bound<&[u8]>,
) -> Result<u64, P::Error> {
    let Some(mut limits) = Limits::new(lower, upper) else { return Ok(0) };
    let mut removed = 0;
    loop {
        let path = path_to(pages, root, &limits.low)?;
        let Fences { low, high } = &path.fences;
        let next = if *low >= limits.low && limits.reach(high.as_deref()) && !path.steps.is_empty() {
            let (count, next) = drop_leaves(pages, root, path, &limits, usize::MAX)?;
            removed += count;
            next
        } else {
            removed += trim_leaf(pages, root, path.leaf, &limits)?;
            path.fences.high
        };
        match next {
            Some(_) if is_planted(Bug::RangeRemovalEndsAtLeaf) => return Ok(removed),
            Some(next) if !limits.reach(Some(&next)) || limits.high.as_ref() == Some(&next) => {
                return Ok(removed);
            }
            Some(next) if next <= limits.low => {
                return Err(Corruption::new("leaf: fences disagree with the nodes above").into());
            }
            Some(next) => limits.low = next,
            None => return Ok(removed),
        }
    }
}

/// Frees a dropped tree's pages and blobs, at most about `budget_pages` of them. The tree stays valid from step to
/// step, so a crash between two steps loses nothing but the order of the work.
///
/// # Errors
/// What the pages report, and damage to the tree's structure.
pub fn free_tree_step<P: WritePages>(
    pages: &mut P,
    root: PageId,
    budget_pages: usize,
) -> Result<FreeStep, P::Error> {
    let everything = Limits { low: Vec::new(), high: None };
    let mut budget = budget_pages.max(2);
    while budget > 1 {
        let path = path_to(pages, root, &[])?;
        let Some(parent) = path.steps.last() else {
            trim_leaf(pages, root, root, &everything)?;
            pages.free(root)?;
            return Ok(FreeStep::Done);
        };
        let spent = Children::of(pages, parent.page, &parent.fences)?.pages.len().min(budget);
        drop_leaves(pages, root, path, &everything, spent)?;
        budget -= spent;
    }
    Ok(FreeStep::More)
}

/// Frees the leaf at the end of the way and those after it that have the same parent and lie in the range, at most
/// `budget`. One empty leaf stays in their place; it is merged with a neighbour if there is one. Returns how many
/// entries they had, and the first key that they did not cover.
fn drop_leaves<P: WritePages>(
    pages: &mut P,
    root: PageId,
    path: Path,
    limits: &Limits,
    budget: usize,
) -> Result<(u64, Option<Vec<u8>>), P::Error> {
    let Some(parent) = path.steps.last() else {
        return Err(Corruption::at(path.leaf, "a leaf without parent").into());
    };
    let mut children = Children::of(pages, parent.page, &parent.fences)?;
    let first = parent.child;
    let mut end = first + 1;
    while end < children.pages.len() && end - first < budget {
        let Fences { high, .. } = children.fences_of(end, &parent.fences);
        if !limits.reach(high.as_deref()) {
            break;
        }
        end += 1;
    }
    let low = path.fences.low;
    let high = children.fences_of(end - 1, &parent.fences).high;
    let mut removed = 0;
    for &leaf in &children.pages[first..end] {
        let (count, blobs) = survey(pages, leaf, None)?;
        removed += count;
        for blob in blobs {
            pages.free_blob(blob)?;
        }
        if leaf != path.leaf {
            pages.free(leaf)?;
        }
    }
    let out = pages.edit(path.leaf)?;
    match NodeWriter::leaf(out, &low, high.as_deref(), 0) {
        Ok(writer) => writer.finish(),
        Err(_) => return Err(Corruption::at(path.leaf, "leaf: fences exceed a page").into()),
    };
    children.join(first..end);
    store(pages, path.steps, children)?;
    merge_leaf(pages, root, &low)?;
    Ok((removed, high))
}

/// The entries of a leaf at some indices: how many live ones there are, and their blobs.
fn survey<P: WritePages>(
    pages: &mut P,
    leaf: PageId,
    limits: Option<&Limits>,
) -> Result<(u64, Vec<BlobRef>), P::Error> {
    let page = pages.fetch(leaf)?;
    let (merged, range) = live_range(&page, limits).map_err(|damage| damage.on(leaf))?;
    let count = range.len() as u64;
    let blobs = range.filter_map(|index| merged.found(index, &page).blob()).collect();
    Ok((count, blobs))
}

/// A leaf's live entries within the limits.
fn live_range(
    view: &impl PageView,
    limits: Option<&Limits>,
) -> Result<(MergedLeaf, Range<usize>), Corruption> {
    if !Node::new(view.node()).is_leaf() {
        return Err(Corruption::new("an inner node in the place of a leaf"));
    }
    let merged = MergedLeaf::new(view)?;
    let Some(limits) = limits else {
        let len = merged.len();
        return Ok((merged, 0..len));
    };
    let start = merged.lower_bound(view, &limits.low);
    let end = limits.high.as_ref().map_or(merged.len(), |high| merged.lower_bound(view, high));
    Ok((merged, start..end.max(start)))
}

/// Removes the entries of a leaf that lie in the range: a few through the overlay's delta, more in place.
fn trim_leaf<P: WritePages>(
    pages: &mut P,
    root: PageId,
    leaf: PageId,
    limits: &Limits,
) -> Result<u64, P::Error> {
    let (count, blobs) = survey(pages, leaf, Some(limits))?;
    if count == 0 {
        return Ok(0);
    }
    if count > BUFFERED_MAX as u64 || !buffer_deletes(pages, leaf, limits)? {
        let node = pages.edit(leaf)?;
        let view = Node::new(node);
        let live_before = view.live_len();
        let start = view.lower_bound(&limits.low);
        let end = limits.high.as_ref().map_or(view.count(), |high| view.lower_bound(high));
        edit::remove_range(node, start, end.max(start));
        merge_under_full(pages, root, leaf, &limits.low, live_before)?;
    }
    for blob in blobs {
        pages.free_blob(blob)?;
    }
    Ok(count)
}

/// Offers deletions of a leaf's entries in the range to its delta; `false` as soon as one is not taken.
fn buffer_deletes<P: WritePages>(pages: &mut P, leaf: PageId, limits: &Limits) -> Result<bool, P::Error> {
    let mut keys = Vec::new();
    let page = pages.fetch(leaf)?;
    let (merged, range) = live_range(&page, Some(limits)).map_err(|damage| damage.on(leaf))?;
    for index in range {
        let mut key = Vec::new();
        merged.key_into(index, &page, &mut key);
        keys.push(key);
    }
    drop(page);
    for key in &keys {
        if !pages.buffer(leaf, LeafOp { key, change: Change::Delete, existed: true })? {
            return Ok(false);
        }
    }
    Ok(true)
}

//! Splitting leaves.
//!
//! Rules: the root keeps its page id, its content moves down. The left half keeps the leaf's page id. A leaf that grows
//! at its right end (or, at the left end of the tree, at its left end) is cut at that end, so that ascending loads
//! leave full leaves behind.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_pager::PageId;

use crate::WritePages;
use crate::children::{Children, insert_child, raise_root, store};
use crate::entries::LeafEntries;
use crate::key::separator;
use crate::path::{Fences, Path, path_to};

/// Where a leaf is cut: entries before `at` go left.
struct Cut {
    at: usize,
    separator: Vec<u8>,
}

/// Makes room around a key by changing the structure of the tree, not its content: splits the leaf that covers the
/// key, or, when the tree grows at its right end, first moves entries to the leaf's left neighbour if that has room.
/// Deltas of the leaves it touches are consolidated.
///
/// Each call leaves fewer entries in the leaf that covers the key. `false`: there is nothing left to split off (the
/// leaf is empty or has only this key, and begins with it). Calling it repeatedly with the *greatest* key that is to
/// be written to a leaf eventually separates that key from all others.
///
/// # Errors
/// What the pages report, and damage to the tree's structure.
pub fn split_leaf<P: WritePages>(pages: &mut P, root: PageId, key: &[u8]) -> Result<bool, P::Error> {
    let path = path_to(pages, root, key)?;
    let leaf = path.leaf;
    let entries = LeafEntries::of(pages, leaf)?;
    let fences = path.fences.clone();
    let grows = grows_at_end(&entries, &fences, key);
    if grows && shift_left(pages, &path, &entries)? {
        return Ok(true);
    }
    let cut = cut(&entries, &fences, key, pages.capacity());
    let Some(Cut { at, separator }) = cut else { return Ok(false) };
    debug_assert!(fences.low < separator && fences.high.as_ref().is_none_or(|high| separator < *high));
    let count = entries.len();
    let right = pages.allocate()?;
    let out = pages.edit(right)?;
    let lost = is_planted(Bug::SplitLosesSeparator) && at < count && entries.key(at) == separator;
    let from = at + usize::from(lost);
    entries.write(from..count, &separator, fences.high.as_deref(), out).map_err(|damage| damage.on(right))?;
    let is_root = path.steps.is_empty();
    let left = if is_root { pages.allocate()? } else { leaf };
    let out = pages.edit(left)?;
    entries.write(0..at, &fences.low, Some(&separator), out).map_err(|damage| damage.on(left))?;
    if is_root {
        raise_root(pages, root, 0, left, separator, right)?;
    } else {
        insert_child(pages, path.steps, separator, right)?;
    }
    Ok(true)
}

/// Whether a key goes behind the last entry and more are likely to follow it.
fn grows_at_end(entries: &LeafEntries, fences: &Fences, key: &[u8]) -> bool {
    let count = entries.len();
    count > 1 && entries.search(key) == Err(count) && (fences.high.is_none() || entries.ascends_at(count))
}

/// Chooses the cut. `None`: there is nothing that could be split off.
fn cut(entries: &LeafEntries, fences: &Fences, key: &[u8], capacity: usize) -> Option<Cut> {
    let count = entries.len();
    let Err(index) = entries.search(key) else { return cut_inside(entries, fences, key, capacity) };
    if count < 2 {
        cut_inside(entries, fences, key, capacity)
    } else if grows_at_end(entries, fences, key) {
        Some(cut_at_end(entries, fences, key, capacity))
    } else if index == 0 && fences.low.is_empty() {
        Some(cut_at_start(entries, fences, key, capacity))
    } else if index > 0 && entries.ascends_at(index) {
        cut_behind(entries, fences, key, index, capacity)
    } else {
        cut_inside(entries, fences, key, capacity)
    }
}

/// Leaves as much as fits in the left leaf: all of it, unless the new fence needs room.
fn cut_at_end(entries: &LeafEntries, fences: &Fences, key: &[u8], capacity: usize) -> Cut {
    let count = entries.len();
    let mut cut = Cut { at: count, separator: separator(&entries.key(count - 1), key).to_vec() };
    while cut.at > 1 && entries.size(0..cut.at, &fences.low, Some(&cut.separator)) > capacity {
        cut.at -= 1;
        cut.separator = entries.separator_before(cut.at);
    }
    cut
}

/// Leaves as much as fits in the right leaf.
fn cut_at_start(entries: &LeafEntries, fences: &Fences, key: &[u8], capacity: usize) -> Cut {
    let count = entries.len();
    let mut cut = Cut { at: 0, separator: separator(key, &entries.key(0)).to_vec() };
    while cut.at + 1 < count && entries.size(cut.at..count, &cut.separator, fences.high.as_deref()) > capacity
    {
        cut.at += 1;
        cut.separator = entries.separator_before(cut.at);
    }
    cut
}

/// Cuts off what lies behind a key in a run of ascending insertions, so that the run goes on at the end of a leaf.
fn cut_behind(
    entries: &LeafEntries,
    fences: &Fences,
    key: &[u8],
    index: usize,
    capacity: usize,
) -> Option<Cut> {
    let fence = separator(key, &entries.key(index)).to_vec();
    let left = entries.size(0..index, &fences.low, Some(&fence));
    let right = entries.size(index..entries.len(), &fence, fences.high.as_deref());
    if left.max(right) > capacity {
        return cut_inside(entries, fences, key, capacity);
    }
    Some(Cut { at: index, separator: fence })
}

/// Cuts in the middle; a leaf of at most one entry is cut between that and the key, or at the key.
fn cut_inside(entries: &LeafEntries, fences: &Fences, key: &[u8], capacity: usize) -> Option<Cut> {
    if entries.len() >= 2 {
        let at = entries.middle(capacity);
        return Some(Cut { at, separator: entries.separator_before(at) });
    }
    let beside = match (entries.len(), entries.search(key)) {
        (1, Err(0)) => Cut { at: 0, separator: separator(key, &entries.key(0)).to_vec() },
        (1, Err(_)) => Cut { at: 1, separator: separator(&entries.key(0), key).to_vec() },
        _ => Cut { at: 0, separator: key.to_vec() },
    };
    (fences.low < beside.separator).then_some(beside)
}

/// Fills the left neighbour of a leaf that grows at its end.
///
/// Such a leaf has no high fence, or one far away, hence a short prefix: once it gets a near one, it shrinks, and would
/// stay that small for ever under an ascending load.
fn shift_left<P: WritePages>(pages: &mut P, path: &Path, last: &LeafEntries) -> Result<bool, P::Error> {
    let capacity = pages.capacity();
    let Some(parent) = path.steps.last() else { return Ok(false) };
    let Some(left_index) = parent.child.checked_sub(1) else { return Ok(false) };
    let mut children = Children::of(pages, parent.page, &parent.fences)?;
    let left = children.pages[left_index];
    let mut entries = LeafEntries::of(pages, left)?;
    if entries.packed_len() + capacity / 16 > capacity {
        return Ok(false);
    }
    let low = entries.fences().low;
    let high = last.fences().high;
    let (before, count) = (entries.len(), entries.len() + last.len());
    entries.append(last.clone()).map_err(|damage| damage.on(path.leaf))?;
    // The most entries that fit, between `before` (fits) and `count`.
    let (mut fits, mut end) = (before, count);
    while fits + 1 < end {
        let middle = fits.midpoint(end);
        if entries.size(0..middle, &low, Some(&entries.separator_before(middle))) <= capacity {
            fits = middle;
        } else {
            end = middle;
        }
    }
    if (fits - before) * 16 < last.len() {
        return Ok(false);
    }
    let fence = entries.separator_before(fits);
    let out = pages.edit(left)?;
    entries.write(0..fits, &low, Some(&fence), out).map_err(|damage| damage.on(left))?;
    let out = pages.edit(path.leaf)?;
    entries.write(fits..count, &fence, high.as_deref(), out).map_err(|damage| damage.on(path.leaf))?;
    children.separators[left_index] = fence;
    store(pages, path.steps.clone(), children)?;
    Ok(true)
}

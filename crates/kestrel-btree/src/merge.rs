//! Merging leaves that have become small, and inner nodes above them.

use kestrel_pager::PageId;

use crate::children::{Children, store};
use crate::entries::LeafEntries;
use crate::node::Node;
use crate::path::{Fences, Step, path_to};
use crate::{Corruption, PageView, WritePages, consolidate};

/// A node below this share of a page is under-full.
fn under_full(used: usize, capacity: usize) -> bool {
    used < capacity / 3
}

/// Merged nodes are not filled beyond this, so that the next insertion does not split them again.
fn merged_max(capacity: usize) -> usize {
    capacity / 5 * 4
}

/// Merges the leaf that covers a key with a neighbour under the same parent, if it is under-full (less than a third of
/// a page) and the result leaves a fifth of a page free; an empty leaf is merged if the result fits at all. Inner nodes
/// that become small are merged likewise, and a root with a single child takes over that child's content. Returns
/// whether anything changed. Deltas of the leaves it merges are consolidated.
///
/// # Errors
/// What the pages report, and damage to the tree's structure.
pub fn merge_leaf<P: WritePages>(pages: &mut P, root: PageId, key: &[u8]) -> Result<bool, P::Error> {
    let capacity = pages.capacity();
    let mut changed = false;
    loop {
        let path = path_to(pages, root, key)?;
        let Some(parent) = path.steps.last() else { return Ok(changed) };
        let index = parent.child;
        let entries = LeafEntries::of(pages, path.leaf)?;
        if entries.len() > 0 && !under_full(entries.packed_len(), capacity) {
            return Ok(changed);
        }
        let mut children = Children::of(pages, parent.page, &parent.fences)?;
        if children.pages.len() == 1 {
            // The leaf has no neighbour before its parent has got one.
            if !tidy(pages, path.steps)? {
                return Ok(changed);
            }
            changed = true;
            continue;
        }
        for left in [index.checked_sub(1), Some(index)].into_iter().flatten() {
            if left + 1 < children.pages.len() && join_leaves(pages, &mut children, left, index, &entries)? {
                store(pages, path.steps.clone(), children)?;
                tidy(pages, path.steps)?;
                return Ok(true);
            }
        }
        return Ok(changed);
    }
}

/// Merges after a removal in place: only when the leaf has just become under-full, or empty, so that a leaf whose
/// neighbours are full does not look at them again and again.
pub(crate) fn merge_under_full<P: WritePages>(
    pages: &mut P,
    root: PageId,
    leaf: PageId,
    key: &[u8],
    live_before: usize,
) -> Result<(), P::Error> {
    let capacity = pages.capacity();
    let page = pages.fetch(leaf)?;
    let node = Node::new(page.node());
    let crossed = under_full(node.live_len(), capacity) && !under_full(live_before, capacity);
    let wanted = crossed || node.count() == 0;
    drop(page);
    if wanted {
        merge_leaf(pages, root, key)?;
    }
    Ok(())
}

/// Merges child `left` and the one after it, if the result is small enough; one of the two is `known`, whose entries
/// are at hand. The list of children is changed, but not stored.
fn join_leaves<P: WritePages>(
    pages: &mut P,
    children: &mut Children,
    left: usize,
    known: usize,
    known_entries: &LeafEntries,
) -> Result<bool, P::Error> {
    let capacity = pages.capacity();
    let (left_page, right_page) = (children.pages[left], children.pages[left + 1]);
    let (mut entries, right) = if known == left {
        (known_entries.clone(), LeafEntries::of(pages, right_page)?)
    } else {
        (LeafEntries::of(pages, left_page)?, known_entries.clone())
    };
    let limit = if entries.len() == 0 || right.len() == 0 { capacity } else { merged_max(capacity) };
    entries.append(right).map_err(|damage| damage.on(right_page))?;
    let Fences { low, high } = entries.fences();
    if entries.size(0..entries.len(), &low, high.as_deref()) > limit {
        return Ok(false);
    }
    let out = pages.edit(left_page)?;
    entries.write(0..entries.len(), &low, high.as_deref(), out).map_err(|damage| damage.on(left_page))?;
    pages.free(right_page)?;
    children.join(left..left + 2);
    Ok(true)
}

/// What became of an inner node and its neighbour.
enum Joined {
    /// Together they are too large.
    No,
    /// They are one node now.
    Merged,
    /// They share their children evenly.
    Shared,
}

/// Restores the inner node at the end of `steps` after it lost children: a root with one child takes over that child's
/// content; another node that is under-full is merged with a neighbour, and one with a single child gets some of the
/// neighbour's if it cannot be merged. Goes on upwards as far as nodes are merged; returns whether anything changed.
pub(crate) fn tidy<P: WritePages>(pages: &mut P, mut steps: Vec<Step>) -> Result<bool, P::Error> {
    let capacity = pages.capacity();
    let mut changed = false;
    while let Some(Step { page, fences, .. }) = steps.pop() {
        let Some(parent) = steps.last() else {
            return Ok(collapse_root(pages, page)? || changed);
        };
        let (parent_page, index) = (parent.page, parent.child);
        let parent_fences = parent.fences.clone();
        let node = Children::of(pages, page, &fences)?;
        if node.pages.len() > 1 && !under_full(node.packed_len(&fences), capacity) {
            return Ok(changed);
        }
        let mut above = Children::of(pages, parent_page, &parent_fences)?;
        if above.pages.len() == 1 {
            // No neighbour: first the parent has to get one.
            continue;
        }
        let left = index.saturating_sub(1);
        match join_inner(pages, &parent_fences, &mut above, left)? {
            Joined::No => return Ok(changed),
            Joined::Merged => store(pages, steps.clone(), above)?,
            Joined::Shared => {
                store(pages, steps, above)?;
                return Ok(true);
            }
        }
        changed = true;
    }
    Ok(changed)
}

/// Merges child `left` of an inner node and the one after it, which are inner nodes too, or lets them share. The list
/// of children is changed, but not stored.
fn join_inner<P: WritePages>(
    pages: &mut P,
    parent: &Fences,
    above: &mut Children,
    left: usize,
) -> Result<Joined, P::Error> {
    let capacity = pages.capacity();
    let (left_page, right_page) = (above.pages[left], above.pages[left + 1]);
    let (left_fences, right_fences) = (above.fences_of(left, parent), above.fences_of(left + 1, parent));
    let mut children = Children::of(pages, left_page, &left_fences)?;
    let right = Children::of(pages, right_page, &right_fences)?;
    if children.level != right.level {
        return Err(Corruption::at(right_page, "inner nodes of two levels under one parent").into());
    }
    let single = children.pages.len() == 1 || right.pages.len() == 1;
    children.append(above.separators[left].clone(), right);
    let limit = if single { capacity } else { merged_max(capacity) };
    let fences = Fences { low: left_fences.low, high: right_fences.high };
    if children.packed_len(&fences) <= limit {
        children.write_all(&fences, pages.edit(left_page)?).map_err(|damage| damage.on(left_page))?;
        pages.free(right_page)?;
        above.join(left..left + 2);
        return Ok(Joined::Merged);
    }
    if !single {
        return Ok(Joined::No);
    }
    above.separators[left] = children.write_halves(pages, fences, left_page, right_page, false)?;
    Ok(Joined::Shared)
}

/// Lets a root with a single child take over that child's content, again and again. Returns whether it did.
fn collapse_root<P: WritePages>(pages: &mut P, root: PageId) -> Result<bool, P::Error> {
    let mut changed = false;
    let mut copy = vec![0; pages.capacity()];
    loop {
        let page = pages.fetch(root)?;
        let node = Node::new(page.node());
        if node.is_leaf() || node.count() > 0 {
            return Ok(changed);
        }
        let (level, child) = (node.level(), node.child(0));
        drop(page);
        let page = pages.fetch(child)?;
        if Node::new(page.node()).level() + 1 != level {
            return Err(Corruption::at(child, "node of a wrong level below the root").into());
        }
        consolidate(&page, &mut copy).map_err(|error| Corruption::from(error).on(child))?;
        drop(page);
        pages.edit(root)?.copy_from_slice(&copy);
        pages.free(child)?;
        changed = true;
    }
}

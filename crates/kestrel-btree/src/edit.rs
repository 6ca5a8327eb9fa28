//! Changing private nodes in place.
//!
//! An entry that goes leaves garbage in the heap; when the gap is too small for a new one, the heap is compacted, and
//! when that does not help either the node is full. Every function leaves a node that passes `check`.

use kestrel_pager::PageId;

use crate::ascent::Ascent;
use crate::cell::Cell;
use crate::format::{COUNT, GARBAGE, HEADER_LEN, HEAP_LEN, INNER_LENGTHS, front_len, set_u16, set_u32};
use crate::key::{head, tail_len};
use crate::node::Node;
use crate::write::{Full, leaf_entry_len, write_leaf_entry, write_separator};

/// Stores a cell under a key that the leaf covers, replacing what is there.
pub(crate) fn put(node: &mut [u8], key: &[u8], cell: Cell<'_>) -> Result<(), Full> {
    let view = Node::new(node);
    debug_assert!(view.is_leaf() && view.low() <= key && view.high().is_none_or(|high| key < high));
    let suffix_len = key.len() - view.prefix_len();
    let len = leaf_entry_len(suffix_len, cell.stored_len());
    match view.search(key) {
        Ok(index) => replace(node, index, key, cell, len),
        Err(index) => {
            make_gap(node, len + slot_len(0))?;
            insert_slot(node, index, None);
            Ascent::of(node).inserted(index).store(node);
            let prefix_len = Node::new(node).prefix_len();
            let suffix = &key[prefix_len..];
            write_leaf_entry(claim(node, index, head(suffix), len), suffix, cell);
            Ok(())
        }
    }
}

/// Gives an existing entry another cell: over the old bytes if it fits there, else elsewhere in the heap.
fn replace(node: &mut [u8], index: usize, key: &[u8], cell: Cell<'_>, len: usize) -> Result<(), Full> {
    let view = Node::new(node);
    let suffix = &key[view.prefix_len()..];
    let old_len = view.entry(index).len();
    if len <= old_len {
        let at = node.len() - view.offset(index);
        add_garbage(node, old_len - len);
        write_leaf_entry(&mut node[at..at + len], suffix, cell);
        return Ok(());
    }
    // Nothing may change before it is certain that the new entry fits.
    let gap = node.len() - view.packed_len();
    if gap < len {
        if gap + view.garbage() + old_len < len {
            return Err(Full);
        }
        remove_range(node, index, index + 1);
        make_gap(node, len + slot_len(0))?;
        insert_slot(node, index, None);
    } else {
        add_garbage(node, old_len);
    }
    write_leaf_entry(claim(node, index, head(suffix), len), suffix, cell);
    Ok(())
}

/// Removes a leaf's entries from `start` up to `end`.
pub(crate) fn remove_range(node: &mut [u8], start: usize, end: usize) {
    let view = Node::new(node);
    let (count, level) = (view.count(), view.level());
    debug_assert!(level == 0 && start <= end && end <= count);
    let dead: usize = (start..end).map(|index| view.entry(index).len()).sum();
    add_garbage(node, dead);
    let kept = count - (end - start);
    let (heads, offsets) = (HEADER_LEN, HEADER_LEN + 4 * count);
    node.copy_within(heads + 4 * end..heads + 4 * count, heads + 4 * start);
    let new_offsets = HEADER_LEN + 4 * kept;
    node.copy_within(offsets..offsets + 2 * start, new_offsets);
    node.copy_within(offsets + 2 * end..offsets + 2 * count, new_offsets + 2 * start);
    node[front_len(level, kept)..front_len(level, count)].fill(0);
    set_u16(node, COUNT, kept);
    Ascent::of(node).removed(start, end).store(node);
    if kept == 0 {
        // Nothing but fences is left, so compaction is free.
        let fences = Node::new(node).low_len() + Node::new(node).high_len();
        set_u16(node, HEAP_LEN, fences);
        set_u16(node, GARBAGE, 0);
    }
}

/// Adds a child to an inner node behind child `index`, and the separator between the two.
pub(crate) fn insert_child(
    node: &mut [u8],
    index: usize,
    separator: &[u8],
    child: PageId,
) -> Result<(), Full> {
    let view = Node::new(node);
    debug_assert!(!view.is_leaf() && separator.starts_with(view.prefix()));
    debug_assert_eq!(view.search(separator), Err(index));
    let prefix_len = view.prefix_len();
    let suffix = &separator[prefix_len..];
    let len = INNER_LENGTHS + tail_len(suffix.len());
    make_gap(node, len + slot_len(1))?;
    insert_slot(node, index, Some(child));
    write_separator(claim(node, index, head(suffix), len), suffix);
    Ok(())
}

/// Moves a node's live heap bytes together, so that the garbage joins the gap.
pub(crate) fn compact(node: &mut [u8]) {
    let old = node.to_vec();
    let view = Node::new(&old);
    let end = node.len();
    let children = if view.is_leaf() { 0 } else { view.count() + 1 };
    let offsets = HEADER_LEN + 4 * (view.count() + children);
    let mut heap = view.low_len() + view.high_len();
    for index in 0..view.count() {
        let len = if view.is_leaf() { view.entry(index).len() } else { view.separator_len(index) };
        let at = end - view.offset(index);
        heap += len;
        node[end - heap..end - heap + len].copy_from_slice(&old[at..at + len]);
        set_u16(node, offsets + 2 * index, heap);
    }
    debug_assert_eq!(heap, view.heap_len() - view.garbage());
    set_u16(node, HEAP_LEN, heap);
    set_u16(node, GARBAGE, 0);
    node[view.front_len()..end - heap].fill(0);
}

/// Front bytes that one more entry takes.
fn slot_len(level: u8) -> usize {
    front_len(level, 1) - front_len(level, 0)
}

fn make_gap(node: &mut [u8], wanted: usize) -> Result<(), Full> {
    let view = Node::new(node);
    let gap = node.len() - view.packed_len();
    if gap >= wanted {
        return Ok(());
    }
    if gap + view.garbage() < wanted {
        return Err(Full);
    }
    compact(node);
    Ok(())
}

fn add_garbage(node: &mut [u8], len: usize) {
    let garbage = Node::new(node).garbage() + len;
    set_u16(node, GARBAGE, garbage);
}

/// Opens the front arrays at `index`; a child goes behind it. The entry's head and offset are still to be set.
fn insert_slot(node: &mut [u8], index: usize, child: Option<PageId>) {
    let view = Node::new(node);
    let count = view.count();
    let children = if child.is_some() { count + 1 } else { 0 };
    let added = usize::from(child.is_some());
    let child_array = HEADER_LEN + 4 * count;
    let offsets = child_array + 4 * children;
    // From the back to the front, so that nothing is overwritten before it has moved.
    let new_offsets = offsets + 4 + 4 * added;
    node.copy_within(offsets + 2 * index..offsets + 2 * count, new_offsets + 2 * (index + 1));
    node.copy_within(offsets..offsets + 2 * index, new_offsets);
    if let Some(child) = child {
        let new_array = child_array + 4;
        node.copy_within(child_array + 4 * (index + 1)..offsets, new_array + 4 * (index + 2));
        node.copy_within(child_array..child_array + 4 * (index + 1), new_array);
        set_u32(node, new_array + 4 * (index + 1), child.0);
    }
    let heads = HEADER_LEN;
    node.copy_within(heads + 4 * index..heads + 4 * count, heads + 4 * (index + 1));
    set_u16(node, COUNT, count + 1);
}

/// Takes `len` bytes from the gap for the entry at `index`.
fn claim(node: &mut [u8], index: usize, head: u32, len: usize) -> &mut [u8] {
    let view = Node::new(node);
    let heap = view.heap_len() + len;
    let (count, end) = (view.count(), node.len());
    debug_assert!(view.front_len() + heap <= end);
    let children = if view.is_leaf() { 0 } else { count + 1 };
    set_u32(node, HEADER_LEN + 4 * index, head);
    set_u16(node, HEADER_LEN + 4 * (count + children) + 2 * index, heap);
    set_u16(node, HEAP_LEN, heap);
    &mut node[end - heap..end - heap + len]
}

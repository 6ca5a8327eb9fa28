//! Checks a node's bytes, so that nothing read from a disk can lead an accessor out of bounds or in circles.

// Bytes from a disk are met here: nothing is indexed, cut short or added up without a check.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use std::cmp::Ordering;

use crate::Corruption;
use crate::cell::BLOB_REF_LEN;
use crate::format::{BLOB_BIT, FLAGS, HAS_HIGH, HEADER_LEN, INNER_LENGTHS, LEAF_LENGTHS, MAX_LEVEL, u16_at};
use crate::key::{compare_rest, fence_prefix_len, tail_len};
use crate::node::Node;

/// Checks that bytes are a node: every offset, length and key order. Accepts any bytes; never panics.
///
/// To be called on every image that was read from disk, before it is used.
///
/// # Errors
/// The first rule that is broken.
pub fn check(node: &[u8]) -> Result<(), Corruption> {
    let rule = |holds: bool, what: &str| if holds { Ok(()) } else { Err(Corruption::new(what)) };
    rule(node.len() >= HEADER_LEN && node.len() <= usize::from(u16::MAX), "node: impossible size")?;
    let flags = node.get(FLAGS).copied().unwrap_or(0);
    let node = Node::new(node);
    rule(node.level() <= MAX_LEVEL, "node: impossible level")?;
    rule(flags & !HAS_HIGH == 0, "node: unknown flags")?;
    rule(node.packed_len() <= node.bytes().len(), "node: front and heap overlap")?;
    let fences = node.low_len().saturating_add(node.high_len());
    rule(fences <= node.heap_len(), "node: fences exceed the heap")?;
    if node.is_leaf() {
        rule(node.high().is_some() || node.high_len() == 0, "leaf: length of a fence that is absent")?;
        rule(node.high().is_none_or(|high| node.low() < high), "leaf: low fence not below high fence")?;
        rule(
            node.prefix_len() == fence_prefix_len(node.low(), node.high()),
            "leaf: prefix is not the fences'",
        )?;
    } else {
        rule(flags == 0 && node.high_len() == 0, "inner node: has fences")?;
        rule(node.prefix_len() == node.low_len(), "inner node: prefix length")?;
    }
    check_entries(node, fences)
}

fn check_entries(node: Node<'_>, fences: usize) -> Result<(), Corruption> {
    let fail = |index: usize, what: &str| Err(Corruption::new(format!("node entry {index}: {what}")));
    let end = node.bytes().len();
    let mut live = fences;
    // Of a leaf in order, entries that reach into their neighbours: such a leaf is copied in stretches.
    let (mut before, mut in_order, mut overlaps) = (fences, node.is_leaf(), None);
    for index in 0..node.count() {
        let offset = node.offset(index);
        if offset > node.heap_len() || offset < fences.saturating_add(INNER_LENGTHS) {
            return fail(index, "offset outside the heap");
        }
        // No less than the heap's begin, which lies in the node.
        let at = end.saturating_sub(offset);
        let suffix_len = usize::from(u16_at(node.bytes(), at));
        let len = if node.is_leaf() {
            let stored = u16_at(node.bytes(), at.saturating_add(2));
            if stored & BLOB_BIT != 0 && usize::from(stored & !BLOB_BIT) != BLOB_REF_LEN {
                return fail(index, "length of a blob reference");
            }
            LEAF_LENGTHS.saturating_add(tail_len(suffix_len)).saturating_add(usize::from(stored & !BLOB_BIT))
        } else {
            INNER_LENGTHS.saturating_add(tail_len(suffix_len))
        };
        if len > offset.saturating_sub(fences) {
            return fail(index, "reaches beyond the heap");
        }
        live = live.saturating_add(len);
        in_order &= offset > before;
        if in_order && len > offset.saturating_sub(before) {
            overlaps = overlaps.or(Some(index));
        }
        before = offset;
        if suffix_len < 4 && node.head(index) << (8 * suffix_len) != 0 {
            return fail(index, "head longer than its key");
        }
        let previous = index.checked_sub(1);
        if previous.is_some_and(|previous| compare(node, previous, index) != Ordering::Less) {
            return fail(index, "keys out of order");
        }
    }
    if live.saturating_add(node.garbage()) != node.heap_len() {
        return Err(Corruption::new("node: the heap's parts do not add up"));
    }
    if let Some(index) = overlaps.filter(|_| node.is_in_order()) {
        return fail(index, "overlaps its neighbour");
    }
    if node.is_leaf() { check_fences(node) } else { Ok(()) }
}

/// Compares the keys of two entries.
fn compare(node: Node<'_>, a: usize, b: usize) -> Ordering {
    let (tail_a, tail_b) = (node.suffix(a), node.suffix(b));
    let rest = || compare_rest(tail_a.1, tail_a.0, tail_b.1, tail_b.0);
    node.head(a).cmp(&node.head(b)).then_with(rest)
}

/// The first and the last key lie between the fences, and so does everything between them.
fn check_fences(node: Node<'_>) -> Result<(), Corruption> {
    let Some(last) = node.count().checked_sub(1) else { return Ok(()) };
    if node.key(0).as_slice() < node.low() {
        return Err(Corruption::new("leaf: a key below the low fence"));
    }
    if node.high().is_some_and(|high| node.key(last).as_slice() >= high) {
        return Err(Corruption::new("leaf: a key at or above the high fence"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::{set_u16, u16_at};
    use crate::toy::ToyPage;
    use crate::write::NodeWriter;
    use crate::{Cell, Change, Delta, LeafOp, consolidate};

    /// Consolidation copies stretches of entries. Where one reaches into its neighbour, it would lose what that one takes along.
    #[test]
    fn entries_that_overlap_are_damage() {
        let mut node = vec![0; 1024];
        let mut writer = NodeWriter::leaf(&mut node, b"", None, 3).unwrap();
        for key in [b"a", b"b", b"c"] {
            writer.push(key, Cell::Inline(&[7; 50])).unwrap();
        }
        writer.finish();
        check(&node).unwrap();
        let merged = |node: &[u8]| {
            let delta = Delta::with(&[], LeafOp { key: b"a", change: Change::Delete, existed: true });
            let mut out = vec![0; 1024];
            let view = &ToyPage::new(node.to_vec(), vec![delta]);
            consolidate(&view, &mut out).unwrap();
            check(&out)
        };
        merged(&node).unwrap();
        // The parts of the heap still add up.
        for (index, len) in [(1, 60), (2, 40)] {
            let at = node.len() - Node::new(&node).offset(index);
            assert_eq!(u16_at(&node, at + 2), 50);
            set_u16(&mut node, at + 2, len);
        }
        assert!(check(&node).is_err() || merged(&node).is_ok(), "consolidation breaks what is fine");
        assert!(check(&node).unwrap_err().to_string().contains("entry 1: overlaps"));
    }
}

//! Looking into one node without the tree around it: for whoever saves what is left of a damaged one.
//!
//! The nodes given passed [`check`](crate::check).

use kestrel_pager::PageId;

use crate::Cell;
use crate::node::Node;

/// The keys that a leaf covers: from the first up to, not including, the second (`None`: without limit). `None` for an inner node.
#[must_use]
pub fn leaf_bounds(node: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let node = Node::new(node);
    node.is_leaf().then(|| (node.low(), node.high()))
}

/// A leaf's entries, in order; none for an inner node.
pub fn leaf_entries(node: &[u8]) -> impl Iterator<Item = (Vec<u8>, Cell<'_>)> {
    let node = Node::new(node);
    let count = if node.is_leaf() { node.count() } else { 0 };
    (0..count).map(move |index| (node.key(index), node.entry(index).cell()))
}

/// An inner node's children; none for a leaf.
pub fn children(node: &[u8]) -> impl Iterator<Item = PageId> + '_ {
    let node = Node::new(node);
    let count = if node.is_leaf() { 0 } else { node.count() + 1 };
    (0..count).map(move |index| node.child(index))
}

//! Nodes without their gap, as they lie on disk: the front, then the heap.

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

use crate::Corruption;
use crate::format::HEADER_LEN;
use crate::node::Node;

/// The parts of a node that mean something: what lies before the gap, and what lies behind it.
#[must_use]
pub fn packed_parts(node: &[u8]) -> [&[u8]; 2] {
    let view = Node::new(node);
    let front = node.get(..view.front_len()).unwrap_or(&[]);
    let heap = node.len().checked_sub(view.heap_len()).and_then(|start| node.get(start..)).unwrap_or(&[]);
    debug_assert_eq!(front.len().saturating_add(heap.len()), view.packed_len());
    [front, heap]
}

/// Bytes of a node without its gap.
#[must_use]
pub fn packed_len(node: &[u8]) -> usize {
    Node::new(node).packed_len()
}

/// Turns packed bytes into a node that fills `out`; the gap becomes zero. The result still has to be
/// [checked](crate::check).
///
/// # Errors
/// The packed bytes are not as long as they say, or longer than `out`.
pub fn unpack(packed: &[u8], out: &mut [u8]) -> Result<(), Corruption> {
    match out.get_mut(..packed.len()) {
        Some(front) => front.copy_from_slice(packed),
        None => return Err(Corruption::new("packed node: longer than a page")),
    }
    unpack_in_place(out, packed.len())
}

/// Like [`unpack`], for packed bytes that lie at the beginning of the buffer that is to become the node.
///
/// # Errors
/// The packed bytes are not as long as they say, or longer than the buffer.
pub fn unpack_in_place(node: &mut [u8], packed: usize) -> Result<(), Corruption> {
    let (Some(bytes), true) = (node.get(..packed), packed >= HEADER_LEN) else {
        return Err(Corruption::new("packed node: impossible length"));
    };
    let view = Node::new(bytes);
    let (front, heap) = (view.front_len(), view.heap_len());
    let said = front.saturating_add(heap);
    if said != packed {
        return Err(Corruption::new(format!("packed node: {packed} bytes, its header says {said}")));
    }
    // The packed bytes lie in the buffer, and consist of the two.
    let heap_at = node.len().saturating_sub(heap);
    node.copy_within(front..packed, heap_at);
    if let Some(gap) = node.get_mut(front..heap_at) {
        gap.fill(0);
    }
    Ok(())
}

//! Nodes without their gap, as they lie on disk: the front, then the heap.

use crate::Corruption;
use crate::format::HEADER_LEN;
use crate::node::Node;

/// The parts of a node that mean something: what lies before the gap, and what lies behind it.
#[must_use]
pub fn packed_parts(node: &[u8]) -> [&[u8]; 2] {
    let view = Node::new(node);
    let front = node.get(..view.front_len()).unwrap_or(&[]);
    let heap = node.len().checked_sub(view.heap_len()).and_then(|start| node.get(start..)).unwrap_or(&[]);
    debug_assert_eq!(front.len() + heap.len(), view.packed_len());
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
    if front + heap != packed {
        return Err(Corruption::new(format!(
            "packed node: {packed} bytes, its header says {}",
            front + heap
        )));
    }
    let heap_at = node.len() - heap;
    node.copy_within(front..packed, heap_at);
    node[front..heap_at].fill(0);
    Ok(())
}

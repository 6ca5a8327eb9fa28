//! The byte layout of nodes, shared by everything that reads or writes them. `docs/file-format.md` draws it.
//!
//! ```text
//! | header 16 | heads u32 x n | children u32 x (n + 1), inner only | offsets u16 x n |  gap  | heap |
//! ```
//!
//! The heap grows from the end of the node downwards; an offset is the distance of an entry's first byte from the
//! end, so a node is packed by leaving out the gap and unpacked into any capacity. The heap's last bytes are the low
//! fence (inner nodes: the prefix), before it lies the high fence.

pub(crate) const LEVEL: usize = 0;
pub(crate) const FLAGS: usize = 1;
pub(crate) const COUNT: usize = 2;
pub(crate) const PREFIX_LEN: usize = 4;
pub(crate) const LOW_LEN: usize = 6;
pub(crate) const HIGH_LEN: usize = 8;
/// Bytes of the heap, garbage included.
pub(crate) const HEAP_LEN: usize = 10;
/// Bytes of the heap that belong to no entry any more.
pub(crate) const GARBAGE: usize = 12;
/// Where entries were inserted last, see [`Ascent`](crate::ascent::Ascent). A hint: any value is valid.
pub(crate) const ASCENT: usize = 14;
pub(crate) const HEADER_LEN: usize = 16;

/// Flag: the leaf has a high fence; without it, it covers all keys from its low fence on.
pub(crate) const HAS_HIGH: u8 = 1;

/// More levels than four thousand million pages can need when every inner node has two children.
pub(crate) const MAX_LEVEL: u8 = 40;

/// Bytes of a key that its head holds; the heap has only what follows.
pub(crate) const HEAD_LEN: usize = 4;
/// A leaf entry's lengths in the heap, before the rest of its key and the cell.
pub(crate) const LEAF_LENGTHS: usize = 4;
/// A separator's length in the heap, before the rest of it.
pub(crate) const INNER_LENGTHS: usize = 2;
/// Marks a blob in the second length of a leaf entry.
pub(crate) const BLOB_BIT: u16 = 1 << 15;

/// Front bytes of a leaf for one entry: head and offset.
pub(crate) const LEAF_SLOT: usize = 4 + 2;
/// Front bytes of an inner node for one separator: head, child and offset.
pub(crate) const INNER_SLOT: usize = 4 + 4 + 2;
/// What a leaf entry takes beside the rest of its key and its cell.
pub(crate) const LEAF_ENTRY_LEN: usize = LEAF_SLOT + LEAF_LENGTHS;

const _: () = assert!(ASCENT + 2 == HEADER_LEN && HEADER_LEN.is_multiple_of(4));

/// Bytes before the gap.
pub(crate) fn front_len(level: u8, count: usize) -> usize {
    if level == 0 { HEADER_LEN + LEAF_SLOT * count } else { HEADER_LEN + 4 + INNER_SLOT * count }
}

/// Reads zero where there are no bytes, so that no reader can panic.
#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(chunk) => u16::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Reads zero where there are no bytes, so that no reader can panic.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(chunk) => u32::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Writes a length or an offset, which a node's capacity bounds.
#[inline]
pub(crate) fn set_u16(bytes: &mut [u8], at: usize, value: usize) {
    debug_assert!(value <= usize::from(u16::MAX));
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

#[inline]
pub(crate) fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

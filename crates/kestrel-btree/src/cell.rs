//! What a leaf holds under a key, operations on leaves, and how large keys and cells may be.

use kestrel_pager::PageId;

use crate::format::{HEADER_LEN, LEAF_ENTRY_LEN, u32_at};

/// Bytes of a [`BlobRef`] in a leaf or a delta.
pub(crate) const BLOB_REF_LEN: usize = 12;

/// Where a large value lies: a page of its own, which only the tree's owner reads and frees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobRef {
    /// The page whose image is the value.
    pub page: PageId,
    /// The value's length in bytes.
    pub len: u32,
    /// The value's checksum.
    pub checksum: u32,
}

impl BlobRef {
    pub(crate) fn encode(self) -> [u8; BLOB_REF_LEN] {
        let mut bytes = [0; BLOB_REF_LEN];
        bytes[0..4].copy_from_slice(&self.page.0.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Missing bytes read as zero; callers have checked that there are twelve.
    pub(crate) fn decode(bytes: &[u8]) -> BlobRef {
        debug_assert_eq!(bytes.len(), BLOB_REF_LEN);
        BlobRef { page: PageId(u32_at(bytes, 0)), len: u32_at(bytes, 4), checksum: u32_at(bytes, 8) }
    }
}

/// What is stored under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell<'a> {
    /// The value itself; [`fits_inline`] says how long it may be.
    Inline(&'a [u8]),
    /// A reference to a large value.
    Blob(BlobRef),
}

impl Cell<'_> {
    /// Bytes of the cell in a leaf.
    pub(crate) fn stored_len(&self) -> usize {
        match self {
            Cell::Inline(value) => value.len(),
            Cell::Blob(_) => BLOB_REF_LEN,
        }
    }

    pub(crate) fn blob(&self) -> Option<BlobRef> {
        match self {
            Cell::Inline(_) => None,
            Cell::Blob(blob) => Some(*blob),
        }
    }
}

/// What an operation does to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// Stores a cell, replacing what is there.
    Put(Cell<'a>),
    /// Takes the key away.
    Delete,
}

/// One operation on one leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafOp<'a> {
    /// The key that the operation changes; the leaf's fences enclose it.
    pub key: &'a [u8],
    /// What happens to it.
    pub change: Change<'a>,
    /// Whether the leaf held the key immediately before this operation. The size bound of deltas relies on it.
    pub existed: bool,
}

/// Whether a key was there before an operation changed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Previous {
    /// The key was not in the tree.
    Absent,
    /// The key was in the tree.
    Present,
}

impl Previous {
    /// Whether the key was in the tree.
    #[must_use]
    pub fn existed(self) -> bool {
        self == Previous::Present
    }
}

/// The longest key that pages with this payload can hold: a quarter of a page, at most 4096 bytes.
///
/// Three separators of this length fit an inner node, and two fences, an entry and its replacement a leaf;
/// splits rely on the former, the size bound of deltas on the latter.
#[must_use]
pub fn max_key(capacity: usize) -> usize {
    ((capacity + 64) / 4).min(4096)
}

/// The greatest sum of key and value lengths at which the value is stored in the leaf: about a quarter of a page.
#[must_use]
pub fn max_inline(capacity: usize) -> usize {
    let room = capacity.saturating_sub(HEADER_LEN + 2 * max_key(capacity)) / 2;
    room.saturating_sub(LEAF_ENTRY_LEN).min(capacity / 4)
}

/// Whether a value is stored in the leaf; otherwise it must lie in a blob.
#[must_use]
pub fn fits_inline(capacity: usize, key_len: usize, value_len: usize) -> bool {
    value_len <= BLOB_REF_LEN || key_len.saturating_add(value_len) <= max_inline(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITIES: [usize; 5] = [4096 - 64, 8192 - 64, 16384 - 64, 32768 - 64, 65536 - 64];

    #[test]
    fn the_limits_leave_room_for_what_relies_on_them() {
        for capacity in CAPACITIES {
            let key = max_key(capacity);
            assert!(key >= 1024);
            let largest = LEAF_ENTRY_LEN + (key + BLOB_REF_LEN).max(max_inline(capacity));
            for key_len in 0..=key {
                // A leaf with the longest fences takes an entry and a delta that replaces it.
                let cell = max_inline(capacity).saturating_sub(key_len).max(BLOB_REF_LEN);
                assert!(HEADER_LEN + 2 * key + LEAF_ENTRY_LEN + key_len + 2 * cell <= capacity);
            }
            // Halves of an overfull leaf fit, whatever the new fence: see the split.
            assert!((capacity + HEADER_LEN + 2 * key + largest) / 2 <= capacity);
            // Three of the longest separators fit an inner node.
            assert!(HEADER_LEN + 4 + 3 * (12 + key) <= capacity);
            assert!(max_inline(capacity) * 5 > capacity, "the inline limit is about a quarter");
            assert!(max_inline(capacity) < 1 << 15, "fifteen bits hold an inline length");
        }
    }

    #[test]
    fn blob_references_survive_encoding() {
        let blob = BlobRef { page: PageId(0x0102_0304), len: u32::MAX, checksum: 7 };
        assert_eq!(BlobRef::decode(&blob.encode()), blob);
    }
}

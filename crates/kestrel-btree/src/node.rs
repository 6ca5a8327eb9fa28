//! Reading nodes: header, fences, search, entries, separators and children.
//!
//! Invariants of a node that [`check`](crate::check) passed: the front and the heap do not meet; every offset names an
//! entry that lies in the heap; keys ascend; all keys begin with the prefix. Accessors never panic, not even on other
//! bytes: what lies outside the node reads as empty or zero.

// Nothing is indexed or cut short without a check. Sums are not checked: they are of lengths and counts of 16 bits and small
// constants, or of indexes below such counts, and cannot overflow; `check` is the gate between a disk and the tree, and lets
// nothing pass for which they mean nothing.
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use std::cmp::Ordering;

use kestrel_pager::PageId;

use crate::cell::{BLOB_REF_LEN, BlobRef, Cell};
use crate::format::{
    BLOB_BIT, COUNT, FLAGS, GARBAGE, HAS_HIGH, HEADER_LEN, HEAP_LEN, HIGH_LEN, INNER_LENGTHS, LEAF_LENGTHS,
    LEVEL, LOW_LEN, PREFIX_LEN, front_len, u16_at, u32_at,
};
use crate::key::{append_suffix, compare_rest, head, tail, tail_len};

/// A node's bytes, read as a leaf or an inner node.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    bytes: &'a [u8],
}

/// A leaf entry as it lies in the heap.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) tail: &'a [u8],
    pub(crate) cell: &'a [u8],
    pub(crate) is_blob: bool,
    /// Where the cell begins in the node.
    pub(crate) cell_at: usize,
}

/// Consecutive entries of a leaf: one stretch of its heap.
pub(crate) struct StoredRun<'a> {
    node: Node<'a>,
    entries: std::ops::Range<usize>,
    before: usize,
    pub(crate) bytes: &'a [u8],
}

impl StoredRun<'_> {
    /// Of each entry: its head, and the distance of its first byte from the end of the stretch.
    pub(crate) fn places(&self) -> impl ExactSizeIterator<Item = (u32, usize)> {
        self.entries
            .clone()
            .map(|index| (self.node.head(index), self.node.offset(index).saturating_sub(self.before)))
    }
}

impl<'a> Entry<'a> {
    pub(crate) fn cell(&self) -> Cell<'a> {
        if self.is_blob { Cell::Blob(BlobRef::decode(self.cell)) } else { Cell::Inline(self.cell) }
    }

    /// Bytes in the heap.
    pub(crate) fn len(&self) -> usize {
        LEAF_LENGTHS + self.tail.len() + self.cell.len()
    }
}

/// The level of a node: zero for a leaf, one more than its children for an inner node.
#[must_use]
pub fn level(node: &[u8]) -> u8 {
    Node::new(node).level()
}

impl<'a> Node<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Node<'a> {
        Node { bytes }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(crate) fn level(&self) -> u8 {
        self.bytes.get(LEVEL).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn is_leaf(&self) -> bool {
        self.level() == 0
    }

    /// Entries of a leaf, separators of an inner node.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        usize::from(u16_at(self.bytes, COUNT))
    }

    #[inline]
    pub(crate) fn prefix_len(&self) -> usize {
        usize::from(u16_at(self.bytes, PREFIX_LEN))
    }

    pub(crate) fn heap_len(&self) -> usize {
        usize::from(u16_at(self.bytes, HEAP_LEN))
    }

    pub(crate) fn garbage(&self) -> usize {
        usize::from(u16_at(self.bytes, GARBAGE))
    }

    pub(crate) fn front_len(&self) -> usize {
        front_len(self.level(), self.count())
    }

    pub(crate) fn packed_len(&self) -> usize {
        self.front_len() + self.heap_len()
    }

    /// Packed length after compaction.
    pub(crate) fn live_len(&self) -> usize {
        self.packed_len().saturating_sub(self.garbage())
    }

    pub(crate) fn low_len(&self) -> usize {
        usize::from(u16_at(self.bytes, LOW_LEN))
    }

    pub(crate) fn high_len(&self) -> usize {
        usize::from(u16_at(self.bytes, HIGH_LEN))
    }

    /// Bytes that end `before_end` bytes before the node's end.
    fn heap_bytes(&self, before_end: usize, len: usize) -> &'a [u8] {
        let Some(end) = self.bytes.len().checked_sub(before_end) else { return &[] };
        end.checked_sub(len).and_then(|start| self.bytes.get(start..end)).unwrap_or(&[])
    }

    /// The least key that the leaf may hold. For an inner node: the prefix.
    pub(crate) fn low(&self) -> &'a [u8] {
        self.heap_bytes(0, self.low_len())
    }

    /// The least key beyond the leaf; `None` when there is no limit.
    pub(crate) fn high(&self) -> Option<&'a [u8]> {
        let flags = self.bytes.get(FLAGS).copied().unwrap_or(0);
        (flags & HAS_HIGH != 0).then(|| self.heap_bytes(self.low_len(), self.high_len()))
    }

    pub(crate) fn prefix(&self) -> &'a [u8] {
        let low = self.low();
        low.get(..self.prefix_len()).unwrap_or(low)
    }

    #[inline]
    fn heads(&self) -> &'a [[u8; 4]] {
        match self.bytes.get(HEADER_LEN..HEADER_LEN + 4 * self.count()) {
            Some(bytes) => bytes.as_chunks().0,
            None => &[],
        }
    }

    #[inline]
    pub(crate) fn head(&self, index: usize) -> u32 {
        u32_at(self.bytes, HEADER_LEN + 4 * index)
    }

    /// An entry's distance from the end of the node.
    #[inline]
    pub(crate) fn offset(&self, index: usize) -> usize {
        let count = self.count();
        let children = if self.is_leaf() { 0 } else { count + 1 };
        usize::from(u16_at(self.bytes, HEADER_LEN + 4 * (count + children) + 2 * index))
    }

    #[inline]
    fn entry_at(&self, index: usize) -> usize {
        self.bytes.len().saturating_sub(self.offset(index))
    }

    /// A suffix's stored length and tail, of whichever kind of node this is.
    #[inline]
    pub(crate) fn suffix(&self, index: usize) -> (usize, &'a [u8]) {
        let at = self.entry_at(index);
        let suffix_len = usize::from(u16_at(self.bytes, at));
        let start = at + if self.is_leaf() { LEAF_LENGTHS } else { INNER_LENGTHS };
        (suffix_len, self.bytes.get(start..start + tail_len(suffix_len)).unwrap_or(&[]))
    }

    /// Length of the whole key of an entry or separator.
    pub(crate) fn key_len(&self, index: usize) -> usize {
        self.prefix_len() + self.suffix(index).0
    }

    /// Writes the whole key of an entry or separator over what `out` holds.
    pub(crate) fn key_into(&self, index: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.prefix());
        let (suffix_len, tail) = self.suffix(index);
        append_suffix(out, self.head(index), suffix_len, tail);
    }

    pub(crate) fn key(&self, index: usize) -> Vec<u8> {
        let mut key = Vec::new();
        self.key_into(index, &mut key);
        key
    }

    /// Finds a key that is known to begin with the prefix: its index, or the index it would have.
    ///
    /// The heads are searched without a data-dependent branch; the heap is touched only for equal heads.
    #[inline]
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let suffix = key.get(self.prefix_len()..).unwrap_or(&[]);
        let (wanted, rest) = (head(suffix), tail(suffix));
        let heads = self.heads();
        let mut low = heads.partition_point(|head| u32::from_le_bytes(*head) < wanted);
        let same = |index: usize| heads.get(index).is_some_and(|head| u32::from_le_bytes(*head) == wanted);
        if !same(low) {
            return Err(low);
        }
        let mut high = low + 1;
        if same(high) {
            let rest = heads.get(high..).unwrap_or(&[]);
            high += rest.partition_point(|head| u32::from_le_bytes(*head) == wanted);
        }
        while low < high {
            let middle = low.midpoint(high);
            let (stored_len, stored) = self.suffix(middle);
            match compare_rest(stored, stored_len, rest, suffix.len()) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The node's bytes from about where the entry of a key lies, judged by the heads alone.
    #[inline]
    pub(crate) fn bytes_from(&self, key: &[u8]) -> &'a [u8] {
        let wanted = head(key.get(self.prefix_len()..).unwrap_or(&[]));
        let index = self.heads().partition_point(|head| u32::from_le_bytes(*head) < wanted);
        self.bytes.get(self.entry_at(index)..).unwrap_or(&[])
    }

    /// Like [`Node::search`] for any key, also one that this node does not cover.
    pub(crate) fn search_any(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        if key.starts_with(prefix) {
            self.search(key)
        } else if key < prefix {
            Err(0)
        } else {
            Err(self.count())
        }
    }

    /// How many entries are less than a key, be it covered or not.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        let (Ok(index) | Err(index)) = self.search_any(key);
        index
    }

    /// A leaf's entry.
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry<'a> {
        let at = self.entry_at(index);
        let suffix_len = usize::from(u16_at(self.bytes, at));
        let stored = u16_at(self.bytes, at + 2);
        let is_blob = stored & BLOB_BIT != 0;
        let cell_len = if is_blob { BLOB_REF_LEN } else { usize::from(stored) };
        let tail_at = at + LEAF_LENGTHS;
        let cell_at = tail_at + tail_len(suffix_len);
        let tail = self.bytes.get(tail_at..cell_at).unwrap_or(&[]);
        let cell = self.bytes.get(cell_at..cell_at + cell_len).unwrap_or(&[]);
        Entry { tail, cell, is_blob: is_blob && cell.len() == BLOB_REF_LEN, cell_at }
    }

    /// A leaf entry's bytes in the heap, without its head.
    pub(crate) fn stored_entry(&self, index: usize) -> Option<&'a [u8]> {
        let at = self.entry_at(index);
        self.bytes.get(at..at + self.entry(index).len())
    }

    /// Whether a leaf's entries lie in the heap in the order of their keys, without gaps: as a [writer](crate::write) leaves them.
    pub(crate) fn is_in_order(&self) -> bool {
        let mut before = self.low_len() + self.high_len();
        let ascend = (0..self.count()).all(|index| {
            let offset = self.offset(index);
            let ascends = offset > before;
            before = offset;
            ascends
        });
        self.is_leaf() && self.garbage() == 0 && ascend && before == self.heap_len()
    }

    /// Consecutive entries of a leaf that [is in order](Node::is_in_order), as they lie in the heap.
    pub(crate) fn stored_run(&self, entries: std::ops::Range<usize>) -> Option<StoredRun<'a>> {
        let last = entries.end.checked_sub(1).filter(|last| *last >= entries.start)?;
        let before = match entries.start.checked_sub(1) {
            Some(before) => self.offset(before),
            None => self.low_len() + self.high_len(),
        };
        let end = self.bytes.len().checked_sub(before)?;
        let bytes = self.bytes.get(self.entry_at(last)..end)?;
        Some(StoredRun { node: *self, entries, before, bytes })
    }

    /// Bytes of a separator in the heap.
    pub(crate) fn separator_len(&self, index: usize) -> usize {
        INNER_LENGTHS + self.suffix(index).1.len()
    }

    /// An inner node's child; `index` is at most [`Node::count`].
    #[inline]
    pub(crate) fn child(&self, index: usize) -> PageId {
        debug_assert!(!self.is_leaf() && index <= self.count());
        PageId(u32_at(self.bytes, HEADER_LEN + 4 * self.count() + 4 * index))
    }

    /// Which child of an inner node covers a key that the node covers.
    #[inline]
    pub(crate) fn child_index(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(index) => index + 1,
            Err(index) => index,
        }
    }

    /// Which child covers the keys just before `key`.
    pub(crate) fn child_index_before(&self, key: &[u8]) -> usize {
        let (Ok(index) | Err(index)) = self.search(key);
        index
    }
}

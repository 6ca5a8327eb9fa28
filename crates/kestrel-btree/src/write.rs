//! Writing whole nodes: fences first, then entries in key order, their bytes packed towards the end.

use kestrel_pager::PageId;

use crate::ascent::Ascent;
use crate::cell::{BLOB_REF_LEN, Cell};
use crate::format::{
    BLOB_BIT, COUNT, FLAGS, HAS_HIGH, HEADER_LEN, HEAP_LEN, HIGH_LEN, INNER_LENGTHS, INNER_SLOT,
    LEAF_LENGTHS, LEAF_SLOT, LEVEL, LOW_LEN, PREFIX_LEN, front_len, set_u16, set_u32,
};
use crate::key::{fence_prefix_len, head, tail, tail_len};
use crate::node::StoredRun;

/// The entries do not fit the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// Writes one node into a buffer, front to back.
pub(crate) struct NodeWriter<'o> {
    out: &'o mut [u8],
    level: u8,
    /// How many entries or separators there will be.
    count: usize,
    written: usize,
    prefix_len: usize,
    /// Heap bytes so far.
    heap: usize,
}

impl<'o> NodeWriter<'o> {
    /// Begins a leaf of `count` entries.
    pub(crate) fn leaf(
        out: &'o mut [u8],
        low: &[u8],
        high: Option<&[u8]>,
        count: usize,
    ) -> Result<NodeWriter<'o>, Full> {
        let prefix_len = fence_prefix_len(low, high);
        let mut writer = NodeWriter { out, level: 0, count, written: 0, prefix_len, heap: 0 };
        writer.begin(low, high.unwrap_or(&[]))?;
        if high.is_some() {
            writer.out[FLAGS] = HAS_HIGH;
        }
        Ok(writer)
    }

    /// Begins an inner node of `count` separators.
    pub(crate) fn inner(
        out: &'o mut [u8],
        level: u8,
        prefix: &[u8],
        count: usize,
    ) -> Result<NodeWriter<'o>, Full> {
        debug_assert!(level > 0);
        let mut writer = NodeWriter { out, level, count, written: 0, prefix_len: prefix.len(), heap: 0 };
        writer.begin(prefix, &[])?;
        Ok(writer)
    }

    fn begin(&mut self, low: &[u8], high: &[u8]) -> Result<(), Full> {
        let fences = low.len() + high.len();
        if front_len(self.level, self.count) + fences > self.out.len() {
            return Err(Full);
        }
        let end = self.out.len();
        self.out[..HEADER_LEN].fill(0);
        self.out[LEVEL] = self.level;
        set_u16(self.out, COUNT, self.count);
        set_u16(self.out, PREFIX_LEN, self.prefix_len);
        set_u16(self.out, LOW_LEN, low.len());
        set_u16(self.out, HIGH_LEN, high.len());
        self.out[end - low.len()..].copy_from_slice(low);
        self.out[end - fences..end - low.len()].copy_from_slice(high);
        self.heap = fences;
        Ok(())
    }

    /// Takes `len` bytes of the heap for the next entry and fills in its head and offset.
    fn claim(&mut self, head: u32, len: usize) -> Result<&mut [u8], Full> {
        debug_assert!(self.written < self.count);
        if front_len(self.level, self.count) + self.heap + len > self.out.len() {
            return Err(Full);
        }
        self.heap += len;
        let children = if self.level == 0 { 0 } else { self.count + 1 };
        set_u32(self.out, HEADER_LEN + 4 * self.written, head);
        set_u16(self.out, HEADER_LEN + 4 * (self.count + children) + 2 * self.written, self.heap);
        self.written += 1;
        let at = self.out.len() - self.heap;
        Ok(&mut self.out[at..at + len])
    }

    /// Appends an entry of a leaf with the same prefix, as it lies in that leaf's heap.
    pub(crate) fn push_stored(&mut self, head: u32, stored: &[u8]) -> Result<(), Full> {
        self.claim(head, stored.len())?.copy_from_slice(stored);
        Ok(())
    }

    /// Appends consecutive entries of a leaf with the same prefix, as they lie in that leaf's heap: one copy for all.
    pub(crate) fn push_stored_run(&mut self, run: &StoredRun<'_>) -> Result<(), Full> {
        debug_assert!(self.level == 0 && self.written + run.places().len() <= self.count);
        let heap = self.heap + run.bytes.len();
        if front_len(self.level, self.count) + heap > self.out.len() {
            return Err(Full);
        }
        for (head, distance) in run.places() {
            set_u32(self.out, HEADER_LEN + 4 * self.written, head);
            set_u16(self.out, HEADER_LEN + 4 * self.count + 2 * self.written, self.heap + distance);
            self.written += 1;
        }
        let at = self.out.len() - heap;
        self.out[at..at + run.bytes.len()].copy_from_slice(run.bytes);
        self.heap = heap;
        Ok(())
    }

    /// Appends a leaf entry by its whole key.
    pub(crate) fn push(&mut self, key: &[u8], cell: Cell<'_>) -> Result<(), Full> {
        let suffix = &key[self.prefix_len..];
        let stored = self.claim(head(suffix), leaf_entry_len(suffix.len(), cell.stored_len()))?;
        write_leaf_entry(stored, suffix, cell);
        Ok(())
    }

    /// Appends a separator by its whole key.
    pub(crate) fn push_separator(&mut self, key: &[u8]) -> Result<(), Full> {
        let suffix = &key[self.prefix_len..];
        let stored = self.claim(head(suffix), INNER_LENGTHS + tail_len(suffix.len()))?;
        write_separator(stored, suffix);
        Ok(())
    }

    /// Sets an inner node's child; there is one more than separators.
    pub(crate) fn set_child(&mut self, index: usize, child: PageId) {
        debug_assert!(self.level > 0 && index <= self.count);
        set_u32(self.out, HEADER_LEN + 4 * self.count + 4 * index, child.0);
    }

    /// Bytes that all keys begin with, and that are stored once.
    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix_len
    }

    /// How many entries have been written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Sets the hint of ascending insertions.
    pub(crate) fn set_ascent(&mut self, ascent: Ascent) {
        ascent.store(self.out);
    }

    /// Ends the node; returns its packed length.
    pub(crate) fn finish(self) -> usize {
        debug_assert_eq!(self.written, self.count);
        let front = front_len(self.level, self.count);
        let heap_at = self.out.len() - self.heap;
        set_u16(self.out, HEAP_LEN, self.heap);
        self.out[front..heap_at].fill(0);
        front + self.heap
    }
}

/// Heap bytes of a leaf entry.
pub(crate) fn leaf_entry_len(suffix_len: usize, cell_len: usize) -> usize {
    LEAF_LENGTHS + tail_len(suffix_len) + cell_len
}

/// Writes a leaf entry over exactly its bytes in the heap.
pub(crate) fn write_leaf_entry(stored: &mut [u8], suffix: &[u8], cell: Cell<'_>) {
    let cell_at = LEAF_LENGTHS + tail_len(suffix.len());
    set_u16(stored, 0, suffix.len());
    stored[LEAF_LENGTHS..cell_at].copy_from_slice(tail(suffix));
    match cell {
        Cell::Inline(value) => {
            debug_assert!(value.len() < usize::from(BLOB_BIT));
            set_u16(stored, 2, value.len());
            stored[cell_at..].copy_from_slice(value);
        }
        Cell::Blob(blob) => {
            set_u16(stored, 2, usize::from(BLOB_BIT) | BLOB_REF_LEN);
            stored[cell_at..].copy_from_slice(&blob.encode());
        }
    }
}

/// Writes a separator over exactly its bytes in the heap.
pub(crate) fn write_separator(stored: &mut [u8], suffix: &[u8]) {
    set_u16(stored, 0, suffix.len());
    stored[INNER_LENGTHS..].copy_from_slice(tail(suffix));
}

/// Packed length of a leaf entry: its slot in the front and its bytes in the heap.
pub(crate) fn leaf_cost(suffix_len: usize, cell_len: usize) -> usize {
    LEAF_SLOT + leaf_entry_len(suffix_len, cell_len)
}

/// Packed length of a separator and the child behind it.
pub(crate) fn inner_cost(suffix_len: usize) -> usize {
    INNER_SLOT + INNER_LENGTHS + tail_len(suffix_len)
}

//! Deltas: a few operations on one leaf, sorted by key, each key once.
//!
//! ```text
//! | count u32 | operation offsets u32 x count | operations |
//! operation: | kind u8 | key length u16 | cell length u16 | key | cell |
//! ```
//!
//! A delta lives in memory only. Its decoder is total all the same: whatever lies outside the bytes reads as empty.

use crate::Corruption;
use crate::cell::{BLOB_REF_LEN, BlobRef, Cell, Change, LeafOp};
use crate::format::{u16_at, u32_at};
use crate::write::leaf_cost;

const DELETE: u8 = 0;
const INLINE: u8 = 1;
const BLOB: u8 = 2;
const KIND: u8 = 3;
/// The key was there before the operation.
const EXISTED: u8 = 1 << 7;
const OP_HEADER: usize = 5;

/// Builds the payloads of deltas.
pub struct Delta;

impl Delta {
    /// The delta that results when an operation follows those of an existing delta (or of none: no bytes).
    ///
    /// The operation takes the place of an earlier one on its key and inherits its `existed`; if it deletes what the
    /// earlier one inserted, neither is left, so the result may have no operations.
    ///
    /// # Panics
    /// If a key or an inline value is longer than 65,535 bytes.
    #[must_use]
    pub fn with(existing: &[u8], op: LeafOp<'_>) -> Vec<u8> {
        if existing.is_empty() {
            return Delta::of(op);
        }
        let mut out =
            Writer::with_capacity(existing.len() + 4 + OP_HEADER + op.key.len() + 64, count(existing) + 1);
        let mut pending = Some(op);
        for earlier in ops(existing) {
            match pending {
                Some(op) if op.key == earlier.key => {
                    pending = None;
                    out.push_unless_void(LeafOp { existed: earlier.existed, ..op });
                    continue;
                }
                Some(op) if op.key < earlier.key => {
                    pending = None;
                    out.push(op);
                }
                _ => {}
            }
            out.push(earlier);
        }
        if let Some(op) = pending {
            out.push(op);
        }
        out.finish()
    }

    /// The delta of one operation: what small transactions have most of, so it is built where it stays.
    fn of(op: LeafOp<'_>) -> Vec<u8> {
        let (_, len) = kind_and_len(&op);
        let mut out = Vec::with_capacity(4 + 4 + OP_HEADER + op.key.len() + len);
        out.extend_from_slice(&1_u32.to_le_bytes());
        out.extend_from_slice(&8_u32.to_le_bytes());
        encode(op, &mut out);
        out
    }

    /// The delta that does what `older` and after it `newer` do.
    #[must_use]
    pub fn merge(older: &[u8], newer: &[u8]) -> Vec<u8> {
        let mut out = Writer::with_capacity(older.len() + newer.len(), count(older) + count(newer));
        let (mut older, mut newer) = (ops(older).peekable(), ops(newer).peekable());
        loop {
            let order = match (older.peek(), newer.peek()) {
                (Some(old), Some(new)) => old.key.cmp(new.key),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return out.finish(),
            };
            let old = if order.is_le() { older.next() } else { None };
            let new = if order.is_ge() { newer.next() } else { None };
            match (old, new) {
                (Some(old), Some(new)) => out.push_unless_void(LeafOp { existed: old.existed, ..new }),
                (Some(op), None) | (None, Some(op)) => out.push(op),
                (None, None) => {}
            }
        }
    }
}

/// Collects operations; the offsets' array is sized for the most that may come and closed up at the end.
struct Writer {
    ops: Vec<u8>,
    offsets: Vec<u32>,
}

impl Writer {
    fn with_capacity(bytes: usize, ops: usize) -> Writer {
        Writer { ops: Vec::with_capacity(bytes), offsets: Vec::with_capacity(ops) }
    }

    /// Leaves out the deletion of a key that was not there before.
    fn push_unless_void(&mut self, op: LeafOp<'_>) {
        if op.existed || op.change != Change::Delete {
            self.push(op);
        }
    }

    fn push(&mut self, op: LeafOp<'_>) {
        self.offsets.push(self.ops.len() as u32);
        encode(op, &mut self.ops);
    }

    fn finish(self) -> Vec<u8> {
        let front = 4 + 4 * self.offsets.len();
        let mut out = Vec::with_capacity(front + self.ops.len());
        out.extend_from_slice(&(self.offsets.len() as u32).to_le_bytes());
        for offset in self.offsets {
            out.extend_from_slice(&(front as u32 + offset).to_le_bytes());
        }
        out.extend_from_slice(&self.ops);
        out
    }
}

/// The kind of an operation, and the length of its cell.
fn kind_and_len(op: &LeafOp<'_>) -> (u8, usize) {
    match op.change {
        Change::Delete => (DELETE, 0),
        Change::Put(Cell::Inline(value)) => (INLINE, value.len()),
        Change::Put(Cell::Blob(_)) => (BLOB, BLOB_REF_LEN),
    }
}

fn encode(op: LeafOp<'_>, out: &mut Vec<u8>) {
    assert!(op.key.len() <= usize::from(u16::MAX), "key longer than a leaf can hold");
    let (kind, len) = kind_and_len(&op);
    assert!(len <= usize::from(u16::MAX), "inline value longer than a leaf can hold");
    out.push(kind | if op.existed { EXISTED } else { 0 });
    out.extend_from_slice(&(op.key.len() as u16).to_le_bytes());
    out.extend_from_slice(&(len as u16).to_le_bytes());
    out.extend_from_slice(op.key);
    match op.change {
        Change::Delete => {}
        Change::Put(Cell::Inline(value)) => out.extend_from_slice(value),
        Change::Put(Cell::Blob(blob)) => out.extend_from_slice(&blob.encode()),
    }
}

/// How many operations a delta has; never more than its bytes have room for.
pub(crate) fn count(delta: &[u8]) -> usize {
    (u32_at(delta, 0) as usize).min(delta.len().saturating_sub(4) / (4 + OP_HEADER))
}

/// An operation and where in the delta its cell begins.
#[inline]
pub(crate) fn op_at(delta: &[u8], index: usize) -> Option<(LeafOp<'_>, usize)> {
    if index >= count(delta) {
        return None;
    }
    let at = u32_at(delta, 4 + 4 * index) as usize;
    let header = delta.get(at..)?.first_chunk::<OP_HEADER>()?;
    let key_at = at + OP_HEADER;
    let cell_at = key_at + usize::from(u16_at(header, 1));
    let key = delta.get(key_at..cell_at)?;
    let cell = delta.get(cell_at..cell_at + usize::from(u16_at(header, 3)))?;
    let change = match header[0] & KIND {
        DELETE => Change::Delete,
        INLINE => Change::Put(Cell::Inline(cell)),
        BLOB if cell.len() == BLOB_REF_LEN => Change::Put(Cell::Blob(BlobRef::decode(cell))),
        _ => return None,
    };
    Some((LeafOp { key, change, existed: header[0] & EXISTED != 0 }, cell_at))
}

/// Finds the operation on a key.
#[inline]
pub(crate) fn search<'a>(delta: &'a [u8], key: &[u8]) -> Option<(LeafOp<'a>, usize)> {
    let (mut low, mut high) = (0, count(delta));
    while low < high {
        let middle = low.midpoint(high);
        let found = op_at(delta, middle)?;
        match found.0.key.cmp(key) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return Some(found),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

/// A delta's operations in key order. Ends early where the bytes are not a delta; see [`check_delta`].
pub fn ops(delta: &[u8]) -> impl Iterator<Item = LeafOp<'_>> {
    (0..count(delta)).map_while(move |index| op_at(delta, index)).map(|(op, _)| op)
}

/// At most how many bytes a delta adds to the packed length of the leaf it is laid over.
///
/// The sum over a chain and the base's packed length bound the consolidated length: an insertion counts its whole
/// entry, a replacement only its cell (the base or an older delta pays for the key), a deletion nothing. It holds as
/// long as every operation's `existed` is true to the state below it.
#[must_use]
pub fn delta_cost(delta: &[u8]) -> u32 {
    ops(delta).map(|op| op_cost(&op)).sum()
}

/// The share of one operation in [`delta_cost`].
#[must_use]
pub fn op_cost(op: &LeafOp<'_>) -> u32 {
    let cost = match op.change {
        Change::Delete => 0,
        Change::Put(cell) if op.existed => cell.stored_len(),
        // The tail of the whole key is no shorter than that of the suffix that will be stored.
        Change::Put(cell) => leaf_cost(op.key.len(), cell.stored_len()),
    };
    cost as u32
}

/// Checks that bytes are a delta: every operation readable, keys ascending.
///
/// # Errors
/// The first rule that is broken.
pub fn check_delta(delta: &[u8]) -> Result<(), Corruption> {
    if delta.is_empty() {
        return Ok(());
    }
    let wanted = u32_at(delta, 0) as usize;
    if delta.len() < 4 || wanted != count(delta) {
        return Err(Corruption::new("delta: shorter than its operations"));
    }
    let mut before: Option<&[u8]> = None;
    for index in 0..wanted {
        let Some((op, _)) = op_at(delta, index) else {
            return Err(Corruption::new(format!("delta: operation {index} is not readable")));
        };
        if before.is_some_and(|before| before >= op.key) {
            return Err(Corruption::new(format!("delta: operation {index} out of order")));
        }
        before = Some(op.key);
    }
    Ok(())
}

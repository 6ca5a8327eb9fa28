//! Cursors: the entries of a range, from both ends.
//!
//! An end stands on a leaf that it keeps in memory, and moves on by searching for its leaf's fence: there are no links
//! between leaves that would have to be kept right. Over a write transaction it searches again whenever that changed.

use std::ops::Bound;
use std::sync::Arc;

use kestrel_btree::{BlobRef, FoundCell, MergedLeaf, Seek};
use kestrel_pager::TreeId;

use crate::key_range::{KeyRange, limits, successor};
use crate::page::LeafView;
use crate::write_txn::Shared;
use crate::{Error, ReadTxn, Value};

/// Whose state the cursor shows.
pub(crate) enum Source {
    Read(ReadTxn),
    Write(Arc<Shared>),
}

impl Source {
    fn leaf(&self, tree: TreeId, seek: Seek<'_>, limits: (&[u8], Option<&[u8]>)) -> Result<LeafView, Error> {
        match self {
            Source::Read(txn) => txn.leaf(tree, seek),
            Source::Write(txn) => txn.leaf(tree, seek, limits),
        }
    }

    fn read_blob(&self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        match self {
            Source::Read(txn) => txn.read_blob(blob),
            Source::Write(txn) => txn.read_blob(blob),
        }
    }

    /// Changes whenever what was read before may be out of date.
    fn generation(&self) -> u64 {
        match self {
            Source::Read(_) => 0,
            Source::Write(txn) => txn.generation(),
        }
    }
}

/// One end's place.
struct End {
    leaf: LeafView,
    merged: MergedLeaf,
    /// Front: the next entry. Back: the entry that was returned last, or the number of entries below the limit.
    index: usize,
    generation: u64,
}

/// The entries of a range of keys, an iterator from both ends. Ends after the first error.
///
/// Over a read transaction it shows the snapshot; over a write transaction, the transaction's state as it moves.
pub struct Cursor {
    source: Source,
    tree: TreeId,
    /// What is left: from `low` up to, not including, `high`. Where an end stands on a leaf, the leaf knows better.
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    front: Option<End>,
    back: Option<End>,
    done: bool,
}

impl Cursor {
    pub(crate) fn new(source: Source, tree: TreeId, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Cursor {
        let limits = limits(low, high);
        let done = limits.is_none();
        let (low, high) = limits.unwrap_or_default();
        Cursor { source, tree, low, high, front: None, back: None, done }
    }

    fn end_at(
        &self,
        seek: Seek<'_>,
        position: impl FnOnce(&MergedLeaf, &LeafView) -> usize,
    ) -> Result<End, Error> {
        // First, so that a change between the two is noticed.
        let generation = self.source.generation();
        let leaf = self.source.leaf(self.tree, seek, (&self.low, self.high.as_deref()))?;
        let merged = MergedLeaf::new(&leaf)?;
        let index = position(&merged, &leaf);
        Ok(End { leaf, merged, index, generation })
    }

    fn item(&self, end: &End, index: usize) -> Result<(Vec<u8>, Value), Error> {
        let mut key = Vec::new();
        end.merged.key_into(index, &end.leaf, &mut key);
        let found = end.merged.found(index, &end.leaf);
        let value = match (&found.cell, end.leaf.value(&found)) {
            (FoundCell::Blob(blob), _) => Value::owned(self.source.read_blob(*blob)?),
            (FoundCell::Inline(_), value) => value.unwrap_or_else(|| Value::owned(Vec::new())),
        };
        Ok((key, value))
    }

    /// Brings `low` up to where the front stands, so that the back knows where to stop.
    fn settle_front(&mut self) {
        let front = self.front.take();
        // Over a write transaction `low` is kept up to date entry by entry, as the leaf may be out of date.
        if let (Some(front), Source::Read(_)) = (front, &self.source) {
            if front.index < front.merged.len() {
                front.merged.key_into(front.index, &front.leaf, &mut self.low);
            } else if let Some(fence) = front.merged.high_fence(&front.leaf) {
                self.low = fence.to_vec();
            } else {
                self.done = true;
            }
        }
    }

    /// Brings `high` down to the entry that the back returned last.
    fn settle_back(&mut self) {
        let back = self.back.take();
        if let (Some(back), Source::Read(_)) = (back, &self.source) {
            let mut high = self.high.take().unwrap_or_default();
            if back.index < back.merged.len() {
                back.merged.key_into(back.index, &back.leaf, &mut high);
                self.high = Some(high);
            } else {
                self.high = back.merged.high_fence(&back.leaf).map(<[u8]>::to_vec);
            }
        }
    }

    fn is_stale(&self, end: &Option<End>) -> bool {
        end.as_ref().is_none_or(|end| end.generation != self.source.generation())
    }

    fn advance(&mut self) -> Result<Option<(Vec<u8>, Value)>, Error> {
        if self.back.is_some() {
            self.settle_back();
        }
        while !self.done {
            if self.is_stale(&self.front) {
                let low = &self.low;
                self.front = Some(self.end_at(Seek::At(low), |merged, leaf| merged.lower_bound(leaf, low))?);
            }
            let Some(mut front) = self.front.take() else { break };
            let index = front.index;
            let limit = match &self.high {
                Some(high)
                    if front.merged.high_fence(&front.leaf).is_none_or(|fence| fence > high.as_slice()) =>
                {
                    front.merged.lower_bound(&front.leaf, high)
                }
                _ => front.merged.len(),
            };
            if index < limit {
                let item = self.item(&front, index)?;
                front.index += 1;
                if let Source::Write(_) = self.source {
                    self.low = successor(&item.0);
                }
                self.front = Some(front);
                return Ok(Some(item));
            }
            match front.merged.high_fence(&front.leaf) {
                Some(fence) if self.high.as_deref().is_none_or(|high| fence < high) => {
                    self.low = fence.to_vec();
                }
                _ => self.done = true,
            }
        }
        Ok(None)
    }

    fn retreat(&mut self) -> Result<Option<(Vec<u8>, Value)>, Error> {
        if self.front.is_some() {
            self.settle_front();
        }
        while !self.done {
            if self.is_stale(&self.back) {
                let end = match &self.high {
                    None => self.end_at(Seek::Last, |merged, _| merged.len())?,
                    Some(high) => {
                        self.end_at(Seek::Before(high), |merged, leaf| merged.lower_bound(leaf, high))?
                    }
                };
                self.back = Some(end);
            }
            let Some(mut back) = self.back.take() else { break };
            let first = if back.merged.low_fence(&back.leaf) < self.low.as_slice() {
                back.merged.lower_bound(&back.leaf, &self.low)
            } else {
                0
            };
            if back.index > first {
                back.index -= 1;
                let item = self.item(&back, back.index)?;
                if let Source::Write(_) = self.source {
                    self.high = Some(item.0.clone());
                }
                self.back = Some(back);
                return Ok(Some(item));
            }
            let fence = back.merged.low_fence(&back.leaf);
            if fence <= self.low.as_slice() {
                self.done = true;
            } else {
                self.high = Some(fence.to_vec());
            }
        }
        Ok(None)
    }

    fn fuse<T>(&mut self, result: Result<Option<T>, Error>) -> Option<Result<T, Error>> {
        if result.is_err() {
            self.done = true;
        }
        result.transpose()
    }
}

impl Iterator for Cursor {
    type Item = Result<(Vec<u8>, Value), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        self.fuse(item)
    }
}

impl DoubleEndedIterator for Cursor {
    fn next_back(&mut self) -> Option<Self::Item> {
        let item = self.retreat();
        self.fuse(item)
    }
}

impl std::iter::FusedIterator for Cursor {}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("tree", &self.tree).field("done", &self.done).finish_non_exhaustive()
    }
}

/// The part of a range that a leaf covers.
pub(crate) fn covered(
    tree: TreeId,
    leaf: &LeafView,
    limits: (&[u8], Option<&[u8]>),
) -> Result<KeyRange, Error> {
    let merged = MergedLeaf::new(leaf)?;
    let low = merged.low_fence(leaf).max(limits.0).to_vec();
    let high = match (merged.high_fence(leaf), limits.1) {
        (Some(fence), Some(high)) => Some(fence.min(high).to_vec()),
        (fence, high) => fence.or(high).map(<[u8]>::to_vec),
    };
    Ok(KeyRange { tree, low, high })
}

//! Cursors: the entries of a range, from both ends.
//!
//! An end stands on a leaf that it keeps in memory, and moves on by searching for its leaf's fence: there are no links
//! between leaves that would have to be kept right. Over a write transaction it searches again whenever that changed.

use std::ops::Bound;
use std::sync::Arc;

use kestrel_btree::{BlobRef, FoundCell, MergedLeaf, Seek};
use kestrel_check::planted::{Bug, is_planted};
use kestrel_pager::TreeId;

use crate::key_range::limits;
use crate::page::LeafView;
use crate::scan_claim::{ScanClaim, SharedClaim};
use crate::write_txn::Shared;
use crate::{Error, ReadTxn, Value};

/// Whose state the cursor shows.
pub(crate) enum Source {
    Read(ReadTxn),
    Write(Arc<Shared>),
}

impl Source {
    fn leaf(&self, tree: TreeId, seek: Seek<'_>) -> Result<LeafView, Error> {
        match self {
            Source::Read(txn) => txn.leaf(tree, seek),
            Source::Write(txn) => txn.leaf(tree, seek),
        }
    }

    fn read_blob(&self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        match self {
            Source::Read(txn) => txn.read_blob(blob),
            Source::Write(txn) => txn.read_blob(blob),
        }
    }

    /// What the cursor has seen of a range is to be noted here, if it counts.
    fn begin_scan(
        &self,
        tree: TreeId,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<Option<SharedClaim>, Error> {
        match self {
            Source::Read(_) => Ok(None),
            Source::Write(txn) => txn.begin_scan(|| ScanClaim::new(tree, low, high)),
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
    /// What was returned, for the validation of the transaction.
    claim: Option<SharedClaim>,
}

impl Cursor {
    pub(crate) fn new(
        source: Source,
        tree: TreeId,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
    ) -> Result<Cursor, Error> {
        let limits = limits(low, high);
        let done = limits.is_none();
        let (low, high) = limits.unwrap_or_default();
        let claim = source.begin_scan(tree, &low, high.as_deref())?;
        Ok(Cursor { source, tree, low, high, front: None, back: None, done, claim })
    }

    fn end_at(
        &self,
        seek: Seek<'_>,
        position: impl FnOnce(&MergedLeaf, &LeafView) -> usize,
    ) -> Result<End, Error> {
        // First, so that a change between the two is noticed.
        let generation = self.source.generation();
        let leaf = self.source.leaf(self.tree, seek)?;
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

    /// Over a write transaction, whose leaf may be out of date at the next step, `low` follows entry by entry.
    fn returned_from_front(&mut self, key: &[u8]) {
        if let Source::Write(_) = self.source {
            self.low.clear();
            self.low.extend_from_slice(key);
            self.low.push(0);
        }
        if let Some(claim) = &self.claim {
            claim.lock().widen_front(key);
        }
    }

    /// So does `high`.
    fn returned_from_back(&mut self, key: &[u8]) {
        if let Source::Write(_) = self.source {
            let high = self.high.get_or_insert_default();
            high.clear();
            high.extend_from_slice(key);
        }
        if let Some(claim) = &self.claim {
            claim.lock().widen_back(key);
        }
    }

    /// The ends have met.
    fn finish(&mut self) {
        self.done = true;
        if let Some(claim) = &self.claim {
            claim.lock().widen_to_all();
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
                let mut front = self.end_at(Seek::At(low), |merged, leaf| merged.lower_bound(leaf, low))?;
                if is_planted(Bug::CursorSkipsAfterChange) && self.front.is_some() {
                    front.index += 1;
                }
                self.front = Some(front);
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
                self.returned_from_front(&item.0);
                self.front = Some(front);
                return Ok(Some(item));
            }
            match front.merged.high_fence(&front.leaf) {
                Some(fence) if self.high.as_deref().is_none_or(|high| fence < high) => {
                    self.low = fence.to_vec();
                }
                _ => self.finish(),
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
                self.returned_from_back(&item.0);
                self.back = Some(back);
                return Ok(Some(item));
            }
            let fence = back.merged.low_fence(&back.leaf);
            if fence <= self.low.as_slice() {
                self.finish();
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

//! Removing entries by a condition.

use std::fmt;
use std::iter::FusedIterator;

use crate::{IntoKeyRange, Key, Range, Result, Tree, Value, WriteTxn};

/// Removes the entries that meet a condition as it comes by them, and yields them. Dropped early, it leaves the rest alone.
pub struct ExtractIf<'txn, F> {
    txn: &'txn WriteTxn,
    tree: Tree,
    range: Range,
    condition: F,
}

impl WriteTxn {
    /// Removes those entries of a range for which `condition` is true, one by one as the iterator is advanced.
    pub fn extract_if<F>(
        &self,
        tree: &Tree,
        range: impl IntoKeyRange,
        condition: F,
    ) -> Result<ExtractIf<'_, F>>
    where
        F: FnMut(&[u8], &[u8]) -> bool,
    {
        Ok(ExtractIf { txn: self, tree: tree.clone(), range: self.range(tree, range)?, condition })
    }

    /// Removes all entries for which `keep` is false; returns how many. If that fails halfway, some are removed: abort the
    /// transaction then, or go back to a [savepoint](WriteTxn::savepoint).
    pub fn retain(&self, tree: &Tree, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<u64> {
        let mut removed = 0;
        for entry in self.extract_if(tree, .., |key, value| !keep(key, value))? {
            entry?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl<F: FnMut(&[u8], &[u8]) -> bool> Iterator for ExtractIf<'_, F> {
    type Item = Result<(Key, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, value) = match self.range.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            if (self.condition)(&key, &value) {
                return Some(self.txn.delete(&self.tree, &key).map(|_| (key, value)));
            }
        }
    }
}

impl<F: FnMut(&[u8], &[u8]) -> bool> FusedIterator for ExtractIf<'_, F> {}

impl<F> fmt::Debug for ExtractIf<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractIf")
            .field("tree", &self.tree)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

//! The iterator over a range.

use std::fmt;
use std::iter::FusedIterator;

use crate::{Error, Key, Result, Value};

/// Walks over the entries of a range, from both ends.
///
/// It owns what it needs: it can be kept, sent to another thread, and outlive the handle it came from. From a
/// [`ReadTxn`](crate::ReadTxn) or a [`Tree`](crate::Tree) it shows one snapshot, whatever is written later. From a
/// [`WriteTxn`](crate::WriteTxn) it shows that transaction's state as it moves on, so entries may be put and removed
/// on the way. After an error it is at its end.
pub struct Range {
    /// `None`: nothing (more) to come.
    cursor: Option<kestrel_txn::Cursor>,
}

impl Range {
    pub(crate) fn new(cursor: kestrel_txn::Cursor) -> Range {
        Range { cursor: Some(cursor) }
    }

    pub(crate) fn empty() -> Range {
        Range { cursor: None }
    }

    /// Passes an entry on; behind the last one, and behind an error, lets go of the snapshot.
    fn yielded(
        &mut self,
        item: Option<Result<(Vec<u8>, kestrel_txn::Value), kestrel_txn::Error>>,
    ) -> Option<Result<(Key, Value)>> {
        match item {
            Some(Ok((key, value))) => Some(Ok((Key::new(key), Value::new(value)))),
            Some(Err(error)) => {
                self.cursor = None;
                Some(Err(Error::from(error)))
            }
            None => {
                self.cursor = None;
                None
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<(Key, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.cursor.as_mut()?.next();
        self.yielded(item)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        let item = self.cursor.as_mut()?.next_back();
        self.yielded(item)
    }
}

impl FusedIterator for Range {}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range").field("finished", &self.cursor.is_none()).finish()
    }
}

//! Read transactions.

use std::fmt;
use std::sync::Arc;

use kestrel_txn::{Share, Timestamp, TreeInfo};

use crate::binding::Binding;
use crate::shared::Shared;
use crate::tree::Tree;
use crate::{Error, ErrorKind, IntoKeyRange, Key, KeyRange, Range, Result, Value};

/// A snapshot: the state of all trees when it was begun.
///
/// It takes no lock, waits for nobody and makes nobody wait. Clones are the same snapshot. A tree that was created later
/// is empty in it.
///
/// It can be kept for long: what writers replace meanwhile is kept for it, but at most one old state of each page.
///
/// Threads that read do not slow each other down, however many there are: they write to no memory that they share.
/// - Beginning a snapshot takes a place in a list of snapshots that the thread usually had before, and counts a reference
///   where other threads do not count. It allocates nothing.
/// - A get notes that its thread is reading, walks down the tree without writing anything, and counts one reference: of the
///   page that the value lies in, as the [`Value`] keeps that. Only threads that keep values of the *same page* at the
///   same time meet there.
/// - Dropping the value gives that reference back, and the end of the snapshot its place.
///
/// The first get through a [`Tree`] handle looks the tree up, with a lock; none does after it.
#[derive(Clone)]
pub struct ReadTxn {
    // Before `shared`: the snapshot ends before the database is closed.
    txn: kestrel_txn::ReadTxn,
    shared: Share<Shared>,
}

impl ReadTxn {
    pub(crate) fn new(txn: kestrel_txn::ReadTxn, shared: Share<Shared>) -> ReadTxn {
        ReadTxn { txn, shared }
    }

    /// The tree of this name, if it existed.
    pub fn existing_tree(&self, name: impl AsRef<str>) -> Result<Option<Tree>> {
        let name = name.as_ref();
        let id = self.txn.tree(name)?;
        Ok(id.map(|id| {
            let binding = Binding::committed(id, name, self.txn.timestamp());
            Tree::new(Arc::clone(self.shared.thing()), binding)
        }))
    }

    /// All trees, sorted by name.
    pub fn trees(&self) -> Result<Vec<TreeInfo>> {
        Ok(self.txn.trees()?)
    }

    /// The value of a key.
    pub fn get(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        tree.check(&self.shared)?;
        Ok(get_in(tree, &self.txn, key.as_ref())?.map(Value::new))
    }

    /// Whether a key is there.
    pub fn contains(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<bool> {
        tree.check(&self.shared)?;
        contains_in(tree, &self.txn, key.as_ref())
    }

    /// The entry with the smallest key.
    pub fn first(&self, tree: &Tree) -> Result<Option<(Key, Value)>> {
        self.range(tree, ..)?.next().transpose()
    }

    /// The entry with the greatest key.
    pub fn last(&self, tree: &Tree) -> Result<Option<(Key, Value)>> {
        self.range(tree, ..)?.next_back().transpose()
    }

    /// The entries of a range, in the order of their keys, from both ends.
    pub fn range(&self, tree: &Tree, range: impl IntoKeyRange) -> Result<Range> {
        tree.check(&self.shared)?;
        range_of(tree, &self.txn, &range.into_key_range())
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix(&self, tree: &Tree, prefix: impl AsRef<[u8]>) -> Result<Range> {
        self.range(tree, KeyRange::prefix(prefix))
    }

    /// How many entries there are: exact, and not counted for the purpose.
    pub fn len(&self, tree: &Tree) -> Result<u64> {
        tree.check(&self.shared)?;
        or_empty(tree, &self.txn, self.txn.len(tree.id()), || 0)
    }

    /// Whether there are none.
    pub fn is_empty(&self, tree: &Tree) -> Result<bool> {
        Ok(self.len(tree)? == 0)
    }

    /// The newest commit in the snapshot.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.txn.timestamp()
    }
}

impl fmt::Debug for ReadTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTxn").field("timestamp", &self.timestamp()).finish_non_exhaustive()
    }
}

/// What a snapshot says about a tree; a tree that was created later is empty.
pub(crate) fn or_empty<T>(
    tree: &Tree,
    txn: &kestrel_txn::ReadTxn,
    found: Result<T, kestrel_txn::Error>,
    empty: impl FnOnce() -> T,
) -> Result<T> {
    found.map_err(Error::from).or_else(|error| {
        let later = error.kind() == ErrorKind::TreeNotFound && tree.is_newer_than(txn.timestamp());
        if later { Ok(empty()) } else { Err(error) }
    })
}

/// The value that a snapshot has under a key.
#[inline]
pub(crate) fn get_in(
    tree: &Tree,
    txn: &kestrel_txn::ReadTxn,
    key: &[u8],
) -> Result<Option<kestrel_txn::Value>> {
    let value = tree.binding().find(txn).and_then(|found| txn.get_in(found, key));
    or_empty(tree, txn, value, || None)
}

/// Whether a key is there in a snapshot.
pub(crate) fn contains_in(tree: &Tree, txn: &kestrel_txn::ReadTxn, key: &[u8]) -> Result<bool> {
    let found = tree.binding().find(txn).and_then(|found| txn.contains_in(found, key));
    or_empty(tree, txn, found, || false)
}

/// The entries of a snapshot in a range.
pub(crate) fn range_of(tree: &Tree, txn: &kestrel_txn::ReadTxn, range: &KeyRange) -> Result<Range> {
    if range.is_empty() {
        return Ok(Range::empty());
    }
    if let Some(known) = tree.binding().known() {
        txn.know(known);
    }
    let cursor = txn.range(tree.id(), range.low(), range.high());
    or_empty(tree, txn, cursor.map(Range::new), Range::empty)
}

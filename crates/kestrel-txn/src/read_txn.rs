//! Read transactions.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use kestrel_btree::{BlobRef, Seek};
use kestrel_pager::{PageId, Snapshot, Timestamp, TreeId};

use crate::catalogue::{TreeInfo, TreeRef, TreeState};
use crate::core::{self, Core};
use crate::cursor::{Cursor, Source};
use crate::draft::tree_not_found;
use crate::page::LeafView;
use crate::reader::Reader;
use crate::share::Share;
use crate::{Error, Value};

/// A snapshot of the whole database. Takes no lock, never waits for writers, never fails because of them.
///
/// Clones share the snapshot. It keeps at most one superseded state of each page alive, for as long as it lives.
#[derive(Clone, Debug)]
pub struct ReadTxn {
    snapshot: Snapshot<Share<Core>>,
    /// The roots of the trees that were used first, so that reading them takes no lock.
    roots: [OnceLock<(TreeId, PageId)>; 4],
}

impl ReadTxn {
    /// Allocates nothing.
    pub(crate) fn new(core: Share<Core>) -> Result<ReadTxn, Error> {
        Ok(ReadTxn { snapshot: core::begin_visible(core)?, roots: Default::default() })
    }

    #[inline]
    fn core(&self) -> &Core {
        self.snapshot.registry()
    }

    #[inline]
    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.snapshot)
    }

    fn state(&self, tree: TreeId) -> Result<Arc<TreeState>, Error> {
        self.core().catalogue.get(tree, self.snapshot.at()).ok_or_else(|| tree_not_found(&tree.to_string()))
    }

    #[inline]
    fn root(&self, tree: TreeId) -> Result<PageId, Error> {
        for slot in &self.roots {
            match slot.get() {
                Some((known, root)) if *known == tree => return Ok(*root),
                Some(_) => {}
                None => {
                    let root = self.state(tree)?.root;
                    // If another thread was faster, the next call finds what it noted.
                    let _ = slot.set((tree, root));
                    return Ok(root);
                }
            }
        }
        Ok(self.state(tree)?.root)
    }

    /// The newest commit that the snapshot contains.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.snapshot.at()
    }

    /// The tree of that name, if there is one. Takes time proportional to the number of trees.
    ///
    /// # Errors
    /// None today; the catalogue is in memory.
    pub fn tree(&self, name: &str) -> Result<Option<TreeId>, Error> {
        Ok(self.core().catalogue.find(name, self.snapshot.at()))
    }

    /// Looks a tree up, for reading it in this and other snapshots without a lock.
    ///
    /// # Errors
    /// There is no such tree in this snapshot.
    pub fn tree_ref(&self, tree: TreeId) -> Result<TreeRef, Error> {
        Ok(TreeRef(self.state(tree)?))
    }

    /// Makes a tree known that was looked up before, so that reading it by its id takes no lock. If it does not exist in this
    /// snapshot, nothing happens.
    pub fn know(&self, tree: &TreeRef) {
        if let (Some(slot), Ok(root)) = (self.roots.first(), tree.root_at(self.snapshot.at())) {
            // If it is taken, other trees were read before, and the others have their use.
            let _ = slot.set((tree.id(), root));
        }
    }

    /// All trees, by name.
    ///
    /// # Errors
    /// None today; the catalogue is in memory.
    pub fn trees(&self) -> Result<Vec<TreeInfo>, Error> {
        Ok(self.core().catalogue.list(self.snapshot.at()))
    }

    /// The value under a key. Logarithmic in the size of the tree; usually no copy.
    ///
    /// # Errors
    /// There is no such tree, or a page cannot be read.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Value>, Error> {
        self.reader().get(self.root(tree)?, key)
    }

    /// As [`ReadTxn::get`], for a tree that was looked up before: takes no lock, not even for the first key.
    ///
    /// # Errors
    /// The tree does not exist in this snapshot, or a page cannot be read.
    #[inline]
    pub fn get_in(&self, tree: &TreeRef, key: &[u8]) -> Result<Option<Value>, Error> {
        self.reader().get(tree.root_at(self.snapshot.at())?, key)
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// There is no such tree, or a page cannot be read.
    pub fn contains(&self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        self.reader().contains(self.root(tree)?, key)
    }

    /// As [`ReadTxn::contains`], for a tree that was looked up before.
    ///
    /// # Errors
    /// The tree does not exist in this snapshot, or a page cannot be read.
    pub fn contains_in(&self, tree: &TreeRef, key: &[u8]) -> Result<bool, Error> {
        self.reader().contains(tree.root_at(self.snapshot.at())?, key)
    }

    /// How many keys a tree holds. Takes constant time.
    ///
    /// # Errors
    /// There is no such tree.
    pub fn len(&self, tree: TreeId) -> Result<u64, Error> {
        Ok(self.state(tree)?.entries_at(self.snapshot.at()))
    }

    /// The entries of a tree whose keys lie within bounds, in order, from both ends.
    ///
    /// # Errors
    /// There is no such tree.
    pub fn range(&self, tree: TreeId, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Result<Cursor, Error> {
        self.root(tree)?;
        Cursor::new(Source::Read(self.clone()), tree, low, high)
    }

    pub(crate) fn leaf(&self, tree: TreeId, seek: Seek<'_>) -> Result<LeafView, Error> {
        self.reader().leaf(self.root(tree)?, seek)
    }

    pub(crate) fn read_blob(&self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        self.reader().read_blob(blob)
    }
}

//! Read transactions.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use kestrel_btree::{BlobRef, FoundCell, Seek, find, leaf_for};
use kestrel_pager::{PageId, Snapshot, Timestamp, TreeId};

use crate::catalogue::{TreeInfo, TreeState};
use crate::core::{Core, SharedLock};
use crate::cursor::{Cursor, Source};
use crate::draft::tree_not_found;
use crate::page::{LeafView, ReadError, SnapshotPages};
use crate::restarts::Restarts;
use crate::{Error, Value};

/// A snapshot of the whole database. Takes no lock, never waits for writers, never fails because of them.
///
/// Clones share the snapshot. It keeps at most one superseded state of each page alive, for as long as it lives.
#[derive(Clone, Debug)]
pub struct ReadTxn {
    core: Arc<Core>,
    snapshot: Arc<Snapshot>,
    /// The roots of the trees that were used first, so that reading them takes no lock.
    roots: [OnceLock<(TreeId, PageId)>; 4],
    _lock: SharedLock,
}

impl ReadTxn {
    pub(crate) fn new(core: &Arc<Core>) -> Result<ReadTxn, Error> {
        let lock = core.share_lock()?;
        let snapshot = Arc::new(core.snapshots().begin_visible());
        Ok(ReadTxn { core: Arc::clone(core), snapshot, roots: Default::default(), _lock: lock })
    }

    fn state(&self, tree: TreeId) -> Result<Arc<TreeState>, Error> {
        self.core.catalogue.get(tree, self.snapshot.at()).ok_or_else(|| tree_not_found(&tree.to_string()))
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

    fn pages(&self) -> SnapshotPages<'_> {
        SnapshotPages { pager: &self.core.pager, at: self.snapshot.at() }
    }

    fn load(&self, page: PageId) -> Result<(), Error> {
        Ok(self.core.pager.load(page, self.snapshot.at())?)
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
        Ok(self.core.catalogue.find(name, self.snapshot.at()))
    }

    /// All trees, by name.
    ///
    /// # Errors
    /// None today; the catalogue is in memory.
    pub fn trees(&self) -> Result<Vec<TreeInfo>, Error> {
        Ok(self.core.catalogue.list(self.snapshot.at()))
    }

    /// The value under a key. Logarithmic in the size of the tree; usually no copy.
    ///
    /// # Errors
    /// There is no such tree, or a page cannot be read.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Value>, Error> {
        let root = self.root(tree)?;
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let missing = match self.find_resident(root, key)? {
                Ok(found) => return Ok(found),
                Err(Absent::Page(page)) => page,
                Err(Absent::Blob(blob)) => return Ok(Some(Value::owned(self.read_blob(blob)?))),
            };
            self.load(missing)?;
        }
    }

    fn find_resident(&self, root: PageId, key: &[u8]) -> Result<Result<Option<Value>, Absent>, Error> {
        // One pin for the whole descent; those of the single pages are then cheap.
        let _pin = crossbeam_epoch::pin();
        let pages = self.pages();
        match find(&pages, root, key) {
            Ok(None) => Ok(Ok(None)),
            Ok(Some((page, found))) => match &found.cell {
                FoundCell::Inline(range) => Ok(Ok(Some(page.value(&found, range.clone())))),
                FoundCell::Blob(blob) => Ok(Err(Absent::Blob(*blob))),
            },
            Err(ReadError::NotResident(page)) => Ok(Err(Absent::Page(page))),
            Err(ReadError::Failed(error)) => Err(error),
        }
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// There is no such tree, or a page cannot be read.
    pub fn contains(&self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        let root = self.root(tree)?;
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let found = find(&self.pages(), root, key).map(|found| found.is_some());
            match found {
                Ok(found) => return Ok(found),
                Err(ReadError::NotResident(page)) => self.load(page)?,
                Err(ReadError::Failed(error)) => return Err(error),
            }
        }
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
        let root = self.root(tree)?;
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let leaf = match leaf_for(&self.pages(), root, seek) {
                Ok((_, page)) => Ok(LeafView::new(&page)?),
                Err(ReadError::NotResident(page)) => Err(page),
                Err(ReadError::Failed(error)) => return Err(error),
            };
            match leaf {
                Ok(leaf) => return Ok(leaf),
                Err(page) => {
                    self.announce(root, seek);
                    self.load(page)?;
                }
            }
        }
    }

    /// Announces the reads that a scan in this direction is about to make, as far as one inner node knows them.
    fn announce(&self, root: PageId, seek: Seek<'_>) {
        const AHEAD: usize = 32;
        if let Ok(pages) = kestrel_btree::leaves_ahead(&self.pages(), root, seek, AHEAD) {
            for page in pages {
                self.core.pager.will_need(page);
            }
        }
    }

    pub(crate) fn read_blob(&self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        Ok(self.core.pager.read_blob(blob.page, self.snapshot.at(), blob.len, blob.checksum)?)
    }
}

/// What is not in memory.
enum Absent {
    Page(PageId),
    Blob(BlobRef),
}

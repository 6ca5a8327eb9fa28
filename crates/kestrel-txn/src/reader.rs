//! Reading trees as a snapshot shows them, whoever keeps it.
//!
//! A descent pins the epoch once, for all its pages. It never waits under the pin: a page that is not in memory ends the
//! descent and, with it, the pin; then the page is loaded, and the descent starts again.

use crossbeam_epoch as epoch;
use kestrel_btree::{BlobRef, FoundCell, Seek, find, leaf_for};
use kestrel_pager::{PageId, Snapshot, Snapshots, Timestamp};
use std::ops::Deref;

use crate::core::Core;
use crate::page::{LeafView, PinnedPages, ReadError};
use crate::restarts::Restarts;
use crate::{Error, Value};

/// Reads at one timestamp, which somebody's snapshot keeps readable.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'c> {
    core: &'c Core,
    at: Timestamp,
}

/// What is not in memory.
enum Absent {
    Page(PageId),
    Blob(BlobRef),
}

impl<'c> Reader<'c> {
    #[inline]
    pub(crate) fn new<R>(snapshot: &'c Snapshot<R>) -> Reader<'c>
    where
        R: AsRef<Snapshots> + Deref<Target = Core>,
    {
        Reader { core: snapshot.registry(), at: snapshot.at() }
    }

    #[inline]
    fn pages(self, guard: &'c epoch::Guard) -> PinnedPages<'c> {
        PinnedPages { pager: &self.core.pager, at: self.at, guard }
    }

    #[cold]
    fn load(self, page: PageId) -> Result<(), Error> {
        Ok(self.core.pager.load(page, self.at)?)
    }

    pub(crate) fn get(self, root: PageId, key: &[u8]) -> Result<Option<Value>, Error> {
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

    #[inline]
    fn find_resident(self, root: PageId, key: &[u8]) -> Result<Result<Option<Value>, Absent>, Error> {
        let guard = epoch::pin();
        let pages = PinnedPages { pager: &self.core.pager, at: self.at, guard: &guard };
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

    pub(crate) fn contains(self, root: PageId, key: &[u8]) -> Result<bool, Error> {
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let found = find(&self.pages(&epoch::pin()), root, key).map(|found| found.is_some());
            match found {
                Ok(found) => return Ok(found),
                Err(ReadError::NotResident(page)) => self.load(page)?,
                Err(ReadError::Failed(error)) => return Err(error),
            }
        }
    }

    pub(crate) fn leaf(self, root: PageId, seek: Seek<'_>) -> Result<LeafView, Error> {
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let leaf = match leaf_for(&self.pages(&epoch::pin()), root, seek) {
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
    fn announce(self, root: PageId, seek: Seek<'_>) {
        const AHEAD: usize = 32;
        let ahead = kestrel_btree::leaves_ahead(&self.pages(&epoch::pin()), root, seek, AHEAD);
        for page in ahead.into_iter().flatten() {
            self.core.pager.will_need(page);
        }
    }

    pub(crate) fn read_blob(self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        Ok(self.core.pager.read_blob(blob.page, self.at, blob.len, blob.checksum)?)
    }
}

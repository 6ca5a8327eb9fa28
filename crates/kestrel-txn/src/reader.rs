//! Reading trees as a snapshot shows them, whoever keeps it.
//!
//! A descent pins the epoch once, for all its pages. It never waits under the pin: a page that is not in memory ends the
//! descent and, with it, the pin; then the page is loaded, and the descent starts again.

use crossbeam_epoch::Guard;
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
    fn pages(self, guard: &'c Guard) -> PinnedPages<'c> {
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
        let guard = self.core.pager.pin();
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
            let found = find(&self.pages(&self.core.pager.pin()), root, key).map(|found| found.is_some());
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
            let leaf = match leaf_for(&self.pages(&self.core.pager.pin()), root, seek) {
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
        let ahead = kestrel_btree::leaves_ahead(&self.pages(&self.core.pager.pin()), root, seek, AHEAD);
        for page in ahead.into_iter().flatten() {
            self.core.pager.will_need(page);
        }
    }

    pub(crate) fn read_blob(self, blob: BlobRef) -> Result<Vec<u8>, Error> {
        Ok(self.core.pager.read_blob(blob.page, self.at, blob.len, blob.checksum)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use kestrel_io::MemoryStorage;

    use crate::catalogue::TreeRef;
    use crate::{Durability, Engine, EngineOptions, Isolation};

    fn engine_with_a_tree() -> (Engine, TreeRef) {
        let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
        let write = engine.begin_write(Isolation::Snapshot).unwrap();
        let tree = write.create_tree("birds").unwrap();
        for number in 0..2000_u32 {
            write.put(tree, &number.to_be_bytes(), &[7; 100]).unwrap();
        }
        write.commit(Durability::Immediate).unwrap();
        let tree = engine.begin_read().unwrap().tree_ref(tree).unwrap();
        (engine, tree)
    }

    /// All ways to get something, with what they begin and end.
    fn read(engine: &Engine, tree: &TreeRef, meanwhile: impl Fn()) {
        let key = 1234_u32.to_be_bytes();
        let txn = engine.begin_read().unwrap();
        let clone = txn.clone();
        let value = clone.get_in(tree, &key).unwrap().unwrap();
        assert!(txn.contains_in(tree, &key).unwrap() && engine.contains(tree, &key).unwrap());
        assert_eq!(engine.get(tree, &key).unwrap(), Some(value.clone()));
        txn.know(tree);
        let first =
            txn.range(tree.id(), std::ops::Bound::Included(&key), std::ops::Bound::Unbounded).unwrap().next();
        assert_eq!(first.unwrap().unwrap(), (key.to_vec(), value));
        meanwhile();
    }

    #[test]
    fn reading_counts_no_reference_where_others_do() {
        let (engine, tree) = engine_with_a_tree();
        let core = engine.core();
        let counts = || {
            [
                Arc::strong_count(core),
                Arc::strong_count(core.snapshots()),
                Arc::strong_count(&core.pager),
                Arc::strong_count(&core.catalogue),
                Arc::strong_count(&tree.0),
            ]
        };
        let before = counts();
        for _ in 0..10 {
            read(&engine, &tree, || assert_eq!(counts(), before));
            assert_eq!(counts(), before);
            assert_eq!(core.snapshots().live(), 0);
        }
    }

    #[test]
    fn reading_takes_no_lock_of_the_engine() {
        let (engine, tree) = engine_with_a_tree();
        let core = engine.core();
        let _locks = (
            core.checkpointing.lock(),
            core.gate.lock(),
            core.window.lock(),
            core.fragments.lock(),
            core.thinned.lock(),
            core.lock_for_tests(),
            core.catalogue.lock_for_tests(),
        );
        let (done, is_done) = mpsc::channel();
        let reader = engine.clone();
        // Not joined if it waits for a lock.
        std::thread::spawn(move || {
            read(&reader, &tree, || {});
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(20)).expect("a reader waits for a lock");
    }
}

//! A storage that tells of every call before it is done, and of every one that failed.

use std::fmt;
use std::io;
use std::sync::Arc;

use kestrel_io::{LockError, Operation, Storage, StorageFile, StorageLock};
use parking_lot::Mutex;

/// What is told: the operation, the file, and the range.
pub(super) type Told<'a> = (Operation, &'a str, u64, u64);

pub(super) trait Watch: Send + Sync {
    fn before(&self, call: Told<'_>);
    fn failed(&self, _call: Told<'_>, _error: &io::Error) {}
}

pub(super) struct Spy<W> {
    pub(super) below: Arc<dyn Storage>,
    pub(super) watch: Arc<W>,
}

impl<W> fmt::Debug for Spy<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spy").field("below", &self.below).finish_non_exhaustive()
    }
}

fn tell<W: Watch, T>(watch: &W, call: Told<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    watch.before(call);
    act().inspect_err(|error| watch.failed(call, error))
}

impl<W: Watch> Spy<W> {
    fn file(&self, name: &str, below: Arc<dyn StorageFile>) -> Arc<dyn StorageFile>
    where
        W: 'static,
    {
        Arc::new(SpyFile { below, watch: Arc::clone(&self.watch), name: name.to_owned() })
    }
}

impl<W: Watch + 'static> Storage for Spy<W> {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        tell(&*self.watch, (Operation::Open, name, 0, 0), || self.below.open(name))
            .map(|file| self.file(name, file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        tell(&*self.watch, (Operation::Create, name, 0, 0), || self.below.create(name))
            .map(|file| self.file(name, file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        tell(&*self.watch, (Operation::List, "", 0, 0), || self.below.list())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        tell(&*self.watch, (Operation::Rename, from, 0, 0), || self.below.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        tell(&*self.watch, (Operation::Remove, name, 0, 0), || self.below.remove(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        tell(&*self.watch, (Operation::SyncDirectory, "", 0, 0), || self.below.sync_directory())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        self.watch.before((Operation::Lock, name, 0, 0));
        self.below.lock(name)
    }

    fn describe(&self) -> String {
        self.below.describe()
    }
}

struct SpyFile<W> {
    below: Arc<dyn StorageFile>,
    watch: Arc<W>,
    name: String,
}

impl<W> fmt::Debug for SpyFile<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpyFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<W: Watch> SpyFile<W> {
    fn tell<T>(
        &self,
        operation: Operation,
        (offset, len): (u64, u64),
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        tell(&*self.watch, (operation, &self.name, offset, len), act)
    }
}

impl<W: Watch> StorageFile for SpyFile<W> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.tell(Operation::Read, (offset, buffer.len() as u64), || self.below.read_at(buffer, offset))
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.tell(Operation::Write, (offset, buffer.len() as u64), || self.below.write_at(buffer, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tell(Operation::SyncData, (0, 0), || self.below.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.tell(Operation::Len, (0, 0), || self.below.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.tell(Operation::SetLen, (0, len), || self.below.set_len(len))
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.tell(Operation::Preallocate, (offset, len), || self.below.preallocate(offset, len))
    }
}

/// Whether an operation changes what a crash may leave.
pub(super) fn changes(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::Open | Operation::List | Operation::Lock | Operation::Read | Operation::Len
    )
}

/// A watch that calls a closure before each change.
pub(super) struct BeforeChanges(pub(super) Mutex<Box<dyn FnMut() + Send>>);

impl Watch for BeforeChanges {
    fn before(&self, (operation, ..): Told<'_>) {
        if changes(operation) {
            (self.0.lock())();
        }
    }
}

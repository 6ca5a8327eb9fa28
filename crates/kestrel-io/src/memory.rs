//! Files that live and die with the process.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::name;
use crate::process_lock::ProcessLocks;
use crate::space::Space;
use crate::sparse::Sparse;
use crate::storage::{LockError, Storage, StorageFile, StorageLock};

const CHUNK: usize = 64 * 1024;

/// A storage in memory. Clones are the same storage; syncs do nothing, since nothing survives the process.
///
/// Files are sparse: memory is used in chunks of 64 KiB, where something was written or preallocated.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    locks: ProcessLocks,
    space: Space,
}

impl MemoryStorage {
    /// An empty storage without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::with_space(Space::new(None))
    }

    /// An empty storage for at most `bytes`, counted in chunks of 64 KiB; beyond it writes fail with
    /// [`StorageFull`](io::ErrorKind::StorageFull).
    #[must_use]
    pub fn with_capacity(bytes: u64) -> Self {
        Self::with_space(Space::new(Some(bytes)))
    }

    /// Bytes in use, in whole chunks, with those of removed files that are still open.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.space.used()
    }

    fn with_space(space: Space) -> Self {
        Self { files: Arc::default(), locks: ProcessLocks::default(), space }
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl Storage for MemoryStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        name::check(name)?;
        match self.files.lock().get(name) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn StorageFile>),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        name::check(name)?;
        match self.files.lock().entry(name.to_owned()) {
            Entry::Occupied(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Entry::Vacant(entry) => {
                let file = Arc::new(MemoryFile { content: RwLock::new(Sparse::new(self.space.clone())) });
                entry.insert(Arc::clone(&file));
                Ok(file)
            }
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        name::check(from)?;
        name::check(to)?;
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        name::check(name)?;
        self.files.lock().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        name::check(name)?;
        self.locks.lock(name)
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: RwLock<Sparse<CHUNK>>,
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.content.read().read(buffer, offset))
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.content.write().write(buffer, offset)?;
        Ok(buffer.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.read().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.content.write().set_len(len);
        Ok(())
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.content.write().preallocate(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_comes_back_with_the_last_handle() {
        let storage = MemoryStorage::with_capacity(2 * CHUNK as u64);
        let file = storage.create("a").unwrap();
        file.write_all_at(&[1; CHUNK + 1], 0).unwrap();
        let other = storage.create("b").unwrap();
        assert_eq!(other.write_at(&[1], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        storage.remove("a").unwrap();
        assert!(other.write_at(&[1], 0).is_err(), "the open handle still owns the space");
        drop(file);
        other.write_all_at(&[1], 0).unwrap();
        assert_eq!(storage.clone().used(), CHUNK as u64);
    }
}

//! A storage in which nothing may be created or written, like a directory of somebody else.

use std::io;
use std::sync::Arc;

use kestreldb::storage::{LockError, MemoryStorage, Storage, StorageFile, StorageLock};

/// Reads go through, all else is refused.
#[derive(Debug)]
pub(crate) struct ReadOnlyDirectory(pub(crate) MemoryStorage);

fn denied<T>() -> io::Result<T> {
    Err(io::ErrorKind::PermissionDenied.into())
}

impl Storage for ReadOnlyDirectory {
    fn open(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        denied()
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        denied()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        denied()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        denied()
    }

    fn sync_directory(&self) -> io::Result<()> {
        denied()
    }

    fn lock(&self, _: &str) -> Result<Box<dyn StorageLock>, LockError> {
        Err(LockError::Io(io::ErrorKind::PermissionDenied.into()))
    }

    fn describe(&self) -> String {
        "a read-only directory".to_owned()
    }
}

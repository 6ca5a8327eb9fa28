//! The directory, with a watch on its syncs: what a slow disk does to a commit is not the database's doing.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kestreldb::storage::{FileStorage, LockError, Storage, StorageFile, StorageLock};

/// Syncs that took less are no excuse for anything.
const LONG: Duration = Duration::from_millis(5);

/// The long syncs of a run, in the order of their ends.
#[derive(Debug, Default)]
pub struct Syncs {
    long: Mutex<Vec<(Instant, Instant)>>,
}

impl Syncs {
    fn time<T>(&self, sync: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = sync();
        let ended = Instant::now();
        if ended - begun >= LONG {
            self.long.lock().unwrap_or_else(PoisonError::into_inner).push((begun, ended));
        }
        result
    }

    /// For how much of some time a long sync was going on.
    pub fn during(&self, from: Instant, until: Instant) -> Duration {
        let long = self.long.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = from;
        let mut total = Duration::ZERO;
        let mut parts: Vec<_> = long
            .iter()
            .rev()
            .take_while(|(_, end)| *end > from)
            .filter(|(begin, _)| *begin < until)
            .collect();
        parts.sort();
        for &&(begin, end) in &parts {
            let (begin, end) = (begin.max(counted), end.min(until));
            total += end.saturating_duration_since(begin);
            counted = counted.max(end);
        }
        total
    }

    /// The longest, if any was long.
    pub fn longest(&self) -> Option<Duration> {
        let long = self.long.lock().unwrap_or_else(PoisonError::into_inner);
        long.iter().map(|(begin, end)| *end - *begin).max()
    }
}

/// A directory whose syncs are timed.
#[derive(Debug)]
pub struct TimedStorage {
    storage: FileStorage,
    syncs: Arc<Syncs>,
}

impl TimedStorage {
    pub fn open(directory: &Path, syncs: &Arc<Syncs>) -> io::Result<TimedStorage> {
        Ok(TimedStorage { storage: FileStorage::open_or_create(directory)?, syncs: Arc::clone(syncs) })
    }

    fn timed(&self, file: io::Result<Arc<dyn StorageFile>>) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(TimedFile { file: file?, syncs: Arc::clone(&self.syncs) }))
    }
}

impl Storage for TimedStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.timed(self.storage.open(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.timed(self.storage.create(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.syncs.time(|| self.storage.sync_directory())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        self.storage.lock(name)
    }

    fn describe(&self) -> String {
        self.storage.describe()
    }
}

#[derive(Debug)]
struct TimedFile {
    file: Arc<dyn StorageFile>,
    syncs: Arc<Syncs>,
}

impl StorageFile for TimedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.time(|| self.file.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.preallocate(offset, len)
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.file.will_need(offset, len);
    }
}

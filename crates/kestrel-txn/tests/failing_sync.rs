//! A failed write is reported to one sync only: whoever syncs at the same time must not take its own success for that of
//! what the other had written.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kestrel_io::{LockError, MemoryStorage, Storage, StorageFile, StorageLock};
use kestrel_txn::{Durability, Engine, EngineOptions, ErrorKind, Isolation};

/// Syncs of the data file, the first of which fails once it is armed.
#[derive(Debug, Default)]
struct Control {
    armed: AtomicBool,
    syncs: AtomicU32,
}

#[derive(Debug)]
struct Unreliable(MemoryStorage, Arc<Control>);

#[derive(Debug)]
struct UnreliableFile(Arc<dyn StorageFile>, Option<Arc<Control>>);

impl Unreliable {
    fn wrap(&self, name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        let control = name.starts_with("kestrel.data").then(|| Arc::clone(&self.1));
        Arc::new(UnreliableFile(file, control))
    }
}

impl Storage for Unreliable {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(name, self.0.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(name, self.0.create(name)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        self.0.lock(name)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl StorageFile for UnreliableFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let armed = self.1.as_ref().filter(|control| control.armed.load(Ordering::SeqCst));
        if let Some(control) = armed
            && control.syncs.fetch_add(1, Ordering::SeqCst) == 0
        {
            // Time for the other to sync as well, if it is let.
            let begun = Instant::now();
            while control.syncs.load(Ordering::SeqCst) < 2 && begun.elapsed() < Duration::from_millis(300) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(50));
            return Err(io::Error::other("writing back failed"));
        }
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.preallocate(offset, len)
    }
}

#[test]
fn nobody_succeeds_beside_a_sync_that_fails() {
    for other_is_a_checkpoint in [false, true] {
        let control = Arc::new(Control::default());
        let storage = Arc::new(Unreliable(MemoryStorage::new(), Arc::clone(&control)));
        let engine = Engine::open(storage, &EngineOptions::default()).unwrap();
        let txn = engine.begin_write(Isolation::Snapshot).unwrap();
        let tree = txn.create_tree("t").unwrap();
        txn.commit(Durability::Immediate).unwrap();
        let one = engine.begin_write(Isolation::Snapshot).unwrap();
        let two = engine.begin_write(Isolation::Snapshot).unwrap();
        one.put(tree, b"1", &vec![1; 1 << 20]).unwrap();
        two.put(tree, b"2", &vec![2; 1 << 20]).unwrap();
        control.armed.store(true, Ordering::SeqCst);
        let first = std::thread::spawn(move || one.commit(Durability::Immediate));
        while control.syncs.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let second = if other_is_a_checkpoint {
            engine.checkpoint()
        } else {
            two.commit(Durability::Immediate).map(|_| ())
        };
        assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::Io);
        assert!(second.is_err(), "a success beside a failure");
        // What is there can be read, nothing can be written.
        let read = engine.begin_read().unwrap();
        assert_eq!(read.len(tree).unwrap(), 0);
        assert_eq!(engine.begin_write(Isolation::Snapshot).unwrap_err().kind(), ErrorKind::ReadOnly);
    }
}

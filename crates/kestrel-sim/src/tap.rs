//! A storage around another that notes every call with its bytes, and can be cut off.
//!
//! A world that is run again has to make the same calls, with the same bytes, and get the same answers: that is what the
//! digest tells. Cut off, every call fails: the process that made them has been killed, whatever its handles still try.

use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use kestrel_io::{LockError, Storage, StorageFile, StorageLock};

use crate::digest::Digest;

/// What a world's taps note together.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    digest: Arc<Mutex<Digest>>,
}

impl Trace {
    /// Notes something that happened.
    pub fn note(&self, what: impl Hash) {
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        what.hash(&mut *digest);
    }

    /// The digest so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }

    fn outcome<T>(&self, result: &io::Result<T>) {
        self.note(result.as_ref().err().map(|error| error.kind() as u8));
    }
}

/// The storage of one process.
#[derive(Clone, Debug)]
pub struct Tap {
    inner: Arc<dyn Storage>,
    trace: Trace,
    cut: Arc<AtomicBool>,
}

impl Tap {
    /// A storage of a process that begins.
    #[must_use]
    pub fn new(inner: Arc<dyn Storage>, trace: &Trace) -> Tap {
        Tap { inner, trace: trace.clone(), cut: Arc::default() }
    }

    /// Kills the process: it does nothing any more.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn run<T>(&self, call: &str, what: impl Hash, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(io::Error::other("the process was killed"));
        }
        self.trace.note((call, what));
        let result = act();
        self.trace.outcome(&result);
        result
    }

    fn file(&self, name: &str, inner: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(TapFile { inner, name: name.into(), tap: self.clone() })
    }
}

impl Storage for Tap {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.run("open", name, || self.inner.open(name)).map(|file| self.file(name, file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.run("create", name, || self.inner.create(name)).map(|file| self.file(name, file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.run("list", (), || self.inner.list())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.run("rename", (from, to), || self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.run("remove", name, || self.inner.remove(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.run("sync directory", (), || self.inner.sync_directory())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(LockError::Io(io::Error::other("the process was killed")));
        }
        self.trace.note(("lock", name));
        self.inner.lock(name)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[derive(Debug)]
struct TapFile {
    inner: Arc<dyn StorageFile>,
    name: Arc<str>,
    tap: Tap,
}

impl TapFile {
    fn run<T>(&self, call: &str, what: impl Hash, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.tap.run(call, (&self.name, what), act)
    }
}

impl StorageFile for TapFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let asked = (buffer.len(), offset);
        let read = self.run("read", asked, || self.inner.read_at(buffer, offset))?;
        self.tap.trace.note(&buffer[..read]);
        Ok(read)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.run("write", (buffer, offset), || self.inner.write_at(buffer, offset))?;
        self.tap.trace.note(written);
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.run("sync", (), || self.inner.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        let len = self.run("len", (), || self.inner.len())?;
        self.tap.trace.note(len);
        Ok(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.run("set len", len, || self.inner.set_len(len))
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.run("preallocate", (offset, len), || self.inner.preallocate(offset, len))
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.inner.will_need(offset, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kestrel_io::MemoryStorage;

    #[test]
    fn another_byte_is_another_digest_and_a_cut_tap_does_nothing() {
        let run = |byte: u8| {
            let trace = Trace::default();
            let tap = Tap::new(Arc::new(MemoryStorage::new()), &trace);
            let file = tap.create("file").unwrap();
            file.write_all_at(&[1, byte], 0).unwrap();
            file.sync_data().unwrap();
            (trace.digest(), tap, file)
        };
        let (digest, tap, file) = run(1);
        assert_eq!(digest, run(1).0);
        assert_ne!(digest, run(2).0);
        tap.cut();
        assert!(file.write_at(&[7], 0).is_err() && tap.open("file").is_err() && tap.lock("lock").is_err());
        assert_eq!(tap.trace.digest(), digest);
    }
}

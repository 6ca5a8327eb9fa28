//! A storage that writes down what is asked of another one.
//!
//! Each call is noted before it is passed on and after it has returned, so calls of several threads that overlap in time overlap
//! in the trace: nothing is said about which of them took effect first. Only changes of names are one after the other, as it
//! has to be known which file a name means.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kestreldb::Timestamp;
use kestreldb::storage::{LockError, Storage, StorageFile, StorageLock};

use super::event::{Call, CallId, Event, FileId, Mark, Trace};
use crate::writers::Witness;

/// Passes everything on, and keeps a [`Trace`].
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    inner: Arc<dyn Storage>,
    log: Log,
}

#[derive(Clone, Debug)]
struct Log(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    trace: Trace,
    names: BTreeMap<String, FileId>,
    files: usize,
}

impl Recording {
    /// Begins with what is there.
    pub(crate) fn new(inner: Arc<dyn Storage>) -> io::Result<Recording> {
        let mut before = BTreeMap::new();
        for name in inner.list()? {
            let file = inner.open(&name)?;
            let mut bytes = vec![0; file.len()? as usize];
            file.read_exact_at(&mut bytes, 0)?;
            before.insert(name, bytes);
        }
        let names: BTreeMap<_, _> = before.keys().cloned().zip(0..).collect();
        let state = State { files: names.len(), names, trace: Trace { before, ..Trace::default() } };
        Ok(Recording { inner, log: Log(Arc::new(Mutex::new(state))) })
    }

    pub(crate) fn mark(&self, mark: Mark) {
        self.log.state().trace.events.push(Event::Mark(mark));
    }

    /// What was recorded.
    pub(crate) fn take(&self) -> Trace {
        std::mem::take(&mut self.log.state().trace)
    }

    fn handle(&self, inner: Arc<dyn StorageFile>, id: FileId) -> Arc<dyn StorageFile> {
        Arc::new(RecordedFile { inner, id, log: self.log.clone() })
    }
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(&self, call: Call, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let id = self.state().trace.begin(call);
        let result = act();
        if result.is_ok() {
            self.state().trace.events.push(Event::End(id));
        }
        result
    }
}

impl Trace {
    fn begin(&mut self, call: Call) -> CallId {
        self.calls.push(call);
        self.events.push(Event::Begin(self.calls.len() - 1));
        self.calls.len() - 1
    }
}

impl State {
    /// Changes a name while nobody else does.
    fn rename<T>(
        &mut self,
        call: Call,
        act: impl FnOnce() -> io::Result<T>,
        names: impl FnOnce(&mut BTreeMap<String, FileId>),
    ) -> io::Result<T> {
        let id = self.trace.begin(call);
        let result = act()?;
        self.trace.events.push(Event::End(id));
        names(&mut self.names);
        Ok(result)
    }
}

impl Storage for Recording {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let state = self.log.state();
        let file = self.inner.open(name)?;
        let id = state.names.get(name).copied();
        id.map(|id| self.handle(file, id)).ok_or_else(|| io::Error::other("a file that nobody created"))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.log.state();
        let id = state.files;
        state.files += 1;
        let call = Call::Create { name: name.to_owned(), file: id };
        let file = state.rename(
            call,
            || self.inner.create(name),
            |names| {
                names.insert(name.to_owned(), id);
            },
        )?;
        Ok(self.handle(file, id))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let call = Call::Rename { from: from.to_owned(), to: to.to_owned() };
        self.log.state().rename(
            call,
            || self.inner.rename(from, to),
            |names| {
                if let Some(file) = names.remove(from) {
                    names.insert(to.to_owned(), file);
                }
            },
        )
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.log.state();
        if !state.names.contains_key(name) {
            // Nothing will change.
            return self.inner.remove(name);
        }
        let call = Call::Remove { name: name.to_owned() };
        state.rename(
            call,
            || self.inner.remove(name),
            |names| {
                names.remove(name);
            },
        )
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.log.run(Call::SyncDirectory, || self.inner.sync_directory())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        self.inner.lock(name)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[derive(Debug)]
struct RecordedFile {
    inner: Arc<dyn StorageFile>,
    id: FileId,
    log: Log,
}

impl StorageFile for RecordedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let call = Call::Read { file: self.id, offset };
        self.log.run(call, || self.inner.read_at(buffer, offset))
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        let call = Call::Write { file: self.id, offset, bytes: buffer.to_vec() };
        // A short write would be a write of fewer bytes than noted, and one that never ended.
        self.log.run(call, || self.inner.write_all_at(buffer, offset)).map(|()| buffer.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.log.run(Call::SyncData { file: self.id }, || self.inner.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.log.run(Call::SetLen { file: self.id, len }, || self.inner.set_len(len))
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let call = Call::Preallocate { file: self.id, offset, len };
        self.log.run(call, || self.inner.preallocate(offset, len))
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.inner.will_need(offset, len);
    }
}

impl Witness for Recording {
    fn tried(&self, writer: u8, number: u64) {
        self.mark(Mark::Tried(writer, number));
    }

    fn committed(&self, writer: u8, number: u64, timestamp: Timestamp) {
        self.mark(Mark::Committed(writer, number, timestamp.0));
    }

    fn promised(&self, writer: u8, number: u64) {
        self.mark(Mark::Promised(writer, number));
    }
}

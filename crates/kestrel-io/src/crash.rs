//! A disk that forgets what was not synced, fails on demand and can lose its power at any operation.
//!
//! What a crash leaves is chosen piece by piece: every unsynced 512-byte sector, every unsynced length and every
//! unsynced directory operation independently. Directory operations that share a name keep their order: one is only
//! kept if all before it that touch one of its names are. A rename happens wholly or not at all.
//!
//! Locks: the state's before a file's. Both are held briefly and never across a call to the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::faults::{Fault, FaultEffect, FaultPlan, Operation, OperationCounts, Verdict};
use crate::name;
use crate::process_lock::ProcessLocks;
use crate::random::SplitMix64;
use crate::space::Space;
use crate::storage::{LockError, Storage, StorageFile, StorageLock};
use crate::unsynced::{Choose, UnsyncedFile};

mod piece;
mod tamper;

pub use piece::Piece;

/// A storage in memory that forgets unsynced writes and names at a [`crash`](CrashStorage::crash). Clones are the same
/// storage.
///
/// ```
/// use kestrel_io::{CrashStorage, Storage};
///
/// # fn main() -> std::io::Result<()> {
/// let storage = CrashStorage::new();
/// storage.create("kept")?;
/// storage.sync_directory()?;
/// storage.create("perhaps")?;
/// let after = storage.crash(7);
/// assert!(after.open("kept").is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CrashStorage {
    state: Arc<Mutex<State>>,
    locks: ProcessLocks,
    space: Space,
}

type SharedFile = Arc<Mutex<UnsyncedFile>>;

#[derive(Debug, Default)]
struct State {
    plan: FaultPlan,
    names: BTreeMap<String, SharedFile>,
    /// The names that are sure to be there after a crash, before `changes`.
    durable_names: BTreeMap<String, SharedFile>,
    /// What happened to names since the last sync of the directory, and the numbers of the operations.
    changes: Vec<(u64, Change)>,
    /// The number of the next file that is created.
    next_file: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Create(String, SharedFile),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &String> {
        let (first, second) = match self {
            Change::Create(name, _) | Change::Remove(name) => (name, None),
            Change::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    fn apply(&self, names: &mut BTreeMap<String, SharedFile>) {
        match self {
            Change::Create(name, file) => drop(names.insert(name.clone(), Arc::clone(file))),
            Change::Remove(name) => drop(names.remove(name)),
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl CrashStorage {
    /// An empty storage without faults.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::default(), locks: ProcessLocks::default(), space: Space::new(None) }
    }

    /// What a crash at this moment leaves, chosen by `seed`: a new storage without faults, unlocked, of the same
    /// capacity, in which everything is durable. This storage goes on unchanged, so one moment can be crashed many times.
    #[must_use]
    pub fn crash(&self, seed: u64) -> CrashStorage {
        let mut random = SplitMix64::new(seed);
        // Nothing, everything, or each piece with its own chance: the extremes would hardly ever come up by dice.
        match random.below(8) {
            0 => self.crash_with(|_| 0),
            1 => self.crash_with(|alternatives| alternatives - 1),
            mode => {
                let kept_in_16 = [1, 4, 8, 8, 12, 15][mode - 2];
                self.crash_with(move |alternatives| {
                    if random.below(16) < kept_in_16 {
                        alternatives - 1
                    } else {
                        random.below(alternatives - 1)
                    }
                })
            }
        }
    }

    /// Like [`CrashStorage::crash`], with every choice left to the caller: `choose` gets the number of alternatives (at
    /// least 2; the first is what was durable, the last the newest) and returns the index of one. It is asked in the
    /// same order each time, so all outcomes of a small set of unsynced pieces can be enumerated.
    #[must_use]
    pub fn crash_with(&self, mut choose: impl FnMut(usize) -> usize) -> CrashStorage {
        self.crash_by(|piece| choose(piece.alternatives()))
    }

    /// Like [`CrashStorage::crash_with`], for choices that depend on what a piece is. `choose` is asked about the pieces of
    /// [`for_each_piece`](CrashStorage::for_each_piece), but not about those that an earlier choice has settled: operations on
    /// a name of which an earlier one was lost, and files whose name is gone.
    #[must_use]
    pub fn crash_by(&self, mut choose: impl FnMut(&Piece<'_>) -> usize) -> CrashStorage {
        let state = self.state.lock();
        let left = CrashStorage::new();
        let mut names = state.durable_names.clone();
        let mut lost: BTreeSet<&String> = BTreeSet::new();
        for (number, change) in &state.changes {
            let piece = Piece::Name { writers: &[*number] };
            if change.names().all(|name| !lost.contains(name)) && choose(&piece) == 1 {
                change.apply(&mut names);
            } else {
                lost.extend(change.names());
            }
        }
        let files = names.into_iter().filter_map(|(name, file)| {
            // The new space has no limit yet, so the copy cannot be refused.
            let file = file.lock().crash(left.space.clone(), &mut choose as &mut Choose<'_>).ok()?;
            Some((name, Arc::new(Mutex::new(file))))
        });
        let files: BTreeMap<_, _> = files.collect();
        {
            let mut left = left.state.lock();
            left.durable_names = files.clone();
            left.names = files;
            left.next_file = state.next_file;
        }
        left.space.set_capacity(self.space.capacity());
        left
    }

    /// How many sectors, lengths and directory operations a crash at this moment would decide about.
    #[must_use]
    pub fn undecided(&self) -> usize {
        let state = self.state.lock();
        state.changes.len() + state.all_files().iter().map(|file| file.lock().undecided()).sum::<usize>()
    }

    /// Calls `each` with everything that a crash at this moment would decide about.
    pub fn for_each_piece(&self, mut each: impl FnMut(&Piece<'_>)) {
        let state = self.state.lock();
        for (number, _) in &state.changes {
            each(&Piece::Name { writers: &[*number] });
        }
        for file in state.all_files() {
            file.lock().for_each_piece(&mut each);
        }
    }

    /// Plans a failure. Several may be planned; the one planned last decides if two meet.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().plan.add(fault);
    }

    /// Plans a failure from the operation of this number on (the first operation of a storage has number 0): what it says
    /// of operations that succeed first counts from there.
    pub fn fail_from(&self, number: u64, fault: Fault) {
        self.state.lock().plan.add_from(number, fault);
    }

    /// Whether a failure is still to come.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        !self.state.lock().plan.is_empty()
    }

    /// Turns the power off during the operation of this number (the first operation of a storage has number 0): that
    /// operation is left half done and fails, all later ones fail without effect.
    pub fn stop_at(&self, number: u64) {
        self.state.lock().plan.stop_at(number);
    }

    /// Whether the operation given to [`CrashStorage::stop_at`] is still to come.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.state.lock().plan.has_power()
    }

    /// Forgets all planned failures, and turns the power on again.
    pub fn clear_faults(&self) {
        self.state.lock().plan.clear();
    }

    /// Limits the space of all files together, counted in blocks of 4 KiB; beyond it writes fail with
    /// [`StorageFull`](io::ErrorKind::StorageFull). A removed file's space comes back once its removal is durable.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.space.set_capacity(bytes);
    }

    /// Bytes in use, in whole blocks.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.space.used()
    }

    /// How often each operation was called so far.
    #[must_use]
    pub fn operations(&self) -> OperationCounts {
        self.state.lock().plan.counts()
    }

    /// Runs an operation on names as the plan has it.
    fn run<T>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut State, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let number = state.plan.counts().total();
        match state.plan.judge(operation) {
            Verdict::Succeed | Verdict::Fail(FaultEffect::Short) => act(&mut state, number),
            Verdict::Fail(effect) => Err(injected(effect, operation)),
            Verdict::PowerIsOff => Err(power_off()),
            Verdict::PowerGoesOff => {
                // The change may reach the disk like any unsynced one.
                let _ = act(&mut state, number);
                Err(power_off())
            }
        }
    }

    fn handle(&self, file: &SharedFile) -> Arc<dyn StorageFile> {
        Arc::new(CrashFile { state: Arc::clone(&self.state), file: Arc::clone(file) })
    }
}

impl Default for CrashStorage {
    fn default() -> Self {
        Self::new()
    }
}

fn power_off() -> io::Error {
    io::Error::other("the power is off")
}

fn injected(effect: FaultEffect, operation: Operation) -> io::Error {
    let kind = match effect {
        FaultEffect::Error(kind) => kind,
        FaultEffect::Short | FaultEffect::Torn => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("planned failure of {operation:?}"))
}

impl State {
    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.names);
        self.changes.push((number, change));
    }

    /// Those with a name, and those that may get one back; each once, in the order of their creation.
    fn all_files(&self) -> Vec<&SharedFile> {
        let named = self.durable_names.values().chain(self.names.values());
        let created = self.changes.iter().filter_map(|(_, change)| match change {
            Change::Create(_, file) => Some(file),
            _ => None,
        });
        let mut files: Vec<(u64, &SharedFile)> =
            named.chain(created).map(|file| (file.lock().id(), file)).collect();
        files.sort_by_key(|(id, _)| *id);
        files.dedup_by_key(|(id, _)| *id);
        files.into_iter().map(|(_, file)| file).collect()
    }

    fn find(&self, name: &str) -> io::Result<&SharedFile> {
        self.names.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for CrashStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        name::check(name)?;
        self.run(Operation::Open, |state, _| state.find(name).map(|file| self.handle(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        name::check(name)?;
        self.run(Operation::Create, |state, number| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = Arc::new(Mutex::new(UnsyncedFile::new(state.next_file, self.space.clone())));
            state.next_file += 1;
            state.change(number, Change::Create(name.to_owned(), Arc::clone(&file)));
            Ok(self.handle(&file))
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.run(Operation::List, |state, _| Ok(state.names.keys().cloned().collect()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        name::check(from)?;
        name::check(to)?;
        self.run(Operation::Rename, |state, number| {
            state.find(from)?;
            if from != to {
                state.change(number, Change::Rename(from.to_owned(), to.to_owned()));
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        name::check(name)?;
        self.run(Operation::Remove, |state, number| {
            state.find(name)?;
            state.change(number, Change::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        match state.plan.judge(Operation::SyncDirectory) {
            Verdict::Succeed | Verdict::Fail(FaultEffect::Short) => {
                state.changes.clear();
                state.durable_names = state.names.clone();
                Ok(())
            }
            Verdict::Fail(effect) => Err(injected(effect, Operation::SyncDirectory)),
            Verdict::PowerGoesOff | Verdict::PowerIsOff => Err(power_off()),
        }
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        name::check(name)?;
        self.run(Operation::Lock, |_, _| Ok(()))?;
        self.locks.lock(name)
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }
}

#[derive(Debug)]
struct CrashFile {
    state: Arc<Mutex<State>>,
    file: SharedFile,
}

impl CrashFile {
    /// What becomes of the next operation, and its number.
    fn judge(&self, operation: Operation) -> (Verdict, u64) {
        let plan = &mut self.state.lock().plan;
        let number = plan.counts().total();
        (plan.judge(operation), number)
    }

    /// Runs an operation whose failure has no half-way state.
    fn run<T>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut UnsyncedFile, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let (verdict, number) = self.judge(operation);
        match verdict {
            Verdict::Succeed | Verdict::Fail(FaultEffect::Short) => act(&mut self.file.lock(), number),
            Verdict::Fail(effect) => Err(injected(effect, operation)),
            Verdict::PowerIsOff => Err(power_off()),
            Verdict::PowerGoesOff => {
                let _ = act(&mut self.file.lock(), number);
                Err(power_off())
            }
        }
    }
}

/// Half of a buffer, at least one byte of it.
fn half(len: usize) -> usize {
    len.div_ceil(2)
}

impl StorageFile for CrashFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.judge(Operation::Read).0 {
            Verdict::Succeed => Ok(self.file.lock().read(buffer, offset)),
            Verdict::Fail(FaultEffect::Short) => {
                let half = half(buffer.len());
                Ok(self.file.lock().read(&mut buffer[..half], offset))
            }
            Verdict::Fail(effect) => Err(injected(effect, Operation::Read)),
            Verdict::PowerGoesOff | Verdict::PowerIsOff => Err(power_off()),
        }
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        let (verdict, number) = self.judge(Operation::Write);
        let written = match verdict {
            Verdict::Succeed | Verdict::PowerGoesOff => buffer,
            Verdict::Fail(FaultEffect::Short | FaultEffect::Torn) => &buffer[..half(buffer.len())],
            Verdict::Fail(effect) => return Err(injected(effect, Operation::Write)),
            Verdict::PowerIsOff => return Err(power_off()),
        };
        self.file.lock().write(written, offset, number)?;
        match verdict {
            Verdict::Fail(FaultEffect::Torn) => Err(injected(FaultEffect::Torn, Operation::Write)),
            Verdict::PowerGoesOff => Err(power_off()),
            _ => Ok(written.len()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.judge(Operation::SyncData).0 {
            Verdict::Succeed | Verdict::Fail(FaultEffect::Short) => {
                self.file.lock().sync();
                Ok(())
            }
            Verdict::Fail(effect) => {
                self.file.lock().fail_sync();
                Err(injected(effect, Operation::SyncData))
            }
            Verdict::PowerGoesOff | Verdict::PowerIsOff => Err(power_off()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.run(Operation::Len, |file, _| Ok(file.len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.run(Operation::SetLen, |file, number| {
            file.set_len(len, number);
            Ok(())
        })
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.run(Operation::Preallocate, |file, number| file.preallocate(offset, len, number))
    }
}

#[cfg(test)]
mod tests;

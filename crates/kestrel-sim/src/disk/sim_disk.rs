//! The disk: its files by name, its plans, and what it counts.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kestrel_io::{
    CrashStorage, Fault, FaultEffect, LockError, Operation, Piece, Storage, StorageFile, StorageLock,
};
use parking_lot::Mutex;

use super::fault::{DiskFault, FaultCounts, FaultPlan, Target};
use super::file::SimFile;
use super::plans::{Call, Plans};
use super::tag::Tag;
use crate::Random;

/// A simulated disk on which everything goes wrong that is planned. Clones are the same disk.
///
/// ```
/// use kestrel_io::{Storage, StorageFile};
/// use kestrel_sim::disk::{DiskFault, FaultPlan, SimDisk, Target, When};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimDisk::new(7);
/// let file = disk.create("kestrel.data")?;
/// disk.plan(FaultPlan { fault: DiskFault::LyingSync, target: Target::Data, when: When::Nth(0) });
/// disk.sync_directory()?;
/// file.write_all_at(b"gone?", 0)?;
/// file.sync_data()?;
/// assert_eq!(disk.fired().of(DiskFault::LyingSync), 1);
/// let _after = disk.crash(1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SimDisk {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) storage: CrashStorage,
    state: Mutex<State>,
    /// Common to all disks that crashes made of one.
    counts: Arc<Mutex<FaultCounts>>,
}

#[derive(Debug)]
struct State {
    plans: Plans,
    random: Random,
    tags: BTreeMap<String, Arc<Tag>>,
    next_tag: u64,
    trace: u64,
    lines: Option<Vec<String>>,
    /// Former sectors are kept once a fault was planned that wants them.
    keeps_former: bool,
}

impl SimDisk {
    /// An empty disk on which nothing is planned.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            plans: Plans::default(),
            random: Random::new(seed),
            tags: BTreeMap::new(),
            next_tag: 0,
            trace: 0,
            lines: None,
            keeps_former: false,
        };
        let shared =
            Shared { storage: CrashStorage::new(), state: Mutex::new(state), counts: Arc::default() };
        SimDisk { shared: Arc::new(shared) }
    }

    /// Plans a fault; the calls it could hit are counted from now on. Of several that meet one call, the one planned first happens.
    pub fn plan(&self, plan: FaultPlan) {
        let mut state = self.shared.state.lock();
        state.keeps_former |= matches!(plan.fault, DiskFault::StaleRead | DiskFault::StaleSector);
        state.plans.add(plan);
    }

    /// Forgets all plans, and turns the power on again.
    pub fn clear_plans(&self) {
        self.shared.state.lock().plans.clear();
        self.shared.storage.clear_faults();
    }

    /// Turns the power off during the operation of this number (the next is [`SimDisk::operations`]): it is left half done and fails,
    /// all later ones fail without effect.
    pub fn stop_at(&self, operation: u64) {
        self.shared.storage.stop_at(operation);
    }

    /// Whether the power is still on.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.shared.storage.has_power()
    }

    /// How many operations there were. A call is one, or two where a fault needs that.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.shared.storage.operations().total()
    }

    /// What a power cut at this moment leaves, as `seed` decides: another disk, unlocked, with the power on and nothing planned.
    /// This one is of no use any more. Counts and trace go on.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimDisk {
        let mut outcome = CrashOutcome::default();
        let mut random = Random::new(seed);
        let manner = Manner::draw(&mut random);
        let storage = self.shared.storage.crash_by(|piece| {
            let choice = manner.choose(piece, &mut random);
            outcome.note(piece, choice);
            choice
        });
        {
            let mut counts = self.shared.counts.lock();
            if !self.has_power() {
                counts.add(DiskFault::PowerOff);
            }
            outcome.faults().for_each(|fault| counts.add(fault));
        }
        let mut old = self.shared.state.lock();
        let mut state = State {
            plans: Plans::default(),
            random: old.random.clone(),
            tags: BTreeMap::new(),
            next_tag: old.next_tag,
            trace: mix(old.trace, seed),
            lines: old.lines.take(),
            keeps_former: old.keeps_former,
        };
        for (name, _) in storage.files() {
            let tag = state.tag(&name);
            if let Some(known) = old.tags.get(&name) {
                tag.inherit(known);
            }
        }
        state.note(|| format!("-- crash, seed {seed}"));
        let shared = Shared { storage, state: Mutex::new(state), counts: Arc::clone(&self.shared.counts) };
        SimDisk { shared: Arc::new(shared) }
    }

    /// How often each fault fired on this disk and those that it became after crashes.
    #[must_use]
    pub fn fired(&self) -> FaultCounts {
        *self.shared.counts.lock()
    }

    /// Limits the space of all files together, in blocks of 4 KiB.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.storage.set_capacity(bytes);
    }

    /// Bytes in use, in whole blocks.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shared.storage.used()
    }

    /// A hash of all calls so far, what they were about and how they ended; not of bytes. The same calls give the same.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.shared.state.lock().trace
    }

    /// Begins to write down all calls, one a line.
    pub fn record(&self) {
        self.shared.state.lock().lines.get_or_insert_default();
    }

    /// What was written down since [`SimDisk::record`].
    #[must_use]
    pub fn recorded(&self) -> Vec<String> {
        self.shared.state.lock().lines.clone().unwrap_or_default()
    }

    /// The disk below, for looking at it and tampering with it without being noticed.
    #[must_use]
    pub fn storage(&self) -> &CrashStorage {
        &self.shared.storage
    }
}

impl Shared {
    /// The fault that a call meets, and a number to decide details by.
    pub(super) fn judge(&self, call: Call, kind: Target) -> (Option<DiskFault>, Random) {
        let mut state = self.state.lock();
        let State { plans, random, .. } = &mut *state;
        let met = if self.storage.has_power() { plans.judge(call, kind, random) } else { None };
        let details = if met.is_some() { random.word() } else { 0 };
        (met, Random::new(details))
    }

    /// A fault had an effect.
    pub(super) fn fired(&self, fault: DiskFault) {
        self.counts.lock().add(fault);
        let mut state = self.state.lock();
        state.plans.fired(fault);
        state.note(|| format!("   fired: {fault}"));
    }

    /// Lets an operation fail below, where it is counted and the power may go off in it.
    pub(super) fn fail_below(&self, operation: Operation, kind: io::ErrorKind) {
        let effect = FaultEffect::Error(kind);
        self.storage.fail(Fault { operation: Some(operation), after: 0, lasting: false, effect });
    }

    pub(super) fn keeps_former(&self) -> bool {
        self.state.lock().keeps_former
    }

    pub(super) fn traced<T>(
        &self,
        call: Operation,
        tag: Option<&Tag>,
        place: (u64, u64),
        outcome: io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let ended = outcome.as_ref().map_or_else(|error| 1 + error.kind() as u64, |_| 0);
        let file = tag.map_or(u64::MAX, |tag| tag.number);
        for number in [call as u64, file, place.0, place.1, ended] {
            state.trace = mix(state.trace, number);
        }
        state.note(|| {
            let name = tag.map(Tag::name).unwrap_or_default();
            let failed = outcome.as_ref().err().map(|error| format!(": {error}")).unwrap_or_default();
            format!("{call:?} {name} {}+{}{failed}", place.0, place.1)
        });
        outcome
    }

    /// Runs an operation on names: it may meet faults that fail it.
    fn on_names<T>(
        &self,
        (operation, call): (Operation, Call),
        name: &str,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let (met, _) = self.judge(call, Target::of(name));
        let kind = match met {
            Some(DiskFault::NoSpace) => Some(io::ErrorKind::StorageFull),
            Some(DiskFault::OverQuota) => Some(io::ErrorKind::QuotaExceeded),
            Some(_) => Some(io::ErrorKind::Other),
            None => None,
        };
        if let (Some(kind), Some(fault)) = (kind, met) {
            self.fail_below(operation, kind);
            self.fired(fault);
        }
        let outcome = act(&mut self.state.lock());
        let tag = self.state.lock().tags.get(name).cloned();
        self.traced(operation, tag.as_deref(), (0, 0), outcome)
    }

    /// A file to which a misdirected write may go: any but the one it was meant for.
    pub(super) fn another_file(&self, not: &str, random: &mut Random) -> Option<(String, u64)> {
        let mut files = self.storage.files();
        files.retain(|(name, len)| name != not && *len > 0);
        (!files.is_empty()).then(|| files.swap_remove(random.index(files.len())))
    }
}

impl State {
    fn tag(&mut self, name: &str) -> Arc<Tag> {
        let next = &mut self.next_tag;
        let tag = self.tags.entry(name.to_owned()).or_insert_with(|| {
            *next += 1;
            Arc::new(Tag::new(*next - 1, name))
        });
        Arc::clone(tag)
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }
}

fn mix(hash: u64, number: u64) -> u64 {
    Random::new(hash.rotate_left(17) ^ number).word()
}

impl Storage for SimDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let shared = &self.shared;
        shared.on_names((Operation::Open, Call::Name), name, |state| {
            let below = shared.storage.open(name)?;
            Ok(SimFile::handle(shared, state.tag(name), below))
        })
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let shared = &self.shared;
        shared.on_names((Operation::Create, Call::Create), name, |state| {
            let below = shared.storage.create(name)?;
            Ok(SimFile::handle(shared, state.tag(name), below))
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.shared.on_names((Operation::List, Call::Name), "", |_| self.shared.storage.list())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.shared.on_names((Operation::Rename, Call::Name), from, |state| {
            self.shared.storage.rename(from, to)?;
            if let Some(tag) = state.tags.remove(from) {
                tag.rename(to);
                if let Some(replaced) = state.tags.insert(to.to_owned(), tag) {
                    replaced.rename("");
                }
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.shared.on_names((Operation::Remove, Call::Name), name, |state| {
            self.shared.storage.remove(name)?;
            if let Some(tag) = state.tags.remove(name) {
                tag.rename("");
            }
            Ok(())
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        let shared = &self.shared;
        let (met, _) = shared.judge(Call::SyncDirectory, Target::Others);
        let outcome = match met {
            Some(DiskFault::LyingDirectorySync) => {
                let mut undecided = false;
                shared.storage.for_each_piece(|piece| undecided |= matches!(piece, Piece::Name { .. }));
                if undecided {
                    shared.fired(DiskFault::LyingDirectorySync);
                }
                // Counted as an operation, as the power may go off in it.
                shared.storage.list().map(drop)
            }
            met => {
                if met.is_some() {
                    shared.fail_below(Operation::SyncDirectory, io::ErrorKind::Other);
                    shared.fired(DiskFault::DirectorySyncError);
                }
                shared.storage.sync_directory()
            }
        };
        shared.traced(Operation::SyncDirectory, None, (0, 0), outcome)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        let (met, _) = self.shared.judge(Call::Name, Target::Others);
        if let Some(fault) = met {
            self.shared.fail_below(Operation::Lock, io::ErrorKind::Other);
            self.shared.fired(fault);
        }
        let outcome = self.shared.storage.lock(name);
        let failed = if outcome.is_err() { Err(io::ErrorKind::Other.into()) } else { Ok(()) };
        let _ = self.shared.traced(Operation::Lock, None, (0, 0), failed);
        outcome
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }
}

/// How a crash decides.
enum Manner {
    Nothing,
    Everything,
    /// Each piece by itself, kept with this chance in 16.
    Pieces(u64),
    /// All pieces of a write together, kept with this chance in 16; but those of one write in four by themselves.
    Writes(u64, u64),
    /// Everything before one operation and nothing after.
    Prefix(u64),
}

impl Manner {
    fn draw(random: &mut Random) -> Manner {
        match random.below(16) {
            0 => Manner::Nothing,
            1 => Manner::Everything,
            2..=6 => Manner::Pieces([1, 4, 8, 12, 15][random.index(5)]),
            7..=12 => Manner::Writes([2, 5, 8, 11, 14][random.index(5)], random.word()),
            _ => Manner::Prefix(random.word()),
        }
    }

    fn choose(&self, piece: &Piece<'_>, random: &mut Random) -> usize {
        let newest = piece.alternatives() - 1;
        match *self {
            Manner::Nothing => 0,
            Manner::Everything => newest,
            Manner::Pieces(share) => {
                if random.chance(share, 16) {
                    newest
                } else {
                    random.index(newest)
                }
            }
            Manner::Writes(share, salt) => piece.keeping(|writer| {
                let mut of_write = Random::new(salt ^ writer);
                if of_write.chance(1, 4) { random.chance(1, 2) } else { of_write.chance(share, 16) }
            }),
            // Roughly the last hundred operations are the ones that anything is undecided about.
            Manner::Prefix(salt) => {
                let last = piece.writers().last().copied().unwrap_or(0);
                let cut = (last / 128 * 128) + salt % 128;
                piece.keeping(|writer| writer < cut)
            }
        }
    }
}

/// What a crash did to the operations that were not synced.
#[derive(Default)]
struct CrashOutcome {
    /// By operation: whether a piece of it was kept (or something newer), and whether one was lost.
    operations: BTreeMap<u64, (bool, bool)>,
    names_lost: bool,
}

impl CrashOutcome {
    fn note(&mut self, piece: &Piece<'_>, choice: usize) {
        for (index, &writer) in piece.writers().iter().enumerate() {
            let kept = index < choice;
            let (some, none) = self.operations.entry(writer).or_default();
            *some |= kept;
            *none |= !kept;
        }
        self.names_lost |= choice == 0 && matches!(piece, Piece::Name { .. });
    }

    fn faults(&self) -> impl Iterator<Item = DiskFault> {
        let torn = self.operations.values().any(|&(kept, lost)| kept && lost);
        let lost = self.operations.values().any(|&(_, lost)| lost);
        let first_lost =
            self.operations.iter().find(|(_, (kept, lost))| *lost && !kept).map(|(&number, _)| number);
        let reordered =
            first_lost.is_some_and(|first| self.operations.range(first..).any(|(_, &(kept, _))| kept));
        [
            (torn, DiskFault::TornAtCrash),
            (reordered, DiskFault::ReorderedAtCrash),
            (lost, DiskFault::LostAtCrash),
            (self.names_lost, DiskFault::NameLostAtCrash),
        ]
        .into_iter()
        .filter_map(|(happened, fault)| happened.then_some(fault))
    }
}

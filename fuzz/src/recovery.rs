//! Crashes, and crashes inside recovery, with and without damage besides.
//!
//! The input is a sequence of work on a simulated disk that may lose its power at any operation. What the crash leaves of
//! each unsynced piece is the input's choice, too. Recovery may lose the power again, up to three times. Then
//! the judge looks at what is there:
//! 1. Without damage the database opens, `verify` is content, and its state is one that it had, no older than the
//!    newest that was promised to be durable. Work goes on with it.
//! 2. With damage it opens or says why not. What can be read of it is a state that it had: as far as no checksum was
//!    forged. Of what was promised something may be missing only if the log itself was damaged, and then nothing that the
//!    newest checkpoint held. It bears being verified and closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kestrel_io::CrashStorage;
use kestreldb::{Database, Durability, Error, ErrorKind};

use crate::allowance::Allowance;
use crate::files::{Files, Noticed};
use crate::input::Input;
use crate::model::Map;
use crate::open_database::{Trees, contents};
use crate::repair;

/// So much input is a long workload already.
const STEPS_MAX: usize = 300;
const CRASHES_MAX: usize = 8;
/// How often recovery is interrupted.
const DEPTH_MAX: usize = 3;
const BUDGET: u64 = 2 << 20;
const NAMES: [&str; 3] = ["a", "a", "another tree"];

/// How a step went.
#[derive(PartialEq, Eq)]
enum Power {
    On,
    Off,
}

struct World {
    storage: CrashStorage,
    db: Option<Database>,
    /// Every state since the database was created, of which the last may be one that a crash took back.
    states: Vec<Trees>,
    /// The newest state that was promised to be durable.
    durable: usize,
    /// The newest state that a checkpoint is known to hold.
    checkpointed: usize,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let storage = CrashStorage::new();
    let mut world = World { storage, db: None, states: vec![Trees::new()], durable: 0, checkpointed: 0 };
    if input.one_in(8) {
        // Already its creation may be interrupted.
        world.plan_power_cut(&mut input);
    }
    world.db = open(&world.storage).ok();
    for _ in 0..CRASHES_MAX {
        world.work(&mut input);
        world.crash(&mut input);
        if input.one_in(3) {
            world.damage(&mut input);
            return;
        }
        world.recover(&mut input);
        if input.is_empty() {
            break;
        }
    }
}

fn open(storage: &CrashStorage) -> Result<Database, Error> {
    let builder = Database::builder().background(false).memory_budget(BUDGET).log_segment_size(64 << 10);
    builder.checkpoint_log_bytes(96 << 10).open_with_storage(Arc::new(storage.clone()))
}

impl World {
    fn plan_power_cut(&self, input: &mut Input<'_>) {
        let operations = if input.one_in(2) { input.below(16) } else { input.below(300) };
        self.storage.stop_at(self.storage.operations().total() + operations as u64);
    }

    /// Works until the power goes off or the input says so.
    fn work(&mut self, input: &mut Input<'_>) {
        let Some(db) = self.db.clone() else { return };
        let mut cut = false;
        for _ in 0..STEPS_MAX {
            if input.is_empty() {
                return;
            }
            let done = match input.below(16) {
                0 => return,
                1 if !cut => {
                    cut = true;
                    self.plan_power_cut(input);
                    Power::On
                }
                2 => self.promise(db.flush()),
                3 => {
                    let at = self.states.len() - 1;
                    let done = self.promise(db.checkpoint());
                    if done == Power::On {
                        self.checkpointed = at;
                    }
                    done
                }
                4 => self.settle(db.maintain().map(drop)),
                _ => self.commit(&db, input),
            };
            if done == Power::Off {
                return;
            }
        }
    }

    /// Errors of the storage mean that the power is off; there are no others.
    fn settle(&self, result: Result<(), Error>) -> Power {
        match result {
            Ok(()) => Power::On,
            Err(error) => {
                assert!(!self.storage.has_power(), "{error}");
                Power::Off
            }
        }
    }

    /// What has been committed is durable if the call succeeds.
    fn promise(&mut self, result: Result<(), Error>) -> Power {
        let done = self.settle(result);
        if done == Power::On {
            self.durable = self.states.len() - 1;
        }
        done
    }

    fn commit(&mut self, db: &Database, input: &mut Input<'_>) -> Power {
        let durability = if input.one_in(2) { Durability::Immediate } else { Durability::Eventual };
        let mut next = self.states.last().cloned().unwrap_or_default();
        let changes = changes(input);
        let name = NAMES[input.below(NAMES.len())];
        let map = next.entry(name.to_owned()).or_default();
        for (key, value) in &changes {
            match value {
                Some(value) => drop(map.insert(key.clone(), value.clone())),
                None => drop(map.remove(key)),
            }
        }
        if input.one_in(16) {
            next.remove(NAMES[2]);
        }
        let drops = !next.contains_key(NAMES[2]);
        let written = (|| {
            let txn = db.begin_write_with(db.write_options().durability(durability))?;
            let tree = txn.tree(name)?;
            for (key, value) in &changes {
                match value {
                    Some(value) => txn.put(&tree, key, value)?,
                    None => drop(txn.delete(&tree, key)?),
                }
            }
            if drops && txn.existing_tree(NAMES[2])?.is_some() {
                txn.drop_tree(NAMES[2])?;
            }
            txn.commit().map(drop)
        })();
        let is_over_budget = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::OverBudget);
        if is_over_budget {
            return Power::On;
        }
        let done = self.settle(written);
        // A transaction that wrote nothing promises nothing, either.
        let wrote = changes.iter().any(|(_, value)| value.is_some()) || self.states.last() != Some(&next);
        // If it failed, it is there wholly or not at all.
        self.states.push(next);
        if done == Power::On && wrote && durability == Durability::Immediate {
            self.durable = self.states.len() - 1;
        }
        done
    }

    /// The power goes off now, if it has not yet.
    fn crash(&mut self, input: &mut Input<'_>) {
        self.storage = crashed(&self.storage, input);
        // What it does while it is dropped reaches the old disk only.
        self.db = None;
    }

    /// Opens until it is let, and judges. Nothing was damaged.
    fn recover(&mut self, input: &mut Input<'_>) {
        self.storage = interrupted(self.storage.clone(), input);
        let db = open(&self.storage).expect("a crash is no damage");
        let found = contents(&db).expect("a crash is no damage");
        let Some(at) = self.states.iter().rposition(|state| *state == found) else {
            panic!("after the crash the state is none of the {} that it had", self.states.len());
        };
        assert!(
            self.durable <= at,
            "state {at} after the crash, {} was promised to be durable",
            self.durable
        );
        assert_eq!(db.verify().expect("a crash is no damage").damages, []);
        self.states.truncate(at + 1);
        self.durable = at;
        self.db = Some(db);
    }

    /// Damages what the crash left, and judges what comes of it.
    fn damage(&self, input: &mut Input<'_>) {
        let before = Files::of(&self.storage);
        let mut files = before.clone();
        let mut noticed = files.vandalise(input);
        if input.one_in(4)
            && let Some(database) = before.database()
        {
            noticed = Noticed::Perhaps;
            repair::all(&mut files, database);
        }
        let storage = interrupted(files.crash_storage(), input);
        let _allowance = Allowance::new(4 * files.bytes(), BUDGET as usize);
        let log_is_whole = before.log().eq(files.log());
        let db = match open(&storage) {
            Ok(db) => db,
            Err(error) => {
                assert!(before != files, "nothing was damaged: {error}");
                let kinds = [
                    ErrorKind::Corrupted,
                    ErrorKind::NotADatabase,
                    ErrorKind::NewerFormat,
                    ErrorKind::OverBudget,
                ];
                assert!(kinds.contains(&error.kind()), "{error}");
                return;
            }
        };
        let is_new = files.data().next().is_none();
        if noticed == Noticed::Surely && !is_new {
            let data_is_whole = before.data().eq(files.data());
            let least = match (log_is_whole, data_is_whole) {
                (true, _) => self.durable,
                (false, true) => self.checkpointed,
                (false, false) => 0,
            };
            self.judge(&db, least);
        }
        db.verify().expect("damage is reported, not an error");
        // Whether that succeeds depends on where the damage is.
        let _ = db.close();
    }

    /// Whatever can be read belongs to one state, not older than `least`.
    fn judge(&self, db: &Database, least: usize) {
        let possible = self.states.iter().enumerate().skip(least);
        match contents(db) {
            Ok(found) => {
                assert!(
                    possible.clone().any(|(_, state)| *state == found),
                    "the database holds what it never held"
                );
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
                let readable = readable(db, &self.states);
                let fits = |state: &Trees| {
                    let stored = |(name, key): &(&str, Vec<u8>)| {
                        state.get(*name).and_then(|map| map.get(key)).cloned()
                    };
                    readable.iter().all(|(place, value)| stored(place) == *value)
                };
                assert!(possible.clone().any(|(_, state)| fits(state)), "what can be read is from no state");
            }
        }
    }
}

/// What a crash leaves of a disk.
fn crashed(storage: &CrashStorage, input: &mut Input<'_>) -> CrashStorage {
    match input.below(4) {
        0 => storage.crash_with(|_| 0),
        1 => storage.crash_with(|alternatives| alternatives - 1),
        2 => storage.crash(u64::from(input.word())),
        _ => storage.crash_with(|alternatives| input.below(alternatives)),
    }
}

/// Opens, with the power going off on the way, as often as the input says.
fn interrupted(mut storage: CrashStorage, input: &mut Input<'_>) -> CrashStorage {
    for _ in 0..input.below(DEPTH_MAX + 1) {
        let operations = if input.one_in(2) { input.below(8) } else { input.below(120) };
        storage.stop_at(storage.operations().total() + operations as u64);
        let db = open(&storage);
        let after = crashed(&storage, input);
        drop(db);
        storage = after;
    }
    storage
}

/// Every key that ever was in one of the trees, and what it holds, as far as that can be read.
fn readable<'s>(db: &Database, states: &'s [Trees]) -> BTreeMap<(&'s str, Vec<u8>), Option<Vec<u8>>> {
    let entries = states.iter().flatten();
    let keys: BTreeSet<(&str, &Vec<u8>)> =
        entries.flat_map(|(name, map)| map.keys().map(|key| (name.as_str(), key))).collect();
    let mut found = BTreeMap::new();
    let Ok(txn) = db.begin_read() else { return found };
    for (name, key) in keys {
        let value = match txn.existing_tree(name) {
            Ok(Some(tree)) => txn.get(&tree, key),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if let Ok(value) = value {
            found.insert((name, key.clone()), value.map(|value| value.to_vec()));
        }
    }
    found
}

/// What a transaction does to its tree.
fn changes(input: &mut Input<'_>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    // Many large changes are more than a journal holds: it goes to the log in fragments.
    let (count, len_max) = match input.below(16) {
        0 => (60 + input.below(60), 900),
        1 => (2, 70_000),
        2 => (20, 300),
        _ => (1 + input.below(4), 60),
    };
    let seed = usize::from(input.short());
    let mut changes = Map::new();
    let mut removed = BTreeSet::new();
    for number in 0..count {
        let at = seed.wrapping_mul(31).wrapping_add(number * 7919);
        let key = format!("key-{:03}", at % 120).into_bytes();
        if at.is_multiple_of(5) {
            changes.remove(&key);
            removed.insert(key);
        } else {
            removed.remove(&key);
            changes.insert(key, vec![at as u8; at % len_max]);
        }
    }
    let puts = changes.into_iter().map(|(key, value)| (key, Some(value)));
    puts.chain(removed.into_iter().map(|key| (key, None))).collect()
}

//! The whole database against ordered maps: several transactions at once, snapshots, savepoints, trees that come and go,
//! checkpoints, closing, and crashes.
//!
//! What is checked: every operation gives what the model gives. A serializable transaction that commits gives the same
//! outcomes when it is done again, by the model, on the state at its commit. A conflict happens only if somebody
//! committed meanwhile. After a crash the state is one of those since the last that was promised to be durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use kestrel_io::CrashStorage;
use kestreldb::{Database, Durability, ErrorKind, Isolation, ReadTxn};

use crate::allowance::Allowance;
use crate::execute::{Writing, read};
use crate::input::Input;
use crate::model::{Map, Model, Op, Outcome, State};

/// Open transactions of each kind.
const OPEN_MAX: usize = 3;
/// So much input is a long workload already.
const STEPS_MAX: usize = 2000;

struct Writer {
    writing: Writing,
    model: Model,
    /// What was done, what came of it, and the number of the tree it was done to.
    done: Vec<(Op, Outcome, Option<u64>)>,
    isolation: Isolation,
    durability: Durability,
    /// How many commits that wrote there were before it began.
    began_at: u64,
}

struct World {
    storage: CrashStorage,
    db: Database,
    page_size: u32,
    /// The states since the last durable one, which is the first, up to now.
    states: Vec<State>,
    commits: u64,
    trees: u64,
    readers: Vec<(ReadTxn, State)>,
    writers: Vec<Writer>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    // What the simulated disk keeps counts as well.
    let _allowance = Allowance::new(16 << 20, 8 << 20);
    let mut input = Input::new(data);
    let page_size = [4096, 4096, 16384][input.below(3)];
    let storage = CrashStorage::new();
    let db = open(&storage, page_size);
    let (states, readers, writers) = (vec![State::new()], Vec::new(), Vec::new());
    let mut world = World { storage, db, page_size, states, commits: 0, trees: 0, readers, writers };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.check();
    world.crash(u64::from(input.word()));
    world.reopen();
}

fn open(storage: &CrashStorage, page_size: u32) -> Database {
    let builder = Database::builder().page_size(page_size).background(false);
    let builder = builder.memory_budget(8 << 20).log_segment_size(64 << 10).checkpoint_log_bytes(128 << 10);
    builder.open_with_storage(Arc::new(storage.clone())).expect("a sound database opens")
}

impl World {
    fn now(&self) -> &State {
        self.states.last().expect("there is always a state")
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(32) {
            0 if self.writers.len() < OPEN_MAX => self.begin(input),
            1 if self.readers.len() < OPEN_MAX => {
                let reader = self.db.begin_read().expect("snapshots are cheap");
                self.readers.push((reader, self.now().clone()));
            }
            2 if !self.readers.is_empty() => drop(self.readers.swap_remove(input.below(self.readers.len()))),
            3..6 if !self.writers.is_empty() => {
                let writer = self.writers.swap_remove(input.below(self.writers.len()));
                self.commit(writer);
            }
            6 if !self.writers.is_empty() => drop(self.writers.swap_remove(input.below(self.writers.len()))),
            7 => drop(self.db.maintain().expect("no fault was planned")),
            8 if input.one_in(2) => self.db.checkpoint().expect("no fault was planned"),
            9 => {
                self.db.flush().expect("no fault was planned");
                self.states.drain(..self.states.len() - 1);
            }
            10 if input.one_in(4) => self.check(),
            11 if input.one_in(4) => self.reopen(),
            12 if input.one_in(4) => self.crash(u64::from(input.word())),
            13..17 if !self.readers.is_empty() => {
                let (reader, state) = &self.readers[input.below(self.readers.len())];
                let op = reading(input);
                let outcome = read(reader, &op).expect("a sound database can be read");
                assert_eq!(outcome, Model::new(state.clone()).apply(&op), "{op:?}");
            }
            _ => {
                if self.writers.is_empty() {
                    self.begin(input);
                }
                self.operate(input);
            }
        }
    }

    fn begin(&mut self, input: &mut Input<'_>) {
        let isolation = if input.one_in(4) { Isolation::Snapshot } else { Isolation::Serializable };
        let durability = if input.one_in(2) { Durability::Eventual } else { Durability::Immediate };
        let options = self.db.write_options().isolation(isolation).durability(durability);
        let txn = self.db.begin_write_with(options).expect("a transaction begins");
        self.writers.push(Writer {
            writing: Writing { txn, savepoints: Vec::new() },
            model: Model::new(self.now().clone()),
            done: Vec::new(),
            isolation,
            durability,
            began_at: self.commits,
        });
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let index = input.below(self.writers.len());
        let writer = &mut self.writers[index];
        self.trees += 1;
        let op = writing(input, writer.model.savepoints.len(), self.trees);
        let tree = op.tree().and_then(|name| writer.model.state.get(name)).map(|(number, _)| *number);
        match writer.writing.execute(&op) {
            Ok(outcome) => {
                assert_eq!(outcome, writer.model.apply(&op), "{op:?}");
                writer.done.push((op, outcome, tree));
            }
            // Told early what the commit would have said.
            Err(error) if error.is_conflict() => {
                assert!(writer.began_at < self.commits, "{error}");
                self.writers.swap_remove(index);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::OverBudget, "{op:?}: {error}"),
        }
    }

    fn commit(&mut self, writer: Writer) {
        let Writer { writing, done, isolation, durability, began_at, .. } = writer;
        match writing.txn.commit() {
            Ok(_) => {
                let mut model = Model::new(self.now().clone());
                self.commits += u64::from(done.iter().any(|(op, ..)| op.writes()));
                // Without writes its place in the order is that of its snapshot, where all was found right already.
                let wrote = done.iter().any(|(op, outcome, _)| op.has_written(outcome));
                for (op, outcome, tree) in done.into_iter().filter(|_| wrote) {
                    if isolation == Isolation::Serializable {
                        assert_eq!(model.apply(&op), outcome, "{op:?}: not serializable");
                    } else if let Some(op) = op.without_reads(&outcome, || model.name_of(tree)) {
                        model.apply(&op);
                    }
                }
                if model.state != *self.now() {
                    self.states.push(model.state);
                }
                if wrote && durability == Durability::Immediate {
                    self.states.drain(..self.states.len() - 1);
                }
            }
            Err(error) if error.is_conflict() => assert!(began_at < self.commits, "{error}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::OverBudget, "{error}"),
        }
    }

    /// Everything is in order, and what it should be.
    fn check(&self) {
        let report = self.db.verify().expect("a sound database can be read");
        assert_eq!(report.damages, []);
        assert_eq!(contents(&self.db), maps(self.now()));
        assert_eq!(report.entries, self.now().values().map(|(_, map)| map.len() as u64).sum::<u64>());
    }

    fn drop_transactions(&mut self) {
        self.readers.clear();
        self.writers.clear();
    }

    fn reopen(&mut self) {
        self.drop_transactions();
        self.db.clone().close().expect("no fault was planned");
        assert_eq!(self.db.begin_read().map(drop).map_err(|error| error.kind()), Err(ErrorKind::Closed));
        self.db = open(&self.storage, self.page_size);
        assert_eq!(contents(&self.db), maps(self.now()));
        self.states.drain(..self.states.len() - 1);
    }

    fn crash(&mut self, seed: u64) {
        let crashed = self.storage.crash(seed);
        self.drop_transactions();
        self.storage = crashed;
        self.db = open(&self.storage, self.page_size);
        let found = contents(&self.db);
        let Some(state) = self.states.iter().rposition(|state| maps(state) == found) else {
            panic!("after the crash the state is none of the {} that may be", self.states.len());
        };
        self.states = vec![self.states.swap_remove(state)];
        self.check();
    }
}

fn maps(state: &State) -> BTreeMap<String, Map> {
    state.iter().map(|(name, (_, map))| (name.clone(), map.clone())).collect()
}

fn contents(db: &Database) -> BTreeMap<String, Map> {
    let txn = db.begin_read().expect("snapshots are cheap");
    let mut found = BTreeMap::new();
    for info in txn.trees().expect("readable") {
        let tree = txn.existing_tree(&info.name).expect("readable").expect("a tree that is listed is there");
        let entries = txn.range(&tree, ..).expect("readable").map(|entry| entry.expect("readable"));
        let map = entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Map>();
        assert_eq!((info.entries, txn.len(&tree).expect("readable")), (map.len() as u64, map.len() as u64));
        found.insert(info.name, map);
    }
    found
}

fn reading(input: &mut Input<'_>) -> Op {
    let tree = name(input);
    match input.below(8) {
        0 => Op::Len(tree),
        1 => Op::Trees,
        2..5 => Op::Range(tree, input.ends(key), input.short().into()),
        _ => Op::Get(tree, key(input)),
    }
}

/// `number`: what a new tree gets.
fn writing(input: &mut Input<'_>, savepoints: usize, number: u64) -> Op {
    let tree = name(input);
    match input.below(40) {
        0 => Op::PopFirst(tree),
        1 => Op::PopLast(tree),
        2..4 => Op::RemoveRange(tree, input.ends(key)),
        4..7 => Op::CreateTree(tree, number),
        7 => Op::DropTree(tree),
        8 => Op::RenameTree(tree, name(input)),
        9 => Op::Savepoint,
        10 if savepoints > 0 => Op::RollBack(input.below(savepoints)),
        11 if savepoints > 0 => Op::Release(input.below(savepoints)),
        12..16 => Op::Insert(tree, key(input), value(input)),
        16..21 => Op::Remove(tree, key(input)),
        21..30 => Op::Put(tree, key(input), value(input)),
        _ => reading(input),
    }
}

fn name(input: &mut Input<'_>) -> String {
    ["a", "a", "a", "b", "c", "another tree"][input.below(6)].to_owned()
}

fn key(input: &mut Input<'_>) -> Vec<u8> {
    let number = input.byte();
    match input.below(8) {
        0 => vec![number; usize::from(input.short()) % 1025],
        1 => vec![0; usize::from(number)],
        2 => Vec::new(),
        3..5 => format!("/usr/share/doc/package-{:03}/file-{number}", number / 7).into_bytes(),
        _ => vec![number],
    }
}

fn value(input: &mut Input<'_>) -> Vec<u8> {
    let len = match input.below(16) {
        0 => usize::from(input.short()),
        1..4 => usize::from(input.short()) % 3000,
        _ => input.below(200),
    };
    vec![input.byte(); len]
}

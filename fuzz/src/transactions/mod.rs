//! Several transactions at once, step by step, at both isolation levels, with cursors that stay open and savepoints.
//!
//! The target `api_model` asks what comes of a workload; this one asks who gets through, and knows for each transaction
//! exactly what it has touched (`view.rs`). What must hold:
//! 1. Every operation gives what the transaction's snapshot and its own writes say; a read transaction's what the
//!    state at its timestamp says, however long it stays.
//! 2. A transaction that wrote nothing commits.
//! 3. *Conflicts have a cause*: somebody who committed since it began wrote a key, or a stretch of keys, that it wrote, or at the
//!    serializable level read. What a cursor was asked for and did not reach is no cause.
//! 4. *No update is lost*: of two that were open at once and changed the same key, at most one commits.
//! 5. *There is a serial order*: a serializable transaction, done again on the state before its commit, gets the same
//!    outcomes. Commits have ascending timestamps, and whoever begins later sees them.

mod claims;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use kestrel_io::MemoryStorage;
use kestreldb::{
    CommitTicket, Database, Durability, Error, ErrorKind, Isolation, Range, ReadTxn, Savepoint, Timestamp,
    Tree, WriteTxn,
};

use crate::allowance::Allowance;
use crate::input::Input;
use claims::Claim;
use view::{Maps, Op, Outcome, TREES, Touched, View};

/// Open transactions of each kind.
const OPEN_MAX: usize = 4;
/// So much input is a long workload already.
const STEPS_MAX: usize = 1500;
const CURSORS_MAX: usize = 4;
const SAVEPOINTS_MAX: usize = 6;
const BUDGET: usize = 2 << 20;

/// A write transaction.
struct Writer {
    txn: WriteTxn,
    savepoints: Vec<Savepoint>,
    cursors: Vec<Range>,
    view: View,
    done: Vec<(Op, Outcome)>,
    touched: Touched,
    isolation: Isolation,
    durability: Durability,
    /// How many commits were there when it began.
    began: usize,
}

/// A read transaction.
struct Reader {
    txn: ReadTxn,
    cursors: Vec<Range>,
    view: View,
}

/// What a commit wrote.
struct Commit {
    writes: Vec<Claim>,
    changed: Vec<(usize, Vec<u8>)>,
}

struct World {
    storage: MemoryStorage,
    db: Database,
    trees: [Tree; TREES],
    /// The state at each commit's timestamp.
    states: BTreeMap<u64, Maps>,
    /// The newest commit that everybody was told of.
    told: u64,
    commits: Vec<Commit>,
    tickets: Vec<CommitTicket>,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let _allowance = Allowance::new(16 << 20, BUDGET);
    let mut input = Input::new(data);
    let mut world = World::new([4096, 4096, 8192][input.below(3)]);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

fn open(storage: &MemoryStorage, page_size: u32) -> Database {
    let builder = Database::builder().page_size(page_size).background(false);
    let builder = builder.memory_budget(BUDGET as u64).log_segment_size(64 << 10);
    builder.open_with_storage(Arc::new(storage.clone())).expect("a sound database opens")
}

impl World {
    fn new(page_size: u32) -> World {
        let storage = MemoryStorage::new();
        let db = open(&storage, page_size);
        let trees = ["a", "b"].map(|name| db.tree(name).expect("there is room for two trees"));
        let start = db.begin_write().expect("a transaction begins").timestamp().0;
        World {
            storage,
            db,
            trees,
            states: BTreeMap::from([(start, Maps::default())]),
            told: start,
            commits: Vec::new(),
            tickets: Vec::new(),
            writers: Vec::new(),
            readers: Vec::new(),
        }
    }

    fn now(&self) -> (u64, &Maps) {
        let (at, maps) = self.states.last_key_value().expect("there is always a state");
        (*at, maps)
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(32) {
            0 | 1 if self.writers.len() < OPEN_MAX => self.begin_write(input),
            2 if self.readers.len() < OPEN_MAX => self.begin_read(),
            3..6 if !self.writers.is_empty() => {
                let writer = self.writers.swap_remove(input.below(self.writers.len()));
                self.commit(writer, input);
            }
            6 if !self.writers.is_empty() => drop(self.writers.swap_remove(input.below(self.writers.len()))),
            7 if !self.readers.is_empty() => drop(self.readers.swap_remove(input.below(self.readers.len()))),
            8 => drop(self.db.maintain().expect("memory does not fail")),
            9 if input.one_in(2) => {
                self.db.checkpoint().expect("memory does not fail");
                self.told = self.now().0;
            }
            10 => self.wait(input),
            11..16 if !self.readers.is_empty() => {
                let reader = input.below(self.readers.len());
                self.read(reader, input);
            }
            _ => {
                if self.writers.is_empty() {
                    self.begin_write(input);
                }
                let writer = input.below(self.writers.len());
                self.operate(writer, input);
            }
        }
    }

    fn begin_write(&mut self, input: &mut Input<'_>) {
        let isolation = if input.one_in(3) { Isolation::Snapshot } else { Isolation::Serializable };
        let durability = if input.one_in(2) { Durability::Eventual } else { Durability::Immediate };
        let options = self.db.write_options().isolation(isolation).durability(durability);
        let txn = self.db.begin_write_with(options).expect("a transaction begins");
        let (at, maps) = self.now();
        assert_eq!(txn.timestamp().0, at, "a write transaction begins with the newest commit");
        self.writers.push(Writer {
            txn,
            savepoints: Vec::new(),
            cursors: Vec::new(),
            view: View::new(maps.clone()),
            done: Vec::new(),
            touched: Touched::default(),
            isolation,
            durability,
            began: self.commits.len(),
        });
    }

    fn begin_read(&mut self) {
        let txn = self.db.begin_read().expect("a transaction begins");
        let at = txn.timestamp().0;
        assert!(self.told <= at && at <= self.now().0, "a reader does not see what everybody was told of");
        let (_, maps) = self.states.range(..=at).next_back().expect("a state for every timestamp");
        let view = View::new(maps.clone());
        self.readers.push(Reader { txn, cursors: Vec::new(), view });
    }

    fn wait(&mut self, input: &mut Input<'_>) {
        if self.tickets.is_empty() {
            self.db.flush().expect("memory does not fail");
            self.told = self.now().0;
            return;
        }
        let ticket = self.tickets.swap_remove(input.below(self.tickets.len()));
        if input.one_in(3) {
            return;
        }
        let at = ticket.wait().expect("memory does not fail");
        assert!(ticket.is_done() && at == ticket.timestamp());
        self.told = self.told.max(at.0);
    }

    fn read(&mut self, index: usize, input: &mut Input<'_>) {
        let Reader { txn, cursors, view } = &mut self.readers[index];
        let op = reading(input, view);
        let found = match &op {
            Op::Get(tree, key) => txn.get(&self.trees[*tree], key).map(|value| Outcome::Value(owned(value))),
            Op::Len(tree) => txn.len(&self.trees[*tree]).map(Outcome::Count),
            Op::First(tree) => txn.first(&self.trees[*tree]).map(entry),
            Op::Last(tree) => txn.last(&self.trees[*tree]).map(entry),
            Op::Open(tree, ends) => {
                txn.range(&self.trees[*tree], ends.clone()).map(|range| opened(cursors, range))
            }
            other => on_cursors(cursors, other),
        };
        let (expected, _) = view.apply(&op);
        assert_eq!(found.expect("a sound database can be read"), expected, "{op:?}");
    }

    fn operate(&mut self, index: usize, input: &mut Input<'_>) {
        let writer = &mut self.writers[index];
        let op = writing(input, &writer.view);
        let found = writer.execute(&self.trees, &op);
        let (expected, touched) = writer.view.apply(&op);
        writer.touched.add(touched);
        match found {
            Ok(outcome) => {
                assert_eq!(outcome, expected, "{op:?}");
                writer.done.push((op, outcome));
            }
            Err(error) => {
                let writer = self.writers.swap_remove(index);
                // Told early what the commit would have said; or there is no room.
                assert!(error.kind() == ErrorKind::OverBudget || self.has_cause(&writer), "{op:?}: {error}");
            }
        }
    }

    /// Whether the conflict of a transaction has a cause.
    fn has_cause(&self, writer: &Writer) -> bool {
        let Touched { reads, writes, .. } = &writer.touched;
        let reads = reads.iter().filter(|_| writer.isolation == Isolation::Serializable);
        let touched: Vec<&Claim> = reads.chain(writes).collect();
        let later = self.commits[writer.began..].iter().flat_map(|commit| &commit.writes);
        later.into_iter().any(|written| touched.iter().any(|claim| claim.meets(written)))
    }

    fn commit(&mut self, writer: Writer, input: &mut Input<'_>) {
        let has_cause = self.has_cause(&writer);
        let Writer { txn, view, done, touched, isolation, durability, began, .. } = writer;
        let wrote = !touched.writes.is_empty();
        let asynchronous = input.one_in(4);
        let result = if asynchronous { txn.commit_async().map(Err) } else { txn.commit().map(Ok) };
        let at = match result {
            Ok(Ok(at)) => at,
            Ok(Err(ticket)) => {
                let at = ticket.timestamp();
                self.tickets.push(ticket);
                at
            }
            Err(error) if error.is_conflict() => {
                assert!(wrote && has_cause, "a conflict without a cause: {error}");
                return;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OverBudget, "{error}");
                return;
            }
        };
        if !wrote {
            assert!(at.0 <= self.now().0);
            return;
        }
        let lost = self.commits[began..]
            .iter()
            .flat_map(|commit| &commit.changed)
            .find(|key| touched.changed.contains(key));
        assert_eq!(lost, None, "two that were open at once changed the same key");
        self.publish(at, isolation, &view, done, touched);
        if !asynchronous && durability == Durability::Immediate {
            self.told = self.told.max(at.0);
        }
    }

    /// A commit has its place: behind all others.
    fn publish(
        &mut self,
        at: Timestamp,
        isolation: Isolation,
        view: &View,
        done: Vec<(Op, Outcome)>,
        touched: Touched,
    ) {
        let (newest, now) = self.now();
        assert!(newest < at.0, "timestamps ascend");
        let next = match isolation {
            Isolation::Serializable => {
                let mut again = View::new(now.clone());
                for (op, outcome) in done {
                    assert_eq!(again.apply(&op).0, outcome, "{op:?}: not serializable");
                }
                again.maps
            }
            Isolation::Snapshot => {
                let mut next = now.clone();
                for claim in &touched.writes {
                    next[claim.tree].retain(|key, _| !claim.holds(key));
                    let own = view.maps[claim.tree].iter().filter(|(key, _)| claim.holds(key));
                    next[claim.tree].extend(own.map(|(key, value)| (key.clone(), value.clone())));
                }
                next
            }
        };
        self.states.insert(at.0, next);
        self.commits.push(Commit { writes: touched.writes, changed: touched.changed });
    }

    /// Everything is in order, now and after opening again.
    fn end(self) {
        let World { storage, db, states, trees, .. } = self;
        let (_, maps) = states.last_key_value().expect("there is always a state");
        drop((self.writers, self.readers, self.tickets, trees));
        let page_size = db.page_size();
        check(&db, maps);
        db.close().expect("memory does not fail");
        check(&open(&storage, page_size), maps);
    }
}

fn check(db: &Database, maps: &Maps) {
    assert_eq!(db.verify().expect("memory does not fail").damages, []);
    db.flush().expect("memory does not fail");
    for (name, map) in ["a", "b"].iter().zip(maps) {
        let tree = db.tree(name).expect("it was created");
        let entries = tree.range(..).expect("readable").map(|entry| entry.expect("readable"));
        assert!(
            entries.map(|(key, value)| (key.to_vec(), value.to_vec())).eq(map.clone()),
            "{name} holds something else"
        );
        assert_eq!(tree.len().expect("readable"), map.len() as u64);
    }
}

impl Touched {
    fn add(&mut self, more: Touched) {
        self.reads.extend(more.reads);
        self.writes.extend(more.writes);
        self.changed.extend(more.changed);
    }
}

impl Writer {
    fn execute(&mut self, trees: &[Tree; TREES], op: &Op) -> Result<Outcome, Error> {
        let txn = &self.txn;
        Ok(match op {
            Op::Get(tree, key) => Outcome::Value(owned(txn.get(&trees[*tree], key)?)),
            Op::Len(tree) => Outcome::Count(txn.len(&trees[*tree])?),
            Op::First(tree) => entry(txn.first(&trees[*tree])?),
            Op::Last(tree) => entry(txn.last(&trees[*tree])?),
            Op::Put(tree, key, value) => {
                txn.put(&trees[*tree], key, value)?;
                Outcome::Done
            }
            Op::Insert(tree, key, value) => Outcome::Value(owned(txn.insert(&trees[*tree], key, value)?)),
            Op::Remove(tree, key) => Outcome::Value(owned(txn.remove(&trees[*tree], key)?)),
            Op::Delete(tree, key) => Outcome::Existed(txn.delete(&trees[*tree], key)?),
            Op::Swap(tree, key, expected, value) => {
                let swapped = txn.compare_and_swap(&trees[*tree], key, expected.as_deref(), Some(value))?;
                Outcome::Swapped(swapped.map_err(|mismatch| owned(mismatch.current)))
            }
            Op::PopFirst(tree) => entry(txn.pop_first(&trees[*tree])?),
            Op::PopLast(tree) => entry(txn.pop_last(&trees[*tree])?),
            Op::RemoveRange(tree, ends) => Outcome::Count(txn.remove_range(&trees[*tree], ends.clone())?),
            Op::Open(tree, ends) => opened(&mut self.cursors, txn.range(&trees[*tree], ends.clone())?),
            Op::Step(..) | Op::Close(_) => on_cursors(&mut self.cursors, op)?,
            Op::Savepoint => {
                self.savepoints.push(txn.savepoint()?);
                Outcome::Done
            }
            Op::RollBack(number) => {
                txn.rollback_to(self.savepoints[*number])?;
                self.savepoints.truncate(number + 1);
                Outcome::Done
            }
            Op::Release(number) => {
                txn.release(self.savepoints[*number])?;
                self.savepoints.truncate(*number);
                Outcome::Done
            }
        })
    }
}

fn opened(cursors: &mut Vec<Range>, range: Range) -> Outcome {
    cursors.push(range);
    Outcome::Done
}

fn on_cursors(cursors: &mut Vec<Range>, op: &Op) -> Result<Outcome, Error> {
    match *op {
        Op::Step(cursor, back) => {
            let item = if back { cursors[cursor].next_back() } else { cursors[cursor].next() };
            Ok(entry(item.transpose()?))
        }
        Op::Close(cursor) => {
            drop(cursors.swap_remove(cursor));
            Ok(Outcome::Done)
        }
        ref other => unreachable!("{other:?} is about no cursor"),
    }
}

fn owned(value: Option<kestreldb::Value>) -> Option<Vec<u8>> {
    value.map(|value| value.to_vec())
}

fn entry(entry: Option<(kestreldb::Key, kestreldb::Value)>) -> Outcome {
    Outcome::Entry(entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
}

fn reading(input: &mut Input<'_>, view: &View) -> Op {
    let tree = input.below(TREES);
    match input.below(16) {
        0 => Op::Len(tree),
        1 => Op::First(tree),
        2 => Op::Last(tree),
        3 if view.cursors() > 0 => Op::Close(input.below(view.cursors())),
        4..6 if view.cursors() < CURSORS_MAX => Op::Open(tree, input.ends(key)),
        6..12 if view.cursors() > 0 => {
            let cursor = input.below(view.cursors());
            Op::Step(cursor, input.one_in(2))
        }
        _ => Op::Get(tree, key(input)),
    }
}

fn writing(input: &mut Input<'_>, view: &View) -> Op {
    let tree = input.below(TREES);
    let savepoints = view.savepoints.len();
    match input.below(48) {
        0 => Op::PopFirst(tree),
        1 => Op::PopLast(tree),
        2..4 => Op::RemoveRange(tree, input.ends(key)),
        4 if savepoints < SAVEPOINTS_MAX => Op::Savepoint,
        5 if savepoints > 0 => Op::RollBack(input.below(savepoints)),
        6 if savepoints > 0 => Op::Release(input.below(savepoints)),
        7..10 => Op::Insert(tree, key(input), value(input)),
        10..12 => Op::Remove(tree, key(input)),
        12..15 => Op::Delete(tree, key(input)),
        15..17 => {
            let key = key(input);
            let old = view.maps[tree].get(&key).cloned();
            let expected = if input.one_in(4) { None } else { old };
            Op::Swap(tree, key, expected, value(input))
        }
        17..27 => Op::Put(tree, key(input), value(input)),
        _ => reading(input, view),
    }
}

/// Few keys, so that transactions meet; some of them long, so that there are several leaves.
fn key(input: &mut Input<'_>) -> Vec<u8> {
    let number = input.byte() % 32;
    let mut key = vec![b'a' + number % 4, number];
    if number.is_multiple_of(3) {
        key.resize(2 + 33 * usize::from(number), b'-');
    }
    key
}

fn value(input: &mut Input<'_>) -> Vec<u8> {
    let len = match input.below(16) {
        0 => usize::from(input.short()) % 20_000,
        1..3 => usize::from(input.short()) % 1500,
        _ => input.below(40),
    };
    vec![input.byte(); len]
}

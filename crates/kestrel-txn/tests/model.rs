//! Random histories against maps: several trees, savepoints, snapshots, cursors from both ends, background work, reopening
//! and crashes, in small pools and with all page sizes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::CrashStorage;
use kestrel_txn::{Durability, Engine, EngineOptions, Error, Isolation, ReadTxn, TreeId, WriteTxn};
use proptest::prelude::*;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Trees = BTreeMap<String, Map>;

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u16, u32),
    Insert(u8, u16, u32),
    Delete(u8, u16),
    Remove(u8, u16),
    DeleteRange(u8, u16, u16),
    Scan(u8, u16, u16, Vec<bool>),
    Savepoint,
    RollBack(usize),
    Create(u8),
    Drop(u8),
    Rename(u8, u8),
}

#[derive(Clone, Debug)]
enum Step {
    Transaction(Vec<Op>, End),
    Snapshot,
    DropSnapshot(usize),
    Check(usize, u16),
    Maintain,
    Checkpoint,
    Reopen,
    Crash(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Immediate,
    Eventual,
    Abort,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    page_size: u32,
    /// Length of keys besides their number.
    key_tail: usize,
    value_max: usize,
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape { page_size: 4096, key_tail: 0, value_max: 60 }),
        Just(Shape { page_size: 4096, key_tail: 200, value_max: 900 }),
        Just(Shape { page_size: 4096, key_tail: 1020, value_max: 20_000 }),
        Just(Shape { page_size: 8192, key_tail: 30, value_max: 1500 }),
        Just(Shape { page_size: 16_384, key_tail: 5, value_max: 200_000 }),
        Just(Shape { page_size: 65_536, key_tail: 4000, value_max: 9000 }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => any::<(u8, u16, u32)>().prop_map(|(t, k, v)| Op::Put(t, k, v)),
        4 => any::<(u8, u16, u32)>().prop_map(|(t, k, v)| Op::Insert(t, k, v)),
        3 => any::<(u8, u16)>().prop_map(|(t, k)| Op::Delete(t, k)),
        2 => any::<(u8, u16)>().prop_map(|(t, k)| Op::Remove(t, k)),
        1 => any::<(u8, u16, u16)>().prop_map(|(t, a, b)| Op::DeleteRange(t, a, b)),
        1 => (any::<(u8, u16, u16)>(), proptest::collection::vec(any::<bool>(), 0..30))
            .prop_map(|((t, a, b), turns)| Op::Scan(t, a, b, turns)),
        1 => Just(Op::Savepoint),
        1 => any::<usize>().prop_map(Op::RollBack),
        1 => any::<u8>().prop_map(Op::Create),
        1 => any::<u8>().prop_map(Op::Drop),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Op::Rename(a, b)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![3 => Just(End::Immediate), 2 => Just(End::Eventual), 1 => Just(End::Abort)];
    prop_oneof![
        10 => (proptest::collection::vec(op(), 0..60), end).prop_map(|(ops, end)| Step::Transaction(ops, end)),
        2 => Just(Step::Snapshot),
        1 => any::<usize>().prop_map(Step::DropSnapshot),
        2 => any::<(usize, u16)>().prop_map(|(at, key)| Step::Check(at, key)),
        3 => Just(Step::Maintain),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// Few keys, so that operations meet; ascending numbers spread over leaves.
fn key(number: u16, shape: Shape) -> Vec<u8> {
    let number = number % 700;
    if number == 0 {
        return Vec::new();
    }
    let mut key = format!("{number:04}").into_bytes();
    key.resize(4 + shape.key_tail * usize::from(number % 3) / 2, b'k');
    key
}

fn value(seed: u32, shape: Shape) -> Vec<u8> {
    let len =
        if seed.is_multiple_of(11) { seed as usize % (shape.value_max + 1) } else { seed as usize % 120 };
    (0..len).map(|at| (seed as usize + at * 31) as u8).collect()
}

fn name(number: u8) -> String {
    format!("tree {}", number % 4)
}

struct World {
    shape: Shape,
    storage: CrashStorage,
    engine: Option<Engine>,
    trees: Trees,
    snapshots: Vec<(ReadTxn, Trees)>,
    /// States that a crash may lead to: the one made durable last, and those of later commits.
    possible: Vec<Trees>,
}

fn options(shape: Shape) -> EngineOptions {
    EngineOptions {
        page_size: shape.page_size,
        memory_budget: u64::from(shape.page_size) * 96,
        log_segment_size: 64 << 10,
        ..EngineOptions::default()
    }
}

impl World {
    fn new(shape: Shape) -> World {
        let storage = CrashStorage::new();
        let engine = Engine::open(Arc::new(storage.clone()), &options(shape)).unwrap();
        World {
            shape,
            storage,
            engine: Some(engine),
            trees: Trees::new(),
            snapshots: Vec::new(),
            possible: vec![Trees::new()],
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Transaction(ops, end) => self.transaction(ops, end),
            Step::Snapshot => {
                if self.snapshots.len() < 3 {
                    self.snapshots.push((self.engine().begin_read().unwrap(), self.trees.clone()));
                }
            }
            Step::DropSnapshot(at) => {
                if !self.snapshots.is_empty() {
                    let at = at % self.snapshots.len();
                    self.snapshots.swap_remove(at);
                }
            }
            Step::Check(at, number) => {
                if let Some((snapshot, trees)) = self.snapshots.get(at % self.snapshots.len().max(1)) {
                    check_read(snapshot, trees);
                    let key = key(number, self.shape);
                    for (name, map) in trees {
                        let tree = snapshot.tree(name).unwrap().unwrap();
                        assert_eq!(
                            snapshot.get(tree, &key).unwrap().as_deref(),
                            map.get(&key).map(|v| &v[..])
                        );
                        assert_eq!(snapshot.contains(tree, &key).unwrap(), map.contains_key(&key));
                    }
                }
            }
            Step::Maintain => {
                for _ in 0..50 {
                    if !self.engine().maintain().unwrap() {
                        break;
                    }
                }
            }
            Step::Checkpoint => {
                self.engine().checkpoint().unwrap();
                self.possible = vec![self.trees.clone()];
            }
            Step::Reopen => {
                self.snapshots.clear();
                let engine = self.engine.take().unwrap();
                engine.close().unwrap();
                drop(engine);
                self.open();
                self.possible = vec![self.trees.clone()];
            }
            Step::Crash(seed) => {
                self.snapshots.clear();
                self.engine = None;
                self.storage = self.storage.crash(seed);
                self.open();
                let found = read_all(&self.engine().begin_read().unwrap());
                assert!(self.possible.contains(&found), "no prefix of the commits");
                self.trees = found.clone();
                self.possible = vec![found];
            }
        }
    }

    fn open(&mut self) {
        self.engine = Some(Engine::open(Arc::new(self.storage.clone()), &options(self.shape)).unwrap());
    }

    fn transaction(&mut self, ops: Vec<Op>, end: End) {
        let txn = self.engine().begin_write(Isolation::Serializable).unwrap();
        let mut trees = self.trees.clone();
        let mut savepoints = Vec::new();
        for op in ops {
            run(&txn, &mut trees, &mut savepoints, op, self.shape);
        }
        match end {
            End::Abort => txn.abort(),
            End::Eventual => {
                txn.commit(Durability::Eventual).unwrap();
                self.trees = trees;
                self.possible.push(self.trees.clone());
            }
            End::Immediate => {
                txn.commit(Durability::Immediate).unwrap();
                let changed = self.trees != trees;
                self.trees = trees;
                if changed {
                    self.possible = vec![self.trees.clone()];
                } else {
                    self.possible.push(self.trees.clone());
                }
            }
        }
        check_read(&self.engine().begin_read().unwrap(), &self.trees);
    }
}

fn tree_of(txn: &WriteTxn, trees: &Trees, number: u8) -> Option<(TreeId, String)> {
    let name = name(number);
    let tree = txn.tree(&name).unwrap();
    assert_eq!(tree.is_some(), trees.contains_key(&name));
    tree.map(|tree| (tree, name))
}

fn run(
    txn: &WriteTxn,
    trees: &mut Trees,
    savepoints: &mut Vec<(kestrel_txn::SavepointId, Trees)>,
    op: Op,
    shape: Shape,
) {
    match op {
        Op::Put(tree, k, v) => {
            let Some((tree, name)) = tree_of(txn, trees, tree) else { return };
            txn.put(tree, &key(k, shape), &value(v, shape)).unwrap();
            trees.get_mut(&name).unwrap().insert(key(k, shape), value(v, shape));
        }
        Op::Insert(tree, k, v) => {
            let Some((tree, name)) = tree_of(txn, trees, tree) else { return };
            let old = txn.insert(tree, &key(k, shape), &value(v, shape)).unwrap();
            let expected = trees.get_mut(&name).unwrap().insert(key(k, shape), value(v, shape));
            assert_eq!(old.as_deref(), expected.as_deref());
        }
        Op::Delete(tree, k) => {
            let Some((tree, name)) = tree_of(txn, trees, tree) else { return };
            let existed = txn.delete(tree, &key(k, shape)).unwrap();
            assert_eq!(existed, trees.get_mut(&name).unwrap().remove(&key(k, shape)).is_some());
        }
        Op::Remove(tree, k) => {
            let Some((tree, name)) = tree_of(txn, trees, tree) else { return };
            let old = txn.remove(tree, &key(k, shape)).unwrap();
            assert_eq!(old.as_deref(), trees.get_mut(&name).unwrap().remove(&key(k, shape)).as_deref());
        }
        Op::DeleteRange(tree, a, b) => {
            let Some((tree, name)) = tree_of(txn, trees, tree) else { return };
            // Mostly short ranges.
            let (low, high) =
                (key(a, shape), key(if b.is_multiple_of(4) { b } else { a.saturating_add(b % 50) }, shape));
            let removed = txn.remove_range(tree, Bound::Included(&low), Bound::Excluded(&high)).unwrap();
            let map = trees.get_mut(&name).unwrap();
            let before = map.len();
            map.retain(|key, _| *key < low || *key >= high);
            assert_eq!(removed as usize, before - map.len());
        }
        Op::Scan(tree, a, b, turns) => {
            let Some((tree, name)) = tree_of(txn, trees, tree) else { return };
            let (low, high) = (key(a, shape), key(b, shape));
            let cursor = txn.range(tree, Bound::Excluded(&low), Bound::Included(&high)).unwrap();
            let expected = trees[&name].iter().filter(|(key, _)| **key > low && **key <= high);
            compare(cursor, expected, turns);
        }
        Op::Savepoint => savepoints.push((txn.savepoint().unwrap(), trees.clone())),
        Op::RollBack(at) => {
            if !savepoints.is_empty() {
                savepoints.truncate(at % savepoints.len() + 1);
                let (savepoint, saved) = savepoints.last().unwrap();
                txn.rollback_to(*savepoint).unwrap();
                trees.clone_from(saved);
            }
        }
        Op::Create(number) => {
            let name = name(number);
            assert_eq!(txn.create_tree(&name).is_ok(), !trees.contains_key(&name));
            trees.entry(name).or_default();
        }
        Op::Drop(number) => {
            let name = name(number);
            assert_eq!(txn.drop_tree(&name).is_ok(), trees.remove(&name).is_some());
        }
        Op::Rename(a, b) => {
            let (from, to) = (name(a), name(b));
            let possible = trees.contains_key(&from) && (from == to || !trees.contains_key(&to));
            assert_eq!(txn.rename_tree(&from, &to).is_ok(), possible);
            if possible {
                let map = trees.remove(&from).unwrap();
                trees.insert(to, map);
            }
        }
    }
}

/// Compares a cursor with a map's entries, taking from either end in turns, then from the front.
fn compare<'m>(
    mut cursor: impl DoubleEndedIterator<Item = Result<(Vec<u8>, kestrel_txn::Value), Error>>,
    mut expected: impl DoubleEndedIterator<Item = (&'m Vec<u8>, &'m Vec<u8>)>,
    turns: Vec<bool>,
) {
    for from_back in turns.into_iter().chain(std::iter::repeat(false)) {
        let (found, wanted) = if from_back {
            (cursor.next_back(), expected.next_back())
        } else {
            (cursor.next(), expected.next())
        };
        let found = found.map(|found| found.unwrap());
        assert_eq!(found.as_ref().map(|(key, _)| key), wanted.map(|(key, _)| key));
        assert_eq!(found.as_ref().map(|(_, value)| &value[..]), wanted.map(|(_, value)| &value[..]));
        if found.is_none() {
            assert!(cursor.next().is_none() && cursor.next_back().is_none());
            return;
        }
    }
}

fn check_read(txn: &ReadTxn, trees: &Trees) {
    let listed = txn.trees().unwrap();
    assert_eq!(listed.iter().map(|tree| &tree.name).collect::<Vec<_>>(), trees.keys().collect::<Vec<_>>());
    for tree in listed {
        let map = &trees[&tree.name];
        assert_eq!(tree.entries as usize, map.len());
        assert_eq!(txn.len(tree.id).unwrap() as usize, map.len());
        compare(txn.range(tree.id, Bound::Unbounded, Bound::Unbounded).unwrap(), map.iter(), vec![]);
        compare(
            txn.range(tree.id, Bound::Unbounded, Bound::Unbounded).unwrap().rev(),
            map.iter().rev(),
            vec![true],
        );
    }
}

fn read_all(txn: &ReadTxn) -> Trees {
    let mut all = Trees::new();
    for tree in txn.trees().unwrap() {
        let entries = txn.range(tree.id, Bound::Unbounded, Bound::Unbounded).unwrap();
        let map = entries
            .map(|entry| entry.map(|(key, value)| (key, value.to_vec())))
            .collect::<Result<_, _>>()
            .unwrap();
        all.insert(tree.name, map);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_is_that_of_maps(shape in shape(), steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(shape);
        for number in 0..3 {
            world.apply(Step::Transaction(vec![Op::Create(number)], End::Immediate));
        }
        for step in steps {
            world.apply(step);
        }
        let report = world.engine().verify(&mut |_, _| {}).unwrap();
        prop_assert_eq!(report.damages, []);
    }
}

//! An engine, a model of it, and transactions that do the same on both: whatever the engine returns is held against the model.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::MemoryStorage;
use kestrel_txn::{
    Cursor, Durability, Engine, EngineOptions, ErrorKind, Isolation, ReadTxn, SavepointId, TreeId, WriteTxn,
};

use crate::model::{Change, Tree, Trees, find};
use crate::schedule::Key;

/// What lies beside the keys of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// Nothing.
    Bare,
    /// A guard before and one behind each key, at which half scans can stop.
    Guarded,
    /// And so many others that each key has leaves of its own.
    Apart,
}

/// Two leaves of entries between a key and each of its guards.
const FILLERS: usize = 60;

pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// An engine with the tree `t`, used for many cases.
pub(crate) struct World {
    engine: Engine,
    pub(crate) state: Trees,
}

enum Handle {
    Write(WriteTxn),
    Read(ReadTxn),
}

/// A transaction on the engine and on the model.
pub(crate) struct Txn {
    handle: Handle,
    pub(crate) view: Trees,
    changes: Vec<Change>,
    savepoints: Vec<(SavepointId, usize, Trees)>,
    cursor: Option<OpenCursor>,
}

/// A cursor that is kept between steps, and where its ends stand.
struct OpenCursor {
    cursor: Cursor,
    tree: TreeId,
    front: Bound<Vec<u8>>,
    back: Bound<Vec<u8>>,
}

/// From which end a scan comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Forwards,
    Backwards,
    /// An entry from the front, one from the back, and so on.
    BothEnds,
}

/// What the tree `t` holds when a case begins, with these values under the keys `k1` and so on.
pub(crate) fn initial(layout: Layout, values: &[(u8, u32)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    for number in 1..=4 {
        let key = Key::new("t", number);
        if layout != Layout::Bare {
            entries.insert(key.beside("a"), b"guard".to_vec());
            entries.insert(key.beside("z"), b"guard".to_vec());
        }
        for filler in (0..FILLERS).filter(|_| layout == Layout::Apart) {
            entries.insert(key.beside(&format!("c{filler:02}")), vec![b'-'; 120]);
            entries.insert(key.beside(&format!("p{filler:02}")), vec![b'-'; 120]);
        }
    }
    for &(number, value) in values {
        entries.insert(Key::new("t", number).bytes, value.to_string().into_bytes());
    }
    entries
}

impl World {
    pub(crate) fn new() -> World {
        let options =
            EngineOptions { memory_budget: 8 << 20, log_segment_size: 1 << 20, ..EngineOptions::default() };
        let engine = Engine::open(Arc::new(MemoryStorage::new()), &options).unwrap();
        let mut world = World { engine, state: Trees::new() };
        let mut txn = world.begin(Isolation::Serializable);
        txn.create_tree("t");
        assert!(world.commit(txn));
        world
    }

    /// Brings the trees to what a case begins with: `t` with these entries, and others that are empty.
    pub(crate) fn reset(&mut self, entries: &BTreeMap<Vec<u8>, Vec<u8>>, others: &[&str]) {
        let mut txn = self.begin(Isolation::Snapshot);
        let tree = find(&self.state, "t");
        for (&id, old) in self.state.iter().filter(|(id, _)| Some(**id) != tree) {
            assert!(self.state.contains_key(&id));
            txn.drop_tree(&old.name.clone());
        }
        let tree = tree.unwrap_or_else(|| txn.create_tree("t"));
        let old = txn.view[&tree].entries.clone();
        for key in old.keys().filter(|key| !entries.contains_key(*key)) {
            txn.delete(tree, key);
        }
        for (key, value) in entries.iter().filter(|(key, value)| old.get(*key) != Some(value)) {
            txn.put(tree, key, value);
        }
        for name in others {
            txn.create_tree(name);
        }
        assert!(self.commit(txn));
        while self.engine.maintain().unwrap() {}
    }

    pub(crate) fn begin(&self, level: Isolation) -> Txn {
        self.txn(Handle::Write(self.engine.begin_write(level).unwrap()))
    }

    pub(crate) fn begin_read(&self) -> Txn {
        self.txn(Handle::Read(self.engine.begin_read().unwrap()))
    }

    fn txn(&self, handle: Handle) -> Txn {
        Txn { handle, view: self.state.clone(), changes: Vec::new(), savepoints: Vec::new(), cursor: None }
    }

    /// Whether it was no conflict.
    pub(crate) fn commit(&mut self, txn: Txn) -> bool {
        let Handle::Write(write) = txn.handle else { return true };
        match write.commit(Durability::Eventual) {
            Ok(_) => {
                for change in txn.changes {
                    change.apply(&mut self.state);
                }
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                false
            }
        }
    }

    /// Holds all that there is against the model.
    pub(crate) fn check(&self) {
        let read = self.engine.begin_read().unwrap();
        let found: Trees = read
            .trees()
            .unwrap()
            .into_iter()
            .map(|info| {
                let entries = read.range(info.id, Bound::Unbounded, Bound::Unbounded).unwrap();
                let entries: BTreeMap<_, _> =
                    entries.map(Result::unwrap).map(|(key, value)| (key, value.to_vec())).collect();
                assert_eq!(info.entries, entries.len() as u64);
                (info.id, Tree { name: info.name, entries })
            })
            .collect();
        assert_eq!(found, self.state);
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> u64 {
        self.engine.statistics().pages
    }

    /// How many commits had to run their operations again.
    pub(crate) fn replays(&self) -> u64 {
        self.engine.statistics().replays
    }

    pub(crate) fn verify(&self) {
        assert_eq!(self.engine.verify(&mut |_, _| {}).unwrap().damages, []);
    }
}

impl Txn {
    /// The tree of a name, as the transaction has it; no read of it.
    pub(crate) fn id(&self, name: &str) -> TreeId {
        find(&self.view, name).unwrap_or_else(|| panic!("there is no tree {name}"))
    }

    fn write(&self) -> &WriteTxn {
        match &self.handle {
            Handle::Write(txn) => txn,
            Handle::Read(_) => panic!("a read transaction does not write"),
        }
    }

    pub(crate) fn can_write(&self) -> bool {
        matches!(self.handle, Handle::Write(_))
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.view);
        self.changes.push(change);
    }

    pub(crate) fn get(&self, tree: TreeId, key: &[u8]) -> Option<Vec<u8>> {
        let value = match &self.handle {
            Handle::Write(txn) => txn.get(tree, key).unwrap(),
            Handle::Read(txn) => txn.get(tree, key).unwrap(),
        };
        let value = value.map(|value| value.to_vec());
        assert_eq!(value.as_ref(), self.view[&tree].entries.get(key));
        value
    }

    pub(crate) fn contains(&self, tree: TreeId, key: &[u8]) -> bool {
        let found = match &self.handle {
            Handle::Write(txn) => txn.contains(tree, key).unwrap(),
            Handle::Read(txn) => txn.contains(tree, key).unwrap(),
        };
        assert_eq!(found, self.view[&tree].entries.contains_key(key));
        found
    }

    fn range(&self, tree: TreeId, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Cursor {
        match &self.handle {
            Handle::Write(txn) => txn.range(tree, low, high).unwrap(),
            Handle::Read(txn) => txn.range(tree, low, high).unwrap(),
        }
    }

    /// Scans between bounds, up to and including the first entry that `stop` wants.
    pub(crate) fn scan(
        &self,
        tree: TreeId,
        (low, high): (Bound<&[u8]>, Bound<&[u8]>),
        way: Way,
        stop: impl Fn(&[u8]) -> bool,
    ) -> Entries {
        let mut cursor = self.range(tree, low, high);
        let mut expected = self.view[&tree].entries.range::<[u8], _>((low, high));
        let mut found = Entries::new();
        loop {
            let back = way == Way::Backwards || way == Way::BothEnds && found.len() % 2 == 1;
            let next = if back { cursor.next_back() } else { cursor.next() };
            let next = next.map(|entry| entry.unwrap()).map(|(key, value)| (key, value.to_vec()));
            let model = if back { expected.next_back() } else { expected.next() };
            assert_eq!(next.as_ref().map(|(key, value)| (key, value)), model);
            let Some(entry) = next else { return found };
            found.push(entry);
            if stop(&found[found.len() - 1].0) {
                return found;
            }
        }
    }

    pub(crate) fn scan_all(&self, tree: TreeId, way: Way) -> Entries {
        self.scan(tree, (Bound::Unbounded, Bound::Unbounded), way, |_| false)
    }

    /// Scans between bounds that cross.
    pub(crate) fn scan_empty(&self, tree: TreeId, (low, high): (Bound<&[u8]>, Bound<&[u8]>)) -> Entries {
        self.range(tree, low, high)
            .map(|entry| entry.unwrap())
            .map(|(key, value)| (key, value.to_vec()))
            .collect()
    }

    /// Opens a cursor that stays.
    pub(crate) fn open(&mut self, tree: TreeId) {
        let cursor = self.range(tree, Bound::Unbounded, Bound::Unbounded);
        self.cursor = Some(OpenCursor { cursor, tree, front: Bound::Unbounded, back: Bound::Unbounded });
    }

    /// The next entry of the open cursor that `keep` wants. The model is the view as it is now.
    pub(crate) fn next(&mut self, back: bool, keep: impl Fn(&[u8]) -> bool) -> Option<(Vec<u8>, Vec<u8>)> {
        let open = self.cursor.as_mut().unwrap();
        loop {
            let next = if back { open.cursor.next_back() } else { open.cursor.next() };
            let next = next.map(|entry| entry.unwrap()).map(|(key, value)| (key, value.to_vec()));
            let mut left = self.view[&open.tree].entries.iter().filter(|(key, _)| {
                !matches!(&open.front, Bound::Excluded(front) if *key <= front)
                    && !matches!(&open.back, Bound::Excluded(back) if *key >= back)
            });
            let expected = if back { left.next_back() } else { left.next() };
            assert_eq!(next.as_ref().map(|(key, value)| (key, value)), expected);
            let entry = next?;
            *(if back { &mut open.back } else { &mut open.front }) = Bound::Excluded(entry.0.clone());
            if keep(&entry.0) {
                return Some(entry);
            }
        }
    }

    pub(crate) fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        self.write().put(tree, key, value).unwrap();
        self.change(Change::Put(tree, key.to_vec(), value.to_vec()));
    }

    pub(crate) fn insert(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        let old = self.write().insert(tree, key, value).unwrap().map(|value| value.to_vec());
        assert_eq!(old.as_ref(), self.view[&tree].entries.get(key));
        self.change(Change::Put(tree, key.to_vec(), value.to_vec()));
    }

    pub(crate) fn delete(&mut self, tree: TreeId, key: &[u8]) {
        let existed = self.write().delete(tree, key).unwrap();
        assert_eq!(existed, self.view[&tree].entries.contains_key(key));
        // What is not there is not written, so others may put it meanwhile.
        if existed {
            self.change(Change::Delete(tree, key.to_vec()));
        }
    }

    pub(crate) fn remove(&mut self, tree: TreeId, key: &[u8]) {
        let old = self.write().remove(tree, key).unwrap().map(|value| value.to_vec());
        assert_eq!(old.as_ref(), self.view[&tree].entries.get(key));
        if old.is_some() {
            self.change(Change::Delete(tree, key.to_vec()));
        }
    }

    pub(crate) fn delete_range(&mut self, tree: TreeId, low: &[u8], high: &[u8]) {
        let removed =
            self.write().remove_range(tree, Bound::Included(low), Bound::Included(high)).unwrap() as usize;
        let before = self.view[&tree].entries.len();
        if low > high {
            // No key lies between them: nothing is written.
            assert_eq!(removed, 0);
            return;
        }
        self.change(Change::DeleteRange(tree, low.to_vec(), high.to_vec()));
        assert_eq!(removed, before - self.view[&tree].entries.len());
    }

    pub(crate) fn len(&self, tree: TreeId) -> u64 {
        let len = match &self.handle {
            Handle::Write(txn) => txn.len(tree).unwrap(),
            Handle::Read(txn) => txn.len(tree).unwrap(),
        };
        assert_eq!(len, self.view[&tree].entries.len() as u64);
        len
    }

    pub(crate) fn find(&self, name: &str) -> bool {
        let found = match &self.handle {
            Handle::Write(txn) => txn.tree(name).unwrap(),
            Handle::Read(txn) => txn.tree(name).unwrap(),
        };
        assert_eq!(found, find(&self.view, name));
        found.is_some()
    }

    pub(crate) fn trees(&self) {
        let trees = match &self.handle {
            Handle::Write(txn) => txn.trees().unwrap(),
            Handle::Read(txn) => txn.trees().unwrap(),
        };
        let found: BTreeMap<TreeId, (&str, u64)> =
            trees.iter().map(|info| (info.id, (info.name.as_str(), info.entries))).collect();
        let expected =
            self.view.iter().map(|(id, tree)| (*id, (tree.name.as_str(), tree.entries.len() as u64)));
        assert_eq!(found, expected.collect());
    }

    pub(crate) fn create_tree(&mut self, name: &str) -> TreeId {
        let id = self.write().create_tree(name).unwrap();
        self.change(Change::Create(id, name.to_owned()));
        id
    }

    pub(crate) fn drop_tree(&mut self, name: &str) {
        self.write().drop_tree(name).unwrap();
        self.change(Change::Drop(self.id(name)));
    }

    pub(crate) fn rename_tree(&mut self, from: &str, to: &str) {
        self.write().rename_tree(from, to).unwrap();
        self.change(Change::Rename(self.id(from), to.to_owned()));
    }

    pub(crate) fn savepoint(&mut self) {
        let id = self.write().savepoint().unwrap();
        self.savepoints.push((id, self.changes.len(), self.view.clone()));
    }

    /// To the newest savepoint, which stays.
    pub(crate) fn roll_back(&mut self) {
        let (id, changes, view) = self.savepoints.last().cloned().unwrap();
        self.write().rollback_to(id).unwrap();
        self.changes.truncate(changes);
        self.view = view;
    }

    pub(crate) fn release(&mut self) {
        let (id, ..) = self.savepoints.pop().unwrap();
        self.write().release(id).unwrap();
    }
}

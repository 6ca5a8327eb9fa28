//! The states that the model says are possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use kestreldb::{Database, ReadTxn};
use proptest::test_runner::TestCaseError;

use crate::machine::Failure;

/// The entries of a tree.
pub(crate) type Entries = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// One state of the whole database. Clones share what is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) trees: BTreeMap<String, Arc<Entries>>,
}

impl State {
    /// The tree to write to, created if need be.
    pub(crate) fn tree(&mut self, name: &str) -> &mut Entries {
        Arc::make_mut(self.trees.entry(name.to_owned()).or_default())
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        let entries = self.trees.values().flat_map(|entries| entries.iter());
        entries.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    /// What a snapshot shows, as a state.
    pub(crate) fn of(snapshot: &ReadTxn) -> Result<State, Failure> {
        let mut state = State::default();
        for info in snapshot.trees()? {
            let tree =
                snapshot.existing_tree(&info.name)?.ok_or_else(|| wrong("a listed tree is not there"))?;
            let mut entries = Entries::new();
            for entry in snapshot.range(&tree, ..)? {
                let (key, value) = entry?;
                let last = entries.last_key_value();
                if last.is_some_and(|(last, _)| last[..] >= key[..]) {
                    return Err(wrong(format!("{key:?} is out of order in {}", info.name)));
                }
                entries.insert(key.into_vec(), value[..].into());
            }
            let counts = [entries.len() as u64, info.entries, snapshot.len(&tree)?];
            if counts.iter().any(|&count| count != counts[0]) {
                return Err(wrong(format!("scan, list and len of {} say {counts:?}", info.name)));
            }
            state.trees.insert(info.name, Arc::new(entries));
        }
        Ok(state)
    }

    /// Checks that a snapshot shows exactly this state, scanned forwards and backwards.
    pub(crate) fn compare(&self, snapshot: &ReadTxn) -> Result<(), Failure> {
        let shown = State::of(snapshot)?;
        if shown != *self {
            return Err(wrong(self.difference(&shown)));
        }
        for (name, entries) in &self.trees {
            let tree = snapshot.existing_tree(name)?.ok_or_else(|| wrong("a tree is not there"))?;
            let mut backwards = snapshot.range(&tree, ..)?.rev();
            for expected in entries.iter().rev() {
                let (key, value) = backwards.next().ok_or_else(|| wrong("backwards ends early"))??;
                if (&expected.0[..], &expected.1[..]) != (&key[..], &value[..]) {
                    return Err(wrong(format!("backwards, {name} shows {key:?}")));
                }
            }
            if backwards.next().is_some() {
                return Err(wrong("backwards shows too much"));
            }
        }
        Ok(())
    }

    /// The first difference, in words.
    fn difference(&self, shown: &State) -> String {
        for name in self.trees.keys().chain(shown.trees.keys()) {
            let (Some(expected), Some(found)) = (self.trees.get(name), shown.trees.get(name)) else {
                let there = shown.trees.contains_key(name);
                return format!("the tree {name} is {}", if there { "there" } else { "not there" });
            };
            for key in expected.keys().chain(found.keys()) {
                let lens = [expected.get(key), found.get(key)].map(|value| value.map(|value| value.len()));
                if expected.get(key) != found.get(key) {
                    let key = key.escape_ascii();
                    return format!("{name} at \"{key}\": lengths (expected, found) {lens:?}");
                }
            }
        }
        "none".to_owned()
    }
}

/// The states that a crash may leave, oldest first. The first is known to be durable, the last is the current one.
#[derive(Debug)]
pub(crate) struct History {
    states: Vec<State>,
}

impl History {
    pub(crate) fn new() -> History {
        History { states: vec![State::default()] }
    }

    pub(crate) fn current(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    /// A commit that a crash may or may not take back.
    pub(crate) fn push(&mut self, state: State) {
        self.states.push(state);
    }

    /// All commits so far have become durable.
    pub(crate) fn synced(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    /// What the database shows after a crash has to be one of the states; it is the current one from now on.
    pub(crate) fn crashed(&mut self, db: &Database) -> Result<(), Failure> {
        let found = State::of(&db.begin_read()?)?;
        if !self.states.contains(&found) {
            let differences: Vec<String> = self.states.iter().map(|state| state.difference(&found)).collect();
            return Err(wrong(format!("what the crash left is none of the states before: {differences:?}")));
        }
        self.states = vec![found];
        Ok(())
    }
}

pub(crate) fn wrong(reason: impl Into<String>) -> Failure {
    Failure::Wrong(TestCaseError::fail(reason.into()))
}

//! Doing the changes of a transaction to the database and to the model, and comparing what each call returns.

use std::sync::Arc;

use kestreldb::{ErrorKind, IntoKeyRange, Key, KeyRange, Savepoint, Tree, Value, WriteTxn};

use crate::machine::Failure;
use crate::oracle::{Entries, State, wrong};
use crate::steps::{Change, KeySpec, TREES, ValueSpec};

/// A transaction of the database beside that of the model.
pub(crate) struct Both<'a> {
    pub(crate) tx: &'a WriteTxn,
    pub(crate) state: State,
    pub(crate) limit: usize,
    /// Bytes of keys and values written so far, and of those that savepoints may have to bring back.
    pub(crate) written: u64,
    pub(crate) savepoints: Vec<(Savepoint, State)>,
}

fn name(tree: usize) -> String {
    format!("tree {}", tree % TREES)
}

impl Both<'_> {
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Failure> {
        match *change {
            Change::Put(tree, key, value) => self.put(tree, key, value),
            Change::Insert(tree, key, value) => self.insert(tree, key, value),
            Change::Remove(tree, key) => self.remove(tree, key),
            Change::Delete(tree, key) => self.delete(tree, key),
            Change::Swap(tree, key, right, new) => self.swap(tree, key, right, new),
            Change::Update(tree, key, new) => self.update(tree, key, new),
            Change::Get(tree, key) => self.get(tree, key),
            Change::PopFirst(tree) => {
                let (tree, entries) = self.trees(tree)?;
                let expected = entries.pop_first();
                same_entry(self.tx.pop_first(&tree)?, expected)
            }
            Change::PopLast(tree) => {
                let (tree, entries) = self.trees(tree)?;
                let expected = entries.pop_last();
                same_entry(self.tx.pop_last(&tree)?, expected)
            }
            Change::RemoveRange(tree, low, high) => self.remove_range(tree, low, high),
            Change::Scan { tree, low, high, backwards } => self.scan(tree, low, high, backwards),
            Change::Retain(tree, modulus) => self.retain(tree, modulus),
            Change::Fill { tree, first, stride, count, value } => {
                let keys = (0..count).map(|n| first.wrapping_add(n.wrapping_mul(stride)));
                self.fill(tree, keys, value)
            }
            Change::Append { tree, count, value } => self.append(tree, count, value),
            Change::DropTree(tree) => {
                let was_there = self.state.trees.remove(&name(tree)).is_some();
                same(done(self.tx.drop_tree(name(tree)))?, was_there, "dropped")
            }
            Change::Rename(from, to) => self.rename(&name(from), &name(to)),
            Change::Savepoint => {
                self.written += self.state.bytes();
                let savepoint = self.tx.savepoint()?;
                self.savepoints.push((savepoint, self.state.clone()));
                Ok(())
            }
            Change::Rollback(which) => {
                let Some(which) = which.checked_rem(self.savepoints.len()) else { return Ok(()) };
                self.savepoints.truncate(which + 1);
                let (savepoint, state) = &self.savepoints[which];
                self.tx.rollback_to(*savepoint)?;
                self.state = state.clone();
                Ok(())
            }
            Change::Release(which) => {
                let Some(which) = which.checked_rem(self.savepoints.len()) else { return Ok(()) };
                self.tx.release(self.savepoints[which].0)?;
                self.savepoints.truncate(which);
                Ok(())
            }
        }
    }

    /// A tree of both, created if need be.
    fn trees(&mut self, tree: usize) -> Result<(Tree, &mut Entries), Failure> {
        let name = name(tree);
        Ok((self.tx.tree(&name)?, self.state.tree(&name)))
    }

    fn put(&mut self, tree: usize, key: KeySpec, value: ValueSpec) -> Result<(), Failure> {
        let (key, value) = (key.bytes(self.limit), value.bytes());
        self.written += (key.len() + value.len()) as u64;
        let (tree, entries) = self.trees(tree)?;
        entries.insert(key.clone(), value[..].into());
        Ok(self.tx.put(&tree, key, value)?)
    }

    fn insert(&mut self, tree: usize, key: KeySpec, value: ValueSpec) -> Result<(), Failure> {
        let (key, value) = (key.bytes(self.limit), value.bytes());
        self.written += (key.len() + value.len()) as u64;
        let (tree, entries) = self.trees(tree)?;
        let expected = entries.insert(key.clone(), value[..].into());
        same_value(self.tx.insert(&tree, key, value)?, expected.as_ref())
    }

    fn remove(&mut self, tree: usize, key: KeySpec) -> Result<(), Failure> {
        let key = key.bytes(self.limit);
        let (tree, entries) = self.trees(tree)?;
        let expected = entries.remove(&key);
        same_value(self.tx.remove(&tree, key)?, expected.as_ref())
    }

    fn delete(&mut self, tree: usize, key: KeySpec) -> Result<(), Failure> {
        let key = key.bytes(self.limit);
        let (tree, entries) = self.trees(tree)?;
        let expected = entries.remove(&key).is_some();
        same(self.tx.delete(&tree, key)?, expected, "deleted")
    }

    fn get(&mut self, tree: usize, key: KeySpec) -> Result<(), Failure> {
        let key = key.bytes(self.limit);
        let (tree, entries) = self.trees(tree)?;
        let expected = entries.get(&key).cloned();
        same(self.tx.contains(&tree, &key)?, expected.is_some(), "contains")?;
        same_value(self.tx.get(&tree, key)?, expected.as_ref())
    }

    fn swap(
        &mut self,
        tree: usize,
        key: KeySpec,
        right: bool,
        new: Option<ValueSpec>,
    ) -> Result<(), Failure> {
        let (key, new) = (key.bytes(self.limit), new.map(ValueSpec::bytes));
        self.written += new.as_ref().map_or(0, |new| (key.len() + new.len()) as u64);
        let (tree, entries) = self.trees(tree)?;
        let current = entries.get(&key).cloned();
        if right {
            set(entries, &key, new.as_deref());
            let swapped = self.tx.compare_and_swap(&tree, key, current.as_deref(), new.as_deref())?;
            return same(swapped.is_ok(), true, "swapped");
        }
        let expected = if current.is_some() { None } else { Some(&b"wrong"[..]) };
        match self.tx.compare_and_swap(&tree, key, expected, new.as_deref())? {
            Ok(()) => Err(wrong("swapped against the expectation")),
            Err(mismatch) => same_value(mismatch.current, current.as_ref()),
        }
    }

    fn update(&mut self, tree: usize, key: KeySpec, new: Option<ValueSpec>) -> Result<(), Failure> {
        let (key, new) = (key.bytes(self.limit), new.map(ValueSpec::bytes));
        self.written += new.as_ref().map_or(0, |new| (key.len() + new.len()) as u64);
        let (tree, entries) = self.trees(tree)?;
        let expected = entries.get(&key).cloned();
        set(entries, &key, new.as_deref());
        same_value(self.tx.update(&tree, key, |_| new)?, expected.as_ref())
    }

    fn range(&self, low: KeySpec, high: KeySpec) -> KeyRange {
        let (low, high) = (low.bytes(self.limit), high.bytes(self.limit));
        // The bounds as drawn would be empty half of the time.
        if low > high { (high..low).into_key_range() } else { (low..=high).into_key_range() }
    }

    fn remove_range(&mut self, tree: usize, low: KeySpec, high: KeySpec) -> Result<(), Failure> {
        let range = self.range(low, high);
        let (tree, entries) = self.trees(tree)?;
        let before = entries.len();
        entries.retain(|key, _| !range.contains(key));
        let expected = (before - entries.len()) as u64;
        same(self.tx.remove_range(&tree, &range)?, expected, "removed from the range")
    }

    fn scan(&mut self, tree: usize, low: KeySpec, high: KeySpec, backwards: bool) -> Result<(), Failure> {
        let range = self.range(low, high);
        let (tree, entries) = self.trees(tree)?;
        let expected: Vec<(Vec<u8>, Arc<[u8]>)> = entries
            .iter()
            .filter(|(key, _)| range.contains(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let all = entries.len() as u64;
        same(self.tx.len(&tree)?, all, "len")?;
        let mut found = self.tx.range(&tree, &range)?;
        let mut expected = expected.into_iter();
        loop {
            let (entry, model) = if backwards {
                (found.next_back(), expected.next_back())
            } else {
                (found.next(), expected.next())
            };
            let done = model.is_none();
            same_entry(entry.transpose()?, model)?;
            if done {
                return Ok(());
            }
        }
    }

    fn retain(&mut self, tree: usize, modulus: u8) -> Result<(), Failure> {
        let keep = |key: &[u8], value: &[u8]| {
            let sum = key.iter().chain(value.iter().take(3)).fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
            sum % modulus != 0
        };
        let (tree, entries) = self.trees(tree)?;
        let before = entries.len();
        entries.retain(|key, value| keep(key, value));
        let expected = (before - entries.len()) as u64;
        same(self.tx.retain(&tree, keep)?, expected, "not retained")
    }

    fn fill(
        &mut self,
        tree: usize,
        keys: impl Iterator<Item = u16>,
        value: ValueSpec,
    ) -> Result<(), Failure> {
        let value: Arc<[u8]> = value.bytes().into();
        let limit = self.limit;
        let keys: Vec<u16> = keys.collect();
        self.written += keys.len() as u64 * (value.len() as u64 + 20);
        let tx = self.tx;
        let (tree, entries) = self.trees(tree)?;
        for n in keys {
            let key = KeySpec::Shared(n).bytes(limit);
            entries.insert(key.clone(), Arc::clone(&value));
            tx.put(&tree, key, &value)?;
        }
        Ok(())
    }

    fn append(&mut self, tree: usize, count: u16, value: ValueSpec) -> Result<(), Failure> {
        let value: Arc<[u8]> = value.bytes().into();
        let limit = self.limit;
        let tx = self.tx;
        let (tree, entries) = self.trees(tree)?;
        // Behind whatever is there, unless that is as long as a key can be.
        let last = entries.last_key_value().map_or(Vec::new(), |(key, _)| key.clone());
        if last.len() + 2 > limit {
            return Ok(());
        }
        let keys: Vec<Vec<u8>> = (0..count).map(|n| [&last[..], &n.to_be_bytes()].concat()).collect();
        let written = keys.iter().map(|key| (key.len() + value.len()) as u64).sum::<u64>();
        let appended = tx.append(&tree, keys.iter().map(|key| (key, &value)));
        entries.extend(keys.into_iter().map(|key| (key, Arc::clone(&value))));
        self.written += written;
        same(appended?, u64::from(count), "appended")
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let possible = self.state.trees.contains_key(from) && !self.state.trees.contains_key(to);
        if possible && let Some(entries) = self.state.trees.remove(from) {
            self.state.trees.insert(to.to_owned(), entries);
        }
        // To its own name: an error or nothing, which is the same state.
        let renamed = done(self.tx.rename_tree(from, to))?;
        if from == to { Ok(()) } else { same(renamed, possible, "renamed") }
    }
}

/// Whether the catalogue allowed it.
fn done(result: kestreldb::Result<()>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::TreeNotFound | ErrorKind::TreeExists) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn set(entries: &mut Entries, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => drop(entries.insert(key.to_vec(), value.into())),
        None => drop(entries.remove(key)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what is compared is made for it")]
fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T, what: &str) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(wrong(format!("{what}: found {found:?}, expected {expected:?}")))
}

fn same_value(found: Option<Value>, expected: Option<&Arc<[u8]>>) -> Result<(), Failure> {
    if found.as_deref() == expected.map(|value| &value[..]) {
        return Ok(());
    }
    let lens = (found.map(|value| value.len()), expected.map(|value| value.len()));
    Err(wrong(format!("another value: lengths (found, expected) {lens:?}")))
}

fn same_entry(found: Option<(Key, Value)>, expected: Option<(Vec<u8>, Arc<[u8]>)>) -> Result<(), Failure> {
    let (key, value) = found.unzip();
    let (expected_key, expected_value) = expected.unzip();
    same(key.map(Key::into_vec), expected_key, "key")?;
    same_value(value, expected_value.as_ref())
}

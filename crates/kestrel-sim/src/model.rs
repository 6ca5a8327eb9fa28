//! What a database should do: ordered maps, and deeds on them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kestreldb::KeyRange;

use crate::deed::{Bytes, Deed, Outcome, sum};

/// A tree's entries.
pub type Entries = BTreeMap<Vec<u8>, Bytes>;
/// Trees by name, as one sees them from outside.
pub type Contents = BTreeMap<String, Arc<Entries>>;

/// One state of the whole database. Clones share what is equal.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// A tree has a number that it keeps when it is renamed.
    names: BTreeMap<String, u64>,
    trees: BTreeMap<u64, Arc<Entries>>,
}

impl State {
    /// The state that has this in it. The trees get numbers from `number` on.
    #[must_use]
    pub fn of(contents: Contents, number: u64) -> State {
        let mut state = State::default();
        for (number, (name, entries)) in (number..).zip(contents) {
            state.names.insert(name, number);
            state.trees.insert(number, entries);
        }
        state
    }

    /// Names and entries.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let named = |(name, number): (&String, &u64)| (name.clone(), self.trees[number].clone());
        self.names.iter().map(named).collect()
    }

    /// Whether this is what there is in it.
    #[must_use]
    pub fn is(&self, contents: &Contents) -> bool {
        self.names.len() == contents.len()
            && self.names.iter().zip(contents).all(|((name, number), (found, entries))| {
                let own = &self.trees[number];
                name == found && (Arc::ptr_eq(own, entries) || own == entries)
            })
    }

    /// The first difference to what was found, in words.
    #[must_use]
    pub fn difference(&self, found: &Contents) -> String {
        let own = self.contents();
        for name in own.keys().chain(found.keys()) {
            let (Some(expected), Some(found)) = (own.get(name), found.get(name)) else {
                let there = found.contains_key(name);
                return format!("tree {name:?} is {}", if there { "there" } else { "not there" });
            };
            for key in expected.keys().chain(found.keys()) {
                let (expected, found) = (expected.get(key), found.get(key));
                if expected != found {
                    let [expected, found] =
                        [expected, found].map(|value| value.map(|value| crate::deed::brief(value)));
                    let key = crate::deed::brief(key);
                    return format!("tree {name:?} at \"{key}\": expected {expected:?}, found {found:?}");
                }
            }
        }
        "none".to_owned()
    }

    /// The number of the tree of this name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    /// The entries of the tree of this name.
    #[must_use]
    pub fn entries(&self, name: &str) -> Option<&Entries> {
        self.trees.get(self.names.get(name)?).map(|entries| &**entries)
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let entries = self.trees.values().flat_map(|entries| entries.iter());
        entries.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn write(&mut self, tree: u64) -> Option<&mut Entries> {
        self.trees.get_mut(&tree).map(Arc::make_mut)
    }

    /// Does a change again, on another state.
    pub fn redo(&mut self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::Put(tree, key, value) => {
                let entries =
                    self.write(*tree).ok_or("a tree was dropped under a transaction that wrote to it")?;
                entries.insert(key.clone(), value.clone());
            }
            Effect::Delete(tree, key) => {
                let entries =
                    self.write(*tree).ok_or("a tree was dropped under a transaction that wrote to it")?;
                entries.remove(key);
            }
            Effect::DeleteRange(tree, range) => {
                let entries =
                    self.write(*tree).ok_or("a tree was dropped under a transaction that wrote to it")?;
                entries.retain(|key, _| !range.contains(key));
            }
            Effect::Create(tree, name) => {
                if self.names.insert(name.clone(), *tree).is_some() {
                    return Err(format!("two transactions created tree {name:?}"));
                }
                self.trees.insert(*tree, Arc::default());
            }
            Effect::Drop(tree) => {
                self.names.retain(|_, number| number != tree);
                self.trees.remove(tree).ok_or("two transactions dropped one tree")?;
            }
            Effect::Rename(tree, to) => {
                let before = self.names.len();
                self.names.retain(|_, number| number != tree);
                if self.names.len() == before || self.names.insert(to.clone(), *tree).is_some() {
                    return Err(format!("two transactions renamed a tree or gave the name {to:?}"));
                }
            }
        }
        Ok(())
    }
}

/// A change, whatever was read for it: what snapshot isolation keeps of a transaction.
#[derive(Clone, Debug)]
pub enum Effect {
    Put(u64, Vec<u8>, Bytes),
    Delete(u64, Vec<u8>),
    DeleteRange(u64, KeyRange),
    Create(u64, String),
    Drop(u64),
    Rename(u64, String),
}

/// How far somebody has come who walks over a range.
#[derive(Clone, Debug)]
struct Walker {
    tree: u64,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    done: bool,
}

impl Walker {
    fn new(tree: u64, range: &KeyRange) -> Walker {
        let (low, high) = ends(range);
        Walker { tree, low, high, done: range.is_empty() }
    }

    fn step(&mut self, entries: &Entries, upper: bool) -> Option<(Vec<u8>, Bytes)> {
        let found = if self.done {
            None
        } else {
            let mut left = between(entries, &self.low, &self.high);
            if upper { left.next_back() } else { left.next() }
        };
        let Some((key, value)) = found else {
            self.done = true;
            return None;
        };
        let bound = Bound::Excluded(key.clone());
        if upper {
            self.high = bound;
        } else {
            self.low = bound;
        }
        Some((key.clone(), value.clone()))
    }
}

fn ends(range: &KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (range.low().map(<[u8]>::to_vec), range.high().map(<[u8]>::to_vec))
}

/// Ends are keys, too, and what lies behind one is as long as it and a byte.
fn is_too_long(range: &KeyRange, limit: usize) -> bool {
    let is_too_long = |end: Bound<&[u8]>| match end {
        Bound::Included(key) | Bound::Excluded(key) => key.len() > limit,
        Bound::Unbounded => false,
    };
    is_too_long(range.low()) || is_too_long(range.high())
}

/// The entries between two bounds, none if these cross.
fn between<'a>(
    entries: &'a Entries,
    low: &Bound<Vec<u8>>,
    high: &Bound<Vec<u8>>,
) -> Box<dyn DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Bytes)> + 'a> {
    use Bound::{Excluded, Included};
    let crossed = match (low, high) {
        (Included(low), Included(high)) => low > high,
        (Included(low) | Excluded(low), Included(high) | Excluded(high)) => low >= high,
        _ => false,
    };
    if crossed { Box::new(std::iter::empty()) } else { Box::new(entries.range((low.clone(), high.clone()))) }
}

/// The state that a transaction sees, and what it could go back to.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub state: State,
    /// What it changed, in order.
    pub effects: Vec<Effect>,
    savepoints: Vec<(State, usize)>,
    walkers: Vec<Walker>,
}

impl Draft {
    /// A transaction that begins with this state.
    #[must_use]
    pub fn new(state: State) -> Draft {
        Draft { state, ..Draft::default() }
    }

    #[must_use]
    pub fn savepoints(&self) -> usize {
        self.savepoints.len()
    }

    #[must_use]
    pub fn cursors(&self) -> usize {
        self.walkers.len()
    }

    #[must_use]
    pub fn get(&self, tree: &str, key: &[u8]) -> Option<&Bytes> {
        self.state.entries(tree)?.get(key)
    }

    #[must_use]
    pub fn last_key(&self, tree: &str) -> Option<Vec<u8>> {
        self.state.entries(tree)?.last_key_value().map(|(key, _)| key.clone())
    }

    fn put(&mut self, tree: u64, key: &[u8], value: &Bytes) -> Option<Bytes> {
        self.effects.push(Effect::Put(tree, key.to_vec(), value.clone()));
        self.state.write(tree).and_then(|entries| entries.insert(key.to_vec(), value.clone()))
    }

    fn delete(&mut self, tree: u64, key: &[u8]) -> Option<Bytes> {
        if !self.state.trees.get(&tree)?.contains_key(key) {
            return None;
        }
        self.effects.push(Effect::Delete(tree, key.to_vec()));
        self.state.write(tree)?.remove(key)
    }

    /// Does it. Keys may have so many bytes.
    pub fn apply(&mut self, deed: &Deed, limit: usize) -> Outcome {
        match deed {
            Deed::Nothing => Outcome::Done,
            Deed::Trees => {
                let named =
                    |(name, number): (&String, &u64)| (name.clone(), self.state.trees[number].len() as u64);
                Outcome::Names(self.state.names.iter().map(named).collect())
            }
            Deed::Savepoint => {
                self.savepoints.push((self.state.clone(), self.effects.len()));
                Outcome::Done
            }
            Deed::Rollback(index) => {
                self.savepoints.truncate(index + 1);
                let (state, effects) = self.savepoints[*index].clone();
                self.state = state;
                self.effects.truncate(effects);
                Outcome::Done
            }
            Deed::Release(index) => {
                self.savepoints.truncate(*index);
                Outcome::Done
            }
            Deed::Create(name, number) => self.create(name, *number),
            Deed::Tree(name, number) => match self.state.names.contains_key(*name) {
                true => Outcome::Done,
                false => self.create(name, *number),
            },
            Deed::Drop(name) => match self.state.names.remove(*name) {
                Some(number) => {
                    self.state.trees.remove(&number);
                    self.effects.push(Effect::Drop(number));
                    Outcome::Done
                }
                None => Outcome::NoTree,
            },
            Deed::Rename(from, to) => self.rename(from, to),
            Deed::Walk(index, upper, count) => self.walk(*index, *upper, *count),
            Deed::Close(index) => {
                self.walkers.remove(*index);
                Outcome::Done
            }
            deed => match deed.tree().and_then(|name| self.state.number(name)) {
                Some(tree) => self.apply_to_tree(deed, tree, limit),
                None => Outcome::NoTree,
            },
        }
    }

    fn create(&mut self, name: &str, number: u64) -> Outcome {
        if self.state.names.contains_key(name) {
            return Outcome::TreeExists;
        }
        self.state.names.insert(name.to_owned(), number);
        self.state.trees.insert(number, Arc::default());
        self.effects.push(Effect::Create(number, name.to_owned()));
        Outcome::Done
    }

    fn rename(&mut self, from: &str, to: &str) -> Outcome {
        let Some(number) = self.state.number(from) else { return Outcome::NoTree };
        if from == to {
            return Outcome::Done;
        }
        if self.state.names.contains_key(to) {
            return Outcome::TreeExists;
        }
        self.state.names.remove(from);
        self.state.names.insert(to.to_owned(), number);
        self.effects.push(Effect::Rename(number, to.to_owned()));
        Outcome::Done
    }

    fn walk(&mut self, index: usize, upper: bool, count: u8) -> Outcome {
        let walker = &mut self.walkers[index];
        if walker.done {
            return Outcome::Entries(Vec::new());
        }
        let Some(entries) = self.state.trees.get(&walker.tree) else {
            walker.done = true;
            return Outcome::NoTree;
        };
        Outcome::Entries((0..count).map_while(|_| walker.step(entries, upper)).collect())
    }

    fn apply_to_tree(&mut self, deed: &Deed, tree: u64, limit: usize) -> Outcome {
        let entries = &self.state.trees[&tree];
        match deed {
            Deed::Get(_, key) => Outcome::Value(entries.get(key).cloned()),
            Deed::Contains(_, key) => Outcome::Flag(entries.contains_key(key)),
            Deed::End(_, upper) => {
                let end = if *upper { entries.last_key_value() } else { entries.first_key_value() };
                Outcome::Entry(end.map(|(key, value)| (key.clone(), value.clone())))
            }
            Deed::Len(_) => Outcome::Count(entries.len() as u64),
            Deed::Scan(_, range, bits, rest) => {
                let mut walker = Walker::new(tree, range);
                Outcome::Entries(scan(|upper| walker.step(entries, upper), *bits, *rest))
            }
            Deed::Open(_, range) => {
                self.walkers.push(Walker::new(tree, range));
                Outcome::Done
            }
            Deed::Put(_, key, _) | Deed::Insert(_, key, _) | Deed::Swap(_, key, _, Some(_))
                if key.len() > limit && !matches!(deed, Deed::Swap(_, _, Some(_), _)) =>
            {
                Outcome::KeyTooLong
            }
            Deed::Update(_, key, Some(_)) if key.len() > limit => Outcome::KeyTooLong,
            Deed::Put(_, key, value) => {
                self.put(tree, key, value);
                Outcome::Done
            }
            Deed::Insert(_, key, value) => Outcome::Value(self.put(tree, key, value)),
            Deed::Remove(_, key) => Outcome::Value(self.delete(tree, key)),
            Deed::Delete(_, key) => Outcome::Flag(self.delete(tree, key).is_some()),
            Deed::Swap(_, key, expected, new) => {
                let current = entries.get(key).cloned();
                if current != *expected {
                    return Outcome::Mismatch(current);
                }
                self.set(tree, key, new.as_ref());
                Outcome::Done
            }
            Deed::Update(_, key, new) => Outcome::Value(self.set(tree, key, new.as_ref())),
            Deed::Pop(_, upper) => {
                let end = if *upper { entries.last_key_value() } else { entries.first_key_value() };
                let popped = end.map(|(key, value)| (key.clone(), value.clone()));
                popped.iter().for_each(|(key, _)| drop(self.delete(tree, key)));
                Outcome::Entry(popped)
            }
            Deed::RemoveRange(_, range) if !range.is_empty() && is_too_long(range, limit) => {
                Outcome::KeyTooLong
            }
            Deed::RemoveRange(_, range) => self.remove_range(tree, range),
            Deed::Retain(_, modulus) => {
                let chosen = |key: &[u8], value: &[u8]| sum(key, value).is_multiple_of(*modulus);
                let all = KeyRange::new(Bound::Unbounded, Bound::Unbounded);
                Outcome::Count(self.extract(tree, &all, chosen, u64::MAX).len() as u64)
            }
            Deed::Extract(_, range, modulus, most) => {
                let chosen = |key: &[u8], value: &[u8]| sum(key, value).is_multiple_of(*modulus);
                Outcome::Entries(self.extract(tree, range, chosen, *most))
            }
            Deed::PutMany(_, keys, value) => {
                keys.iter().for_each(|key| drop(self.put(tree, key, value)));
                Outcome::Done
            }
            Deed::Append(_, keys, value) => self.append(tree, keys, value),
            _ => Outcome::Done,
        }
    }

    fn set(&mut self, tree: u64, key: &[u8], new: Option<&Bytes>) -> Option<Bytes> {
        match new {
            Some(new) => self.put(tree, key, new),
            None => self.delete(tree, key),
        }
    }

    fn remove_range(&mut self, tree: u64, range: &KeyRange) -> Outcome {
        let (low, high) = ends(range);
        let keys: Vec<Vec<u8>> =
            between(&self.state.trees[&tree], &low, &high).map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return Outcome::Count(0);
        }
        if let Some(entries) = self.state.write(tree) {
            keys.iter().for_each(|key| drop(entries.remove(key)));
        }
        self.effects.push(Effect::DeleteRange(tree, range.clone()));
        Outcome::Count(keys.len() as u64)
    }

    fn extract(
        &mut self,
        tree: u64,
        range: &KeyRange,
        chosen: impl Fn(&[u8], &[u8]) -> bool,
        most: u64,
    ) -> Vec<(Vec<u8>, Bytes)> {
        let (low, high) = ends(range);
        let found = between(&self.state.trees[&tree], &low, &high);
        let found: Vec<(Vec<u8>, Bytes)> = found
            .filter(|(key, value)| chosen(key, value))
            .take(usize::try_from(most).unwrap_or(usize::MAX))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        found.iter().for_each(|(key, _)| drop(self.delete(tree, key)));
        found
    }

    fn append(&mut self, tree: u64, keys: &[Vec<u8>], value: &Bytes) -> Outcome {
        let mut last = self.state.trees[&tree].last_key_value().map(|(key, _)| key.clone());
        for key in keys {
            if last.as_ref().is_some_and(|last| key <= last) {
                return Outcome::Unsorted;
            }
            last = Some(key.clone());
        }
        keys.iter().for_each(|key| drop(self.put(tree, key, value)));
        Outcome::Count(keys.len() as u64)
    }
}

/// Walks as [`Deed::Scan`] says.
pub fn scan<T>(mut step: impl FnMut(bool) -> Option<T>, mut bits: u16, rest: bool) -> Vec<T> {
    let mut taken = Vec::new();
    while bits != 0 {
        let Some(item) = step(bits & 1 == 1) else { return taken };
        taken.push(item);
        bits >>= 1;
    }
    if rest {
        taken.extend(std::iter::from_fn(|| step(false)));
    }
    taken
}

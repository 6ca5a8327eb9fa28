//! What one transaction sees: ordered maps, its savepoints and its cursors; and what each operation touches.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::claims::Claim;
use crate::input::Ends;

/// How many trees there are.
pub(super) const TREES: usize = 2;

/// The entries of all trees.
pub(super) type Maps = [BTreeMap<Vec<u8>, Vec<u8>>; TREES];
type Entry = (Vec<u8>, Vec<u8>);

/// Something that is done in a transaction. The first number names the tree, or the cursor.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Get(usize, Vec<u8>),
    Len(usize),
    First(usize),
    Last(usize),
    Put(usize, Vec<u8>, Vec<u8>),
    Insert(usize, Vec<u8>, Vec<u8>),
    Remove(usize, Vec<u8>),
    Delete(usize, Vec<u8>),
    /// Stores the second value if the first is there.
    Swap(usize, Vec<u8>, Option<Vec<u8>>, Vec<u8>),
    PopFirst(usize),
    PopLast(usize),
    RemoveRange(usize, Ends),
    Open(usize, Ends),
    /// The next entry of a cursor, from its upper end if `true`.
    Step(usize, bool),
    Close(usize),
    Savepoint,
    RollBack(usize),
    Release(usize),
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Done,
    Value(Option<Vec<u8>>),
    Existed(bool),
    Count(u64),
    Entry(Option<Entry>),
    Swapped(Result<(), Option<Vec<u8>>>),
}

/// What an operation touched.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) reads: Vec<Claim>,
    pub(super) writes: Vec<Claim>,
    /// Keys that got another value, or none.
    pub(super) changed: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
struct Cursor {
    tree: usize,
    ends: Ends,
    /// What is left of the range.
    left: Ends,
    ended: bool,
}

/// A transaction's state.
#[derive(Clone)]
pub(super) struct View {
    pub(super) maps: Maps,
    pub(super) savepoints: Vec<Maps>,
    cursors: Vec<Cursor>,
}

impl View {
    pub(super) fn new(maps: Maps) -> View {
        View { maps, savepoints: Vec::new(), cursors: Vec::new() }
    }

    pub(super) fn cursors(&self) -> usize {
        self.cursors.len()
    }

    /// Does it.
    pub(super) fn apply(&mut self, op: &Op) -> (Outcome, Touched) {
        let mut touched = Touched::default();
        let outcome = match op {
            Op::Savepoint => {
                self.savepoints.push(self.maps.clone());
                Outcome::Done
            }
            Op::RollBack(number) => {
                self.savepoints.truncate(number + 1);
                let before = std::mem::replace(&mut self.maps, self.savepoints[*number].clone());
                // Taking back is writing, of what was written already.
                for (tree, (old, new)) in before.iter().zip(&self.maps).enumerate() {
                    let keys = old.keys().chain(new.keys());
                    let changed = keys.filter(|key| old.get(*key) != new.get(*key));
                    touched.writes.extend(changed.map(|key| Claim::key(tree, key)));
                }
                Outcome::Done
            }
            Op::Release(number) => {
                self.savepoints.truncate(*number);
                Outcome::Done
            }
            Op::Open(tree, ends) => {
                let (tree, ended) = (*tree, self.between(*tree, ends).is_none());
                self.cursors.push(Cursor { tree, ends: ends.clone(), left: ends.clone(), ended });
                Outcome::Done
            }
            Op::Step(cursor, back) => Outcome::Entry(self.step(*cursor, *back, &mut touched)),
            Op::Close(cursor) => {
                self.cursors.swap_remove(*cursor);
                Outcome::Done
            }
            _ => self.on_tree(op, &mut touched),
        };
        (outcome, touched)
    }

    /// A range as a claim on what it holds; `None` if it is empty.
    fn between(&self, tree: usize, (low, high): &Ends) -> Option<Claim> {
        Claim::range(tree, low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice))
    }

    fn step(&mut self, number: usize, back: bool, touched: &mut Touched) -> Option<Entry> {
        let cursor = self.cursors[number].clone();
        if cursor.ended {
            return None;
        }
        let left = self.between(cursor.tree, &cursor.left);
        let mut inside = self.maps[cursor.tree]
            .iter()
            .filter(|(key, _)| left.as_ref().is_some_and(|left| left.holds(key)))
            .map(|(key, value)| (key.clone(), value.clone()));
        let found = if back { inside.next_back() } else { inside.next() };
        drop(inside);
        let state = &mut self.cursors[number];
        let seen = match &found {
            None => {
                state.ended = true;
                cursor.ends.clone()
            }
            Some((key, _)) if back => {
                state.left.1 = Bound::Excluded(key.clone());
                (Bound::Included(key.clone()), cursor.ends.1.clone())
            }
            Some((key, _)) => {
                state.left.0 = Bound::Excluded(key.clone());
                (cursor.ends.0.clone(), Bound::Included(key.clone()))
            }
        };
        touched.reads.extend(self.between(cursor.tree, &seen));
        found
    }

    fn on_tree(&mut self, op: &Op, touched: &mut Touched) -> Outcome {
        match op {
            Op::Get(tree, key) => {
                touched.reads.push(Claim::key(*tree, key));
                Outcome::Value(self.maps[*tree].get(key).cloned())
            }
            Op::Len(tree) => {
                touched.reads.push(Claim::tree(*tree));
                Outcome::Count(self.maps[*tree].len() as u64)
            }
            Op::First(tree) | Op::PopFirst(tree) => {
                let found =
                    self.maps[*tree].first_key_value().map(|(key, value)| (key.clone(), value.clone()));
                let high =
                    found.as_ref().map_or(Bound::Unbounded, |(key, _)| Bound::Included(key.as_slice()));
                touched.reads.extend(Claim::range(*tree, Bound::Unbounded, high));
                self.pop(*tree, found, matches!(op, Op::PopFirst(_)), touched)
            }
            Op::Last(tree) | Op::PopLast(tree) => {
                let found =
                    self.maps[*tree].last_key_value().map(|(key, value)| (key.clone(), value.clone()));
                let low = found.as_ref().map_or(Bound::Unbounded, |(key, _)| Bound::Included(key.as_slice()));
                touched.reads.extend(Claim::range(*tree, low, Bound::Unbounded));
                self.pop(*tree, found, matches!(op, Op::PopLast(_)), touched)
            }
            Op::Put(tree, key, value) => {
                self.put(*tree, key, value, touched);
                Outcome::Done
            }
            Op::Insert(tree, key, value) => {
                touched.reads.push(Claim::key(*tree, key));
                Outcome::Value(self.put(*tree, key, value, touched))
            }
            Op::Remove(tree, key) => Outcome::Value(self.remove(*tree, key, touched)),
            Op::Delete(tree, key) => Outcome::Existed(self.remove(*tree, key, touched).is_some()),
            Op::Swap(tree, key, expected, value) => {
                touched.reads.push(Claim::key(*tree, key));
                let old = self.maps[*tree].get(key).cloned();
                if old == *expected {
                    self.put(*tree, key, value, touched);
                    Outcome::Swapped(Ok(()))
                } else {
                    Outcome::Swapped(Err(old))
                }
            }
            Op::RemoveRange(tree, ends) => {
                let Some(claim) = self.between(*tree, ends) else { return Outcome::Count(0) };
                let keys: Vec<_> = self.maps[*tree].keys().filter(|key| claim.holds(key)).cloned().collect();
                for key in &keys {
                    self.maps[*tree].remove(key);
                }
                touched.reads.push(claim.clone());
                touched.writes.push(claim);
                touched.changed.extend(keys.iter().map(|key| (*tree, key.clone())));
                Outcome::Count(keys.len() as u64)
            }
            other => unreachable!("{other:?} is about no tree"),
        }
    }

    fn pop(&mut self, tree: usize, found: Option<Entry>, takes: bool, touched: &mut Touched) -> Outcome {
        if let Some((key, _)) = found.as_ref().filter(|_| takes) {
            self.remove(tree, key, touched);
        }
        Outcome::Entry(found)
    }

    fn put(&mut self, tree: usize, key: &[u8], value: &[u8], touched: &mut Touched) -> Option<Vec<u8>> {
        touched.writes.push(Claim::key(tree, key));
        touched.changed.push((tree, key.to_vec()));
        self.maps[tree].insert(key.to_vec(), value.to_vec())
    }

    fn remove(&mut self, tree: usize, key: &[u8], touched: &mut Touched) -> Option<Vec<u8>> {
        touched.reads.push(Claim::key(tree, key));
        let old = self.maps[tree].remove(key);
        if old.is_some() {
            touched.writes.push(Claim::key(tree, key));
            touched.changed.push((tree, key.to_vec()));
        }
        old
    }
}

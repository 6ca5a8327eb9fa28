//! What a database should do: ordered maps, and operations on them.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use crate::input::Ends;

/// A tree's entries.
pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;
/// All trees by name, each with a number that it keeps when it is renamed.
pub(crate) type State = BTreeMap<String, (u64, Map)>;

/// Something that is done in a transaction. The first part names the tree.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Get(String, Vec<u8>),
    Len(String),
    /// A bit for each step: set, it is taken from the upper end. Beyond the bits the rest is taken from the lower end.
    Range(String, Ends, u32),
    Put(String, Vec<u8>, Vec<u8>),
    Insert(String, Vec<u8>, Vec<u8>),
    Remove(String, Vec<u8>),
    PopFirst(String),
    PopLast(String),
    RemoveRange(String, Ends),
    /// With the number that the tree gets.
    CreateTree(String, u64),
    DropTree(String),
    RenameTree(String, String),
    Trees,
    Savepoint,
    /// To one of the savepoints there are, by their number; the others behind it are gone.
    RollBack(usize),
    Release(usize),
}

impl Op {
    /// Whether it may change something.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self, Op::Get(..) | Op::Len(_) | Op::Range(..) | Op::Trees | Op::Savepoint)
    }

    /// Whether it has changed something, judged by what came of it.
    pub(crate) fn has_written(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Op::Savepoint | Op::RollBack(_) | Op::Release(_), _) => false,
            (_, Outcome::NoTree | Outcome::TreeExists | Outcome::Entry(None) | Outcome::Count(0)) => false,
            (Op::Remove(..), Outcome::Value(None)) => false,
            _ => self.writes(),
        }
    }

    /// What it writes, whatever it found out by reading: what snapshot isolation keeps of it. `name` is what its tree is
    /// called by now.
    pub(crate) fn without_reads(self, outcome: &Outcome, name: impl FnOnce() -> String) -> Option<Op> {
        let writes = self.has_written(outcome);
        match (self, outcome) {
            (op @ (Op::Savepoint | Op::RollBack(_) | Op::Release(_)), _) => Some(op),
            _ if !writes => None,
            (Op::PopFirst(_) | Op::PopLast(_), Outcome::Entry(Some((key, _)))) => {
                Some(Op::Remove(name(), key.clone()))
            }
            (Op::Put(_, key, value) | Op::Insert(_, key, value), _) => Some(Op::Put(name(), key, value)),
            (Op::Remove(_, key), _) => Some(Op::Remove(name(), key)),
            (Op::RemoveRange(_, ends), _) => Some(Op::RemoveRange(name(), ends)),
            (Op::DropTree(_), _) => Some(Op::DropTree(name())),
            (Op::RenameTree(_, to), _) => Some(Op::RenameTree(name(), to)),
            (op, _) => Some(op),
        }
    }

    /// The tree it is about, if there is one.
    pub(crate) fn tree(&self) -> Option<&str> {
        match self {
            Op::Get(tree, _)
            | Op::Len(tree)
            | Op::Range(tree, ..)
            | Op::Put(tree, ..)
            | Op::Insert(tree, ..)
            | Op::Remove(tree, _)
            | Op::PopFirst(tree)
            | Op::PopLast(tree)
            | Op::RemoveRange(tree, _)
            | Op::DropTree(tree)
            | Op::RenameTree(tree, _) => Some(tree),
            Op::CreateTree(..) | Op::Trees | Op::Savepoint | Op::RollBack(_) | Op::Release(_) => None,
        }
    }
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    Value(Option<Vec<u8>>),
    Entry(Option<(Vec<u8>, Vec<u8>)>),
    Entries(Vec<(Vec<u8>, Vec<u8>)>),
    Count(u64),
    Names(Vec<(String, u64)>),
    NoTree,
    TreeExists,
}

/// The state that a transaction sees, and those it can go back to.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) state: State,
    pub(crate) savepoints: Vec<State>,
}

impl Model {
    pub(crate) fn new(state: State) -> Model {
        Model { state, savepoints: Vec::new() }
    }

    /// What the tree of a number is called. A tree that somebody works with cannot go away unnoticed.
    pub(crate) fn name_of(&self, tree: Option<u64>) -> String {
        let found = self.state.iter().find(|(_, (number, _))| Some(*number) == tree);
        found.expect("a tree was dropped under a transaction that wrote to it").0.clone()
    }

    /// Does it.
    pub(crate) fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Trees => {
                let names = self.state.iter().map(|(name, (_, map))| (name.clone(), map.len() as u64));
                Outcome::Names(names.collect())
            }
            Op::Savepoint => {
                self.savepoints.push(self.state.clone());
                Outcome::Done
            }
            Op::RollBack(number) => {
                self.savepoints.truncate(number + 1);
                self.state = self.savepoints[*number].clone();
                Outcome::Done
            }
            Op::Release(number) => {
                self.savepoints.truncate(*number);
                Outcome::Done
            }
            Op::CreateTree(name, number) => {
                if self.state.contains_key(name) {
                    return Outcome::TreeExists;
                }
                self.state.insert(name.clone(), (*number, Map::new()));
                Outcome::Done
            }
            Op::DropTree(name) => match self.state.remove(name) {
                Some(_) => Outcome::Done,
                None => Outcome::NoTree,
            },
            Op::RenameTree(from, to) => self.rename(from, to),
            Op::Get(tree, _)
            | Op::Len(tree)
            | Op::Range(tree, ..)
            | Op::Put(tree, ..)
            | Op::Insert(tree, ..)
            | Op::Remove(tree, _)
            | Op::PopFirst(tree)
            | Op::PopLast(tree)
            | Op::RemoveRange(tree, _) => match self.state.get_mut(tree) {
                Some((_, map)) => apply_to_tree(map, op),
                None => Outcome::NoTree,
            },
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Outcome {
        if !self.state.contains_key(from) {
            return Outcome::NoTree;
        }
        if from != to && self.state.contains_key(to) {
            return Outcome::TreeExists;
        }
        let tree = self.state.remove(from).unwrap_or_default();
        self.state.insert(to.to_owned(), tree);
        Outcome::Done
    }
}

fn apply_to_tree(map: &mut Map, op: &Op) -> Outcome {
    match op {
        Op::Get(_, key) => Outcome::Value(map.get(key).cloned()),
        Op::Len(_) => Outcome::Count(map.len() as u64),
        Op::Range(_, ends, steps) => Outcome::Entries(walk(range(map, ends).into_iter(), *steps)),
        Op::Put(_, key, value) => {
            map.insert(key.clone(), value.clone());
            Outcome::Done
        }
        Op::Insert(_, key, value) => Outcome::Value(map.insert(key.clone(), value.clone())),
        Op::Remove(_, key) => Outcome::Value(map.remove(key)),
        Op::PopFirst(_) => Outcome::Entry(map.pop_first()),
        Op::PopLast(_) => Outcome::Entry(map.pop_last()),
        Op::RemoveRange(_, ends) => {
            let before = map.len();
            map.retain(|key, _| !ends.contains(key));
            Outcome::Count((before - map.len()) as u64)
        }
        _ => Outcome::Done,
    }
}

/// The entries between the ends, also if the ends have changed places.
fn range(map: &Map, ends: &Ends) -> Vec<(Vec<u8>, Vec<u8>)> {
    map.iter()
        .filter(|(key, _)| ends.contains(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Takes the items from both ends, as the bits of `steps` say.
pub(crate) fn walk<T>(mut items: impl DoubleEndedIterator<Item = T>, mut steps: u32) -> Vec<T> {
    let mut taken = Vec::new();
    while steps != 0 {
        let item = if steps & 1 == 1 { items.next_back() } else { items.next() };
        let Some(item) = item else { break };
        taken.push(item);
        steps >>= 1;
    }
    taken.extend(items);
    taken
}

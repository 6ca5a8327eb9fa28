//! The model's operations on a real database.

use kestreldb::{Error, ErrorKind, Range, ReadTxn, Savepoint, Tree, WriteTxn};

use crate::model::{Op, Outcome, walk};

/// A write transaction with its savepoints.
pub(crate) struct Writing {
    pub(crate) txn: WriteTxn,
    pub(crate) savepoints: Vec<Savepoint>,
}

impl Writing {
    /// Does it. Errors are those that the model does not know of.
    pub(crate) fn execute(&mut self, op: &Op) -> Result<Outcome, Error> {
        let txn = &self.txn;
        match op {
            Op::Trees => {
                let trees = txn.trees()?;
                Ok(Outcome::Names(trees.into_iter().map(|tree| (tree.name, tree.entries)).collect()))
            }
            Op::Savepoint => {
                self.savepoints.push(txn.savepoint()?);
                Ok(Outcome::Done)
            }
            Op::RollBack(number) => {
                txn.rollback_to(self.savepoints[*number])?;
                self.savepoints.truncate(number + 1);
                Ok(Outcome::Done)
            }
            Op::Release(number) => {
                txn.release(self.savepoints[*number])?;
                self.savepoints.truncate(*number);
                Ok(Outcome::Done)
            }
            Op::CreateTree(name, _) => known(txn.create_tree(name).map(drop)),
            Op::DropTree(name) => known(txn.drop_tree(name)),
            Op::RenameTree(from, to) => known(txn.rename_tree(from, to)),
            Op::Get(tree, _)
            | Op::Len(tree)
            | Op::Range(tree, ..)
            | Op::Put(tree, ..)
            | Op::Insert(tree, ..)
            | Op::Remove(tree, _)
            | Op::PopFirst(tree)
            | Op::PopLast(tree)
            | Op::RemoveRange(tree, _) => match txn.existing_tree(tree)? {
                Some(tree) => on_tree(txn, &tree, op),
                None => Ok(Outcome::NoTree),
            },
        }
    }
}

/// Does one of the operations that only read, on a snapshot.
pub(crate) fn read(txn: &ReadTxn, op: &Op) -> Result<Outcome, Error> {
    let tree = match op {
        Op::Get(tree, _) | Op::Len(tree) | Op::Range(tree, ..) => tree,
        _ => {
            let trees = txn.trees()?;
            return Ok(Outcome::Names(trees.into_iter().map(|tree| (tree.name, tree.entries)).collect()));
        }
    };
    let Some(tree) = txn.existing_tree(tree)? else { return Ok(Outcome::NoTree) };
    match op {
        Op::Get(_, key) => Ok(Outcome::Value(txn.get(&tree, key)?.map(|value| value.to_vec()))),
        Op::Range(_, ends, steps) => entries(txn.range(&tree, ends.clone())?, *steps),
        _ => Ok(Outcome::Count(txn.len(&tree)?)),
    }
}

fn on_tree(txn: &WriteTxn, tree: &Tree, op: &Op) -> Result<Outcome, Error> {
    let value = |value: Option<kestreldb::Value>| Outcome::Value(value.map(|value| value.to_vec()));
    let entry = |entry: Option<(kestreldb::Key, kestreldb::Value)>| {
        Outcome::Entry(entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
    };
    match op {
        Op::Get(_, key) => Ok(value(txn.get(tree, key)?)),
        Op::Len(_) => Ok(Outcome::Count(txn.len(tree)?)),
        Op::Range(_, ends, steps) => entries(txn.range(tree, ends.clone())?, *steps),
        Op::Put(_, key, new) => txn.put(tree, key, new).map(|()| Outcome::Done),
        Op::Insert(_, key, new) => Ok(value(txn.insert(tree, key, new)?)),
        Op::Remove(_, key) => Ok(value(txn.remove(tree, key)?)),
        Op::PopFirst(_) => Ok(entry(txn.pop_first(tree)?)),
        Op::PopLast(_) => Ok(entry(txn.pop_last(tree)?)),
        Op::RemoveRange(_, ends) => Ok(Outcome::Count(txn.remove_range(tree, ends.clone())?)),
        _ => Ok(Outcome::Done),
    }
}

fn entries(range: Range, steps: u32) -> Result<Outcome, Error> {
    let entries =
        walk(range, steps).into_iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    entries.collect::<Result<Vec<_>, Error>>().map(Outcome::Entries)
}

/// The errors that the model predicts are outcomes.
fn known(result: Result<(), Error>) -> Result<Outcome, Error> {
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(error) if error.kind() == ErrorKind::TreeNotFound => Ok(Outcome::NoTree),
        Err(error) if error.kind() == ErrorKind::TreeExists => Ok(Outcome::TreeExists),
        Err(error) => Err(error),
    }
}

//! Deeds on a real database.

use kestreldb::{
    CasMismatch, Database, Error, ErrorKind, Key, Range, ReadTxn, Result, Savepoint, Tree, TreeInfo, Value,
    WriteTxn,
};

use crate::deed::{Bytes, Deed, Outcome, sum};
use crate::model::scan;

/// What belongs to a transaction.
#[derive(Default)]
pub(crate) struct Hands {
    savepoints: Vec<Savepoint>,
    cursors: Vec<Range>,
}

/// Errors that the model foretells are outcomes.
pub(crate) fn foretold(error: Error) -> Result<Outcome> {
    match error.kind() {
        ErrorKind::TreeNotFound => Ok(Outcome::NoTree),
        ErrorKind::TreeExists => Ok(Outcome::TreeExists),
        ErrorKind::KeyTooLong => Ok(Outcome::KeyTooLong),
        ErrorKind::Unsorted => Ok(Outcome::Unsorted),
        _ => Err(error),
    }
}

fn bytes(value: &[u8]) -> Bytes {
    Bytes::from(value)
}

fn value(value: Option<Value>) -> Outcome {
    Outcome::Value(value.map(|value| bytes(&value)))
}

fn owned((key, value): (Key, Value)) -> (Vec<u8>, Bytes) {
    (key.into_vec(), bytes(&value))
}

fn entries(found: Vec<Result<(Key, Value)>>) -> Result<Outcome> {
    found.into_iter().map(|entry| entry.map(owned)).collect::<Result<_>>().map(Outcome::Entries)
}

fn names(trees: Vec<TreeInfo>) -> Outcome {
    Outcome::Names(trees.into_iter().map(|tree| (tree.name, tree.entries)).collect())
}

fn swapped(swapped: std::result::Result<(), CasMismatch>) -> Outcome {
    match swapped {
        Ok(()) => Outcome::Done,
        Err(mismatch) => Outcome::Mismatch(mismatch.current.map(|value| bytes(&value))),
    }
}

fn step(range: &mut Range, upper: bool) -> Option<Result<(Key, Value)>> {
    if upper { range.next_back() } else { range.next() }
}

fn walk(range: &mut Range, upper: bool, count: u8) -> Result<Outcome> {
    entries((0..count).map_while(|_| step(range, upper)).collect())
}

fn to_vec(new: Option<&Bytes>) -> Option<Vec<u8>> {
    new.map(|new| new.to_vec())
}

impl Hands {
    /// Does it in a write transaction. Errors are those that the model does not know of.
    pub(crate) fn write(&mut self, txn: &WriteTxn, deed: &Deed) -> Result<Outcome> {
        self.attempt(txn, deed).or_else(foretold)
    }

    fn attempt(&mut self, txn: &WriteTxn, deed: &Deed) -> Result<Outcome> {
        match deed {
            Deed::Nothing => {}
            Deed::Trees => return Ok(names(txn.trees()?)),
            Deed::Savepoint => self.savepoints.push(txn.savepoint()?),
            Deed::Rollback(index) => {
                txn.rollback_to(self.savepoints[*index])?;
                self.savepoints.truncate(index + 1);
            }
            Deed::Release(index) => {
                txn.release(self.savepoints[*index])?;
                self.savepoints.truncate(*index);
            }
            Deed::Create(name, _) => drop(txn.create_tree(name)?),
            Deed::Tree(name, _) => drop(txn.tree(name)?),
            Deed::Drop(name) => txn.drop_tree(name)?,
            Deed::Rename(from, to) => txn.rename_tree(from, to)?,
            Deed::Walk(index, upper, count) => return walk(&mut self.cursors[*index], *upper, *count),
            Deed::Close(index) => drop(self.cursors.remove(*index)),
            deed => {
                let Some(name) = deed.tree() else { return Ok(Outcome::Done) };
                let Some(tree) = txn.existing_tree(name)? else { return Ok(Outcome::NoTree) };
                if let Deed::Open(_, range) = deed {
                    self.cursors.push(txn.range(&tree, range)?);
                    return Ok(Outcome::Done);
                }
                return on_tree(txn, &tree, deed);
            }
        }
        Ok(Outcome::Done)
    }
}

fn on_tree(txn: &WriteTxn, tree: &Tree, deed: &Deed) -> Result<Outcome> {
    match deed {
        Deed::Get(_, key) => txn.get(tree, key).map(value),
        Deed::Contains(_, key) => txn.contains(tree, key).map(Outcome::Flag),
        Deed::End(_, upper) => {
            let end = if *upper { txn.last(tree)? } else { txn.first(tree)? };
            Ok(Outcome::Entry(end.map(owned)))
        }
        Deed::Len(_) => txn.len(tree).map(Outcome::Count),
        Deed::Scan(_, range, bits, rest) => {
            let mut range = txn.range(tree, range)?;
            entries(scan(|upper| step(&mut range, upper), *bits, *rest))
        }
        Deed::Put(_, key, new) => txn.put(tree, key, new).map(|()| Outcome::Done),
        Deed::Insert(_, key, new) => txn.insert(tree, key, new).map(value),
        Deed::Remove(_, key) => txn.remove(tree, key).map(value),
        Deed::Delete(_, key) => txn.delete(tree, key).map(Outcome::Flag),
        Deed::Swap(_, key, expected, new) => {
            txn.compare_and_swap(tree, key, expected.as_deref(), new.as_deref()).map(swapped)
        }
        Deed::Update(_, key, new) => txn.update(tree, key, |_| to_vec(new.as_ref())).map(value),
        Deed::Pop(_, upper) => {
            let popped = if *upper { txn.pop_last(tree)? } else { txn.pop_first(tree)? };
            Ok(Outcome::Entry(popped.map(owned)))
        }
        Deed::RemoveRange(_, range) => txn.remove_range(tree, range).map(Outcome::Count),
        Deed::Retain(_, modulus) => {
            txn.retain(tree, |key, value| !sum(key, value).is_multiple_of(*modulus)).map(Outcome::Count)
        }
        Deed::Extract(_, range, modulus, most) => {
            let chosen = |key: &[u8], value: &[u8]| sum(key, value).is_multiple_of(*modulus);
            let most = usize::try_from(*most).unwrap_or(usize::MAX);
            entries(txn.extract_if(tree, range, chosen)?.take(most).collect())
        }
        Deed::PutMany(_, keys, new) => {
            keys.iter().try_for_each(|key| txn.put(tree, key, new)).map(|()| Outcome::Done)
        }
        Deed::Append(_, keys, new) => txn.append(tree, keys.iter().map(|key| (key, new))).map(Outcome::Count),
        _ => Ok(Outcome::Done),
    }
}

impl Hands {
    /// Does one of the deeds that only read, on a snapshot.
    pub(crate) fn read(&mut self, txn: &ReadTxn, deed: &Deed) -> Result<Outcome> {
        match deed {
            Deed::Trees => return Ok(names(txn.trees()?)),
            Deed::Walk(index, upper, count) => return walk(&mut self.cursors[*index], *upper, *count),
            Deed::Close(index) => {
                self.cursors.remove(*index);
                return Ok(Outcome::Done);
            }
            _ => {}
        }
        let Some(name) = deed.tree() else { return Ok(Outcome::Done) };
        let Some(tree) = txn.existing_tree(name)? else { return Ok(Outcome::NoTree) };
        match deed {
            Deed::Get(_, key) => txn.get(&tree, key).map(value),
            Deed::Contains(_, key) => txn.contains(&tree, key).map(Outcome::Flag),
            Deed::End(_, upper) => {
                let end = if *upper { txn.last(&tree)? } else { txn.first(&tree)? };
                Ok(Outcome::Entry(end.map(owned)))
            }
            Deed::Len(_) => txn.len(&tree).map(Outcome::Count),
            Deed::Scan(_, range, bits, rest) => {
                let mut range = txn.range(&tree, range)?;
                entries(scan(|upper| step(&mut range, upper), *bits, *rest))
            }
            Deed::Open(_, range) => {
                self.cursors.push(txn.range(&tree, range)?);
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Done),
        }
    }
}

/// A call of a tree, or of the database, without a transaction.
pub(crate) fn alone(db: &Database, deed: &Deed) -> Result<Outcome> {
    attempt_alone(db, deed).or_else(foretold)
}

fn attempt_alone(db: &Database, deed: &Deed) -> Result<Outcome> {
    match deed {
        Deed::Trees => return Ok(names(db.trees()?)),
        Deed::Create(name, _) => drop(db.create_tree(name)?),
        Deed::Tree(name, _) => drop(db.tree(name)?),
        Deed::Drop(name) => db.drop_tree(name)?,
        Deed::Rename(from, to) => db.rename_tree(from, to)?,
        deed => {
            let Some(name) = deed.tree() else { return Ok(Outcome::Done) };
            // What is called for is not visible yet where commits wait for the disk.
            let tree = if is_read(deed) { db.existing_tree(name)? } else { newest_tree(db, name)? };
            return tree.map_or(Ok(Outcome::NoTree), |tree| alone_on(&tree, deed));
        }
    }
    Ok(Outcome::Done)
}

fn newest_tree(db: &Database, name: &str) -> Result<Option<Tree>> {
    db.begin_write()?.existing_tree(name)
}

/// Whether it only reads, so that it shows what is visible.
pub(crate) fn is_read(deed: &Deed) -> bool {
    matches!(
        deed,
        Deed::Get(..) | Deed::Contains(..) | Deed::End(..) | Deed::Len(_) | Deed::Scan(..) | Deed::Trees
    )
}

fn alone_on(tree: &Tree, deed: &Deed) -> Result<Outcome> {
    match deed {
        Deed::Get(_, key) => tree.get(key).map(value),
        Deed::Contains(_, key) => tree.contains(key).map(Outcome::Flag),
        Deed::End(_, upper) => {
            let end = if *upper { tree.last()? } else { tree.first()? };
            Ok(Outcome::Entry(end.map(owned)))
        }
        Deed::Len(_) => tree.len().map(Outcome::Count),
        Deed::Scan(_, range, bits, rest) => {
            let mut range = tree.range(range)?;
            entries(scan(|upper| step(&mut range, upper), *bits, *rest))
        }
        Deed::Put(_, key, new) => tree.put(key, new).map(|()| Outcome::Done),
        Deed::Insert(_, key, new) => tree.insert(key, new).map(value),
        Deed::Remove(_, key) => tree.remove(key).map(value),
        Deed::Delete(_, key) => tree.delete(key).map(Outcome::Flag),
        Deed::Swap(_, key, expected, new) => {
            tree.compare_and_swap(key, expected.as_deref(), new.as_deref()).map(swapped)
        }
        Deed::Update(_, key, new) => tree.update(key, |_| to_vec(new.as_ref())).map(value),
        Deed::Pop(_, upper) => {
            let popped = if *upper { tree.pop_last()? } else { tree.pop_first()? };
            Ok(Outcome::Entry(popped.map(owned)))
        }
        Deed::RemoveRange(_, range) => tree.remove_range(range).map(Outcome::Count),
        Deed::Retain(_, modulus) => {
            tree.retain(|key, value| !sum(key, value).is_multiple_of(*modulus)).map(Outcome::Count)
        }
        Deed::Extract(_, range, modulus, _) => {
            let chosen = |key: &[u8], value: &[u8]| sum(key, value).is_multiple_of(*modulus);
            Ok(Outcome::Entries(tree.extract_if(range, chosen)?.into_iter().map(owned).collect()))
        }
        Deed::PutMany(_, keys, new) => {
            keys.iter().try_for_each(|key| tree.put(key, new)).map(|()| Outcome::Done)
        }
        Deed::Append(_, keys, new) => tree.append(keys.iter().map(|key| (key, new))).map(Outcome::Count),
        _ => Ok(Outcome::Done),
    }
}

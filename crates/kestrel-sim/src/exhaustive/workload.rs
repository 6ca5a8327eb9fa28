//! What is done to a tiny database, drawn from a number.

use crate::Random;
use crate::deed::Bytes;
use crate::model::{Contents, Entries};
use std::sync::Arc;

/// Names of trees: the first two are there from the beginning.
pub(super) const TREES: [&str; 4] = ["a", "b", "c", "d"];

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A transaction.
    Commit(Vec<Op>, Wait),
    Checkpoint,
    Flush,
    Maintain,
    /// Closes the database and opens it again.
    Reopen,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Disk,
    Nothing,
    Ticket,
}

/// A change. What it needs may be missing: then it changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Put(usize, Vec<u8>, Bytes),
    Delete(usize, Vec<u8>),
    RemoveRange(usize, Vec<u8>, Vec<u8>),
    Create(usize),
    Drop(usize),
    Rename(usize, usize),
}

/// How much, and of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) steps: u64,
    /// Keys of a tree.
    pub(super) keys: u64,
    /// Of a hundred values, how many take some KiB; a tenth of them are larger than a log record may be.
    pub(super) large: u64,
}

impl Shape {
    /// A database of some dozen pages.
    pub(super) const USUAL: Shape = Shape { steps: 28, keys: 60, large: 12 };
    /// Few calls of the storage.
    pub(super) const SHORT: Shape = Shape { steps: 10, keys: 24, large: 10 };
}

/// The steps of a number.
pub(super) fn draw(number: u64, shape: Shape) -> Vec<Step> {
    let mut random = Random::of(number, 77);
    let mut steps = vec![Step::Commit(vec![Op::Create(0), Op::Create(1)], Wait::Disk)];
    for _ in 0..shape.steps {
        let step = match random.weighted(&[70, 9, 7, 8, 3]) {
            0 => Step::Commit(
                commit(&mut random, shape),
                random.one_of(&[Wait::Disk, Wait::Disk, Wait::Nothing, Wait::Ticket]),
            ),
            1 => Step::Checkpoint,
            2 => Step::Flush,
            3 => Step::Maintain,
            _ => Step::Reopen,
        };
        steps.push(step);
    }
    steps
}

fn commit(random: &mut Random, shape: Shape) -> Vec<Op> {
    let count = random.one_of(&[1, 1, 2, 4, 12]);
    (0..count).map(|_| op(random, shape)).collect()
}

fn op(random: &mut Random, shape: Shape) -> Op {
    let tree = random.one_of(&[0, 0, 0, 0, 1, 1, 1, 2, 3]);
    let key = |random: &mut Random| format!("key {:03}", random.below(shape.keys)).into_bytes();
    match random.weighted(&[70, 14, 4, 6, 2, 3]) {
        0 => Op::Put(tree, key(random), value(random, shape)),
        1 => Op::Delete(tree, key(random)),
        2 => {
            let low = random.below(shape.keys);
            let bound = |n: u64| format!("key {n:03}").into_bytes();
            Op::RemoveRange(tree, bound(low), bound(low + random.below(shape.keys / 4)))
        }
        3 => Op::Create(2 + random.index(2)),
        4 => Op::Drop(2 + random.index(2)),
        _ => Op::Rename(2 + random.index(2), 2 + random.index(2)),
    }
}

fn value(random: &mut Random, shape: Shape) -> Bytes {
    let len = if random.percent(shape.large) {
        random.one_of(&[1500, 3000, 5000, 5000, 9000, 9000, 9000, 9000, 14_000, 70_000])
    } else {
        random.one_of(&[0, 7, 40, 40, 120, 300, 700])
    };
    let mut bytes = vec![0; len];
    let mut own = Random::new(random.word());
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&own.word().to_le_bytes()[..chunk.len()]);
    }
    bytes.into()
}

/// What the operations make of a state.
pub(super) fn apply(contents: &Contents, ops: &[Op]) -> Contents {
    let mut contents = contents.clone();
    for op in ops {
        match op {
            Op::Put(tree, key, value) => {
                change(&mut contents, *tree, |entries| drop(entries.insert(key.clone(), Arc::clone(value))));
            }
            Op::Delete(tree, key) => change(&mut contents, *tree, |entries| drop(entries.remove(key))),
            Op::RemoveRange(tree, low, high) => {
                change(&mut contents, *tree, |entries| entries.retain(|key, _| key < low || key >= high));
            }
            Op::Create(tree) => drop(contents.entry(TREES[*tree].to_owned()).or_default()),
            Op::Drop(tree) => drop(contents.remove(TREES[*tree])),
            Op::Rename(from, to) => {
                if !contents.contains_key(TREES[*to])
                    && let Some(entries) = contents.remove(TREES[*from])
                {
                    contents.insert(TREES[*to].to_owned(), entries);
                }
            }
        }
    }
    contents
}

fn change(contents: &mut Contents, tree: usize, change: impl FnOnce(&mut Entries)) {
    if let Some(entries) = contents.get_mut(TREES[tree]) {
        change(Arc::make_mut(entries));
    }
}

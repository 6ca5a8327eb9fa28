//! An operation with all that it needs: bytes, names, numbers. What the database and the model both do.

use std::sync::Arc;

use kestreldb::KeyRange;

use crate::model::Draft;
use crate::step::{Key, Op, Val};

/// Bytes that are shared rather than copied.
pub type Bytes = Arc<[u8]>;

/// An operation, resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    Nothing,
    Get(&'static str, Vec<u8>),
    Contains(&'static str, Vec<u8>),
    End(&'static str, bool),
    Len(&'static str),
    Scan(&'static str, KeyRange, u16, bool),
    Put(&'static str, Vec<u8>, Bytes),
    Insert(&'static str, Vec<u8>, Bytes),
    Remove(&'static str, Vec<u8>),
    Delete(&'static str, Vec<u8>),
    Swap(&'static str, Vec<u8>, Option<Bytes>, Option<Bytes>),
    Update(&'static str, Vec<u8>, Option<Bytes>),
    Pop(&'static str, bool),
    RemoveRange(&'static str, KeyRange),
    Retain(&'static str, u8),
    Extract(&'static str, KeyRange, u8, u64),
    PutMany(&'static str, Vec<Vec<u8>>, Bytes),
    Append(&'static str, Vec<Vec<u8>>, Bytes),
    /// With the number that a new tree gets.
    Create(&'static str, u64),
    Tree(&'static str, u64),
    Drop(&'static str),
    Rename(&'static str, &'static str),
    Trees,
    Savepoint,
    Rollback(usize),
    Release(usize),
    Open(&'static str, KeyRange),
    Walk(usize, bool, u8),
    Close(usize),
}

/// What trees are called.
#[must_use]
pub fn tree_name(tree: u8) -> &'static str {
    ["accounts", "b", "c", "log of events", "the tree with the longest name"][usize::from(tree) % 5]
}

/// What [`Op::Retain`] and [`Op::Extract`] decide by.
#[must_use]
pub fn sum(key: &[u8], value: &[u8]) -> u8 {
    key.iter().chain(value.iter().take(3)).fold(0, |sum, &byte| sum.wrapping_add(byte))
}

impl Deed {
    /// What an operation means to a transaction in this state. `number` is what a new tree gets.
    #[must_use]
    pub fn resolve(op: Op, draft: &Draft, limit: usize, number: u64) -> Deed {
        let key = |key: Key| key.bytes(limit);
        let value = |value: Val| Bytes::from(value.bytes());
        let current = |tree: u8, key: Key| draft.get(tree_name(tree), &key.bytes(limit)).cloned();
        let pick = |which: u8, of: usize| usize::from(which).checked_rem(of);
        match op {
            Op::Get(tree, k) => Deed::Get(tree_name(tree), key(k)),
            Op::Contains(tree, k) => Deed::Contains(tree_name(tree), key(k)),
            Op::End(tree, upper) => Deed::End(tree_name(tree), upper),
            Op::Len(tree) => Deed::Len(tree_name(tree)),
            Op::Scan(tree, span, bits, rest) => Deed::Scan(tree_name(tree), span.range(limit), bits, rest),
            Op::Put(tree, k, v) => Deed::Put(tree_name(tree), key(k), value(v)),
            Op::Insert(tree, k, v) => Deed::Insert(tree_name(tree), key(k), value(v)),
            Op::Remove(tree, k) => Deed::Remove(tree_name(tree), key(k)),
            Op::Delete(tree, k) => Deed::Delete(tree_name(tree), key(k)),
            Op::Swap(tree, k, right, new) => {
                let expected = match (current(tree, k), right) {
                    (current, true) => current,
                    (Some(_), false) => None,
                    (None, false) => Some(Bytes::from(&b"wrong"[..])),
                };
                Deed::Swap(tree_name(tree), key(k), expected, new.map(value))
            }
            Op::Update(tree, k, new) => Deed::Update(tree_name(tree), key(k), new.map(value)),
            Op::Pop(tree, upper) => Deed::Pop(tree_name(tree), upper),
            Op::RemoveRange(tree, span) => Deed::RemoveRange(tree_name(tree), span.range(limit)),
            Op::Retain(tree, modulus) => Deed::Retain(tree_name(tree), modulus.max(1)),
            Op::Extract(tree, span, modulus, most) => {
                Deed::Extract(tree_name(tree), span.range(limit), modulus.max(1), most.into())
            }
            Op::Fill(tree, first, stride, count, v) => {
                let numbers = (0..count).map(|n| first.wrapping_add(n.wrapping_mul(stride)));
                Deed::PutMany(tree_name(tree), numbers.map(|n| key(Key::Shared(n))).collect(), value(v))
            }
            Op::Append(tree, count, v, spoiled) => {
                let last = draft.last_key(tree_name(tree)).unwrap_or_default();
                if last.len() + 2 > limit {
                    return Deed::Nothing;
                }
                let mut keys: Vec<Vec<u8>> =
                    (0..count).map(|n| [&last[..], &n.to_be_bytes()].concat()).collect();
                if spoiled {
                    keys.push(last);
                }
                Deed::Append(tree_name(tree), keys, value(v))
            }
            Op::Create(tree) => Deed::Create(tree_name(tree), number),
            Op::Tree(tree) => Deed::Tree(tree_name(tree), number),
            Op::Drop(tree) => Deed::Drop(tree_name(tree)),
            Op::Rename(from, to) => Deed::Rename(tree_name(from), tree_name(to)),
            Op::Trees => Deed::Trees,
            Op::Savepoint => Deed::Savepoint,
            Op::Rollback(which) => pick(which, draft.savepoints()).map_or(Deed::Nothing, Deed::Rollback),
            Op::Release(which) => pick(which, draft.savepoints()).map_or(Deed::Nothing, Deed::Release),
            Op::Open(tree, span) => Deed::Open(tree_name(tree), span.range(limit)),
            Op::Walk(which, upper, count) => {
                pick(which, draft.cursors()).map_or(Deed::Nothing, |index| Deed::Walk(index, upper, count))
            }
            Op::Close(which) => pick(which, draft.cursors()).map_or(Deed::Nothing, Deed::Close),
        }
    }

    /// The tree that it is about, if it is about what is in one.
    #[must_use]
    pub fn tree(&self) -> Option<&'static str> {
        match self {
            Deed::Get(tree, _)
            | Deed::Contains(tree, _)
            | Deed::End(tree, _)
            | Deed::Len(tree)
            | Deed::Scan(tree, ..)
            | Deed::Put(tree, ..)
            | Deed::Insert(tree, ..)
            | Deed::Remove(tree, _)
            | Deed::Delete(tree, _)
            | Deed::Swap(tree, ..)
            | Deed::Update(tree, ..)
            | Deed::Pop(tree, _)
            | Deed::RemoveRange(tree, _)
            | Deed::Retain(tree, _)
            | Deed::Extract(tree, ..)
            | Deed::PutMany(tree, ..)
            | Deed::Append(tree, ..)
            | Deed::Open(tree, _) => Some(tree),
            _ => None,
        }
    }

    /// Bytes of keys and values that it may write.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let one =
            |key: &[u8], value: Option<&Bytes>| (key.len() + value.map_or(0, |value| value.len())) as u64;
        match self {
            Deed::Put(_, key, value) | Deed::Insert(_, key, value) => one(key, Some(value)),
            Deed::Swap(_, key, _, value) | Deed::Update(_, key, value) => one(key, value.as_ref()),
            Deed::PutMany(_, keys, value) | Deed::Append(_, keys, value) => {
                keys.iter().map(|key| one(key, Some(value))).sum()
            }
            _ => 0,
        }
    }
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    Flag(bool),
    Value(Option<Bytes>),
    Entry(Option<(Vec<u8>, Bytes)>),
    Entries(Vec<(Vec<u8>, Bytes)>),
    Count(u64),
    Names(Vec<(String, u64)>),
    /// A comparison that did not hold, with what is there.
    Mismatch(Option<Bytes>),
    NoTree,
    TreeExists,
    KeyTooLong,
    Unsorted,
}

/// Short, as what went wrong is seldom in the bytes.
impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = |value: &Option<Bytes>| value.as_ref().map(|value| brief(value));
        let entry = |(key, value): &(Vec<u8>, Bytes)| format!("{}: {}", brief(key), brief(value));
        match self {
            Outcome::Done => f.write_str("done"),
            Outcome::Flag(flag) => write!(f, "{flag}"),
            Outcome::Value(found) => write!(f, "value {:?}", value(found)),
            Outcome::Entry(found) => write!(f, "entry {:?}", found.as_ref().map(entry)),
            Outcome::Entries(entries) => {
                let shown: Vec<String> = entries.iter().take(6).map(entry).collect();
                write!(f, "{} entries {shown:?}", entries.len())
            }
            Outcome::Count(count) => write!(f, "{count}"),
            Outcome::Names(names) => write!(f, "trees {names:?}"),
            Outcome::Mismatch(found) => write!(f, "mismatch, there is {:?}", value(found)),
            Outcome::NoTree => f.write_str("no such tree"),
            Outcome::TreeExists => f.write_str("the tree exists"),
            Outcome::KeyTooLong => f.write_str("key too long"),
            Outcome::Unsorted => f.write_str("unsorted"),
        }
    }
}

/// Bytes for people.
#[must_use]
pub fn brief(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("{}{more}", shown.escape_ascii())
}

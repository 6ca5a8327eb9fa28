//! Manners: other ways to do what a step says, after which a schedule has to end as before.

use std::ops::Bound;

use crate::model::number;
use crate::schedule::{Filter, Key};
use crate::world::{Txn, Way};

/// How a key, or all keys, are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    Get,
    Contains,
    /// A scan of a range that holds this key only.
    Point,
    /// Scans from one guard of the key to the other.
    Forwards,
    Backwards,
    BothEnds,
    /// Scans that stop at the key, or if it is absent at the next one; those of all keys stop at the last guard.
    HalfForwards,
    HalfBackwards,
    /// Read, and then rolled back to a savepoint from before. What the transaction does now it does because of what it read
    /// then: a rollback takes back changes, and not knowledge.
    RolledBack,
    /// Scans that stop at the guard before the key: no reads of it.
    StopBefore,
    StopBehind,
}

pub(crate) const READINGS: [Reading; 9] = [
    Reading::Get,
    Reading::Contains,
    Reading::Point,
    Reading::Forwards,
    Reading::Backwards,
    Reading::BothEnds,
    Reading::HalfForwards,
    Reading::HalfBackwards,
    Reading::RolledBack,
];

/// How a key is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writing {
    Put,
    Insert,
    /// To a savepoint and back, and then again.
    Redone,
    /// The same with two savepoints, one in the other, and a delete.
    RedoneTwice,
    /// Half a page.
    Large,
    /// In an extent of the data file, named by the log.
    Huge,
    Delete,
    Remove,
    /// Removes a range that holds this key only.
    RangeDelete,
    /// Removes all between the key's guards, whole leaves among it.
    WideRangeDelete,
    PopFirst,
    PopLast,
    DeleteRedone,
}

pub(crate) const WRITINGS: [Writing; 13] = [
    Writing::Put,
    Writing::Insert,
    Writing::Redone,
    Writing::RedoneTwice,
    Writing::Large,
    Writing::Huge,
    Writing::Delete,
    Writing::Remove,
    Writing::RangeDelete,
    Writing::WideRangeDelete,
    Writing::PopFirst,
    Writing::PopLast,
    Writing::DeleteRedone,
];

/// What happens beside the steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beside {
    Nothing,
    /// Transactions that write do so to keys of their own before each step, and read what they wrote.
    OwnWrites,
    /// Transactions that write nothing are read transactions.
    Readers,
}

pub(crate) const BESIDES: [Beside; 3] = [Beside::Nothing, Beside::OwnWrites, Beside::Readers];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Manner {
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
    pub(crate) beside: Beside,
}

impl Manner {
    /// As the schedule says.
    pub(crate) const PLAIN: Manner =
        Manner { reading: Reading::Get, writing: Writing::Put, beside: Beside::Nothing };
}

impl Reading {
    /// Whether what it should have looked at was not looked at.
    pub(crate) fn is_none(self) -> bool {
        matches!(self, Reading::StopBefore | Reading::StopBehind)
    }

    fn way(self) -> Way {
        match self {
            Reading::Backwards | Reading::HalfBackwards | Reading::StopBehind => Way::Backwards,
            Reading::BothEnds => Way::BothEnds,
            _ => Way::Forwards,
        }
    }

    /// Reads one key. Returns what it held if this tells.
    pub(crate) fn read(self, txn: &mut Txn, key: &Key) -> Option<Option<Vec<u8>>> {
        let tree = txn.id(&key.tree);
        let (low, high) = (key.beside("a"), key.beside("z"));
        let all = (Bound::Included(&low[..]), Bound::Included(&high[..]));
        let from = (Bound::Included(&low[..]), Bound::Unbounded);
        let until = (Bound::Unbounded, Bound::Included(&high[..]));
        let stop = |at: &[u8]| match self {
            Reading::HalfForwards => at >= &key.bytes[..],
            Reading::HalfBackwards => at <= &key.bytes[..],
            _ => false,
        };
        let entries = match self {
            Reading::Get => return Some(txn.get(tree, &key.bytes)),
            Reading::Contains => {
                txn.contains(tree, &key.bytes);
                return None;
            }
            Reading::RolledBack => {
                if !txn.can_write() {
                    return Some(txn.get(tree, &key.bytes));
                }
                txn.savepoint();
                let value = txn.get(tree, &key.bytes);
                txn.roll_back();
                txn.release();
                return Some(value);
            }
            Reading::Point => {
                let point = (Bound::Included(&key.bytes[..]), Bound::Included(&key.bytes[..]));
                txn.scan(tree, point, Way::Forwards, |_| false)
            }
            Reading::Forwards | Reading::Backwards | Reading::BothEnds => {
                txn.scan(tree, all, self.way(), |_| false)
            }
            Reading::HalfForwards => txn.scan(tree, from, self.way(), stop),
            Reading::HalfBackwards => txn.scan(tree, until, self.way(), stop),
            Reading::StopBefore => {
                assert_eq!(txn.scan(tree, from, self.way(), |_| true).len(), 1);
                return None;
            }
            Reading::StopBehind => {
                assert_eq!(txn.scan(tree, until, self.way(), |_| true).len(), 1);
                return None;
            }
        };
        Some(entries.into_iter().find(|(found, _)| *found == key.bytes).map(|(_, value)| value))
    }

    /// Reads all keys. Returns the entries that were kept, if it read all.
    pub(crate) fn scan(self, txn: &mut Txn, filter: Filter) -> Option<Vec<(Key, u32)>> {
        let tree = txn.id("t");
        let (first, last) = (Key::new("t", 1), Key::new("t", 4));
        let unbounded = (Bound::Unbounded, Bound::Unbounded);
        let entries = match self {
            Reading::HalfForwards => txn.scan(tree, unbounded, self.way(), |at| at >= &last.beside("z")[..]),
            Reading::HalfBackwards => {
                let end = last.beside("z");
                let all = (Bound::Unbounded, Bound::Included(&end[..]));
                txn.scan(tree, all, self.way(), |at| at <= &first.beside("a")[..])
            }
            // Those who scan all are disturbed at the second key, or later ones.
            Reading::StopBefore => txn.scan(tree, unbounded, self.way(), |at| at >= &first.beside("z")[..]),
            Reading::StopBehind => {
                let end = last.beside("z");
                txn.scan(tree, (Bound::Unbounded, Bound::Included(&end[..])), self.way(), |_| true)
            }
            _ => txn.scan_all(tree, self.way()),
        };
        let kept = entries.into_iter().filter_map(|(bytes, value)| {
            let value = number(&value).filter(|value| filter.keeps(*value))?;
            Some((Key { tree: "t".to_owned(), bytes }, value))
        });
        (!self.is_none()).then(|| kept.collect())
    }
}

impl Writing {
    /// Whether it takes the key away.
    pub(crate) fn deletes(self) -> bool {
        !matches!(
            self,
            Writing::Put
                | Writing::Insert
                | Writing::Redone
                | Writing::RedoneTwice
                | Writing::Large
                | Writing::Huge
        )
    }

    pub(crate) fn write(self, txn: &mut Txn, key: &Key, value: u32) {
        let tree = txn.id(&key.tree);
        let padded = |len: usize| {
            let mut bytes = value.to_string().into_bytes();
            bytes.resize(len.max(bytes.len()), b' ');
            bytes
        };
        let bytes = padded(0);
        match self {
            Writing::Put => txn.put(tree, &key.bytes, &bytes),
            Writing::Insert => txn.insert(tree, &key.bytes, &bytes),
            Writing::Redone => {
                txn.savepoint();
                txn.put(tree, &key.bytes, b"7777");
                txn.roll_back();
                txn.put(tree, &key.bytes, &bytes);
                txn.release();
            }
            Writing::RedoneTwice => {
                txn.savepoint();
                txn.put(tree, &key.bytes, b"7777");
                txn.savepoint();
                txn.delete(tree, &key.bytes);
                txn.roll_back();
                txn.delete(tree, &key.bytes);
                txn.release();
                txn.roll_back();
                txn.put(tree, &key.bytes, &bytes);
            }
            Writing::Large => txn.put(tree, &key.bytes, &padded(2000)),
            Writing::Huge => txn.put(tree, &key.bytes, &padded(70_000)),
            _ => self.delete(txn, key),
        }
    }

    pub(crate) fn delete(self, txn: &mut Txn, key: &Key) {
        let tree = txn.id(&key.tree);
        match self {
            Writing::Remove => txn.remove(tree, &key.bytes),
            Writing::RangeDelete => txn.delete_range(tree, &key.bytes, &key.bytes),
            Writing::WideRangeDelete => txn.delete_range(tree, &key.beside("b"), &key.beside("y")),
            Writing::PopFirst | Writing::PopLast => {
                let way = if self == Writing::PopFirst { Way::Forwards } else { Way::Backwards };
                let bounds = (Bound::Included(&key.bytes[..]), Bound::Included(&key.bytes[..]));
                for (first, _) in txn.scan(tree, bounds, way, |_| true) {
                    txn.delete(tree, &first);
                }
            }
            Writing::DeleteRedone => {
                txn.savepoint();
                txn.delete(tree, &key.bytes);
                txn.roll_back();
                txn.delete(tree, &key.bytes);
                txn.release();
            }
            _ => txn.delete(tree, &key.bytes),
        }
    }
}

//! What can be done in a world, as data: drawn from a seed, printed, left out when a failure is shrunk.
//!
//! A step names transactions, cursors, savepoints and the like by small numbers, which count modulo as many as there are. So any
//! selection of the steps of a program is a program.

use std::fmt;
use std::ops::Bound;

use kestreldb::{Durability, Isolation, KeyRange};

use crate::disk::FaultPlan;
use crate::random::Random;

/// Names of trees to choose from.
pub const TREES: u8 = 5;

/// How the database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Bytes of a page.
    pub page_size: u32,
    /// Bytes of memory.
    pub memory_budget: u64,
    /// Bytes of a log segment.
    pub log_segment_size: u64,
    /// Bytes of log between checkpoints.
    pub checkpoint_log_bytes: u64,
    /// The default of transactions.
    pub durability: Durability,
    /// The default of transactions.
    pub isolation: Isolation,
}

/// A key, whose length may follow from the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// No bytes.
    Empty,
    /// One byte.
    Short(u8),
    /// A number behind a prefix that many share.
    Shared(u16),
    /// So many thousandths of the limit, then a byte to tell them apart.
    Long(u16, u8),
    /// So many bytes more than the limit.
    TooLong(u8),
}

impl Key {
    /// The key itself, where keys have so many bytes at most.
    #[must_use]
    pub fn bytes(self, limit: usize) -> Vec<u8> {
        let long = |len: usize, last: u8| {
            let mut key = vec![b'l'; len.max(1)];
            key.last_mut().into_iter().for_each(|end| *end = last);
            key
        };
        match self {
            Key::Empty => Vec::new(),
            Key::Short(n) => vec![n],
            Key::Shared(n) => [&b"shared/by/many/"[..], &n.to_be_bytes()].concat(),
            Key::Long(thousandths, last) => long(limit * usize::from(thousandths) / 1_000, last),
            Key::TooLong(more) => long(limit + 1 + usize::from(more), 0),
        }
    }
}

/// A value: so many bytes that follow from a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Val {
    /// Bytes.
    pub len: u32,
    /// Tells values of one length apart.
    pub mark: u32,
}

impl Val {
    /// The value itself.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let mut random = Random::new(u64::from(self.mark) << 32 | u64::from(self.len));
        let mut bytes = Vec::with_capacity(self.len as usize + 8);
        while bytes.len() < self.len as usize {
            bytes.extend_from_slice(&random.word().to_le_bytes());
        }
        bytes.truncate(self.len as usize);
        bytes
    }
}

/// A range of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// All.
    All,
    /// Between two bounds, as they stand.
    Between(Bound<Key>, Bound<Key>),
    /// Those that begin with the first half of a key.
    Prefix(Key),
}

impl Span {
    /// The range itself.
    #[must_use]
    pub fn range(self, limit: usize) -> KeyRange {
        match self {
            Span::All => KeyRange::new(Bound::Unbounded, Bound::Unbounded),
            Span::Between(low, high) => {
                KeyRange::new(low.map(|key| key.bytes(limit)), high.map(|key| key.bytes(limit)))
            }
            Span::Prefix(key) => {
                let key = key.bytes(limit);
                KeyRange::prefix(&key[..key.len().div_ceil(2)])
            }
        }
    }
}

/// Something that is done to a tree or to the catalogue. The first number says to which tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Looks for the value of a key.
    Get(u8, Key),
    /// Whether a key is there.
    Contains(u8, Key),
    /// The first entry, or the last.
    End(u8, bool),
    /// How many entries there are.
    Len(u8),
    /// Walks: a bit for each step, set it is taken from the upper end; then the rest, or no more.
    Scan(u8, Span, u16, bool),
    /// Writes.
    Put(u8, Key, Val),
    /// Writes, and returns the old value.
    Insert(u8, Key, Val),
    /// Removes, and returns the old value.
    Remove(u8, Key),
    /// Removes.
    Delete(u8, Key),
    /// Compares and swaps, with an expectation that is right or wrong.
    Swap(u8, Key, bool, Option<Val>),
    /// Changes a value: another one, or none.
    Update(u8, Key, Option<Val>),
    /// Removes the first entry, or the last.
    Pop(u8, bool),
    /// Removes a range.
    RemoveRange(u8, Span),
    /// Keeps those whose bytes do not add up to a multiple of a number.
    Retain(u8, u8),
    /// Takes out so many of those in a range whose bytes add up to a multiple of a number.
    Extract(u8, Span, u8, u8),
    /// Puts many: from a number on, with a stride, so many, of this length.
    Fill(u8, u16, u16, u16, Val),
    /// Appends so many, or one that is out of order if that is true.
    Append(u8, u16, Val, bool),
    /// Creates a tree.
    Create(u8),
    /// Creates a tree unless it is there.
    Tree(u8),
    /// Drops a tree.
    Drop(u8),
    /// Gives a tree another name.
    Rename(u8, u8),
    /// All trees.
    Trees,
    /// Marks a point to go back to.
    Savepoint,
    /// Goes back to one.
    Rollback(u8),
    /// Forgets one.
    Release(u8),
    /// Begins to walk.
    Open(u8, Span),
    /// Walks on: which cursor, from the upper end, so many entries.
    Walk(u8, bool, u8),
    /// Ends a walk.
    Close(u8),
}

impl Op {
    /// Whether it only reads.
    #[must_use]
    pub fn reads(self) -> bool {
        use Op::{Close, Contains, End, Get, Len, Open, Scan, Trees, Walk};
        matches!(
            self,
            Get(..) | Contains(..) | End(..) | Len(_) | Scan(..) | Trees | Open(..) | Walk(..) | Close(_)
        )
    }

    /// Whether it makes sense outside a transaction.
    #[must_use]
    pub fn stands_alone(self) -> bool {
        use Op::{Close, Fill, Open, Release, Rollback, Savepoint, Walk};
        !matches!(self, Fill(..) | Savepoint | Rollback(_) | Release(_) | Open(..) | Walk(..) | Close(_))
    }
}

/// How a closure ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It returns.
    Fine,
    /// It returns an error.
    Error,
    /// It panics.
    Panic,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Begins a write transaction.
    Begin(Isolation, Durability),
    /// Does something in one.
    Act(u8, Op),
    /// Commits one, with a ticket or without.
    Commit(u8, bool),
    /// Drops one.
    Abort(u8),
    /// A call of a tree, or of the database: a transaction of its own.
    Single(Op),
    /// A closure that does some things; how it ends; how often another transaction comes between; with a ticket or without.
    Closure(Vec<Op>, Ending, u8, bool),
    /// Begins a snapshot.
    Snapshot,
    /// Looks at one.
    Look(u8, Op),
    /// Compares one wholly.
    Compare(u8),
    /// Ends one.
    EndSnapshot(u8),
    /// Keeps a value for later: of a snapshot, or of a write transaction.
    Keep(u8, Key, bool),
    /// Polls a ticket.
    Poll(u8),
    /// Waits for one.
    Wait(u8),
    /// Forgets one.
    Forget(u8),
    /// So many steps of upkeep.
    Maintain(u8),
    /// Makes all durable.
    Flush,
    /// Makes a checkpoint.
    Checkpoint,
    /// Checks everything.
    Verify,
    /// Looks at the figures.
    Figures,
    /// Opens the database once more, which is refused.
    OpenTwice,
    /// Lets time pass, or go back: milliseconds.
    Time(i64),
    /// Closes and opens again, with so many transactions still open that have to end first.
    Reopen(bool),
    /// Kills the process: what it had not given to the system is gone.
    Kill,
    /// Cuts the power, now; the first number decides what is left, and so many openings meet the next power cut.
    Crash(u64, u8),
    /// Cuts the power after so many more calls to the disk.
    PowerOff(u16),
    /// Plans a fault of the disk.
    Plan(FaultPlan),
    /// Repairs the disk: nothing is planned any more. If something had gone wrong, the database is opened again.
    Repair,
}

/// A plain form, one line.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pages of {} bytes, {} KiB of memory, log segments of {} KiB, a checkpoint each {} KiB, {:?}, {:?}",
            self.page_size,
            self.memory_budget >> 10,
            self.log_segment_size >> 10,
            self.checkpoint_log_bytes >> 10,
            self.durability,
            self.isolation
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_the_length_that_they_say() {
        assert_eq!(Key::Long(1000, 7).bytes(1000).len(), 1000);
        assert_eq!(Key::TooLong(0).bytes(1000).len(), 1001);
        assert_eq!(Key::Long(0, 7).bytes(1000), [7]);
        for len in [0, 1, 7, 8, 9, 5000] {
            let [one, two] = [1, 2].map(|mark| Val { len, mark }.bytes());
            assert!(one.len() == len as usize && (len == 0 || one != two));
        }
        assert!(Span::Prefix(Key::Shared(3)).range(100).contains(Key::Shared(9).bytes(100)));
    }
}

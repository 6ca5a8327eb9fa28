//! A history: what transactions did to lists, and what they were told.
//!
//! Each element is appended at most once in a history, so an element names its transaction. A transaction is recorded
//! whole, when it has ended, by the thread that ran it: each thread has a history of its own, and
//! [`History::merge`] makes one of them. A million transactions are recorded, so everything lies in three flat arrays.

use std::fmt;
use std::ops::Range;

pub use kestreldb::Timestamp;

/// The name of a list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u32);

/// What is appended to lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Element(pub u32);

/// A place in the order of events as the threads saw it: if one call returned before another one was made, its moment is
/// smaller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Moment(pub u64);

/// A transaction's place in its history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxnId(pub u32);

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.0)
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Acknowledged. The timestamp is its place in the order of commits, or its snapshot if it wrote nothing.
    Committed(Timestamp),
    /// Refused because of another transaction.
    Conflict,
    /// Given up on purpose.
    Aborted,
    /// Nobody knows: the commit failed otherwise.
    Unknown,
}

/// A transaction, without its operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// The thread that ran it.
    pub process: u32,
    /// Before its snapshot was taken.
    pub begun: Moment,
    /// After it was told its outcome.
    pub ended: Moment,
    /// The state that it read.
    pub snapshot: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    first: u32,
    count: u32,
}

impl Transaction {
    /// Whether it was acknowledged.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        matches!(self.outcome, Outcome::Committed(_))
    }
}

/// One step of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation<'h> {
    /// An element was put behind the last one of a list.
    Append {
        /// The list.
        key: Key,
        /// What was appended.
        element: Element,
    },
    /// A whole list was read.
    Read {
        /// The list.
        key: Key,
        /// What it held.
        list: &'h [Element],
    },
    /// Of a list only the length and the last element were noted, as an append does.
    Tail {
        /// The list.
        key: Key,
        /// Its length.
        len: u32,
        /// Its last element, if it has one.
        last: Option<Element>,
    },
    /// A list that is being removed, or was, was found empty.
    Gone {
        /// The list.
        key: Key,
    },
    /// A list was removed. Nobody appends to it afterwards.
    Retire {
        /// The list.
        key: Key,
    },
    /// A place to go back to.
    Savepoint,
    /// What was done since the last savepoint was taken back; the savepoint stays.
    Rollback,
}

/// An operation of a transaction, and whether it was taken back by a savepoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step<'h> {
    /// The operation.
    pub operation: Operation<'h>,
    /// Whether it was done for nothing.
    pub undone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    undone: bool,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Append { key: Key, element: Element },
    Read { key: Key, first: u32, len: u32 },
    Tail { key: Key, len: u32, last: Option<Element> },
    Gone { key: Key },
    Retire { key: Key },
    Savepoint,
    Rollback,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct History {
    transactions: Vec<Transaction>,
    steps: Vec<Stored>,
    elements: Vec<Element>,
    /// Where the open transaction's steps begin.
    open: usize,
    savepoint: Option<usize>,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> History {
        History::default()
    }

    /// Notes an append of the open transaction. There is one from [`end`](History::end) to `end`.
    pub fn append(&mut self, key: Key, element: Element) {
        self.step(What::Append { key, element });
    }

    /// Notes that the open transaction read a list.
    pub fn read(&mut self, key: Key, list: impl IntoIterator<Item = Element>) {
        let first = self.elements.len();
        self.elements.extend(list);
        let len = self.elements.len() - first;
        self.step(What::Read { key, first: index(first), len: index(len) });
    }

    /// Notes how long the open transaction found a list, and what was last in it.
    pub fn tail(&mut self, key: Key, len: u32, last: Option<Element>) {
        self.step(What::Tail { key, len, last });
    }

    /// Notes that the open transaction found a list empty that is removed, or about to be.
    pub fn gone(&mut self, key: Key) {
        self.step(What::Gone { key });
    }

    /// Notes that the open transaction removed a list.
    pub fn retire(&mut self, key: Key) {
        self.step(What::Retire { key });
    }

    /// Notes a savepoint.
    pub fn savepoint(&mut self) {
        self.step(What::Savepoint);
        self.savepoint = Some(self.steps.len());
    }

    /// Notes that everything since the savepoint was taken back.
    pub fn rollback(&mut self) {
        let from = self.savepoint.unwrap_or(self.open);
        for step in &mut self.steps[from..] {
            step.undone = true;
        }
        self.step(What::Rollback);
    }

    /// The open transaction has ended.
    pub fn end(
        &mut self,
        process: u32,
        span: (Moment, Moment),
        snapshot: Timestamp,
        outcome: Outcome,
    ) -> TxnId {
        let (begun, ended) = span;
        let (first, count) = (index(self.open), index(self.steps.len() - self.open));
        self.open = self.steps.len();
        self.savepoint = None;
        self.transactions.push(Transaction { process, begun, ended, snapshot, outcome, first, count });
        TxnId(index(self.transactions.len() - 1))
    }

    /// Forgets what was noted of the open transaction.
    pub fn forget(&mut self) {
        self.steps.truncate(self.open);
        self.savepoint = None;
    }

    fn step(&mut self, what: What) {
        self.steps.push(Stored { undone: false, what });
    }

    /// The histories of several threads as one.
    #[must_use]
    pub fn merge(parts: Vec<History>) -> History {
        let mut parts = parts.into_iter();
        let mut whole = parts.next().unwrap_or_default();
        let rest: Vec<History> = parts.collect();
        whole.transactions.reserve_exact(rest.iter().map(|part| part.transactions.len()).sum());
        whole.steps.reserve_exact(rest.iter().map(|part| part.steps.len()).sum());
        whole.elements.reserve_exact(rest.iter().map(|part| part.elements.len()).sum());
        for part in rest {
            let (steps, elements) = (index(whole.steps.len()), index(whole.elements.len()));
            let moved =
                |transaction: Transaction| Transaction { first: transaction.first + steps, ..transaction };
            whole.transactions.extend(part.transactions.into_iter().map(moved));
            whole.steps.extend(part.steps.into_iter().map(|step| match step.what {
                What::Read { key, first, len } => {
                    Stored { what: What::Read { key, first: first + elements, len }, ..step }
                }
                _ => step,
            }));
            whole.elements.extend(part.elements);
        }
        // Every place in the arrays is told in 32 bits.
        let _ = (index(whole.transactions.len()), index(whole.steps.len()), index(whole.elements.len()));
        whole.open = whole.steps.len();
        whole
    }

    /// How many transactions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// All transactions, each with its name. Those of one thread are in the order in which they ended.
    pub fn transactions(&self) -> impl ExactSizeIterator<Item = (TxnId, &Transaction)> {
        self.transactions.iter().enumerate().map(|(at, transaction)| (TxnId(at as u32), transaction))
    }

    /// A transaction.
    #[must_use]
    pub fn transaction(&self, txn: TxnId) -> &Transaction {
        &self.transactions[txn.0 as usize]
    }

    /// What a transaction did, in order.
    pub fn steps(&self, txn: TxnId) -> impl Iterator<Item = Step<'_>> {
        let Transaction { first, count, .. } = *self.transaction(txn);
        let range: Range<usize> = first as usize..(first + count) as usize;
        self.steps[range]
            .iter()
            .map(|step| Step { undone: step.undone, operation: self.operation(step.what) })
    }

    fn operation(&self, what: What) -> Operation<'_> {
        match what {
            What::Append { key, element } => Operation::Append { key, element },
            What::Read { key, first, len } => {
                Operation::Read { key, list: &self.elements[first as usize..][..len as usize] }
            }
            What::Tail { key, len, last } => Operation::Tail { key, len, last },
            What::Gone { key } => Operation::Gone { key },
            What::Retire { key } => Operation::Retire { key },
            What::Savepoint => Operation::Savepoint,
            What::Rollback => Operation::Rollback,
        }
    }

    /// A transaction in words, for a report.
    #[must_use]
    pub fn describe(&self, txn: TxnId) -> String {
        let Transaction { process, begun, ended, snapshot, outcome, .. } = self.transaction(txn);
        let mut text = format!(
            "{txn} (process {process}, from moment {} to {}, snapshot {}, {outcome:?}):",
            begun.0, ended.0, snapshot.0
        );
        for Step { operation, undone } in self.steps(txn) {
            let step = match operation {
                Operation::Append { key, element } => format!("append {} to {}", element.0, key.0),
                Operation::Read { key, list } => format!("read {} = {}", key.0, Shortened(list)),
                Operation::Tail { key, len, last: Some(last) } => {
                    format!("found {} with {len} elements up to {}", key.0, last.0)
                }
                Operation::Tail { key, .. } => format!("found {} empty", key.0),
                Operation::Gone { key } => format!("found {} gone", key.0),
                Operation::Retire { key } => format!("removed {}", key.0),
                Operation::Savepoint => "savepoint".to_owned(),
                Operation::Rollback => "rollback".to_owned(),
            };
            let mark = if undone { " (taken back)" } else { "" };
            text.push_str(&format!(" {step}{mark};"));
        }
        text
    }
}

/// A list, of which only the end is shown if it is long.
pub(crate) struct Shortened<'a>(pub(crate) &'a [Element]);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        let hidden = self.0.len().saturating_sub(SHOWN);
        f.write_str("[")?;
        if hidden > 0 {
            write!(f, "({hidden} more) ")?;
        }
        for (at, element) in self.0[hidden..].iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{}", element.0)?;
        }
        f.write_str("]")
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("a history has less than 2^32 transactions, steps and elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(begun: u64, ended: u64) -> (Moment, Moment) {
        (Moment(begun), Moment(ended))
    }

    #[test]
    fn merged_histories_keep_everybodys_steps() {
        let parts: Vec<History> = (0..3_u32)
            .map(|process| {
                let mut part = History::new();
                for n in 0..=process {
                    part.read(Key(n), (0..n).map(Element));
                    part.append(Key(n), Element(100 * process + n));
                    part.end(process, span(0, 1), Timestamp(0), Outcome::Aborted);
                }
                part
            })
            .collect();
        let whole = History::merge(parts);
        let mut at = 0;
        for process in 0..3 {
            for n in 0..=process {
                let list: Vec<Element> = (0..n).map(Element).collect();
                let steps: Vec<Operation<'_>> = whole.steps(TxnId(at)).map(|step| step.operation).collect();
                let append = Operation::Append { key: Key(n), element: Element(100 * process + n) };
                assert_eq!(steps, [Operation::Read { key: Key(n), list: &list }, append]);
                assert_eq!(whole.transaction(TxnId(at)).process, process);
                at += 1;
            }
        }
        assert_eq!(whole.len(), at as usize);
    }

    #[test]
    fn a_rollback_undoes_what_came_after_the_savepoint() {
        let mut history = History::new();
        history.append(Key(1), Element(1));
        history.savepoint();
        history.append(Key(1), Element(2));
        history.rollback();
        history.append(Key(1), Element(3));
        let txn = history.end(0, span(0, 1), Timestamp(0), Outcome::Committed(Timestamp(1)));
        let undone: Vec<bool> = history.steps(txn).map(|step| step.undone).collect();
        assert_eq!(undone, [false, false, true, false, false]);
        assert!(history.describe(txn).contains("append 2 to 1 (taken back);"), "{}", history.describe(txn));
    }

    #[test]
    fn a_forgotten_transaction_leaves_nothing() {
        let mut history = History::new();
        history.append(Key(1), Element(1));
        history.forget();
        history.append(Key(2), Element(2));
        let txn = history.end(0, span(0, 1), Timestamp(0), Outcome::Conflict);
        assert_eq!((history.len(), history.steps(txn).count()), (1, 1));
    }
}

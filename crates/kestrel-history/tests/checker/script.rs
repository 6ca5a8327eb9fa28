//! Histories written down as data, so that tests can say them briefly and change them.

use kestrel_history::{Element, History, Key, Moment, Outcome, Timestamp};

/// One step. Numbers are lists, then elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Do {
    Append(u32, u32),
    Read(u32, Vec<u32>),
    Tail(u32, u32, Option<u32>),
    Gone(u32),
    Retire(u32),
    Savepoint,
    Rollback,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Txn {
    pub(crate) process: u32,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) snapshot: u64,
    pub(crate) outcome: Outcome,
    pub(crate) steps: Vec<Do>,
}

pub(crate) fn committed(at: u64) -> Outcome {
    Outcome::Committed(Timestamp(at))
}

pub(crate) fn history(transactions: &[Txn]) -> History {
    let mut history = History::new();
    for txn in transactions {
        for step in &txn.steps {
            match *step {
                Do::Append(key, element) => history.append(Key(key), Element(element)),
                Do::Read(key, ref list) => history.read(Key(key), list.iter().copied().map(Element)),
                Do::Tail(key, len, last) => history.tail(Key(key), len, last.map(Element)),
                Do::Gone(key) => history.gone(Key(key)),
                Do::Retire(key) => history.retire(Key(key)),
                Do::Savepoint => history.savepoint(),
                Do::Rollback => history.rollback(),
            }
        }
        let span = (Moment(txn.begun), Moment(txn.ended));
        history.end(txn.process, span, Timestamp(txn.snapshot), txn.outcome);
    }
    history
}

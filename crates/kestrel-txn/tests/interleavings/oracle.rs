//! What has to come of a schedule, known without the engine: two slots, a list of commits, and the rules.
//!
//! 1. A transaction sees the state at its first step, and over it what it wrote itself.
//! 2. A transaction that wrote nothing commits.
//! 3. Snapshot level: another one commits unless somebody who committed since its first step wrote a key that it wrote.
//! 4. Serializable level: nor a key that it read. A scan reads every key, a half scan those from where it stopped
//!    to where it began, a delete the key whether it was there or not; absent keys are read like others.
//! 5. Serializable level: those that committed, done again one after the other in the order of their commits, see what they
//!    saw. Those that wrote nothing have their place where they began.
//!
//! A delete of a key that is not there writes nothing.

use kestrel_txn::Isolation;

use crate::program::{Op, Slot};

/// The value of each key.
pub(crate) type State = [Option<u32>; 2];

/// What an operation returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Nothing,
    Value(Option<u32>),
    Existed(bool),
    All(State),
    /// The last entry of the tree.
    Last(Option<Entry>),
}

/// An entry of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Key(Slot, u32),
    /// One of those between the two keys, if there are any.
    Filler,
}

/// What of the tree one operation looks at and changes. `filled`: there are entries between the keys that nobody changes.
pub(crate) fn perform(op: Op, state: &mut State, value: u32, filled: bool) -> Seen {
    match op {
        Op::Read(slot) => Seen::Value(state[slot]),
        Op::Write(slot) => {
            state[slot] = Some(value);
            Seen::Nothing
        }
        Op::Delete(slot) => Seen::Existed(state[slot].take().is_some()),
        Op::Scan => Seen::All(*state),
        Op::HalfBack => Seen::Last(match *state {
            [_, Some(value)] => Some(Entry::Key(1, value)),
            _ if filled => Some(Entry::Filler),
            [Some(value), None] => Some(Entry::Key(0, value)),
            [None, None] => None,
        }),
    }
}

/// One transaction, as the rules see it.
pub(crate) struct Model {
    level: Isolation,
    filled: bool,
    /// How many had committed before its first step.
    since: usize,
    view: State,
    read: [bool; 2],
    wrote: [bool; 2],
    log: Vec<(Op, u32, Seen)>,
}

/// One schedule's history.
pub(crate) struct Oracle {
    pub(crate) state: State,
    start: State,
    commits: Vec<[bool; 2]>,
    /// Committed transactions by their place in the serial order: how many commits are before it, and whether it is one
    /// itself (those that are none come first).
    serial: Vec<((usize, bool), Model)>,
}

impl Oracle {
    pub(crate) fn new(start: State) -> Oracle {
        Oracle { state: start, start, commits: Vec::new(), serial: Vec::new() }
    }

    /// A transaction takes its first step.
    pub(crate) fn begin(&self, level: Isolation, filled: bool) -> Model {
        Model {
            level,
            filled,
            since: self.commits.len(),
            view: self.state,
            read: [false; 2],
            wrote: [false; 2],
            log: Vec::new(),
        }
    }

    /// A transaction commits. Returns whether it may.
    pub(crate) fn commit(&mut self, txn: Model) -> bool {
        if txn.wrote == [false; 2] {
            self.serial.push(((txn.since, false), txn));
            return true;
        }
        let relied = |slot: Slot| txn.wrote[slot] || txn.level == Isolation::Serializable && txn.read[slot];
        let conflict = self.commits[txn.since..].iter().any(|other| (0..2).any(|k| other[k] && relied(k)));
        if conflict {
            return false;
        }
        for slot in (0..2).filter(|&slot| txn.wrote[slot]) {
            self.state[slot] = txn.view[slot];
        }
        self.serial.push(((self.commits.len(), true), txn));
        self.commits.push(self.serial.last().map_or([false; 2], |(_, txn)| txn.wrote));
        true
    }

    /// Rule 5, on the reads that the engine gave: whether the transactions fit one after the other.
    pub(crate) fn is_serial(&mut self) -> bool {
        self.serial.sort_by_key(|(place, _)| *place);
        let mut state = self.start;
        let same = self.serial.iter().all(|(_, txn)| {
            txn.log.iter().all(|&(op, value, seen)| perform(op, &mut state, value, txn.filled) == seen)
        });
        same && state == self.state
    }
}

impl Model {
    /// Performs an operation, and returns what it has to return. What the engine returned is to be noted after it.
    pub(crate) fn perform(&mut self, op: Op, value: u32) -> Seen {
        let seen = perform(op, &mut self.view, value, self.filled);
        match (op, seen) {
            (Op::Read(slot), _) => self.read[slot] = true,
            (Op::Write(slot), _) => self.wrote[slot] = true,
            (Op::Delete(slot), _) => {
                self.read[slot] = true;
                self.wrote[slot] |= seen == Seen::Existed(true);
            }
            (_, Seen::Last(Some(Entry::Key(1, _) | Entry::Filler))) => self.read[1] = true,
            _ => self.read = [true; 2],
        }
        seen
    }

    pub(crate) fn note(&mut self, op: Op, value: u32, seen: Seen) {
        self.log.push((op, value, seen));
    }
}

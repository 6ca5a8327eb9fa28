//! All commits done again, in the order of their timestamps, on a map; and every read compared with it.
//!
//! A committed transaction that wrote something has to have read the state just before its own commit if it is serializable.
//! At snapshot isolation, and where nothing was written or committed, it has to have read the state of its snapshot. What
//! it did itself comes on top. One pass over the points in time at which something is applied or compared;
//! the map holds what a database would hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use kestreldb::Isolation;

use super::real_time::has_writes;
use super::{AnomalyKind, Report};
use crate::history::Shortened;
use crate::{Element, History, Key, Operation, Outcome, Timestamp, TxnId};

/// What is done at a timestamp, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Compare with the state just before it.
    CompareBefore,
    Apply,
    /// Compare with the state at it.
    CompareAt,
}

/// Compares every read.
pub(crate) fn check(history: &History, isolation: Isolation, report: &mut Report) {
    let mut tasks: Vec<(Timestamp, Task, TxnId)> = Vec::new();
    let mut replay =
        Replay { history, report, lists: BTreeMap::new(), changed: HashMap::new(), off: HashSet::new() };
    for (txn, transaction) in history.transactions() {
        match transaction.outcome {
            Outcome::Committed(at) if has_writes(history, txn) => {
                tasks.push((at, Task::Apply, txn));
                tasks.push(match isolation {
                    Isolation::Serializable => (at, Task::CompareBefore, txn),
                    Isolation::Snapshot => (transaction.snapshot, Task::CompareAt, txn),
                });
            }
            outcome => {
                tasks.push((transaction.snapshot, Task::CompareAt, txn));
                if outcome == Outcome::Unknown {
                    replay.give_up_what_it_wrote(txn);
                }
            }
        }
    }
    tasks.sort_unstable();
    for (at, task, txn) in tasks {
        match task {
            Task::CompareBefore | Task::CompareAt => replay.compare(txn),
            Task::Apply => replay.apply(at, txn),
        }
    }
}

struct Replay<'a> {
    history: &'a History,
    report: &'a mut Report,
    lists: BTreeMap<Key, Vec<Element>>,
    /// When a list was changed last.
    changed: HashMap<Key, (Timestamp, TxnId)>,
    /// Lists whose state is not known, or which were reported.
    off: HashSet<Key>,
}

/// What a transaction did to lists so far.
#[derive(Clone, Copy)]
enum Own {
    Append(Key, Element),
    Retire(Key),
}

impl Replay<'_> {
    /// Nobody knows at which timestamp, or whether at all.
    fn give_up_what_it_wrote(&mut self, txn: TxnId) {
        for step in self.history.steps(txn) {
            if let Operation::Append { key, .. } | Operation::Retire { key } = step.operation {
                self.off.insert(key);
            }
        }
    }

    fn apply(&mut self, at: Timestamp, txn: TxnId) {
        let snapshot = self.history.transaction(txn).snapshot;
        let mut written: Vec<Key> = Vec::new();
        for step in self.history.steps(txn).filter(|step| !step.undone) {
            let key = match step.operation {
                Operation::Append { key, element } => {
                    self.lists.entry(key).or_default().push(element);
                    key
                }
                Operation::Retire { key } => {
                    self.lists.remove(&key);
                    key
                }
                _ => continue,
            };
            if !written.contains(&key) {
                written.push(key);
            }
        }
        for key in written {
            let Some((changed, other)) = self.changed.insert(key, (at, txn)) else { continue };
            if changed > snapshot && !self.off.contains(&key) {
                let what = format!(
                    "{txn}, with its snapshot at {}, wrote to {}, which {other} had changed at {}",
                    snapshot.0, key.0, changed.0
                );
                self.report.add(self.history, AnomalyKind::LostUpdate, &[txn, other], what);
            }
        }
    }

    fn compare(&mut self, txn: TxnId) {
        let history = self.history;
        let mut own: Vec<Own> = Vec::new();
        let mut savepoint = 0;
        for step in history.steps(txn) {
            match step.operation {
                Operation::Append { key, element } => own.push(Own::Append(key, element)),
                Operation::Retire { key } => own.push(Own::Retire(key)),
                Operation::Savepoint => savepoint = own.len(),
                Operation::Rollback => own.truncate(savepoint),
                Operation::Read { key, list } => {
                    let (base, appended) = self.expected(key, &own);
                    let is_right =
                        list.strip_prefix(base).is_some_and(|rest| appended.eq(rest.iter().copied()));
                    self.judge(txn, key, is_right, &own, || Shortened(list).to_string());
                }
                Operation::Tail { key, len, last } => {
                    let (base, appended) = self.expected(key, &own);
                    let more = appended.clone().count();
                    let is_right =
                        base.len() + more == len as usize && appended.last().or(base.last().copied()) == last;
                    self.judge(txn, key, is_right, &own, || {
                        format!("{len} elements up to {:?}", last.map(|element| element.0))
                    });
                }
                Operation::Gone { key } => {
                    let (base, appended) = self.expected(key, &own);
                    let is_right = base.is_empty() && appended.count() == 0;
                    self.judge(txn, key, is_right, &own, || "[]".to_owned());
                }
            }
        }
    }

    /// What a list has to hold: what is there, and what the transaction has put behind that.
    fn expected<'o>(
        &self,
        key: Key,
        own: &'o [Own],
    ) -> (&[Element], impl Iterator<Item = Element> + Clone + use<'o>) {
        let retired = own.iter().rposition(|own| matches!(own, Own::Retire(other) if *other == key));
        let base = match retired {
            Some(_) => &[][..],
            None => self.lists.get(&key).map_or(&[][..], Vec::as_slice),
        };
        let appended = own[retired.unwrap_or(0)..].iter().filter_map(move |own| match *own {
            Own::Append(other, element) if other == key => Some(element),
            _ => None,
        });
        (base, appended)
    }

    fn judge(&mut self, txn: TxnId, key: Key, is_right: bool, own: &[Own], found: impl Fn() -> String) {
        if self.off.contains(&key) {
            return;
        }
        self.report.replayed_reads += 1;
        if is_right {
            return;
        }
        let (base, appended) = self.expected(key, own);
        let expected: Vec<Element> = base.iter().copied().chain(appended).collect();
        let what = format!("{txn} read {} = {}, expected {}", key.0, found(), Shortened(&expected));
        // The one who changed it last is the first one to ask.
        let mut transactions = vec![txn];
        transactions.extend(self.changed.get(&key).map(|(_, other)| *other).filter(|other| *other != txn));
        self.report.add(self.history, AnomalyKind::Replay, &transactions, what);
        self.off.insert(key);
    }
}

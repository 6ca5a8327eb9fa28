//! Timestamps against each other, and against the order in which calls were made and returned.

use std::collections::HashMap;

use super::{AnomalyKind, Report};
use crate::{History, Moment, Operation, Outcome, Timestamp, TxnId};

/// Whether a transaction has changed anything for good, if it was committed.
pub(crate) fn has_writes(history: &History, txn: TxnId) -> bool {
    let is_write = |operation| matches!(operation, Operation::Append { .. } | Operation::Retire { .. });
    history.steps(txn).any(|step| !step.undone && is_write(step.operation))
}

/// Commits have timestamps of their own, newer than their snapshots. What was acknowledged before a transaction began is in
/// its snapshot.
pub(crate) fn check(history: &History, report: &mut Report) {
    let mut acknowledged: Vec<(Moment, Timestamp, TxnId)> = Vec::new();
    let mut at: HashMap<Timestamp, TxnId> = HashMap::new();
    for (txn, transaction) in history.transactions() {
        let Outcome::Committed(timestamp) = transaction.outcome else { continue };
        acknowledged.push((transaction.ended, timestamp, txn));
        if !has_writes(history, txn) {
            continue;
        }
        if timestamp <= transaction.snapshot {
            let what = format!("{txn} committed at {}, not after its snapshot", timestamp.0);
            report.add(history, AnomalyKind::Timestamps, &[txn], what);
        }
        if let Some(other) = at.insert(timestamp, txn) {
            let what = format!("{other} and {txn} both committed at {}", timestamp.0);
            report.add(history, AnomalyKind::Timestamps, &[other, txn], what);
        }
    }
    drop(at);
    acknowledged.sort_unstable();
    let mut begun: Vec<(Moment, TxnId)> =
        history.transactions().map(|(txn, transaction)| (transaction.begun, txn)).collect();
    begun.sort_unstable();
    let mut returned = acknowledged.into_iter().peekable();
    let mut newest: Option<(Timestamp, TxnId)> = None;
    for (moment, txn) in begun {
        while let Some((_, timestamp, other)) = returned.next_if(|(ended, ..)| *ended < moment) {
            newest = newest.max(Some((timestamp, other)));
        }
        let snapshot = history.transaction(txn).snapshot;
        if let Some((timestamp, other)) = newest
            && timestamp > snapshot
        {
            let what = format!(
                "{txn} reads the state at {}, but {other} at {} was acknowledged before",
                snapshot.0, timestamp.0
            );
            report.add(history, AnomalyKind::RealTime, &[txn, other], what);
        }
    }
}

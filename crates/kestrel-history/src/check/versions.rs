//! The versions of each list, in order: what the longest read of it shows. Every other read has to be a beginning of it.

use std::collections::{BTreeMap, HashSet};

use super::writers::{Fate, Writers};
use super::{AnomalyKind, Report};
use crate::history::{Shortened, Step};
use crate::{Element, History, Key, Moment, Operation, TxnId};

/// See the module's description.
#[derive(Debug)]
pub(crate) struct List<'h> {
    /// The longest read.
    pub(crate) order: &'h [Element],
    /// Whose read it is.
    reader: TxnId,
    /// For each length of the list: the earliest moment at which something behind that was acknowledged.
    acknowledged: Vec<Moment>,
}

const NEVER: Moment = Moment(u64::MAX);

/// All lists.
pub(crate) struct Versions<'h> {
    lists: BTreeMap<Key, List<'h>>,
    /// Lists of which an element was acknowledged that is not in the longest read: when first, and which.
    unseen: BTreeMap<Key, (Moment, Element, TxnId)>,
}

impl<'h> Versions<'h> {
    pub(crate) fn new(history: &'h History, writers: &Writers, report: &mut Report) -> Versions<'h> {
        let mut lists: BTreeMap<Key, List<'h>> = BTreeMap::new();
        for (txn, transaction) in history.transactions() {
            if !transaction.is_committed() {
                continue;
            }
            for Step { operation, undone } in history.steps(txn) {
                let Operation::Read { key, list } = operation else { continue };
                if undone {
                    continue;
                }
                let longest =
                    lists.entry(key).or_insert(List { order: &[], reader: txn, acknowledged: vec![] });
                if longest.order.len() < list.len() {
                    (longest.order, longest.reader) = (list, txn);
                }
            }
        }
        let mut versions = Versions { lists, unseen: BTreeMap::new() };
        versions.note_acknowledged(history, writers);
        for (&key, list) in &versions.lists {
            judge(history, writers, key, list.order, list.reader, report);
        }
        versions
    }

    fn note_acknowledged(&mut self, history: &History, writers: &Writers) {
        let ended = |txn: TxnId| {
            let transaction = history.transaction(txn);
            if transaction.is_committed() { transaction.ended } else { NEVER }
        };
        let mut in_order = HashSet::new();
        for (&key, list) in &mut self.lists {
            let mut earliest = NEVER;
            list.acknowledged = vec![NEVER; list.order.len() + 1];
            for (at, &element) in list.order.iter().enumerate().rev() {
                if let Some(writer) = writers.kept(key, element) {
                    earliest = earliest.min(ended(writer.txn));
                    in_order.insert(element);
                }
                list.acknowledged[at] = earliest;
            }
        }
        for (element, writer) in writers.all() {
            let moment = ended(writer.txn);
            if writer.fate == Fate::TakenBack || moment == NEVER || in_order.contains(&element) {
                continue;
            }
            let first = self.unseen.entry(writer.key).or_insert((moment, element, writer.txn));
            if moment < first.0 {
                *first = (moment, element, writer.txn);
            }
        }
    }

    /// The order of a list's elements, as far as anybody saw it.
    pub(crate) fn order(&self, key: Key) -> &'h [Element] {
        self.lists.get(&key).map_or(&[], |list| list.order)
    }

    /// All lists with their orders.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Key, &'h [Element])> {
        self.lists.iter().map(|(&key, list)| (key, list.order))
    }

    /// Checks a read of a whole list, by a committed transaction. Returns whether it is a beginning of the order.
    pub(crate) fn check_read(
        &self,
        history: &History,
        writers: &Writers,
        txn: TxnId,
        key: Key,
        list: &[Element],
        report: &mut Report,
    ) -> bool {
        if self.order(key).starts_with(list) {
            return true;
        }
        if judge(history, writers, key, list, txn, report) {
            self.report_order(history, txn, key, &Shortened(list).to_string(), report);
        }
        false
    }

    /// The same for a read of the length and the last element.
    pub(crate) fn check_tail(
        &self,
        history: &History,
        writers: &Writers,
        txn: TxnId,
        (key, len, last): (Key, u32, Option<Element>),
        report: &mut Report,
    ) -> bool {
        let Some(before) = (len as usize).checked_sub(1) else { return true };
        let known = self.order(key).get(before).copied();
        if known == last {
            return true;
        }
        if last.is_some_and(|last| !judge(history, writers, key, &[last], txn, report)) {
            return false;
        }
        if known.is_some() {
            let last = last.map_or_else(|| "nothing".to_owned(), |last| last.0.to_string());
            self.report_order(history, txn, key, &format!("{len} elements up to {last}"), report);
        }
        // Behind what anybody read: it may be right.
        false
    }

    fn report_order(&self, history: &History, txn: TxnId, key: Key, found: &str, report: &mut Report) {
        let Some(list) = self.lists.get(&key) else { return };
        let what = format!("{txn} read {} = {found}, {} read {}", key.0, list.reader, Shortened(list.order));
        report.add(history, AnomalyKind::IncompatibleOrder, &[txn, list.reader], what);
    }

    /// Checks that a read of `len` elements had all that was acknowledged before its transaction began.
    pub(crate) fn check_missing(
        &self,
        history: &History,
        writers: &Writers,
        (txn, key, len): (TxnId, Key, usize),
        report: &mut Report,
    ) {
        let begun = history.transaction(txn).begun;
        if let Some(list) = self.lists.get(&key)
            && list.acknowledged.get(len).is_some_and(|&moment| moment < begun)
        {
            let late =
                list.order[len..].iter().filter_map(|&element| Some((element, writers.kept(key, element)?)));
            let missing = late.rev().find(|(_, writer)| history.transaction(writer.txn).ended < begun);
            if let Some((element, writer)) = missing {
                report_missing(history, txn, key, (element, writer.txn), report);
                return;
            }
        }
        if let Some(&(moment, element, writer)) = self.unseen.get(&key)
            && moment < begun
        {
            report_missing(history, txn, key, (element, writer), report);
        }
    }
}

fn report_missing(
    history: &History,
    txn: TxnId,
    key: Key,
    (element, writer): (Element, TxnId),
    report: &mut Report,
) {
    let what = format!("{txn} did not find {} in {}, acknowledged to {writer} before", element.0, key.0);
    report.add(history, AnomalyKind::Missing, &[txn, writer], what);
}

/// Looks at the elements of a list by themselves. Returns whether all of them may be there.
fn judge(
    history: &History,
    writers: &Writers,
    key: Key,
    list: &[Element],
    reader: TxnId,
    report: &mut Report,
) -> bool {
    let mut seen = HashSet::with_capacity(list.len());
    let mut fine = true;
    for &element in list {
        let mut found = |kind, others: &[TxnId], what: &str| {
            fine = false;
            let transactions = [&[reader], others].concat();
            report.add(
                history,
                kind,
                &transactions,
                format!("{reader} read {} in {}{what}", element.0, key.0),
            );
        };
        if !seen.insert(element) {
            found(AnomalyKind::Duplicate, &[], " twice");
            continue;
        }
        match writers.of(element) {
            None => found(AnomalyKind::Garbage, &[], ", which nobody appended"),
            Some(writer) if writer.key != key => {
                found(AnomalyKind::Garbage, &[writer.txn], ", which was appended to another list");
            }
            Some(writer) if writer.fate == Fate::TakenBack => {
                found(AnomalyKind::AbortedRead, &[writer.txn], ", which was taken back");
            }
            Some(_) => {}
        }
    }
    fine
}

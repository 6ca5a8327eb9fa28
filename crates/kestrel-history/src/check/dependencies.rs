//! Which transaction depends on which, from what they read and the order of versions.

use super::graph::{Edge, EdgeKind};
use super::versions::Versions;
use super::writers::Writers;
use super::{AnomalyKind, Report};
use crate::history::Step;
use crate::{Element, History, Key, Operation, TxnId};

/// All dependencies. On the way every read is checked by itself.
pub(crate) fn edges(
    history: &History,
    writers: &Writers,
    versions: &Versions<'_>,
    report: &mut Report,
) -> Vec<Edge> {
    let mut drawer = Drawer { history, writers, versions, report, edges: Vec::new() };
    for (txn, transaction) in history.transactions() {
        if transaction.is_committed() {
            drawer.reads_of(txn);
        }
    }
    drawer.overwrites();
    drawer.report.dependencies = drawer.edges.len() as u64;
    drawer.edges
}

struct Drawer<'a, 'h> {
    history: &'h History,
    writers: &'a Writers,
    versions: &'a Versions<'h>,
    report: &'a mut Report,
    edges: Vec<Edge>,
}

impl Drawer<'_, '_> {
    fn reads_of(&mut self, txn: TxnId) {
        let (history, writers) = (self.history, self.writers);
        // What it appended so far.
        let mut own: Vec<(Key, Element)> = Vec::new();
        for Step { operation, undone } in history.steps(txn) {
            match operation {
                _ if undone => {}
                Operation::Append { key, element } => own.push((key, element)),
                Operation::Read { key, list } => {
                    let mine: Vec<Element> = mine(&own, key).collect();
                    if !list.ends_with(&mine) {
                        let what = format!("{txn} did not find its own appends at the end of {}", key.0);
                        self.report.add(history, AnomalyKind::OwnWrites, &[txn], what);
                        continue;
                    }
                    if self.versions.check_read(history, writers, txn, key, list, self.report) {
                        self.read(txn, key, list.len(), mine.len());
                    }
                }
                Operation::Tail { key, len, last } => {
                    let mine = mine(&own, key).count();
                    if mine > len as usize || (mine > 0 && self::mine(&own, key).last() != last) {
                        let what = format!("{txn} did not find its own appends at the end of {}", key.0);
                        self.report.add(history, AnomalyKind::OwnWrites, &[txn], what);
                        continue;
                    }
                    let tail = (key, len, last);
                    if self.versions.check_tail(history, writers, txn, tail, self.report) {
                        self.read(txn, key, len as usize, mine);
                    }
                }
                _ => {}
            }
        }
    }

    /// A transaction read the first so many elements of a list, the last of which are its own.
    fn read(&mut self, txn: TxnId, key: Key, len: usize, own: usize) {
        self.versions.check_missing(self.history, self.writers, (txn, key, len), self.report);
        let order = self.versions.order(key);
        let others = len - own;
        if let Some(before) = others.checked_sub(1)
            && let Some(writer) = self.writers.kept(key, order[before])
        {
            self.add(writer.txn, txn, EdgeKind::Wr, key);
            if !writer.is_last && writer.txn != txn {
                let what =
                    format!("{txn} read {} up to {}, and {} went on", key.0, order[before].0, writer.txn);
                self.report.add(self.history, AnomalyKind::IntermediateRead, &[txn, writer.txn], what);
            }
        }
        if let Some(&next) = order.get(others)
            && let Some(writer) = self.writers.kept(key, next)
        {
            self.add(txn, writer.txn, EdgeKind::Rw, key);
        }
    }

    /// From each version's writer to the next one's.
    fn overwrites(&mut self) {
        for (key, order) in self.versions.all() {
            for pair in order.windows(2) {
                if let [Some(first), Some(second)] =
                    [pair[0], pair[1]].map(|element| self.writers.kept(key, element))
                {
                    self.add(first.txn, second.txn, EdgeKind::Ww, key);
                }
            }
        }
    }

    fn add(&mut self, from: TxnId, to: TxnId, kind: EdgeKind, key: Key) {
        if from != to {
            self.edges.push(Edge::new(from, to, kind, key));
        }
    }
}

fn mine(own: &[(Key, Element)], key: Key) -> impl DoubleEndedIterator<Item = Element> {
    own.iter().filter(move |(other, _)| *other == key).map(|&(_, element)| element)
}

//! Who appended which element.

use crate::history::Step;
use crate::{Element, History, Key, Operation, Outcome, TxnId};

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It was acknowledged, or may be there.
    Kept,
    /// Its transaction was given up, refused, or went back to a savepoint.
    TakenBack,
}

/// An append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Writer {
    pub(crate) txn: TxnId,
    pub(crate) key: Key,
    pub(crate) fate: Fate,
    /// Whether the transaction appended nothing to this list afterwards.
    pub(crate) is_last: bool,
}

/// All appends, by element.
pub(crate) struct Writers(Vec<Option<Writer>>);

impl Writers {
    pub(crate) fn new(history: &History) -> Writers {
        let mut writers: Vec<Option<Writer>> = Vec::new();
        // The last element that the transaction appended to each list.
        let mut last: Vec<(Key, Element)> = Vec::new();
        for (txn, transaction) in history.transactions() {
            last.clear();
            let may_be_kept = matches!(transaction.outcome, Outcome::Committed(_) | Outcome::Unknown);
            for Step { operation, undone } in history.steps(txn) {
                let Operation::Append { key, element } = operation else { continue };
                let kept = may_be_kept && !undone;
                let fate = if kept { Fate::Kept } else { Fate::TakenBack };
                if writers.len() <= element.0 as usize {
                    writers.resize(element.0 as usize + 1, None);
                }
                writers[element.0 as usize] = Some(Writer { txn, key, fate, is_last: true });
                if !kept {
                    continue;
                }
                match last.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, before)) => {
                        if let Some(before) = &mut writers[before.0 as usize] {
                            before.is_last = false;
                        }
                        *before = element;
                    }
                    None => last.push((key, element)),
                }
            }
        }
        Writers(writers)
    }

    /// Who appended an element, to whatever list.
    pub(crate) fn of(&self, element: Element) -> Option<Writer> {
        self.0.get(element.0 as usize).copied().flatten()
    }

    /// The append of an element to this list, unless it was taken back.
    pub(crate) fn kept(&self, key: Key, element: Element) -> Option<Writer> {
        self.of(element).filter(|writer| writer.key == key && writer.fate == Fate::Kept)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Element, Writer)> {
        let numbered = self.0.iter().enumerate();
        numbered.filter_map(|(element, writer)| Some((Element(element as u32), (*writer)?)))
    }
}

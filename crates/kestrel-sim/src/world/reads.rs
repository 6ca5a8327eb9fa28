//! Snapshots, and values that are kept.

use kestreldb::{ReadTxn, Value};

use super::{KEPT_MAX, OPEN_MAX, World, pick};
use crate::deed::{Bytes, Deed, Outcome, tree_name};
use crate::disk::{Demand, DiskFault};
use crate::execute::Hands;
use crate::ground::Disk;
use crate::judge::contents;
use crate::model::Draft;
use crate::step::{Key, Op};
use crate::work::{Trouble, shortened};

/// A read transaction beside its model.
pub(super) struct Reader {
    txn: ReadTxn,
    hands: Hands,
    draft: Draft,
}

impl<D: Disk> World<D> {
    /// The commit that a new snapshot shows.
    pub(super) fn shown(&mut self, txn: &ReadTxn) -> Result<usize, Trouble> {
        let at = txn.timestamp().0;
        let index = self.history.seen_at(at);
        self.trace.note(at);
        if index < self.history.visible() {
            return Err(format!("a new snapshot, of {at}, does not show what is visible").into());
        }
        self.history.reached(index);
        Ok(index)
    }

    pub(super) fn snapshot(&mut self) -> Result<(), Trouble> {
        if self.readers.len() < OPEN_MAX {
            let txn = self.db()?.begin_read()?;
            let index = self.shown(&txn)?;
            let draft = Draft::new(self.history.state(index).clone());
            self.readers.push(Reader { txn, hands: Hands::default(), draft });
        }
        Ok(())
    }

    pub(super) fn look(&mut self, reader: u8, op: Op) -> Result<(), Trouble> {
        let Some(at) = pick(reader, &self.readers) else { return Ok(()) };
        let reader = &mut self.readers[at];
        let deed = Deed::resolve(op, &reader.draft, self.limit, 0);
        let outcome = match reader.hands.read(&reader.txn, &deed) {
            Ok(outcome) => outcome,
            Err(error) => {
                // Its cursors may have ended; the model's have not.
                self.readers.remove(at);
                return Err(error.into());
            }
        };
        let expected = reader.draft.apply(&deed, self.limit);
        self.trace.note(&outcome);
        same(&deed, &outcome, &expected)
    }

    pub(super) fn compare(&mut self, reader: u8) -> Result<(), Trouble> {
        let Some(at) = pick(reader, &self.readers) else { return Ok(()) };
        let Reader { txn, draft, .. } = &self.readers[at];
        let found = contents(txn, true)?;
        if draft.state.is(&found) {
            return Ok(());
        }
        Err(format!("a snapshot changed: {}", draft.state.difference(&found)).into())
    }

    /// Keeps a value, of a snapshot or of a write transaction, beyond its end.
    pub(super) fn keep(&mut self, which: u8, key: Key, of_snapshot: bool) -> Result<(), Trouble> {
        self.check_kept()?;
        let (name, key) = (tree_name(0), key.bytes(self.limit));
        let (value, expected): (Option<Value>, Option<Bytes>) = if of_snapshot {
            let Some(at) = pick(which, &self.readers) else { return Ok(()) };
            let Reader { txn, draft, .. } = &self.readers[at];
            let Some(tree) = txn.existing_tree(name)? else { return Ok(()) };
            (txn.get(&tree, &key)?, draft.get(name, &key).cloned())
        } else {
            let Some(at) = pick(which, &self.writers) else { return Ok(()) };
            let writer = &mut self.writers[at];
            let deed = Deed::Get(name, key.clone());
            writer.work.touch(&deed);
            let tree = writer.txn.existing_tree(name)?;
            let value = tree.as_ref().map(|tree| writer.txn.get(tree, &key)).transpose()?.flatten();
            let found = value.as_ref().map(|value| Bytes::from(&value[..]));
            let outcome = if tree.is_some() { Outcome::Value(found.clone()) } else { Outcome::NoTree };
            writer.work.compare(deed, outcome, self.limit)?;
            (value, found)
        };
        if value.as_deref() != expected.as_deref() {
            return Err(format!("a value of {:?} is another one", key.escape_ascii().to_string()).into());
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        self.kept.extend(value.zip(expected));
        Ok(())
    }

    /// Values are what they were, whatever happened to what they came from.
    pub(super) fn check_kept(&self) -> Result<(), String> {
        match self.kept.iter().find(|(value, expected)| value[..] != expected[..]) {
            None => Ok(()),
            Some((value, _)) => Err(format!("a value of {} bytes that was kept has changed", value.len())),
        }
    }

    pub(super) fn verify(&mut self) -> Result<(), Trouble> {
        if self.ruined {
            return Ok(());
        }
        let db = self.db()?.clone();
        let report = db.verify()?;
        // What could not be read is a damage to `verify`, whatever the cause.
        if !self.disk.has_power()
            || self.is_damaged()
            || self.troubles().iter().any(|(fault, count)| count > 0 && reads(fault))
        {
            return Ok(());
        }
        // A superblock that could not be written wholly stays so until the next but one checkpoint.
        let torn = self.disk.fired().of(DiskFault::TornWrite) > 0;
        let harmless = |damage: &String| torn && damage.contains("the next checkpoints replace it");
        let damages: Vec<String> = report.damages.iter().map(ToString::to_string).collect();
        if let Some(damage) = damages.iter().find(|damage| !harmless(damage)) {
            return Err(format!("verify: {damage}").into());
        }
        let snapshot = db.begin_read()?;
        let index = self.shown(&snapshot)?;
        let found = contents(&snapshot, true)?;
        let expected = self.history.state(index);
        if !expected.is(&found) {
            return Err(format!("what is visible is wrong: {}", expected.difference(&found)).into());
        }
        Ok(())
    }

    pub(super) fn figures(&mut self) -> Result<(), Trouble> {
        let figures = self.db()?.statistics();
        self.trace.note((figures.commits, figures.page_loads, figures.page_writes, figures.visible));
        let held = figures.frames * figures.page_size + figures.delta_bytes;
        if held > figures.memory_budget.max(self.setup.memory_budget) {
            return Err(format!("{held} bytes are in use, of {}", figures.memory_budget).into());
        }
        Ok(())
    }
}

/// Whether a fault can be met by reading.
fn reads(fault: DiskFault) -> bool {
    matches!(fault.demand(), Demand::Detect | Demand::Lose) || fault == DiskFault::ReadError
}

fn same(deed: &Deed, outcome: &Outcome, expected: &Outcome) -> Result<(), Trouble> {
    if outcome == expected {
        return Ok(());
    }
    let deed = shortened(deed);
    Err(format!("snapshot, {deed}: expected {expected:?}, found {outcome:?}").into())
}

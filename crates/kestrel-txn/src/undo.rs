//! Savepoints: what has to be done to take back what was done since.
//!
//! While a savepoint is open, each operation first notes how to compensate it. Rolling back does the compensations,
//! newest first, as ordinary operations. So it costs what the undone work cost, and the journal only ever grows: whether
//! some of it was streamed to the log already makes no difference.

use kestrel_pager::TreeId;

use crate::{Error, ErrorKind, Value};

/// Names a savepoint of one transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SavepointId(u64);

/// How one operation is taken back.
#[derive(Debug)]
pub(crate) enum Compensation {
    /// Give the key its value again, or take it away.
    Key { tree: TreeId, key: Vec<u8>, value: Option<Value> },
    /// Drop a tree that was created.
    Drop(TreeId),
    /// Bring back a tree that was dropped.
    Restore { tree: TreeId, name: String },
    /// Give a tree its name again.
    Rename { tree: TreeId, name: String },
}

/// The open savepoints of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    compensations: Vec<Compensation>,
    /// Each with the number of compensations when it was made; ascending in both.
    savepoints: Vec<(SavepointId, usize)>,
    next: u64,
}

impl Undo {
    /// Whether operations have to be noted.
    pub(crate) fn is_on(&self) -> bool {
        !self.savepoints.is_empty()
    }

    pub(crate) fn note(&mut self, compensation: Compensation) {
        self.compensations.push(compensation);
    }

    /// Forgets the last notes: the operation they were for was not done.
    pub(crate) fn forget_from(&mut self, len: usize) {
        self.compensations.truncate(len);
    }

    pub(crate) fn len(&self) -> usize {
        self.compensations.len()
    }

    pub(crate) fn savepoint(&mut self) -> SavepointId {
        let id = SavepointId(self.next);
        self.next += 1;
        self.savepoints.push((id, self.compensations.len()));
        id
    }

    fn position(&self, savepoint: SavepointId) -> Result<usize, Error> {
        self.savepoints.binary_search_by_key(&savepoint, |(id, _)| *id).map_err(|_| {
            Error::new(
                ErrorKind::SavepointGone,
                "the savepoint was released, or rolled back to an earlier one",
            )
        })
    }

    /// What takes back everything since a savepoint, in the order in which it is to be done. Later savepoints are gone.
    pub(crate) fn roll_back(&mut self, savepoint: SavepointId) -> Result<Vec<Compensation>, Error> {
        let position = self.position(savepoint)?;
        self.savepoints.truncate(position + 1);
        let mut undone = self.compensations.split_off(self.savepoints[position].1);
        undone.reverse();
        Ok(undone)
    }

    /// Forgets a savepoint and those after it; what was done stays.
    pub(crate) fn release(&mut self, savepoint: SavepointId) -> Result<(), Error> {
        let position = self.position(savepoint)?;
        self.savepoints.truncate(position);
        if self.savepoints.is_empty() {
            self.compensations.clear();
        }
        Ok(())
    }
}

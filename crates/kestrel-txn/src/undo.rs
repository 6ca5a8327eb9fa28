//! Savepoints: what has to be done to take back what was done since.
//!
//! While a savepoint is open, each operation first notes how to compensate it. Rolling back does the compensations,
//! newest first, as ordinary operations. So it costs what the undone work cost, and the journal only ever grows: whether
//! some of it was streamed to the log already makes no difference.

use kestrel_btree::BlobRef;
use kestrel_check::planted::{Bug, is_planted};
use kestrel_pager::TreeId;

use crate::{Error, ErrorKind};

/// Names a savepoint of one transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SavepointId(u64);

/// What a key held.
#[derive(Debug)]
pub(crate) enum OldValue {
    Small(Vec<u8>),
    /// Stays where it is as long as the transaction lives.
    Large(BlobRef),
}

/// How one operation is taken back.
#[derive(Debug)]
pub(crate) enum Compensation {
    /// Give the key its value again, or take it away.
    Key { tree: TreeId, key: Vec<u8>, value: Option<OldValue> },
    /// Drop a tree that was created.
    Drop(TreeId),
    /// Bring back a tree that was dropped.
    Restore { tree: TreeId, name: String },
    /// Give a tree its name again.
    Rename { tree: TreeId, name: String },
}

impl Compensation {
    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        size_of::<Compensation>()
            + match self {
                Compensation::Key { key, value: Some(OldValue::Small(value)), .. } => key.len() + value.len(),
                Compensation::Key { key, .. } => key.len(),
                Compensation::Drop(_) => 0,
                Compensation::Restore { name, .. } | Compensation::Rename { name, .. } => name.len(),
            }
    }
}

/// The open savepoints of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    compensations: Vec<Compensation>,
    /// Each with the number of compensations when it was made; ascending in both.
    savepoints: Vec<(SavepointId, usize)>,
    next: u64,
    bytes: usize,
    limit: usize,
}

impl Undo {
    /// No savepoints, and room for so many bytes of compensations.
    pub(crate) fn new(limit: usize) -> Undo {
        Undo { limit, ..Undo::default() }
    }

    /// An error once the compensations take more than their room.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        if self.bytes <= self.limit {
            return Ok(());
        }
        let message = "what was changed since the savepoints takes more memory than there is for it; release them, make \
                       fewer changes under one, or raise the budget";
        Err(Error::new(ErrorKind::OverBudget, message))
    }

    /// Whether operations have to be noted.
    pub(crate) fn is_on(&self) -> bool {
        !self.savepoints.is_empty()
    }

    pub(crate) fn note(&mut self, compensation: Compensation) {
        self.bytes += compensation.bytes();
        self.compensations.push(compensation);
    }

    /// Forgets the last notes: the operation they were for was not done.
    pub(crate) fn forget_from(&mut self, len: usize) {
        for undone in self.compensations.drain(len.min(self.compensations.len())..) {
            self.bytes -= undone.bytes();
        }
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
        self.bytes -= undone.iter().map(Compensation::bytes).sum::<usize>();
        if !is_planted(Bug::RollbackInWrongOrder) {
            undone.reverse();
        }
        Ok(undone)
    }

    /// Forgets a savepoint and those after it; what was done stays.
    pub(crate) fn release(&mut self, savepoint: SavepointId) -> Result<(), Error> {
        let position = self.position(savepoint)?;
        if is_planted(Bug::ReleaseForgetsChanges) {
            self.forget_from(self.savepoints[position].1);
        }
        self.savepoints.truncate(position);
        if self.savepoints.is_empty() {
            self.compensations.clear();
            self.bytes = 0;
        }
        Ok(())
    }
}

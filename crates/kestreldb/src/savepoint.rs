//! Savepoints of a write transaction.

use std::sync::atomic::{AtomicU64, Ordering};

use kestrel_txn::SavepointId;

use crate::{Error, ErrorKind, Result, WriteTxn};

/// Numbers the transactions that have savepoints.
static NEXT_OWNER: AtomicU64 = AtomicU64::new(1);

/// A point in a write transaction to go back to. It belongs to that transaction, and needs no care when it is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Savepoint {
    owner: u64,
    id: SavepointId,
}

impl WriteTxn {
    /// Marks this point, to go back to it. From here on, until it is released, each change keeps what it replaced: so it costs
    /// more, in memory too.
    pub fn savepoint(&self) -> Result<Savepoint> {
        let owner = *self.owner.get_or_init(|| NEXT_OWNER.fetch_add(1, Ordering::Relaxed));
        Ok(Savepoint { owner, id: self.txn().savepoint()? })
    }

    /// Takes back all that was done since the savepoint, which stays; later ones are gone. Takes as long as doing it did.
    pub fn rollback_to(&self, savepoint: Savepoint) -> Result<()> {
        Ok(self.txn().rollback_to(self.check(savepoint)?)?)
    }

    /// Forgets the savepoint and all later ones. What was done stays.
    pub fn release(&self, savepoint: Savepoint) -> Result<()> {
        Ok(self.txn().release(self.check(savepoint)?)?)
    }

    /// Runs `body`, and takes back what it did in this transaction if it returns an error.
    ///
    /// ```
    /// use kestreldb::{Database, Error};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let db = Database::in_memory()?;
    /// let log = db.tree("log")?;
    /// db.write(|tx| {
    ///     tx.put(&log, "1", "kept")?;
    ///     let refused = tx.nested(|| {
    ///         tx.put(&log, "2", "taken back")?;
    ///         Err::<(), _>(Box::<dyn std::error::Error>::from("changed my mind"))
    ///     });
    ///     assert!(refused.is_err() && !tx.contains(&log, "2")?);
    ///     Ok::<_, Error>(())
    /// })?;
    /// assert_eq!(log.len()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn nested<T, E: From<Error>>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let savepoint = self.savepoint()?;
        let result = body();
        if result.is_err() {
            self.rollback_to(savepoint)?;
        }
        self.release(savepoint)?;
        result
    }

    fn check(&self, savepoint: Savepoint) -> Result<SavepointId> {
        if self.owner.get() == Some(&savepoint.owner) {
            return Ok(savepoint.id);
        }
        let message = "the savepoint belongs to another transaction";
        Err(Error::new(ErrorKind::SavepointGone, message))
    }
}

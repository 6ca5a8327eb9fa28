//! How a write transaction runs and commits.

use kestrel_txn::{Durability, Isolation};

/// How often a conflict is answered with another try.
const RETRIES_DEFAULT: u32 = 100;

/// How a write transaction runs and commits.
///
/// [`Database::write_options`](crate::Database::write_options) has the database's defaults.
///
/// ```
/// use kestreldb::{Database, Durability, Error};
///
/// # fn main() -> Result<(), Error> {
/// let db = Database::in_memory()?;
/// let visits = db.tree("visits")?;
/// let quick = db.write_options().durability(Durability::Eventual);
/// db.write_with(quick, |tx| tx.put(&visits, "page", "1"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    pub(crate) isolation: Isolation,
    pub(crate) durability: Durability,
    pub(crate) retries: u32,
}

impl WriteOptions {
    /// Serializable, durable at once, and up to 100 more tries after conflicts.
    #[must_use]
    pub fn new() -> WriteOptions {
        WriteOptions {
            isolation: Isolation::default(),
            durability: Durability::default(),
            retries: RETRIES_DEFAULT,
        }
    }

    /// What counts as a conflict: with [`Isolation::Serializable`] (the default) every commit since the transaction
    /// began that wrote what it read or wrote; with [`Isolation::Snapshot`] only one that wrote what it wrote. Of
    /// [large transactions](crate::WriteTxn#large-transactions) that is known less exactly.
    #[must_use]
    pub fn isolation(self, isolation: Isolation) -> WriteOptions {
        WriteOptions { isolation, ..self }
    }

    /// Whether the commit waits until it is on disk ([`Durability::Immediate`], the default), or returns at once and is
    /// there a few milliseconds later ([`Durability::Eventual`]). A crash in between takes it back, together with
    /// all later ones: what is left is always a prefix of the commits.
    #[must_use]
    pub fn durability(self, durability: Durability) -> WriteOptions {
        WriteOptions { durability, ..self }
    }

    /// How often [`Database::write`](crate::Database::write) and the calls of a [`Tree`](crate::Tree) run again after a conflict
    /// before they return it. After a few conflicts a transaction gets its turn to commit before others (see
    /// [`Database::write`](crate::Database::write)), so 100, the default, is as good as any number; less than 8 means to do without.
    #[must_use]
    pub fn retries(self, retries: u32) -> WriteOptions {
        WriteOptions { retries, ..self }
    }
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions::new()
    }
}

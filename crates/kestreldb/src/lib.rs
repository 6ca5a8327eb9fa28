//! Kestrel: an embeddable, transactional, ordered key-value storage engine.
//!
//! A [`Database`] is a directory of files (or lives [in memory](Database::in_memory)). It holds [`Tree`]s, ordered maps of
//! bytes under a name. A [`ReadTxn`] is a snapshot of all of them, a [`WriteTxn`] changes any number of them at once.
//! Both hand out [`Value`]s, which are not copied, and [`Range`]s, which go both ways. Any number of transactions run
//! at the same time, on any threads; none waits for another, and no handle has a lifetime to keep track of.
//!
//! It is not a server, knows no types and no query language, and one process at a time opens a database.
//!
//! ```
//! use kestreldb::{Database, Error};
//!
//! # fn main() -> Result<(), Error> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("bank");
//! let db = Database::open(path)?;
//! let accounts = db.tree("accounts")?;
//! accounts.put("ada", 100_u64.to_be_bytes())?;
//! accounts.put("bob", 0_u64.to_be_bytes())?;
//!
//! // A transaction is a closure: it is committed if it returns `Ok`, and run again after a conflict.
//! db.write(|tx| {
//!     for (name, change) in [("ada", -30), ("bob", 30)] {
//!         let balance = tx.get(&accounts, name)?.map_or([0; 8], |value| value[..].try_into().unwrap());
//!         let balance = u64::from_be_bytes(balance).checked_add_signed(change).expect("enough money");
//!         tx.put(&accounts, name, balance.to_be_bytes())?;
//!     }
//!     Ok::<_, Error>(())
//! })?;
//!
//! assert_eq!(accounts.get("bob")?.unwrap(), 30_u64.to_be_bytes());
//! db.close()
//! # }
//! ```
//!
//! A commit waits until it is on disk. Who has other things to do takes a [`CommitTicket`] instead, to wait for later or to
//! `.await`, in any runtime; many commits then share one sync of the disk.
//!
//! ```
//! # use kestreldb::{Database, Error};
//! # fn main() -> Result<(), Error> {
//! # let db = Database::in_memory()?;
//! let events = db.tree("events")?;
//! let mut tickets = Vec::new();
//! for n in 0..100_u32 {
//!     let (_, ticket) = db.write_async(|tx| tx.put(&events, n.to_be_bytes(), "happened"))?;
//!     tickets.push(ticket);
//! }
//! for ticket in tickets {
//!     ticket.wait()?;
//! }
//! assert_eq!(events.len()?, 100);
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//! - **Atomic**: all of a transaction is there, or none, whatever happens.
//! - **Isolated**: [serializable](Isolation::Serializable) unless told otherwise, phantoms included. What cannot be
//!   put in order is a [conflict](Error::is_conflict).
//! - **Durable**: a commit returns when it is on disk, unless it asked [not to wait](Durability::Eventual) or for
//!   [a ticket](WriteTxn::commit_async). A crash leaves a prefix of the commits.
//! - **Bounded**: memory has one [budget](Builder::memory_budget). Nothing else has to be set in advance.
//! - **Checked**: everything read from disk passes a checksum first. What does not is an error that names the place.
//!
//! # Caveats
//! Keys are limited to a [quarter of a page](Database::max_key_len). The lock on the directory is as good as the file system's
//! locks: some network file systems only pretend. A process that forks must not use the database in both halves: the second one's writes are
//! errors.

mod background;
mod backoff;
mod binding;
mod builder;
mod bulk;
mod cas;
mod comparison;
mod database;
mod error;
mod extract;
mod key;
mod key_range;
mod leisure;
mod options;
mod range;
mod read_txn;
mod salvage;
mod savepoint;
mod shared;
mod ticket;
mod tree;
mod turn;
mod upkeep;
mod value;
mod write_txn;

pub use builder::Builder;
pub use cas::CasMismatch;
pub use database::Database;
pub use error::{Error, ErrorKind, Result};
pub use extract::ExtractIf;
pub use key::Key;
pub use key_range::{IntoKeyRange, KeyRange};
pub use options::WriteOptions;
pub use range::Range;
pub use read_txn::ReadTxn;
pub use salvage::{salvage, salvage_with, verify_files};
pub use savepoint::Savepoint;
pub use ticket::CommitTicket;
pub use tree::Tree;
pub use value::Value;
pub use write_txn::WriteTxn;

pub use kestrel_txn::{
    Access, Conflict, ConflictPlace, Damage, Durability, Isolation, KeyBounds, SalvageOptions, SalvageReport,
    SalvagedTree, Statistics, Timestamp, TreeId, TreeInfo, VerifyReport,
};

/// For simulations, which want everything to happen the same way each time.
#[doc(hidden)]
pub mod simulation {
    pub use kestrel_io::{Clock, ManualClock};
    pub use kestrel_txn::stand_apart;
}

/// Where a database's files lie, for those who bring a place of their own.
pub mod storage {
    pub use kestrel_io::{FileStorage, LockError, MemoryStorage, Storage, StorageFile, StorageLock};
}

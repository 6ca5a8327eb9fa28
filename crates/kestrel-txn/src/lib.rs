//! Transactions: [`Engine`], [`ReadTxn`], [`WriteTxn`], [`CommitTicket`], [`Cursor`].
//!
//! A reader is a snapshot. A write transaction is a snapshot, a private overlay of pages, and a journal of its operations.
//! A commit validates the journal's keys against what was committed meanwhile, appends the journal to the log and
//! publishes the overlay; if others changed the overlay's pages, it runs the journal again over the newest state first.
//! Recovery is the last checkpoint and the journals behind it, run by the same code.
//!
//! The crate starts no threads, and knows nothing of files: it is given a [`Storage`](kestrel_io::Storage).
//!
//! ```
//! use std::sync::Arc;
//! use kestrel_io::MemoryStorage;
//! use kestrel_txn::{Durability, Engine, EngineOptions, Isolation};
//!
//! # fn main() -> Result<(), kestrel_txn::Error> {
//! let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default())?;
//! let write = engine.begin_write(Isolation::Serializable)?;
//! let birds = write.create_tree("birds")?;
//! write.put(birds, b"kestrel", b"falcon")?;
//! write.commit(Durability::Immediate)?;
//!
//! let read = engine.begin_read()?;
//! assert_eq!(read.get(birds, b"kestrel")?.as_deref(), Some(&b"falcon"[..]));
//! # Ok(())
//! # }
//! ```

mod catalogue;
mod checkpoint;
mod claim_set;
mod coarsen;
mod commit;
mod conflict;
mod core;
mod cursor;
mod damage;
mod draft;
mod engine;
mod error;
mod journal;
mod key_range;
mod key_set;
mod layout;
mod maintain;
mod operation;
mod options;
mod overlay;
mod page;
mod read_txn;
mod reader;
mod record;
mod recovery;
mod restarts;
mod salvage;
mod scan_claim;
mod share;
mod state;
mod ticket;
mod undo;
mod validation;
mod value;
mod verify;
mod verify_files;
mod visibility;
mod window;
mod write_txn;

pub use catalogue::{TreeInfo, TreeRef};
pub use conflict::{Access, Conflict, ConflictPlace};
pub use cursor::Cursor;
pub use damage::{Damage, KeyBounds};
pub use engine::{Engine, Statistics};
pub use error::{Error, ErrorKind};
pub use kestrel_pager::{Timestamp, TreeId, stand_apart};
pub use options::{Durability, EngineOptions, Isolation, Simulated};
pub use read_txn::ReadTxn;
pub use salvage::{SalvageOptions, SalvageReport, SalvagedTree, diagnose, salvage, surveyed_page_size};
pub use share::{Share, Shares};
pub use ticket::CommitTicket;
pub use undo::SavepointId;
pub use value::Value;
pub use verify::VerifyReport;
pub use write_txn::WriteTxn;

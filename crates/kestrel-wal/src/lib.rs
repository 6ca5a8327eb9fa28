//! The write-ahead log: [`Wal`], [`Recovery`], [`Record`], [`Lsn`].
//!
//! A stream of checksummed records in preallocated segment files. [`Wal::append`] only copies a record into memory and
//! names its place, an [`Lsn`]; [`Wal::flush`] makes everything up to a place durable, for many threads with one sync.
//! [`Wal::recover`] finds the end of a log after a crash: a torn tail, which nobody was told of, ends it; damage before
//! a place that is known to have been durable is an error.
//!
//! This crate knows nothing of what records mean: a kind and bytes go in, the same come out. It does not decide when to
//! flush, when to recycle, or what to replay.
//!
//! ```
//! use std::sync::Arc;
//! use kestrel_io::MemoryStorage;
//! use kestrel_wal::{LogOptions, Lsn, Wal};
//!
//! # fn main() -> Result<(), kestrel_wal::Error> {
//! let storage = Arc::new(MemoryStorage::new());
//! let options = LogOptions { segment_size: 1 << 20, database: 7 };
//! let wal = Wal::create(storage.clone(), &options, Lsn(0))?;
//! let from = wal.end();
//! let appended = wal.append(1, &[b"hello, ", b"log"])?;
//! wal.flush(appended.end)?;
//! drop(wal);
//!
//! let recovery = Wal::recover(storage, &options, from)?;
//! let payloads: Vec<Vec<u8>> = recovery.records().map(|r| Ok(r?.payload)).collect::<Result<_, kestrel_wal::Error>>()?;
//! assert_eq!(payloads, [b"hello, log"]);
//! let wal = recovery.into_wal()?;
//! assert_eq!(wal.end(), appended.end);
//! # Ok(())
//! # }
//! ```
//!
//! Caveat: whether the very last synced group was damaged or torn cannot be told apart, for no later record vouches for
//! it. Both end the log there.

mod boarding;
mod buffer;
mod cursor;
mod error;
mod format;
mod landing;
mod lsn;
mod options;
mod recover;
mod segments;
mod survey;
mod wal;

pub use error::Error;
pub use format::{FILLER_KIND, FORMAT_VERSION};
pub use lsn::Lsn;
pub use options::LogOptions;
pub use recover::{Record, Records, Recovery};
pub use survey::{Found, LogSurvey};
pub use wal::{Appended, LogStats, Wal};

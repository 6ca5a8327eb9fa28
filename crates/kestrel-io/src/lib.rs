//! Storage backends and the clock.
//!
//! A [`Storage`] is a flat directory of [`StorageFile`]s. [`FileStorage`] is a directory of the operating system,
//! [`MemoryStorage`] lives and dies with the process, and [`CrashStorage`] forgets at will what was not synced and
//! fails on demand. [`Clock`] is time: [`SystemClock`] runs by itself, [`ManualClock`] when told to.
//!
//! This crate knows nothing of pages, logs or transactions, and caches nothing: every call reaches the backend.
//!
//! ```
//! use kestrel_io::{MemoryStorage, Storage, StorageFile};
//!
//! # fn main() -> std::io::Result<()> {
//! let storage = MemoryStorage::new();
//! let file = storage.create("greeting")?;
//! file.write_all_at(b"hello", 0)?;
//! file.sync_data()?;
//! storage.sync_directory()?;
//! assert_eq!(storage.open("greeting")?.len()?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! Caveats: file locks of the operating system are advisory, and some network file systems pretend to grant them.

mod clock;
mod crash;
mod faults;
mod file;
mod file_lock;
mod memory;
mod name;
mod process_lock;
mod random;
mod space;
mod sparse;
mod storage;
mod unsynced;

pub use clock::{Clock, ManualClock, SystemClock, thread_time};
pub use crash::{CrashStorage, Piece};
pub use faults::{Fault, FaultEffect, Operation, OperationCounts};
pub use file::FileStorage;
pub use memory::MemoryStorage;
pub use storage::{LockError, Storage, StorageFile, StorageLock};

//! Storage backends and the clock.

mod clock;
mod storage;

pub use clock::Clock;
pub use storage::{LockError, Storage, StorageFile, StorageLock};

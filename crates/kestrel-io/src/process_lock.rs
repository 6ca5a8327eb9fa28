//! Locks that hold within this process, for the backends in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{LockError, StorageLock};

/// The names locked at this moment. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessLocks {
    held: Arc<Mutex<BTreeSet<String>>>,
}

impl ProcessLocks {
    pub(crate) fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        if !self.held.lock().insert(name.to_owned()) {
            return Err(LockError::Held { holder: Some(describe_process()) });
        }
        Ok(Box::new(ProcessLock { locks: self.clone(), name: name.to_owned() }))
    }
}

#[derive(Debug)]
struct ProcessLock {
    locks: ProcessLocks,
    name: String,
}

impl StorageLock for ProcessLock {}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        self.locks.held.lock().remove(&self.name);
    }
}

/// What this process writes of itself into its locks.
pub(crate) fn describe_process() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    format!("process {} ({})", std::process::id(), program.as_deref().unwrap_or("unknown program"))
}

//! The exclusive lock on a directory, as a file lock of the operating system.
//!
//! The lock file is never deleted: a process that opened it just before would lock a file that nobody else sees.
//! Its text only serves messages; what counts is the lock, which ends with the process however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::process_lock::describe_process;
use crate::storage::{LockError, StorageLock};

/// More of a lock file is never shown.
const HOLDER_BYTES_MAX: u64 = 200;

/// Holds the lock as long as the file is open.
#[derive(Debug)]
struct FileLock {
    _file: File,
}

impl StorageLock for FileLock {}

/// Takes the lock of the file at `path`, creating the file if there is none.
pub(crate) fn lock(path: &Path, options: &mut OpenOptions) -> Result<Box<dyn StorageLock>, LockError> {
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held { holder: read_holder(&mut file) }),
        Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
    }
    // A text that cannot be written (a full disk) makes messages poorer, the lock is no less held.
    let _ = write_holder(&mut file);
    Ok(Box::new(FileLock { _file: file }))
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(describe_process().as_bytes())
}

fn read_holder(file: &mut File) -> Option<String> {
    let mut bytes = Vec::new();
    file.take(HOLDER_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text: String = String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect();
    Some(text).filter(|text| !text.is_empty())
}

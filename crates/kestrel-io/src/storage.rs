//! What the engine asks of the place its files lie in.

use std::fmt;
use std::io;
use std::sync::Arc;

/// After so many interruptions in a row a read or write is given up: whatever interrupts it does not stop.
const INTERRUPTIONS_MAX: u32 = 1000;

/// A flat directory of files: all the engine knows of the outside world.
///
/// Names are plain file names without separators. Implementations are free to lose whatever was not made
/// durable by [`StorageFile::sync_data`] (contents) or [`Storage::sync_directory`] (names): the engine relies
/// on nothing else. Every method may be called from any thread.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Opens an existing file for reading and writing; `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates an empty file readable by its owner only; `AlreadyExists` if there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// The names of all files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Renames a file, replacing the target if it exists. Durable only after [`Storage::sync_directory`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Handles that are open go on working. Durable only after [`Storage::sync_directory`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals so far durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Takes the exclusive lock called `name` until the guard is dropped (or the process ends).
    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError>;

    /// Where the files lie, for messages.
    fn describe(&self) -> String;
}

/// One file. Reads and writes name their position, so a handle is shared freely among threads.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// Reads at `offset` into `buffer`; may read less than asked (0 at or past the end).
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`, growing the file if needed; may write less than asked.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes all completed writes, and the file's length, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Claims disk space for `len` bytes from `offset`, growing the file if needed, so that later writes
    /// there cannot fail for want of space. New bytes read as zeros.
    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// A hint that the range will be read soon. Does nothing by default, and never fails.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Fills `buffer` from `offset`, retrying short and interrupted reads; `UnexpectedEof` at the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        let mut interruptions = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    done += n;
                    interruptions = 0;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted && interruptions < INTERRUPTIONS_MAX => {
                    interruptions += 1;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `buffer` at `offset`, retrying short and interrupted writes.
    fn write_all_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        let mut interruptions = 0;
        while done < buffer.len() {
            match self.write_at(&buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    done += n;
                    interruptions = 0;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted && interruptions < INTERRUPTIONS_MAX => {
                    interruptions += 1;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Holds a lock until dropped.
pub trait StorageLock: Send + Sync + fmt::Debug {}

/// Why a lock was not had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it; what they wrote of themselves (process id and program), if it can be read.
    Held {
        /// For example `process 4711 (firehose)`.
        holder: Option<String>,
    },
    /// The lock could not be tried.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        LockError::Io(error)
    }
}

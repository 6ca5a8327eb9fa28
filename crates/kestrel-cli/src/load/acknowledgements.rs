//! A file that says which batches are stored.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// The file of `--ack`: a line a batch, synced before the next batch is begun.
#[derive(Debug)]
pub(crate) struct Acknowledgements {
    file: File,
    path: PathBuf,
}

impl Acknowledgements {
    /// Opens the file to append to it, or creates it.
    pub(crate) fn open(path: &Path) -> Outcome<Acknowledgements> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file =
            file.map_err(|error| Failure::new(format!("opening {} failed: {error}", path.display())))?;
        Ok(Acknowledgements { file, path: path.to_owned() })
    }

    /// Notes that a batch is stored, and with it so many entries of this load.
    pub(crate) fn append(&mut self, batch: u64, entries: u64) -> Outcome {
        // One write, so that no part of a line is seen.
        let written = self.file.write_all(format!("{batch} {entries}\n").as_bytes());
        written.and_then(|()| self.sync()).map_err(|error| {
            let path = self.path.display();
            Failure::new(format!("batch {batch} is stored, but writing that to {path} failed: {error}"))
        })
    }

    fn sync(&self) -> io::Result<()> {
        match self.file.sync_data() {
            // Pipes and terminals cannot be synced, nor need they be.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

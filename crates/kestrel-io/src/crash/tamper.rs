//! Changing the disk behind the back of those who use it: no operation is counted, no planned failure met, and what is changed is
//! durable at once.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{CrashStorage, SharedFile};
use crate::unsynced::{SECTOR, UnsyncedFile};

impl CrashStorage {
    /// The names of all files and their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state.lock();
        state.names.iter().map(|(name, file)| (name.clone(), file.lock().len())).collect()
    }

    /// Reads as [`StorageFile::read_at`](crate::StorageFile::read_at) does; 0 if there is no such file.
    #[must_use]
    pub fn peek(&self, name: &str, buffer: &mut [u8], offset: u64) -> usize {
        self.find(name).map_or(0, |file| file.lock().read(buffer, offset))
    }

    /// All bytes of a file; none if there is no such file.
    #[must_use]
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let Some(file) = self.find(name) else { return Vec::new() };
        let file = file.lock();
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(0)];
        file.read(&mut bytes, 0);
        bytes
    }

    /// Whether a sector (by its number in the file) has nothing that a crash could take back.
    #[must_use]
    pub fn is_decided(&self, name: &str, sector: u64) -> bool {
        self.find(name).is_none_or(|file| file.lock().is_decided(sector))
    }

    /// Overwrites bytes of a file.
    ///
    /// # Errors
    /// There is no such file, or no room.
    pub fn poke(&self, name: &str, bytes: &[u8], offset: u64) -> io::Result<()> {
        let file = self.find(name).ok_or(io::ErrorKind::NotFound)?;
        let mut file = file.lock();
        file.poke(bytes, offset)
    }

    /// Cuts or extends a file; what it holds then is durable.
    ///
    /// # Errors
    /// There is no such file.
    pub fn poke_len(&self, name: &str, len: u64) -> io::Result<()> {
        let file = self.find(name).ok_or(io::ErrorKind::NotFound)?;
        file.lock().poke_len(len);
        Ok(())
    }

    /// Puts a file in place of the one of that name, if there is one.
    ///
    /// # Errors
    /// There is no room.
    pub fn poke_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut file = UnsyncedFile::new(state.next_file, self.space.clone());
        state.next_file += 1;
        file.poke(bytes, 0)?;
        let file = Arc::new(Mutex::new(file));
        state.durable_names.insert(name.to_owned(), Arc::clone(&file));
        state.names.insert(name.to_owned(), file);
        Ok(())
    }

    /// Takes a file away.
    pub fn poke_removal(&self, name: &str) {
        let mut state = self.state.lock();
        state.durable_names.remove(name);
        state.names.remove(name);
    }

    /// Bytes of a sector.
    pub const SECTOR: usize = SECTOR;

    fn find(&self, name: &str) -> Option<SharedFile> {
        self.state.lock().names.get(name).cloned()
    }
}

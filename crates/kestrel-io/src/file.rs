//! A directory of the operating system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file_lock;
use crate::name;
use crate::storage::{LockError, Storage, StorageFile, StorageLock};

/// A directory of the operating system. Files are created readable by their owner only.
///
/// The path is resolved once, so a later change of the working directory does not matter. It belongs to the process that
/// opened it: one that was forked from it has the same open files, and could write to them with a lock that is held twice, so
/// all that changes anything is an error there.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    owner: Owner,
    /// Open for syncing names.
    #[cfg(unix)]
    directory: File,
}

impl FileStorage {
    /// Opens an existing directory; `NotFound` if there is none.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().canonicalize()?;
        if !path.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        sync_entry(&path)?;
        #[cfg(unix)]
        let directory = File::open(&path)?;
        Ok(Self {
            path,
            owner: Owner::this_process(),
            #[cfg(unix)]
            directory,
        })
    }

    /// Creates a directory, accessible by its owner only; `AlreadyExists` if there is one. Missing parents are
    /// created as well, and all of them are durable on return.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let parent = parent_of(path);
        create_missing(parent)?;
        create_one(path)?;
        sync_path(parent)?;
        Self::open(path)
    }

    /// Opens a directory, or creates it as [`FileStorage::create`] does.
    pub fn open_or_create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        create_missing(path)?;
        Self::open(path)
    }

    /// The directory's resolved path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        name::check(name)?;
        Ok(self.path.join(name))
    }
}

impl Storage for FileStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.file(name)?)?;
        Ok(Arc::new(SystemFile { file, owner: self.owner }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.owner.check()?;
        let file = owner_only().read(true).write(true).create_new(true).open(self.file(name)?)?;
        Ok(Arc::new(SystemFile { file, owner: self.owner }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Names that are not UTF-8 and things that are not files cannot be the engine's.
            if let Ok(name) = entry.file_name().into_string()
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.owner.check()?;
        fs::rename(self.file(from)?, self.file(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.owner.check()?;
        fs::remove_file(self.file(name)?)
    }

    #[cfg(unix)]
    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    /// The system offers no such call; its file system journals names in order.
    #[cfg(not(unix))]
    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        file_lock::lock(&self.file(name)?, &mut owner_only())
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// Options that create files readable by their owner only.
fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The directory that holds `path`'s entry.
fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn create_one(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Creates the directories of `path` that are missing, outermost first, and syncs the parent of each.
fn create_missing(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    while !at.is_dir() {
        missing.push(at);
        let parent = parent_of(at);
        if parent == at {
            // Not even the current directory can be seen: creating will say why.
            break;
        }
        at = parent;
    }
    if !missing.is_empty() {
        sync_entry(at)?;
    }
    for path in missing.into_iter().rev() {
        match create_one(path) {
            Ok(()) => {}
            // Somebody else was faster, and may not have synced it yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(error),
        }
        sync_path(parent_of(path))?;
    }
    Ok(())
}

/// Makes a directory's own entry durable: a process that was killed between creating it and syncing its parent left that
/// to others. Whoever may not read the parent could not have created anything there.
fn sync_entry(path: &Path) -> io::Result<()> {
    match sync_path(parent_of(path)) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn sync_path(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_path(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The process that may write.
#[derive(Clone, Copy, Debug)]
struct Owner(u32);

impl Owner {
    fn this_process() -> Owner {
        Owner(std::process::id())
    }

    /// Whether this process is that one. Costs a system call, as the write that follows does.
    fn check(self) -> io::Result<()> {
        let here = std::process::id();
        if here == self.0 {
            return Ok(());
        }
        let message = format!(
            "the database was opened by process {}, from which this process {here} was forked; open it after the fork",
            self.0
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }
}

#[derive(Debug)]
struct SystemFile {
    file: File,
    owner: Owner,
}

impl StorageFile for SystemFile {
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.owner.check()?;
        std::os::unix::fs::FileExt::write_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.file, buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.owner.check()?;
        self.file.set_len(len)
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.owner.check()?;
        if len == 0 || fallocate(&self.file, offset, len)? {
            return Ok(());
        }
        self.extend_with_zeros(offset, len)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn will_need(&self, offset: u64, len: u64) {
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // Only a hint: without it the read merely waits longer.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), rustix::fs::Advice::WillNeed);
        }
    }
}

impl SystemFile {
    /// Claims space by writing zeros behind the end of the file. Holes before the end stay holes: filling them could
    /// overwrite what somebody else writes there at the same time.
    fn extend_with_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        const ZEROS: &[u8] = &[0; 64 * 1024];
        let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        let old_end = self.len()?;
        // A gap between the old end and the offset was not asked for and need not be filled.
        let mut at = old_end.max(offset);
        while at < end {
            let n = (end - at).min(ZEROS.len() as u64) as usize;
            self.write_all_at(&ZEROS[..n], at)?;
            at += n as u64;
        }
        Ok(())
    }
}

/// Asks the system to claim the space; `false` if it or the file system cannot.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn fallocate(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    use rustix::io::Errno;
    loop {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn fallocate(_: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_created_when_asked_and_only_then() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a").join("b");
        assert_eq!(FileStorage::open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        FileStorage::open_or_create(&path).unwrap();
        FileStorage::open_or_create(&path).unwrap();
        assert_eq!(FileStorage::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let deeper = path.join("c").join("d");
        let storage = FileStorage::create(&deeper).unwrap();
        assert_eq!(storage.path(), deeper.canonicalize().unwrap());
        storage.create("file").unwrap();
        assert!(FileStorage::open(deeper.join("file")).is_err(), "a file is no directory");
        assert!(FileStorage::open_or_create(deeper.join("file")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let storage = FileStorage::create(temporary.path().join("database")).unwrap();
        storage.create("data").unwrap();
        let _lock = storage.lock("lock").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(storage.path()), 0o700);
        assert_eq!(mode(&storage.path().join("data")), 0o600);
        assert_eq!(mode(&storage.path().join("lock")), 0o600);
    }

    #[test]
    fn a_lock_says_who_holds_it_and_outlives_neither_guard_nor_storage() {
        let temporary = tempfile::tempdir().unwrap();
        let first = FileStorage::open(temporary.path()).unwrap();
        let second = FileStorage::open(temporary.path()).unwrap();
        fs::write(
            temporary.path().join("lock"),
            "an older and much longer text of another process, left behind",
        )
        .unwrap();
        let guard = first.lock("lock").unwrap();
        let Err(LockError::Held { holder: Some(holder) }) = second.lock("lock") else {
            panic!("not refused")
        };
        assert!(holder.starts_with(&format!("process {} (", std::process::id())), "{holder}");
        assert!(holder.ends_with(')'), "{holder}");
        drop(guard);
        drop(second.lock("lock").unwrap());
        assert!(temporary.path().join("lock").exists(), "the lock file is never deleted");
    }

    #[test]
    fn zeros_only_extend() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        let file = SystemFile {
            file: owner_only().read(true).write(true).create_new(true).open(&path).unwrap(),
            owner: Owner::this_process(),
        };
        file.write_all_at(b"abc", 0).unwrap();
        file.extend_with_zeros(1, 200_000).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 200_001);
        assert_eq!(&bytes[..4], b"abc\0");
        assert!(bytes[3..].iter().all(|&b| b == 0));
        file.extend_with_zeros(0, 10).unwrap();
        assert_eq!(file.len().unwrap(), 200_001);
    }
}

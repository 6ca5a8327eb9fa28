//! What every backend must do alike, run over all of them.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use kestrel_io::{CrashStorage, FileStorage, LockError, MemoryStorage, Storage};

/// A backend and what has to outlive it.
struct Backend {
    storage: Arc<dyn Storage>,
    _directory: Option<tempfile::TempDir>,
}

fn memory() -> Backend {
    Backend { storage: Arc::new(MemoryStorage::new()), _directory: None }
}

fn crash() -> Backend {
    Backend { storage: Arc::new(CrashStorage::new()), _directory: None }
}

fn file() -> Backend {
    let directory = tempfile::tempdir().unwrap();
    Backend { storage: Arc::new(FileStorage::open(directory.path()).unwrap()), _directory: Some(directory) }
}

macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        mod on_memory { $(#[test] fn $test() { super::$test(&*super::memory().storage); })* }
        mod on_crash { $(#[test] fn $test() { super::$test(&*super::crash().storage); })* }
        mod on_file { $(#[test] fn $test() { super::$test(&*super::file().storage); })* }
    };
}

conformance!(
    files_are_created_once_and_opened_often,
    names_are_plain,
    reads_stop_at_the_end,
    writes_grow_and_leave_zeros,
    far_offsets_work,
    lengths_cut_and_extend,
    preallocation_keeps_bytes_and_grows,
    renames_replace,
    removed_files_live_on_in_their_handles,
    locks_exclude,
    handles_are_shared_among_threads,
    hints_and_syncs_are_harmless,
);

fn listed(storage: &dyn Storage) -> BTreeSet<String> {
    storage.list().unwrap().into_iter().collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn files_are_created_once_and_opened_often(storage: &dyn Storage) {
    assert_eq!(storage.open("a").unwrap_err().kind(), ErrorKind::NotFound);
    let first = storage.create("a").unwrap();
    assert!(first.is_empty().unwrap());
    assert_eq!(storage.create("a").unwrap_err().kind(), ErrorKind::AlreadyExists);
    first.write_all_at(b"kept", 0).unwrap();
    let second = storage.open("a").unwrap();
    let mut bytes = [0; 4];
    second.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"kept");
    storage.create("b").unwrap();
    assert_eq!(listed(storage), set(&["a", "b"]));
    assert!(!storage.describe().is_empty());
}

fn names_are_plain(storage: &dyn Storage) {
    for bad in ["", ".", "..", "a/b", "../a", "a\\b", "a\0b"] {
        assert_eq!(storage.create(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        assert_eq!(storage.open(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        assert_eq!(storage.remove(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        assert_eq!(storage.rename(bad, "x").unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        assert!(matches!(storage.lock(bad), Err(LockError::Io(_))), "{bad:?}");
    }
    storage.create("good").unwrap();
    assert_eq!(storage.rename("good", "a/b").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(listed(storage), set(&["good"]));
}

fn reads_stop_at_the_end(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    file.write_all_at(b"0123456789", 0).unwrap();
    let mut bytes = [0xEE; 8];
    assert_eq!(file.read_at(&mut bytes, 6).unwrap(), 4);
    assert_eq!(&bytes[..5], b"6789\xEE");
    assert_eq!(file.read_at(&mut bytes, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut bytes, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    assert_eq!(file.read_exact_at(&mut bytes, 6).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

fn writes_grow_and_leave_zeros(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    file.write_all_at(b"end", 100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_003);
    let mut bytes = vec![0xEE; 100_003];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..100_000].iter().all(|&b| b == 0));
    assert_eq!(&bytes[100_000..], b"end");
    file.write_all_at(b"", 200_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_003, "an empty write does not grow");
}

fn far_offsets_work(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    let far = (5 << 30) + 7;
    file.write_all_at(b"far", far).unwrap();
    let mut bytes = [0; 3];
    file.read_exact_at(&mut bytes, far).unwrap();
    assert_eq!(&bytes, b"far");
    file.read_exact_at(&mut bytes, far - (4 << 30)).unwrap();
    assert_eq!(bytes, [0; 3], "offsets keep their upper half");
}

fn lengths_cut_and_extend(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    file.write_all_at(&[7; 1000], 0).unwrap();
    file.set_len(10).unwrap();
    file.set_len(500).unwrap();
    let mut bytes = [0xEE; 500];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes[..10], [7; 10]);
    assert!(bytes[10..].iter().all(|&b| b == 0), "cut bytes do not come back");
}

fn preallocation_keeps_bytes_and_grows(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    file.write_all_at(b"abc", 0).unwrap();
    file.preallocate(1, 10_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_001);
    file.preallocate(0, 5).unwrap();
    assert_eq!(file.len().unwrap(), 10_001, "it never cuts");
    let mut bytes = vec![0xEE; 10_001];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..3], b"abc");
    assert!(bytes[3..].iter().all(|&b| b == 0));
}

fn renames_replace(storage: &dyn Storage) {
    storage.create("a").unwrap().write_all_at(b"A", 0).unwrap();
    storage.create("b").unwrap().write_all_at(b"BB", 0).unwrap();
    storage.rename("a", "b").unwrap();
    assert_eq!(listed(storage), set(&["b"]));
    assert_eq!(storage.open("b").unwrap().len().unwrap(), 1);
    assert_eq!(storage.rename("a", "c").unwrap_err().kind(), ErrorKind::NotFound);
    storage.rename("b", "b").unwrap();
    assert_eq!(listed(storage), set(&["b"]), "onto itself is nothing");
    storage.sync_directory().unwrap();
}

fn removed_files_live_on_in_their_handles(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    file.write_all_at(b"ghost", 0).unwrap();
    storage.remove("a").unwrap();
    assert_eq!(storage.remove("a").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(listed(storage).is_empty());
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"ghost");
    assert!(storage.create("a").unwrap().is_empty().unwrap(), "a new file, not the old one");
}

fn locks_exclude(storage: &dyn Storage) {
    let guard = storage.lock("lock").unwrap();
    match storage.lock("lock") {
        Err(LockError::Held { holder: Some(holder) }) => assert!(holder.starts_with("process "), "{holder}"),
        other => panic!("not refused: {other:?}"),
    }
    let other = storage.lock("other").unwrap();
    drop(guard);
    drop(storage.lock("lock").unwrap());
    drop(other);
}

fn handles_are_shared_among_threads(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let file = Arc::clone(&file);
            scope.spawn(move || {
                for i in 0..50u64 {
                    let at = (i * 4 + u64::from(thread)) * 100;
                    file.write_all_at(&[thread + 1; 100], at).unwrap();
                    let mut back = [0; 100];
                    file.read_exact_at(&mut back, at).unwrap();
                    assert_eq!(back, [thread + 1; 100]);
                }
            });
        }
    });
    let mut all = vec![0; 20_000];
    file.read_exact_at(&mut all, 0).unwrap();
    for (i, block) in all.chunks(100).enumerate() {
        assert!(block.iter().all(|&b| usize::from(b) == i % 4 + 1), "block {i}");
    }
}

fn hints_and_syncs_are_harmless(storage: &dyn Storage) {
    let file = storage.create("a").unwrap();
    file.write_all_at(&[1; 5000], 0).unwrap();
    file.will_need(0, 5000);
    file.will_need(1 << 40, 0);
    file.will_need(u64::MAX, u64::MAX);
    file.sync_data().unwrap();
    storage.sync_directory().unwrap();
    assert_eq!(file.len().unwrap(), 5000);
}

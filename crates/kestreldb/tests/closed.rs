//! A database that was closed holds nothing of the system. Alone in its process, as open files belong to that.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use kestreldb::Database;

fn open_files(within: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let files = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    files.filter(|path| path.starts_with(within)).collect()
}

#[test]
fn no_file_stays_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    for round in 0..3 {
        let db = Database::open(&path).unwrap();
        let tree = db.tree("tree").unwrap();
        for number in 0..300_u32 {
            tree.put(number.to_be_bytes(), vec![round; 100]).unwrap();
        }
        tree.put("large", vec![1; 100_000]).unwrap();
        assert!(open_files(&path).len() >= 3);
        drop(tree);
        db.close().unwrap();
        assert_eq!(open_files(&path), [""; 0].map(PathBuf::from));
    }
}

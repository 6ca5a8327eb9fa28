//! Storages that fail while the database is open.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kestrel_io::{CrashStorage, Fault, FaultEffect, Operation};
use kestreldb::{Database, Durability, ErrorKind};

use crate::fails;

fn open(storage: &CrashStorage) -> Database {
    Database::builder()
        .memory_budget(8 << 20)
        .log_segment_size(64 << 10)
        .background(false)
        .open_with_storage(Arc::new(storage.clone()))
        .unwrap()
}

fn failing(operation: Operation) -> Fault {
    let effect = FaultEffect::Error(io::ErrorKind::Other);
    Fault { operation: Some(operation), after: 0, lasting: true, effect }
}

#[test]
fn a_full_disk_stops_writers_until_there_is_room() {
    let storage = CrashStorage::new();
    let db = open(&storage);
    let tree = db.tree("t").unwrap();
    tree.put("first", "v").unwrap();
    db.checkpoint().unwrap();
    storage.set_capacity(Some(storage.used() + (512 << 10)));
    let mut stored = 0_u64;
    let error = loop {
        match tree.put(stored.to_be_bytes(), [1; 1_000]) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10_000, "the capacity is not respected");
    };
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");

    // Reads go on, and show exactly what was acknowledged.
    assert_eq!(tree.len().unwrap(), stored + 1);
    assert_eq!(tree.range(..).unwrap().count() as u64, stored + 1);
    assert_eq!(tree.get(stored.to_be_bytes()).unwrap(), None);

    storage.set_capacity(None);
    tree.put(stored.to_be_bytes(), "there is room again").unwrap();
    assert!(db.verify().unwrap().damages.is_empty());
    drop(tree);
    db.close().unwrap();
    let db = open(&storage);
    assert_eq!(db.tree("t").unwrap().len().unwrap(), stored + 2);
}

#[test]
fn a_failed_sync_makes_the_database_read_only() {
    let storage = CrashStorage::new();
    let db = open(&storage);
    let tree = db.tree("t").unwrap();
    tree.put("before", "v").unwrap();
    storage.fail(failing(Operation::SyncData));
    let error = tree.put("unknown", "v").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly), "{error:?}");
    storage.clear_faults();

    // A later sync that succeeds proves nothing, so nothing is written any more.
    fails(tree.put("after", "v"), ErrorKind::ReadOnly, &[]);
    fails(tree.clear(), ErrorKind::ReadOnly, &[]);
    assert_eq!(tree.get("before").unwrap().unwrap(), "v");
    assert_eq!(tree.get("after").unwrap(), None);
    assert!(db.clone().close().is_err(), "what could not be made durable is not passed over");
    drop((tree, db));
    for seed in 0..20 {
        let db = open(&storage.crash(seed));
        let tree = db.tree("t").unwrap();
        assert_eq!(tree.get("before").unwrap().unwrap(), "v");
        assert_eq!(tree.get("after").unwrap(), None);
        tree.put("after", "opened anew").unwrap();
    }
}

#[test]
fn what_fails_in_the_background_is_not_lost() {
    let storage = CrashStorage::new();
    let db = Database::builder()
        .durability(Durability::Eventual)
        .open_with_storage(Arc::new(storage.clone()))
        .unwrap();
    let tree = db.tree("t").unwrap();
    db.flush().unwrap();
    assert!(db.background_error().is_none());
    storage.fail(failing(Operation::SyncData));
    tree.put("k", "v").unwrap();
    let begun = Instant::now();
    let error = loop {
        if let Some(error) = db.background_error() {
            break error;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no error is shown");
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly), "{error:?}");
    assert!(tree.put("k", "w").is_err());
    assert!(db.close().is_err());
}

#[test]
fn a_failed_read_is_an_error_of_that_read_only() {
    let storage = CrashStorage::new();
    let db = open(&storage);
    let tree = db.tree("t").unwrap();
    tree.append((0..20_000_u32).map(|n| (n.to_be_bytes(), [n as u8; 1_000]))).unwrap();
    drop(tree);
    db.close().unwrap();

    let db = open(&storage);
    let tree = db.tree("t").unwrap();
    storage.fail(failing(Operation::Read));
    // 20 MB do not fit the memory there is.
    let failed: Vec<_> = (0..20_000_u32).filter_map(|n| tree.get(n.to_be_bytes()).err()).collect();
    assert!(!failed.is_empty());
    assert!(failed.iter().all(|error| error.kind() == ErrorKind::Io), "{:?}", failed[0]);
    storage.clear_faults();
    for n in 0..20_000_u32 {
        assert_eq!(tree.get(n.to_be_bytes()).unwrap().unwrap(), [n as u8; 1_000]);
    }
    tree.put("still", "writable").unwrap();
}

#[test]
fn damage_on_disk_is_reported_and_never_returned_as_data() {
    let storage = CrashStorage::new();
    let db = open(&storage);
    let tree = db.tree("t").unwrap();
    tree.append((0..5_000_u32).map(|n| (n.to_be_bytes(), [n as u8; 1_000]))).unwrap();
    drop(tree);
    db.close().unwrap();
    // Every 4 KiB of the data file behind the superblocks loses some bits.
    let file = kestrel_io::Storage::open(&storage, "kestrel.data").unwrap();
    for at in ((64 << 10)..file.len().unwrap()).step_by(4_096) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at + 300).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], at + 300).unwrap();
    }
    let builder = Database::builder().memory_budget(8 << 20).background(false);
    match builder.open_with_storage(Arc::new(storage.clone())) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}"),
        Ok(db) => {
            let tree = db.tree("t").unwrap();
            let mut errors = 0;
            for n in 0..5_000_u32 {
                match tree.get(n.to_be_bytes()) {
                    Ok(value) => assert_eq!(value.unwrap(), [n as u8; 1_000]),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
                        errors += 1;
                    }
                }
            }
            assert!(errors > 0);
            assert!(!db.verify().unwrap().damages.is_empty());
        }
    }
}

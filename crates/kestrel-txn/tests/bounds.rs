//! Memory and disk stay within their bounds, whatever the size of the data, the age of readers, and the size of
//! transactions.
#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::{CrashStorage, MemoryStorage};
use kestrel_txn::{Durability, Engine, EngineOptions, ErrorKind, Isolation, TreeId};

/// How much more is done where time does not matter: with the environment variable `KESTREL_LONG`.
fn scale() -> u64 {
    if std::env::var_os("KESTREL_LONG").is_some() { 10 } else { 1 }
}

/// A pool of 64 pages.
fn tiny() -> EngineOptions {
    EngineOptions { memory_budget: 256 << 10, log_segment_size: 256 << 10, ..EngineOptions::default() }
}

fn key(number: u64) -> [u8; 8] {
    // Spread, so that neighbours in time are none in the tree.
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

#[test]
fn data_a_hundred_times_larger_than_the_pool() {
    let storage = Arc::new(MemoryStorage::new());
    let engine = Engine::open(storage.clone(), &tiny()).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.commit(Durability::Eventual).unwrap();
    let count = 150_000_u64;
    for batch in 0..count / 1000 {
        let txn = engine.begin_write(Isolation::Serializable).unwrap();
        for number in batch * 1000..(batch + 1) * 1000 {
            txn.put(tree, &key(number), &[number as u8; 150]).unwrap();
        }
        txn.commit(Durability::Eventual).unwrap();
        engine.maintain().unwrap();
        if batch % 50 == 49 {
            engine.checkpoint().unwrap();
        }
    }
    let statistics = engine.statistics();
    assert!(statistics.pages > statistics.frames * 100, "{statistics:?}");
    check_spread(&engine, tree, count);
    engine.close().unwrap();
    drop(engine);
    check_spread(&Engine::open(storage, &tiny()).unwrap(), tree, count);
}

fn check_spread(engine: &Engine, tree: TreeId, count: u64) {
    let read = engine.begin_read().unwrap();
    for number in (0..count).step_by(997) {
        assert_eq!(read.get(tree, &key(number)).unwrap().unwrap()[..], [number as u8; 150]);
    }
    let scanned = read.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
    assert!(scanned.map(|entry| entry.unwrap().0).is_sorted());
    assert_eq!(read.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap().rev().count() as u64, count);
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
}

#[test]
fn one_transaction_much_larger_than_memory() {
    let storage = CrashStorage::new();
    let engine = Engine::open(Arc::new(storage.clone()), &tiny()).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    let count = 40_000;
    for number in 0..count {
        txn.put(tree, &key(number), &[number as u8; 150]).unwrap();
    }
    let savepoint = txn.savepoint().unwrap();
    for number in 0..80 {
        txn.put(tree, &key(number), b"undone").unwrap();
    }
    txn.rollback_to(savepoint).unwrap();
    // A checkpoint in between must not let the log forget what the commit will refer to.
    engine.checkpoint().unwrap();
    txn.commit(Durability::Immediate).unwrap();
    for engine in [engine, Engine::open(Arc::new(storage.crash(1)), &tiny()).unwrap()] {
        let read = engine.begin_read().unwrap();
        assert_eq!(read.len(tree).unwrap(), count);
        for number in (0..count).step_by(101) {
            assert_eq!(read.get(tree, &key(number)).unwrap().unwrap()[..], [number as u8; 150]);
        }
        assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
    }
}

#[test]
fn a_long_reader_costs_one_state_a_page_and_the_file_stops_growing() {
    let storage = Arc::new(MemoryStorage::new());
    let options =
        EngineOptions { memory_budget: 4 << 20, log_segment_size: 1 << 20, ..EngineOptions::default() };
    let engine = Engine::open(storage, &options).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    for number in 0..1000 {
        txn.put(tree, &key(number), b"before").unwrap();
    }
    txn.commit(Durability::Eventual).unwrap();
    let reader = engine.begin_read().unwrap();
    let mut sizes = Vec::new();
    for round in 0..1000 * scale() {
        let txn = engine.begin_write(Isolation::Serializable).unwrap();
        for number in 0..100 {
            txn.put(tree, &key((round * 100 + number * 7) % 1000), &round.to_le_bytes()).unwrap();
        }
        txn.commit(Durability::Eventual).unwrap();
        engine.maintain().unwrap();
        if round % (100 * scale()) == 100 * scale() - 1 {
            engine.checkpoint().unwrap();
            sizes.push(engine.statistics().data_file_bytes);
        }
        if round % 10 == 9 {
            while engine.maintain().unwrap() {}
            let statistics = engine.statistics();
            // The reader's state of each page, and what the last commits superseded.
            assert!(statistics.superseded <= 2 * statistics.pages, "round {round}: {statistics:?}");
        }
    }
    assert_eq!(sizes[3], sizes[9], "the file grows: {sizes:?}");
    for number in 0..1000 {
        assert_eq!(reader.get(tree, &key(number)).unwrap().unwrap()[..], *b"before");
    }
    drop(reader);
    while engine.maintain().unwrap() {}
    assert!(engine.statistics().superseded < 10, "{:?}", engine.statistics());
}

#[test]
fn dropped_trees_give_their_room_back() {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &tiny()).unwrap();
    let mut pages = Vec::new();
    for round in 0..6 {
        let txn = engine.begin_write(Isolation::Serializable).unwrap();
        let tree = txn.create_tree("t").unwrap();
        for number in 0..3000 {
            txn.put(tree, &key(number), &[round; 100]).unwrap();
        }
        txn.put(tree, b"large", &vec![round; 300_000]).unwrap();
        txn.commit(Durability::Eventual).unwrap();
        let txn = engine.begin_write(Isolation::Serializable).unwrap();
        txn.drop_tree("t").unwrap();
        txn.commit(Durability::Eventual).unwrap();
        engine.checkpoint().unwrap();
        while engine.maintain().unwrap() {}
        engine.checkpoint().unwrap();
        while engine.maintain().unwrap() {}
        pages.push((engine.statistics().pages, engine.statistics().data_file_bytes));
    }
    assert!(pages.iter().all(|(pages, _)| *pages == 0), "{pages:?}");
    // One round's data take less than a mebibyte, twice while a checkpoint replaces the other.
    assert!(pages.iter().all(|(_, bytes)| *bytes <= 3 << 20), "{pages:?}");
}

#[test]
fn values_of_all_sizes_come_back() {
    let storage = CrashStorage::new();
    let options = EngineOptions { memory_budget: 1 << 20, ..EngineOptions::default() };
    let engine = Engine::open(Arc::new(storage.clone()), &options).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    let large = 10_000_000 * scale() as usize;
    let sizes = [0, 1, 12, 13, 900, 1000, 1100, 4000, 65_535, 65_536, 65_537, 1 << 20, large];
    for (index, &len) in sizes.iter().enumerate() {
        txn.put(tree, &[index as u8], &vec![index as u8; len]).unwrap();
    }
    txn.commit(Durability::Immediate).unwrap();
    // Replaced and removed large values, with a log that names the old ones as well.
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    assert_eq!(txn.remove(tree, &[10]).unwrap().unwrap().len(), 65_537);
    txn.put(tree, &[12], &vec![9; 3_000_000]).unwrap();
    txn.commit(Durability::Immediate).unwrap();
    for engine in [engine, Engine::open(Arc::new(storage.crash(3)), &options).unwrap()] {
        let read = engine.begin_read().unwrap();
        for (index, &len) in sizes.iter().enumerate() {
            let value = read.get(tree, &[index as u8]).unwrap();
            match index {
                10 => assert!(value.is_none()),
                12 => assert!(value.unwrap()[..] == vec![9; 3_000_000]),
                _ => assert!(value.unwrap()[..] == vec![index as u8; len], "{len} bytes"),
            }
        }
        assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
        engine.checkpoint().unwrap();
        assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
    }
}

#[test]
fn limits_are_errors_of_their_own_and_harm_nothing() {
    let storage = CrashStorage::new();
    let engine = Engine::open(Arc::new(storage.clone()), &tiny()).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    let max = engine.max_key_len();
    assert_eq!(txn.put(tree, &vec![1; max + 1], b"").unwrap_err().kind(), ErrorKind::KeyTooLong);
    txn.put(tree, &vec![1; max], b"longest").unwrap();
    txn.put(tree, b"", b"shortest").unwrap();
    assert_eq!(txn.create_tree("t").unwrap_err().kind(), ErrorKind::TreeExists);
    assert_eq!(txn.create_tree("").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(txn.drop_tree("u").unwrap_err().kind(), ErrorKind::TreeNotFound);
    let savepoint = txn.savepoint().unwrap();
    txn.release(savepoint).unwrap();
    assert_eq!(txn.rollback_to(savepoint).unwrap_err().kind(), ErrorKind::SavepointGone);
    txn.commit(Durability::Immediate).unwrap();

    // A full disk: the transaction fails, the database goes on, and goes on once there is room again.
    storage.set_capacity(Some(storage.used() + 100_000));
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let failed = (0..100_000).find_map(|number| txn.put(tree, &key(number), &[0; 200]).err());
    let error = failed.unwrap_or_else(|| txn.commit(Durability::Immediate).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert_eq!(engine.begin_read().unwrap().len(tree).unwrap(), 2);
    storage.set_capacity(None);
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    txn.put(tree, b"again", b"room").unwrap();
    txn.commit(Durability::Immediate).unwrap();
    engine.close().unwrap();
    assert_eq!(engine.begin_read().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(engine.begin_write(Isolation::Snapshot).unwrap_err().kind(), ErrorKind::Closed);
}

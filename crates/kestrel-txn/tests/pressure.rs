//! Little memory, little disk, and what happens to those who wait for others.
#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use kestrel_io::{CrashStorage, Fault, FaultEffect, MemoryStorage, Operation, Storage};
use kestrel_txn::{Durability, Engine, EngineOptions, Isolation, TreeId, WriteTxn};

fn tiny() -> EngineOptions {
    EngineOptions { memory_budget: 384 << 10, log_segment_size: 256 << 10, ..EngineOptions::default() }
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn begin(engine: &Engine) -> WriteTxn {
    engine.begin_write(Isolation::Snapshot).unwrap()
}

/// A tree of `count` entries, checkpointed.
fn filled(storage: Arc<dyn Storage>, options: &EngineOptions, count: u64, len: usize) -> (Engine, TreeId) {
    let engine = Engine::open(storage, options).unwrap();
    let txn = begin(&engine);
    let tree = txn.create_tree("t").unwrap();
    txn.commit(Durability::Eventual).unwrap();
    for batch in 0..count / 100 {
        let txn = begin(&engine);
        for number in batch * 100..(batch + 1) * 100 {
            txn.put(tree, &key(number), &vec![1; len]).unwrap();
        }
        txn.commit(Durability::Eventual).unwrap();
        engine.maintain().unwrap();
    }
    engine.checkpoint().unwrap();
    while engine.maintain().unwrap() {}
    (engine, tree)
}

/// Fails instead of hanging.
fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(work()));
    receive.recv_timeout(time).expect("it hangs")
}

#[test]
fn holding_every_value_of_a_tree_larger_than_memory_works() {
    let large = EngineOptions { page_size: 65_536, memory_budget: 32 << 20, ..EngineOptions::default() };
    for (options, count, len) in [(tiny(), 10_000, 150), (large, 40_000, 1500)] {
        let storage = Arc::new(MemoryStorage::new());
        let (engine, tree) = filled(storage.clone(), &options, count, len);
        drop(engine);
        let engine = Engine::open(storage, &options).unwrap();
        let held = within(Duration::from_secs(60), move || {
            let read = engine.begin_read().unwrap();
            let all = read.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
            all.collect::<Result<Vec<_>, _>>().unwrap().len() as u64
        });
        assert_eq!(held, count);
    }
}

#[test]
fn a_savepoint_over_many_changes_holds_no_pages() {
    let (engine, tree) = filled(Arc::new(MemoryStorage::new()), &tiny(), 10_000, 150);
    within(Duration::from_secs(60), move || {
        let txn = begin(&engine);
        let savepoint = txn.savepoint().unwrap();
        for number in 0..150 {
            assert!(txn.delete(tree, &key(number * 60)).unwrap());
        }
        txn.rollback_to(savepoint).unwrap();
        assert_eq!(txn.len(tree).unwrap(), 10_000);
    });
}

#[test]
fn reading_goes_on_when_nothing_can_be_written() {
    for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
        let storage = CrashStorage::new();
        let (engine, tree) = filled(Arc::new(storage.clone()), &tiny(), 10_000, 150);
        for round in 0..30 {
            let txn = begin(&engine);
            for number in 0..9 {
                txn.put(tree, &key(round * 300 + number), &[2; 150]).unwrap();
            }
            txn.commit(Durability::Immediate).unwrap();
        }
        let effect = FaultEffect::Error(kind);
        storage.fail(Fault { operation: Some(Operation::Write), after: 0, lasting: true, effect });
        let read = engine.begin_read().unwrap();
        for number in 0..10_000 {
            let expected = if number % 300 < 9 && number < 9000 { 2 } else { 1 };
            assert_eq!(read.get(tree, &key(number)).unwrap().unwrap()[..], [expected; 150], "{number}");
        }
    }
}

#[test]
fn a_long_reader_and_many_scans_queue_each_page_once() {
    let (engine, tree) = filled(Arc::new(MemoryStorage::new()), &tiny(), 5000, 150);
    let _long = engine.begin_read().unwrap();
    for batch in 0..50 {
        let txn = begin(&engine);
        for number in batch * 100..(batch + 1) * 100 {
            txn.put(tree, &key(100_000 + number), &[2; 150]).unwrap();
        }
        txn.commit(Durability::Eventual).unwrap();
    }
    for _ in 0..10 {
        let read = engine.begin_read().unwrap();
        for number in 0..5000 {
            read.get(tree, &key(100_000 + number)).unwrap();
        }
        drop(read);
        while engine.maintain().unwrap() {}
        let statistics = engine.statistics();
        assert!(statistics.superseded <= 2 * statistics.pages, "{statistics:?}");
    }
}

#[test]
fn replaced_large_values_do_not_fill_the_disk() {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let txn = begin(&engine);
    let tree = txn.create_tree("t").unwrap();
    txn.commit(Durability::Eventual).unwrap();
    for round in 0..150_u8 {
        let txn = begin(&engine);
        txn.put(tree, b"k", &vec![round; 1 << 20]).unwrap();
        txn.commit(Durability::Immediate).unwrap();
        if engine.checkpoint_due() {
            engine.checkpoint().unwrap();
        }
        while engine.maintain().unwrap() {}
    }
    // Every checkpoint frees what has come together since the last, at most some dozens of values.
    assert!(engine.statistics().data_file_bytes < 128 << 20, "{:?}", engine.statistics());
}

#[test]
fn what_nobody_flushes_is_bounded() {
    let options = tiny();
    let engine = Engine::open(Arc::new(CrashStorage::new()), &options).unwrap();
    let txn = begin(&engine);
    let tree = txn.create_tree("t").unwrap();
    txn.commit(Durability::Immediate).unwrap();
    for round in 0..3000_u64 {
        let txn = begin(&engine);
        txn.put(tree, b"k", &[round as u8; 900]).unwrap();
        txn.commit(Durability::Eventual).unwrap();
        let buffered = engine.statistics().log_buffered_bytes;
        assert!(buffered <= options.memory_budget / 8, "{buffered} bytes in round {round}");
    }
}

#[test]
fn a_transaction_on_every_leaf_keeps_deltas_within_their_bound() {
    let options = tiny();
    let (engine, tree) = filled(Arc::new(MemoryStorage::new()), &options, 40_000, 150);
    let txn = begin(&engine);
    for number in (0..40_000).step_by(10) {
        txn.delete(tree, &key(number)).unwrap();
    }
    txn.commit(Durability::Eventual).unwrap();
    let statistics = engine.statistics();
    // Headers of versions come on top of the operations that were counted.
    assert!(statistics.delta_bytes <= options.memory_budget / 20 * 3 * 2, "{statistics:?}");
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
}

#[test]
fn a_bulk_load_leaves_no_notes_behind() {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &tiny()).unwrap();
    let txn = begin(&engine);
    let tree = txn.create_tree("t").unwrap();
    for number in 0..40_000 {
        txn.put(tree, &key(number), &[2; 150]).unwrap();
    }
    txn.commit(Durability::Immediate).unwrap();
    engine.checkpoint().unwrap();
    // Memory comes back when the last thread that may be looking has moved on; other tests' threads count too.
    let left = (0..10_000).map(|_| {
        engine.maintain().unwrap();
        std::thread::yield_now();
        engine.statistics()
    });
    let mut left = left.skip_while(|statistics| statistics.stub_bytes >= statistics.pages * 8);
    assert!(left.next().is_some(), "{:?}", engine.statistics());
}

#[test]
fn idle_writers_leave_readers_room() {
    let (engine, tree) = filled(Arc::new(MemoryStorage::new()), &tiny(), 10_000, 150);
    let mut open = Vec::new();
    let mut refused = 0;
    for writer in 0..30 {
        let txn = begin(&engine);
        let done = txn
            .create_tree(&format!("w{writer}"))
            .and_then(|mine| (0..200).try_for_each(|number| txn.put(mine, &key(number), &[2; 150])));
        refused += usize::from(done.is_err());
        open.push(txn);
    }
    assert!(refused > 0, "thirty writers of seven pages fit into a pool of 67 frames");
    let read = engine.begin_read().unwrap();
    for number in (0..10_000).step_by(50) {
        assert_eq!(read.get(tree, &key(number)).unwrap().unwrap()[..], [1; 150]);
    }
}

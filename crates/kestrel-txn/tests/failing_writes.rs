//! Every call on the storage fails once, or from then on: what was acknowledged stays readable and comes back, a write or sync
//! that failed is never believed, and what could not be read concerns the call that asked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::{CrashStorage, Fault, FaultEffect, Operation};
use kestrel_txn::{Durability, Engine, EngineOptions, ErrorKind, Isolation, TreeId};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn options() -> EngineOptions {
    EngineOptions { memory_budget: 384 << 10, log_segment_size: 64 << 10, ..EngineOptions::default() }
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// More than memory holds, checkpointed.
fn filled(storage: &CrashStorage) -> (Engine, TreeId, Model) {
    let engine = Engine::open(Arc::new(storage.clone()), &options()).unwrap();
    let txn = engine.begin_write(Isolation::Snapshot).unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.commit(Durability::Immediate).unwrap();
    let mut model = Model::new();
    for batch in 0..20 {
        let txn = engine.begin_write(Isolation::Snapshot).unwrap();
        for number in batch * 100..(batch + 1) * 100 {
            txn.put(tree, &key(number), &[1; 150]).unwrap();
            model.insert(key(number), vec![1; 150]);
        }
        txn.commit(Durability::Immediate).unwrap();
    }
    engine.checkpoint().unwrap();
    (engine, tree, model)
}

/// One step of a workload; an error may have come from any of its calls. `tried` is what there is if the commit comes through
/// though it was told otherwise.
fn step(
    engine: &Engine,
    tree: TreeId,
    round: u64,
    model: &mut Model,
    tried: &mut Model,
) -> Result<(), kestrel_txn::Error> {
    let txn = engine.begin_write(Isolation::Snapshot)?;
    let value = vec![round as u8; if round.is_multiple_of(7) { 70_000 } else { 150 }];
    let mut after = model.clone();
    for number in 0..8 {
        let key = key((round * 131 + number * 257) % 2000);
        txn.put(tree, &key, &value)?;
        after.insert(key, value.clone());
    }
    tried.clone_from(&after);
    txn.commit(Durability::Immediate)?;
    *model = after;
    if round % 5 == 4 {
        engine.checkpoint()?;
    }
    engine.maintain()?;
    Ok(())
}

fn check(engine: &Engine, tree: TreeId, model: &Model) {
    let read = engine.begin_read().unwrap();
    let all = read.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
    let all: Vec<(Vec<u8>, Vec<u8>)> =
        all.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect();
    assert!(all.iter().map(|(k, v)| (k, v)).eq(model.iter()), "other entries are there");
    for number in (0..2000).step_by(37) {
        assert_eq!(read.get(tree, &key(number)).unwrap().as_deref(), model.get(&key(number)).map(|v| &v[..]));
    }
}

/// Whether a failure of that operation leaves in doubt what the files hold.
fn is_lasting(operation: Operation) -> bool {
    matches!(operation, Operation::Write | Operation::SyncData | Operation::SyncDirectory)
}

fn fail_nth(operation: Operation, kind: io::ErrorKind, after: u64, lasting: bool) -> bool {
    let storage = CrashStorage::new();
    let (engine, tree, mut model) = filled(&storage);
    storage.fail(Fault { operation: Some(operation), after, lasting, effect: FaultEffect::Error(kind) });
    let mut failed = None;
    let mut tried = model.clone();
    for round in 0..12 {
        match step(&engine, tree, round, &mut model, &mut tried) {
            Ok(()) => {}
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let old = engine.begin_read().unwrap();
    let Some(error) = failed else {
        storage.clear_faults();
        return false;
    };
    // A commit may have been acknowledged to nobody and be there all the same after opening again, wholly.
    if operation != Operation::Read {
        check(&engine, tree, &model);
        assert_eq!(old.len(tree).unwrap(), model.len() as u64);
    }
    storage.clear_faults();
    check(&engine, tree, &model);
    let again = engine.begin_write(Isolation::Snapshot).and_then(|txn| {
        txn.put(tree, b"again", b"")?;
        txn.commit(Durability::Immediate)
    });
    let what = format!("{operation:?} {kind:?} after {after}, {error}");
    match again {
        Ok(_) => {
            model.insert(b"again".to_vec(), vec![]);
            tried.clone_from(&model);
            check(&engine, tree, &model);
        }
        Err(again) => {
            assert_eq!(again.kind(), ErrorKind::ReadOnly, "{what}: {again}");
            assert!(again.to_string().contains("open"), "{again}");
            assert!(is_lasting(operation), "{what}: {again}");
            assert_eq!(engine.checkpoint().unwrap_err().kind(), ErrorKind::ReadOnly, "{what}");
            assert_eq!(engine.begin_write(Isolation::Snapshot).unwrap_err().kind(), ErrorKind::ReadOnly);
        }
    }
    drop((engine, old));
    // After a failed sync nobody knows what is on disk, so everything that a crash can leave is tried.
    for seed in 0..4 {
        let crashed = storage.crash(seed);
        let engine = Engine::open(Arc::new(crashed), &options()).unwrap();
        let came_through =
            tried.iter().find(|(key, value)| model.get(*key) != Some(value)).is_some_and(|(key, value)| {
                engine.begin_read().unwrap().get(tree, key).unwrap().as_deref() == Some(&value[..])
            });
        check(&engine, tree, if came_through { &tried } else { &model });
        assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, [], "{what}");
    }
    true
}

#[test]
fn a_failure_at_any_call_loses_nothing_and_stops_writers_only_if_it_must() {
    for operation in Operation::ALL {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            for lasting in [false, true] {
                let mut after = 0;
                while fail_nth(operation, kind, after, lasting) && after < 120 {
                    after += 1 + after / 4;
                }
            }
        }
    }
}

/// All frames are changed when writing fails: those kept for readers are enough to read everything else.
#[test]
fn reads_go_on_though_every_page_in_memory_was_changed() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        let storage = CrashStorage::new();
        let (engine, tree, mut model) = filled(&storage);
        let effect = FaultEffect::Error(kind);
        storage.fail(Fault { operation: Some(Operation::Write), after: 40, lasting: true, effect });
        storage.fail(Fault { operation: Some(Operation::Preallocate), after: 3, lasting: true, effect });
        let mut refused = 0;
        for round in 0..2000 {
            let txn = match engine.begin_write(Isolation::Snapshot) {
                Ok(txn) => txn,
                Err(_) => break,
            };
            let number = round * 19 % 2000;
            let stored =
                txn.put(tree, &key(number), &[3; 900]).and_then(|()| txn.commit(Durability::Eventual));
            match stored {
                Ok(_) => drop(model.insert(key(number), vec![3; 900])),
                Err(_) => refused += 1,
            }
            if refused > 20 {
                break;
            }
        }
        assert!(refused > 0, "{kind:?}: nothing was refused");
        let read = engine.begin_read().unwrap();
        for number in 0..2000 {
            read.get(tree, &key(number)).unwrap().unwrap();
        }
    }
}

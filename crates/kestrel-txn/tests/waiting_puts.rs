//! Puts wait for each other and go down the tree together. Nobody may notice.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::{CrashStorage, Fault, FaultEffect, MemoryStorage, Operation, Storage};
use kestrel_txn::{Durability, Engine, EngineOptions, ErrorKind, Isolation, TreeId, WriteTxn};

fn engine() -> Engine {
    Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap()
}

fn begin(engine: &Engine) -> WriteTxn {
    engine.begin_write(Isolation::Serializable).unwrap()
}

fn entries(txn: &WriteTxn, tree: TreeId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let range = txn.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
    range.map(|entry| entry.map(|(key, value)| (key, value.to_vec())).unwrap()).collect()
}

/// Every call that looks at the tree, after each of a hundred puts: more than go down together, and parts of that.
#[test]
fn whatever_looks_sees_the_puts_before_it() {
    type Look = fn(&WriteTxn, TreeId, u32);
    let looks: [Look; 7] = [
        |txn, tree, n| assert_eq!(txn.get(tree, &n.to_be_bytes()).unwrap().unwrap()[..], n.to_le_bytes()),
        |txn, tree, n| assert!(txn.contains(tree, &n.to_be_bytes()).unwrap()),
        |txn, tree, n| assert_eq!(txn.len(tree).unwrap(), u64::from(n) + 1),
        |txn, tree, n| assert_eq!(entries(txn, tree).len(), n as usize + 1),
        |txn, tree, n| {
            assert_eq!(txn.trees().unwrap().iter().find(|t| t.id == tree).unwrap().entries, u64::from(n) + 1);
        },
        |txn, tree, n| {
            assert_eq!(
                txn.insert(tree, &n.to_be_bytes(), &n.to_le_bytes()).unwrap().unwrap()[..],
                n.to_le_bytes()
            );
        },
        |txn, tree, n| {
            assert!(txn.delete(tree, &n.to_be_bytes()).unwrap());
            txn.put(tree, &n.to_be_bytes(), &n.to_le_bytes()).unwrap();
        },
    ];
    for (round, look) in looks.into_iter().enumerate() {
        for every in [1, 2, 31, 32, 33] {
            let engine = engine();
            let txn = begin(&engine);
            let (tree, other) = (txn.create_tree("a").unwrap(), txn.create_tree("b").unwrap());
            for n in 0..100_u32 {
                txn.put(tree, &n.to_be_bytes(), &n.to_le_bytes()).unwrap();
                if n % 7 == 0 {
                    txn.put(other, &n.to_be_bytes(), b"other").unwrap();
                }
                if n % every == 0 {
                    look(&txn, tree, n);
                }
            }
            txn.commit(Durability::Eventual).unwrap();
            let read = engine.begin_read().unwrap();
            assert_eq!((read.len(tree).unwrap(), read.len(other).unwrap()), (100, 15), "look {round}");
        }
    }
}

/// A cursor that was opened before sees what is put before it, and a savepoint parts what it has to.
#[test]
fn cursors_and_savepoints_stand_between_puts() {
    let engine = engine();
    let txn = begin(&engine);
    let tree = txn.create_tree("t").unwrap();
    txn.put(tree, b"b", b"1").unwrap();
    let mut cursor = txn.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().0, b"b");
    txn.put(tree, b"a", b"2").unwrap();
    txn.put(tree, b"c", b"3").unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().0, b"c");
    assert!(cursor.next().is_none());
    txn.put(tree, b"d", b"4").unwrap();
    let savepoint = txn.savepoint().unwrap();
    txn.put(tree, b"d", b"5").unwrap();
    txn.put(tree, b"e", b"6").unwrap();
    txn.rollback_to(savepoint).unwrap();
    let keys: Vec<_> = entries(&txn, tree);
    let expected = [(b"a", b"2"), (b"b", b"1"), (b"c", b"3"), (b"d", b"4")];
    assert_eq!(keys, expected.map(|(key, value)| (key.to_vec(), value.to_vec())));
}

/// What is wrong with an argument is said at once, and harms nothing.
#[test]
fn arguments_are_judged_before_a_put_waits() {
    let engine = engine();
    let txn = begin(&engine);
    let (tree, gone) = (txn.create_tree("t").unwrap(), txn.create_tree("gone").unwrap());
    txn.put(tree, b"a", b"1").unwrap();
    txn.put(gone, b"a", b"1").unwrap();
    txn.drop_tree("gone").unwrap();
    let kind = |result: Result<(), kestrel_txn::Error>| result.map_err(|error| error.kind());
    assert_eq!(kind(txn.put(gone, b"a", b"1")), Err(ErrorKind::TreeNotFound));
    assert_eq!(kind(txn.put(TreeId(999), b"a", b"1")), Err(ErrorKind::TreeNotFound));
    assert_eq!(kind(txn.put(tree, &[0; 5000], b"1")), Err(ErrorKind::KeyTooLong));
    txn.put(tree, b"b", b"2").unwrap();
    txn.commit(Durability::Eventual).unwrap();
    assert_eq!(engine.begin_read().unwrap().len(tree).unwrap(), 2);
}

/// Puts on one key, in one group and in several: the last one counts, in the tree, in the log, and in the count.
#[test]
fn the_last_put_on_a_key_counts() {
    let storage = Arc::new(MemoryStorage::new());
    let options = EngineOptions { log_segment_size: 64 << 10, page_size: 65536, ..EngineOptions::default() };
    let mut model = BTreeMap::new();
    let tree = {
        let engine = Engine::open(storage.clone(), &options).unwrap();
        let txn = begin(&engine);
        let tree = txn.create_tree("t").unwrap();
        // Values so large that a group is more than a log record takes.
        for n in 0..3000_u32 {
            let (key, value) =
                (n.wrapping_mul(2_654_435_761) % 97, vec![n as u8; 10 + (n as usize * 37) % 12_000]);
            txn.put(tree, &key.to_be_bytes(), &value).unwrap();
            model.insert(key.to_be_bytes().to_vec(), value);
        }
        assert_eq!(txn.len(tree).unwrap(), model.len() as u64);
        txn.commit(Durability::Immediate).unwrap();
        tree
    };
    let engine = Engine::open(storage, &options).unwrap();
    let txn = begin(&engine);
    assert_eq!(entries(&txn, tree), model.into_iter().collect::<Vec<_>>());
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
}

/// An error that a put meets when its turn has come breaks the transaction, and nothing else.
#[test]
fn a_read_that_fails_breaks_the_transaction_only() {
    let storage = Arc::new(CrashStorage::new());
    let options = EngineOptions { memory_budget: 512 << 10, ..EngineOptions::default() };
    let tree = {
        let engine = Engine::open(storage.clone() as Arc<dyn Storage>, &options).unwrap();
        let txn = begin(&engine);
        let tree = txn.create_tree("t").unwrap();
        for n in 0..5000_u32 {
            txn.put(tree, &n.to_be_bytes(), &[7; 100]).unwrap();
        }
        txn.commit(Durability::Immediate).unwrap();
        engine.close().unwrap();
        tree
    };
    let engine = Engine::open(storage.clone() as Arc<dyn Storage>, &options).unwrap();
    let txn = begin(&engine);
    assert_eq!(txn.len(tree).unwrap(), 5000);
    let effect = FaultEffect::Error(std::io::ErrorKind::Other);
    storage.fail(Fault { operation: Some(Operation::Read), after: 0, lasting: true, effect });
    let failed = (0..200_u32).find_map(|n| txn.put(tree, &(n * 25).to_be_bytes(), b"new").err());
    assert_eq!(failed.unwrap().kind(), ErrorKind::Io);
    assert_eq!(txn.get(tree, &0_u32.to_be_bytes()).unwrap_err().kind(), ErrorKind::Io);
    assert!(txn.commit(Durability::Eventual).is_err());
    storage.clear_faults();
    let txn = begin(&engine);
    for n in 0..5000_u32 {
        assert_eq!(txn.get(tree, &n.to_be_bytes()).unwrap().unwrap()[..], [7; 100]);
    }
}

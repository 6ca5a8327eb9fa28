//! Writers, readers, background work and checkpoints at once, in a pool much smaller than the data.
#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kestrel_io::MemoryStorage;
use kestrel_txn::{Durability, Engine, EngineOptions, ErrorKind, Isolation, TreeId};

const ACCOUNTS: u64 = 3000;
const START: u64 = 1000;

fn key(account: u64) -> Vec<u8> {
    format!("account {account:08}").into_bytes()
}

fn amount(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

fn value(amount: u64, round: u64) -> Vec<u8> {
    let mut bytes = amount.to_le_bytes().to_vec();
    bytes.resize(8 + (round % 200) as usize, 7);
    bytes
}

/// A small generator, so that threads need no crate for it.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn total(engine: &Engine, tree: TreeId) -> (u64, u64) {
    let txn = engine.begin_read().unwrap();
    let entries = txn.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
    let (mut count, mut sum) = (0, 0);
    for entry in entries {
        count += 1;
        sum += amount(&entry.unwrap().1);
    }
    assert_eq!(txn.len(tree).unwrap(), count);
    (count, sum)
}

#[test]
fn money_is_neither_made_nor_lost() {
    let storage = Arc::new(MemoryStorage::new());
    let options =
        EngineOptions { memory_budget: 512 << 10, log_segment_size: 1 << 20, ..EngineOptions::default() };
    let engine = Engine::open(storage.clone(), &options).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("accounts").unwrap();
    for account in 0..ACCOUNTS {
        txn.put(tree, &key(account), &value(START, account)).unwrap();
    }
    txn.commit(Durability::Immediate).unwrap();

    let done = AtomicBool::new(false);
    let transfers = AtomicU64::new(0);
    let rounds = 1500;
    std::thread::scope(|scope| {
        let background = scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                engine.maintain().unwrap();
                round += 1;
                if round % 200 == 0 {
                    engine.checkpoint().unwrap();
                }
            }
        });
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(total(&engine, tree), (ACCOUNTS, ACCOUNTS * START));
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let (engine, transfers) = (&engine, &transfers);
                scope.spawn(move || {
                    let mut random = Random(seed);
                    for round in 0..rounds {
                        let (from, to) = (random.next(ACCOUNTS), random.next(ACCOUNTS));
                        if from == to {
                            continue;
                        }
                        loop {
                            let txn = engine.begin_write(Isolation::Serializable).unwrap();
                            let a = amount(&txn.get(tree, &key(from)).unwrap().unwrap());
                            let b = amount(&txn.get(tree, &key(to)).unwrap().unwrap());
                            let moved = a.min(10);
                            // Sometimes by way of nothing, so that leaves split and merge.
                            if round % 3 == 0 {
                                txn.delete(tree, &key(from)).unwrap();
                            }
                            txn.put(tree, &key(from), &value(a - moved, round)).unwrap();
                            txn.put(tree, &key(to), &value(b + moved, random.next(200))).unwrap();
                            let durability =
                                if round % 4 == 0 { Durability::Immediate } else { Durability::Eventual };
                            match txn.commit(durability) {
                                Ok(_) => break,
                                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                            }
                        }
                        transfers.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
        background.join().unwrap();
    });
    assert!(transfers.load(Ordering::Relaxed) > 4000);
    assert_eq!(total(&engine, tree), (ACCOUNTS, ACCOUNTS * START));
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
    // Without close: what the log has is run again.
    engine.flush_log().unwrap();
    drop(engine);
    let engine = Engine::open(storage, &options).unwrap();
    assert_eq!(total(&engine, tree), (ACCOUNTS, ACCOUNTS * START));
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
}

#[test]
fn increments_are_never_lost() {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("counters").unwrap();
    txn.put(tree, b"c", &0_u64.to_le_bytes()).unwrap();
    txn.commit(Durability::Immediate).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    loop {
                        let txn = engine.begin_write(Isolation::Snapshot).unwrap();
                        let count = amount(&txn.get(tree, b"c").unwrap().unwrap());
                        txn.put(tree, b"c", &(count + 1).to_le_bytes()).unwrap();
                        if txn.commit(Durability::Eventual).is_ok() {
                            break;
                        }
                    }
                }
            });
        }
    });
    let count = engine.begin_read().unwrap().get(tree, b"c").unwrap().unwrap();
    assert_eq!(amount(&count), 1200);
}

//! Commits at the same moment: of those that met, one gets through, whatever each had looked at before it came to the gate.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use kestrel_io::MemoryStorage;
use kestrel_txn::{Durability, Engine, EngineOptions, ErrorKind, Isolation};

const THREADS: u32 = 3;
const ROUNDS: u32 = 300;
/// Puts of each transaction besides the one that it shares: the more, the longer somebody is in the gate.
const OWN: u32 = 300;

fn race(isolation: Isolation, shared: bool) -> usize {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.commit(Durability::Eventual).unwrap();
    let (begun, ready) = (Barrier::new(THREADS as usize), Barrier::new(THREADS as usize));
    let committed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, begun, ready, committed) = (&engine, &begun, &ready, &committed);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    begun.wait();
                    let txn = engine.begin_write(isolation).unwrap();
                    for number in 0..OWN {
                        let key = [thread.to_be_bytes(), number.to_be_bytes()].concat();
                        txn.put(tree, &key, &round.to_be_bytes()).unwrap();
                    }
                    if shared {
                        let old = txn.get(tree, b"shared").unwrap();
                        let old = old.map_or(0, |old| u32::from_be_bytes(old[..].try_into().unwrap()));
                        txn.put(tree, b"shared", &(old + 1).to_be_bytes()).unwrap();
                    }
                    ready.wait();
                    match txn.commit(Durability::Eventual) {
                        Ok(_) => drop(committed.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
            });
        }
    });
    let committed = committed.into_inner();
    if shared {
        let count = engine.begin_read().unwrap().get(tree, b"shared").unwrap().unwrap();
        assert_eq!(count[..], (committed as u32).to_be_bytes());
    }
    assert_eq!(engine.statistics().conflicts as usize + committed, (THREADS * ROUNDS) as usize);
    assert!(engine.verify(&mut |_, _| {}).unwrap().damages.is_empty());
    committed
}

#[test]
fn of_transactions_that_met_one_commits() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        assert_eq!(race(isolation, true), ROUNDS as usize);
    }
}

#[test]
fn all_that_did_not_meet_commit() {
    assert_eq!(race(Isolation::Serializable, false), (THREADS * ROUNDS) as usize);
}

/// One thread commits large transactions, often alone; the other one begins small ones at odd moments, also while a large
/// one is being published and is past the point where it could have seen that it is not alone.
#[test]
fn who_begins_while_another_one_publishes_is_not_overlooked() {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.put(tree, b"shared", &0_u32.to_be_bytes()).unwrap();
    txn.commit(Durability::Eventual).unwrap();
    let count = |small: u32| {
        let txn = engine.begin_write(Isolation::Serializable).unwrap();
        let old = txn.get(tree, b"shared").unwrap().unwrap();
        let new = u32::from_be_bytes(old[..].try_into().unwrap()) + 1;
        txn.put(tree, b"shared", &new.to_be_bytes()).unwrap();
        for number in small..OWN {
            txn.put(tree, &number.to_be_bytes(), &new.to_be_bytes()).unwrap();
        }
        u32::from(txn.commit(Durability::Eventual).is_ok())
    };
    let done = AtomicUsize::new(0);
    let committed: u32 = thread::scope(|scope| {
        let large = scope.spawn(|| {
            let committed = (0..5 * ROUNDS).map(|_| count(0)).sum::<u32>();
            done.store(1, Ordering::Relaxed);
            committed
        });
        let mut committed = 0;
        let mut wait = 0;
        while done.load(Ordering::Relaxed) == 0 {
            committed += count(OWN);
            wait = (wait + 791) % 3000;
            (0..wait).for_each(|_| std::hint::spin_loop());
        }
        committed + large.join().unwrap()
    });
    let shared = engine.begin_read().unwrap().get(tree, b"shared").unwrap().unwrap();
    assert_eq!(shared[..], committed.to_be_bytes());
}

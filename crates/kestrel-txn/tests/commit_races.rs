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

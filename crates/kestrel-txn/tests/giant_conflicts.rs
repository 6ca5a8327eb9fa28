//! Transactions that touch more than is remembered key by key, beside small ones: memory stays bounded, and who works
//! elsewhere still commits. A program of its own, for its peak of resident memory.
#![allow(clippy::unwrap_used)]

use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use kestrel_io::FileStorage;
use kestrel_txn::{Access, Durability, Engine, EngineOptions, Error, ErrorKind, Isolation, TreeId, WriteTxn};

const BUDGET: u64 = 12_000_000;
const GIANT: u64 = 150_000;

fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn key(part: &str, number: u64) -> Vec<u8> {
    [part.as_bytes(), &number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()].concat()
}

fn begin(engine: &Engine) -> WriteTxn {
    engine.begin_write(Isolation::Serializable).unwrap()
}

fn commit(txn: WriteTxn) -> Result<(), Error> {
    txn.commit(Durability::Eventual).map(drop)
}

/// A transaction that puts a key, begun earlier.
fn putting(engine: &Engine, tree: TreeId, key: &[u8]) -> WriteTxn {
    let txn = begin(engine);
    txn.put(tree, key, b"mine").unwrap();
    txn
}

#[test]
fn giants_claim_coarsely_and_leave_the_others_alone() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(FileStorage::open_or_create(directory.path()).unwrap());
    let options = EngineOptions { memory_budget: BUDGET, ..EngineOptions::default() };
    let engine = Engine::open(storage, &options).unwrap();
    let txn = begin(&engine);
    let (tree, other) = (txn.create_tree("t").unwrap(), txn.create_tree("other").unwrap());
    commit(txn).unwrap();
    let before = peak();

    let same_part = putting(&engine, tree, &key("m/", 77));
    let other_part = putting(&engine, tree, b"z/1");
    let other_tree = putting(&engine, other, b"m/1");
    let giant = begin(&engine);
    for number in 0..GIANT {
        giant.put(tree, &key("m/", number), &[1; 40]).unwrap();
        giant.get(tree, &key("n/", number)).unwrap();
        if number % 4 == 0 {
            let from = key("o/", number);
            assert!(giant.range(tree, Included(&from), Unbounded).unwrap().next().is_none());
        }
        // Small ones, in parts and trees that the giant does not touch.
        if number % 10 == 0 {
            commit(putting(&engine, tree, &key("a/", number))).unwrap();
            commit(putting(&engine, other, &key("a/", number))).unwrap();
        }
    }
    commit(giant).unwrap();
    commit(other_tree).unwrap();
    commit(other_part).unwrap();
    let error = commit(same_part).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let conflict = error.conflict().unwrap();
    assert_eq!((conflict.tree, conflict.access, conflict.exact), (tree, Access::Written, false));
    assert!(error.to_string().contains("of tree \"t\", which this one wrote, too, or near it"), "{error}");
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after - before <= BUDGET, "{} bytes of {BUDGET}", after - before);
    }

    // What small ones did is known coarsely, too, to a giant that began before them.
    for (small, outcome) in [("n/", Some(ErrorKind::Conflict)), ("q/", None)] {
        let giant = begin(&engine);
        for number in 0..GIANT / 4 {
            giant.get(tree, &key("n/", number)).unwrap();
        }
        giant.put(tree, b"result", small.as_bytes()).unwrap();
        commit(putting(&engine, tree, &key(small, GIANT * 2))).unwrap();
        assert_eq!(commit(giant).map_err(|error| error.kind()).err(), outcome, "{small}");
    }
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
}

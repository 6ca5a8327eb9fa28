//! One transaction much larger than memory, on the real file system, within its budget. A program of its own, so that its
//! peak of resident memory is that of the transaction.
#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::FileStorage;
use kestrel_txn::{Durability, Engine, EngineOptions, Isolation};

/// Keys of 24 bytes in random order.
fn key(number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key[8..16].copy_from_slice(&number.to_be_bytes());
    key
}

/// The peak of resident memory in bytes, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn random_inserts_in_one_transaction_stay_within_the_budget() {
    let long = std::env::var_os("KESTREL_LONG").is_some();
    let (count, memory_budget) = if long { (5_000_000, 256_000_000) } else { (200_000, 12_000_000) };
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(FileStorage::open_or_create(directory.path()).unwrap());
    let options = EngineOptions { memory_budget, ..EngineOptions::default() };
    let engine = Engine::open(storage.clone(), &options).unwrap();
    let before = peak();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    for number in 0..count {
        txn.put(tree, &key(number), &[number as u8; 150]).unwrap();
    }
    assert_eq!(txn.len(tree).unwrap(), count);
    txn.commit(Durability::Immediate).unwrap();
    if let (Some(before), Some(after)) = (before, peak()) {
        let used = after - before;
        println!("{count} inserts: peak of resident memory {after} bytes, {used} more than before");
        assert!(used <= memory_budget, "{used} bytes of {memory_budget}");
    }
    // As if the process had been killed: the log alone has it.
    drop(engine);
    let engine = Engine::open(storage, &options).unwrap();
    let read = engine.begin_read().unwrap();
    assert_eq!(read.len(tree).unwrap(), count);
    for number in (0..count).step_by(1009) {
        assert_eq!(read.get(tree, &key(number)).unwrap().unwrap()[..], [number as u8; 150]);
    }
    assert_eq!(read.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap().count() as u64, count);
    engine.checkpoint().unwrap();
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
}

//! What concurrent transactions may and may not see of each other.
#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::MemoryStorage;
use kestrel_txn::{Durability, Engine, EngineOptions, ErrorKind, Isolation, TreeId, WriteTxn};

fn engine() -> (Engine, TreeId) {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let txn = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = txn.create_tree("t").unwrap();
    for key in [b"a", b"b", b"m", b"x", b"y"] {
        txn.put(tree, key, b"0").unwrap();
    }
    txn.commit(Durability::Immediate).unwrap();
    (engine, tree)
}

fn begin(engine: &Engine, isolation: Isolation) -> WriteTxn {
    engine.begin_write(isolation).unwrap()
}

fn commit(txn: WriteTxn) -> Result<(), ErrorKind> {
    txn.commit(Durability::Eventual).map(|_| ()).map_err(|error| error.kind())
}

#[test]
fn lost_updates_are_conflicts_at_both_levels() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let (engine, tree) = engine();
        let (one, two) = (begin(&engine, isolation), begin(&engine, isolation));
        for txn in [&one, &two] {
            let old = txn.get(tree, b"a").unwrap().unwrap();
            txn.put(tree, b"a", &[&old[..], b"+"].concat()).unwrap();
        }
        assert_eq!(commit(one), Ok(()));
        assert_eq!(commit(two), Err(ErrorKind::Conflict));
        assert_eq!(engine.begin_read().unwrap().get(tree, b"a").unwrap().unwrap()[..], *b"0+");
        assert_eq!(engine.statistics().conflicts, 1);
    }
}

#[test]
fn write_skew_is_a_conflict_only_when_serializable() {
    for (isolation, outcome) in
        [(Isolation::Serializable, Err(ErrorKind::Conflict)), (Isolation::Snapshot, Ok(()))]
    {
        let (engine, tree) = engine();
        let (one, two) = (begin(&engine, isolation), begin(&engine, isolation));
        one.get(tree, b"a").unwrap();
        one.put(tree, b"b", b"1").unwrap();
        two.get(tree, b"b").unwrap();
        two.put(tree, b"a", b"1").unwrap();
        assert_eq!(commit(one), Ok(()));
        assert_eq!(commit(two), outcome);
    }
}

#[test]
fn phantoms_conflict_with_scans_but_far_keys_do_not() {
    for (inserted, outcome) in [(&b"c"[..], Err(ErrorKind::Conflict)), (b"z", Ok(()))] {
        let (engine, tree) = engine();
        // Many keys, so that leaves are smaller than the tree.
        let filler = begin(&engine, Isolation::Serializable);
        for number in 0..2000 {
            filler.put(tree, format!("n{number:05}").as_bytes(), &[0; 40]).unwrap();
        }
        commit(filler).unwrap();
        let one = begin(&engine, Isolation::Serializable);
        assert_eq!(one.range(tree, Bound::Included(b"a"), Bound::Excluded(b"d")).unwrap().count(), 2);
        one.put(tree, b"sum", b"2").unwrap();
        let two = begin(&engine, Isolation::Serializable);
        two.put(tree, inserted, b"1").unwrap();
        assert_eq!(commit(two), Ok(()));
        assert_eq!(commit(one), outcome);
    }
}

#[test]
fn absent_keys_and_counts_that_were_read_count() {
    let (engine, tree) = engine();
    let reads: [fn(&WriteTxn, TreeId); 3] = [
        |txn, tree| assert!(txn.get(tree, b"new").unwrap().is_none()),
        |txn, tree| assert!(!txn.delete(tree, b"new").unwrap()),
        |txn, tree| assert!(txn.len(tree).unwrap() > 0),
    ];
    for read in reads {
        let one = begin(&engine, Isolation::Serializable);
        read(&one, tree);
        one.put(tree, b"other", b"1").unwrap();
        let two = begin(&engine, Isolation::Serializable);
        two.put(tree, b"new", b"1").unwrap();
        commit(two).unwrap();
        assert_eq!(commit(one), Err(ErrorKind::Conflict));
        let clean = begin(&engine, Isolation::Serializable);
        clean.delete(tree, b"new").unwrap();
        commit(clean).unwrap();
    }
}

#[test]
fn numbers_of_entries_in_the_list_of_trees_count_as_read() {
    let (engine, tree) = engine();
    let txn = begin(&engine, Isolation::Serializable);
    let other = txn.create_tree("u").unwrap();
    commit(txn).unwrap();
    // Each writes only as long as the other's tree has what it had.
    let (one, two) = (begin(&engine, Isolation::Serializable), begin(&engine, Isolation::Serializable));
    assert_eq!(one.trees().unwrap()[1].entries, 0);
    one.put(tree, b"new", b"").unwrap();
    assert_eq!(two.trees().unwrap()[0].entries, 5);
    two.put(other, b"new", b"").unwrap();
    commit(one).unwrap();
    assert_eq!(commit(two), Err(ErrorKind::Conflict));
}

#[test]
fn removed_ranges_conflict_with_writes_into_them() {
    let (engine, tree) = engine();
    let one = begin(&engine, Isolation::Snapshot);
    assert_eq!(one.remove_range(tree, Bound::Included(b"a"), Bound::Excluded(b"m")).unwrap(), 2);
    let two = begin(&engine, Isolation::Snapshot);
    two.put(tree, b"c", b"1").unwrap();
    commit(two).unwrap();
    assert_eq!(commit(one), Err(ErrorKind::Conflict));
    let (one, two) = (begin(&engine, Isolation::Snapshot), begin(&engine, Isolation::Snapshot));
    two.remove_range(tree, Bound::Included(b"a"), Bound::Excluded(b"m")).unwrap();
    one.put(tree, b"c", b"2").unwrap();
    commit(two).unwrap();
    assert_eq!(commit(one), Err(ErrorKind::Conflict));
}

#[test]
fn trees_conflict_by_name_and_identity() {
    type Act = fn(&WriteTxn, TreeId);
    let create: Act = |txn, _| assert!(txn.create_tree("new").is_ok());
    let put: Act = |txn, tree| txn.put(tree, b"k", b"v").unwrap();
    let drop_it: Act = |txn, _| txn.drop_tree("t").unwrap();
    let rename: Act = |txn, _| txn.rename_tree("t", "u").unwrap();
    let rename_otherwise: Act = |txn, _| txn.rename_tree("t", "v").unwrap();
    let pairs =
        [(create, create), (rename, rename_otherwise), (drop_it, put), (put, drop_it), (drop_it, rename)];
    for (first, second) in pairs {
        let (engine, tree) = engine();
        let (one, two) = (begin(&engine, Isolation::Snapshot), begin(&engine, Isolation::Snapshot));
        first(&one, tree);
        second(&two, tree);
        commit(one).unwrap();
        assert_eq!(commit(two), Err(ErrorKind::Conflict));
    }
}

#[test]
fn disjoint_writers_on_one_leaf_both_commit() {
    let (engine, tree) = engine();
    let (one, two) = (begin(&engine, Isolation::Serializable), begin(&engine, Isolation::Serializable));
    for number in 0..40 {
        one.put(tree, format!("one{number}").as_bytes(), &[1; 90]).unwrap();
        two.put(tree, format!("two{number}").as_bytes(), &[2; 90]).unwrap();
    }
    commit(one).unwrap();
    commit(two).unwrap();
    let read = engine.begin_read().unwrap();
    assert_eq!(read.len(tree).unwrap(), 5 + 80);
    assert_eq!(read.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap().count(), 85);
    assert!(engine.statistics().replays > 0, "the second had to run its operations again");
    assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
}

#[test]
fn readers_see_neither_running_nor_undone_transactions() {
    let (engine, tree) = engine();
    let before = engine.begin_read().unwrap();
    let txn = begin(&engine, Isolation::Serializable);
    txn.put(tree, b"a", b"dirty").unwrap();
    let during = engine.begin_read().unwrap();
    let savepoint = txn.savepoint().unwrap();
    txn.put(tree, b"b", b"undone").unwrap();
    txn.rollback_to(savepoint).unwrap();
    commit(txn).unwrap();
    for reader in [before, during] {
        assert_eq!(reader.get(tree, b"a").unwrap().unwrap()[..], *b"0");
    }
    let after = engine.begin_read().unwrap();
    assert_eq!(after.get(tree, b"a").unwrap().unwrap()[..], *b"dirty");
    assert_eq!(after.get(tree, b"b").unwrap().unwrap()[..], *b"0");
}

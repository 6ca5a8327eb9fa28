//! Which keys a serializable transaction relies on: exactly those that it has seen, and what a conflict over them says.
#![allow(clippy::unwrap_used)]

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use kestrel_io::MemoryStorage;
use kestrel_txn::{
    Access, Conflict, ConflictPlace, Cursor, Durability, Engine, EngineOptions, Error, ErrorKind, Isolation,
    TreeId, WriteTxn,
};

const FEW: u32 = 100;
/// So many that they fill dozens of leaves.
const MANY: u32 = 4000;

/// Keys `k0000`, `k0010` and so on: there are gaps between them.
fn engine(entries: u32) -> (Engine, TreeId) {
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let txn = begin(&engine);
    let tree = txn.create_tree("t").unwrap();
    for number in 0..entries {
        txn.put(tree, &key(number * 10), &[0; 40]).unwrap();
    }
    txn.commit(Durability::Immediate).unwrap();
    (engine, tree)
}

fn key(number: u32) -> Vec<u8> {
    format!("k{number:05}").into_bytes()
}

fn begin(engine: &Engine) -> WriteTxn {
    engine.begin_write(Isolation::Serializable).unwrap()
}

fn range(txn: &WriteTxn, tree: TreeId, low: u32, high: u32) -> Cursor {
    txn.range(tree, Included(&key(low)), Excluded(&key(high))).unwrap()
}

fn take(cursor: &mut Cursor, count: usize) -> Vec<Vec<u8>> {
    cursor.take(count).map(|entry| entry.unwrap().0).collect()
}

fn take_back(cursor: &mut Cursor, count: usize) -> Vec<Vec<u8>> {
    cursor.rev().take(count).map(|entry| entry.unwrap().0).collect()
}

/// What a transaction that did something, and wrote elsewhere, meets if another one writes a key.
fn conflict_with(
    engine: &Engine,
    tree: TreeId,
    act: &dyn Fn(&WriteTxn, TreeId),
    write: &dyn Fn(&WriteTxn, TreeId),
) -> Option<Conflict> {
    let one = begin(engine);
    act(&one, tree);
    one.put(tree, b"elsewhere", b"").unwrap();
    let two = engine.begin_write(Isolation::Snapshot).unwrap();
    write(&two, tree);
    two.commit(Durability::Eventual).unwrap();
    match one.commit(Durability::Eventual) {
        Ok(_) => None,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            Some(error.conflict().unwrap().clone())
        }
    }
}

/// Checks that writes to some keys are conflicts, and to others none, in trees of one leaf and of many.
#[track_caller]
fn relies_on(act: &dyn Fn(&WriteTxn, TreeId), seen: &[u32], unseen: &[u32]) {
    for entries in [FEW, MANY] {
        for (keys, conflict) in [(seen, true), (unseen, false)] {
            for &number in keys {
                let (engine, tree) = engine(entries);
                let met = conflict_with(&engine, tree, act, &|txn, tree| {
                    txn.put(tree, &key(number), b"new").unwrap();
                });
                assert_eq!(met.is_some(), conflict, "key {number} of {entries}: {met:?}");
                if let Some(met) = met {
                    assert_eq!((met.tree, met.tree_name.as_deref()), (tree, Some("t")));
                    assert_eq!((met.access, met.exact), (Access::Read, true));
                    assert_eq!(met.place, ConflictPlace::Key(key(number)));
                }
            }
        }
    }
}

#[test]
fn a_cursor_that_never_moved_relies_on_nothing_but_its_tree() {
    let make = |txn: &WriteTxn, tree| drop(range(txn, tree, 100, 800));
    relies_on(&make, &[], &[100, 101, 500, 800]);
    let (engine, tree) = engine(FEW);
    let met = conflict_with(&engine, tree, &make, &|txn, _| txn.drop_tree("t").unwrap());
    assert_eq!(met.unwrap().tree, tree);
    let (engine, tree) = self::engine(FEW);
    assert_eq!(conflict_with(&engine, tree, &make, &|txn, _| txn.rename_tree("t", "u").unwrap()), None);
}

#[test]
fn a_half_consumed_cursor_relies_on_what_it_returned() {
    let forward = |txn: &WriteTxn, tree| {
        assert_eq!(take(&mut range(txn, tree, 101, 800), 3), [key(110), key(120), key(130)]);
    };
    relies_on(&forward, &[101, 105, 110, 115, 130], &[100, 131, 140, 500, 800]);
}

#[test]
fn a_cursor_from_the_end_relies_on_what_it_returned() {
    let backward = |txn: &WriteTxn, tree| {
        assert_eq!(take_back(&mut range(txn, tree, 100, 801), 3), [key(800), key(790), key(780)]);
    };
    relies_on(&backward, &[780, 785, 790, 800], &[801, 779, 100, 500]);
    let unbounded = |txn: &WriteTxn, tree| {
        let mut cursor = txn.range(tree, Unbounded, Unbounded).unwrap();
        assert_eq!(take_back(&mut cursor, 1).len(), 1);
    };
    relies_on(&unbounded, &[39_990, 99_999], &[0, 500, 980]);
}

#[test]
fn both_ends_of_a_cursor_rely_on_what_each_returned() {
    let both = |txn: &WriteTxn, tree| {
        let mut cursor = range(txn, tree, 100, 800);
        for (front, back) in [(100, 790), (110, 780), (120, 770)] {
            assert_eq!(take(&mut cursor, 1), [key(front)]);
            assert_eq!(take_back(&mut cursor, 1), [key(back)]);
        }
    };
    relies_on(&both, &[100, 115, 120, 770, 775, 799], &[99, 121, 500, 769, 800]);
    let meeting = |txn: &WriteTxn, tree| {
        let mut cursor = range(txn, tree, 100, 800);
        assert_eq!(take_back(&mut cursor, 2).len(), 2);
        assert_eq!(take(&mut cursor, 1000).len(), 68);
    };
    relies_on(&meeting, &[100, 500, 771, 795, 799], &[99, 800]);
}

#[test]
fn a_finished_cursor_relies_on_its_whole_range() {
    let forward = |txn: &WriteTxn, tree| assert_eq!(take(&mut range(txn, tree, 105, 805), 1000).len(), 70);
    relies_on(&forward, &[105, 110, 500, 801, 804], &[104, 805]);
    let backward =
        |txn: &WriteTxn, tree| assert_eq!(take_back(&mut range(txn, tree, 105, 805), 1000).len(), 70);
    relies_on(&backward, &[105, 110, 500, 801, 804], &[104, 805]);
    let empty = |txn: &WriteTxn, tree| assert!(range(txn, tree, 501, 509).next().is_none());
    relies_on(&empty, &[501, 505], &[500, 509, 510]);
    // All but one entry more: the last call that would say so was not made.
    let nearly = |txn: &WriteTxn, tree| assert_eq!(take(&mut range(txn, tree, 105, 805), 70).len(), 70);
    relies_on(&nearly, &[105, 800], &[801, 804]);
}

#[test]
fn a_cursor_whose_transaction_writes_on_the_way_relies_on_no_more() {
    let forward = |txn: &WriteTxn, tree| {
        let mut cursor = range(txn, tree, 100, 800);
        assert_eq!(take(&mut cursor, 2), [key(100), key(110)]);
        txn.put(tree, &key(112), b"own").unwrap();
        assert_eq!(take(&mut cursor, 2), [key(112), key(120)]);
        txn.delete(tree, &key(700)).unwrap();
        assert_eq!(take(&mut cursor, 1), [key(130)]);
    };
    relies_on(&forward, &[100, 111, 125, 130], &[131, 500, 701]);
    let both = |txn: &WriteTxn, tree| {
        let mut cursor = range(txn, tree, 100, 800);
        for number in [105, 795, 115, 785] {
            txn.put(tree, &key(number), b"own").unwrap();
            assert_eq!(take_back(&mut cursor, 1).len() + take(&mut cursor, 1).len(), 2);
        }
    };
    relies_on(&both, &[101, 114, 760, 799], &[116, 500, 759, 800]);
}

#[test]
fn cursors_that_outlive_their_use_and_many_dropped_ones_count() {
    let many = |txn: &WriteTxn, tree| {
        let mut kept = range(txn, tree, 300, 310);
        for number in 0..300 {
            assert_eq!(take(&mut range(txn, tree, number % 30 * 10, 800), 1).len(), 1);
        }
        assert_eq!(take(&mut kept, 1), [key(300)]);
        std::mem::forget(kept);
    };
    relies_on(&many, &[0, 50, 290, 300], &[5, 55, 291, 301, 310]);
}

#[test]
fn taking_the_first_or_last_relies_on_the_gap_before_it() {
    let pop_first = |txn: &WriteTxn, tree| {
        for _ in 0..2 {
            let first = take(&mut txn.range(tree, Excluded(b"k00"), Unbounded).unwrap(), 1);
            txn.delete(tree, &first[0]).unwrap();
        }
    };
    relies_on(&pop_first, &[5], &[11, 15, 20, 500]);
    let (engine, tree) = engine(FEW);
    let met = conflict_with(&engine, tree, &pop_first, &|txn, tree| txn.put(tree, &key(10), b"").unwrap());
    assert_eq!(met.unwrap().access, Access::Written);
}

#[test]
fn points_counts_and_removed_ranges_count() {
    relies_on(&|txn, tree| drop(txn.get(tree, &key(501)).unwrap()), &[501], &[500, 502]);
    relies_on(&|txn, tree| assert!(txn.contains(tree, &key(500)).unwrap()), &[500], &[501]);
    relies_on(&|txn, tree| drop(txn.remove(tree, &key(501)).unwrap()), &[501], &[500, 502]);
    relies_on(&|txn, tree| assert!(txn.len(tree).unwrap() > 0), &[0, 55, 99_999], &[]);
    let (engine, tree) = engine(FEW);
    let remove = |txn: &WriteTxn, tree| {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Included(&key(100)), Excluded(&key(200)));
        txn.remove_range(tree, bounds.0, bounds.1).unwrap();
    };
    let met = conflict_with(&engine, tree, &remove, &|txn, tree| txn.put(tree, &key(155), b"").unwrap());
    assert_eq!(met.unwrap().place, ConflictPlace::Key(key(155)));
    let scan = |txn: &WriteTxn, tree| assert!(range(txn, tree, 150, 300).count() > 0);
    let met = conflict_with(&engine, tree, &scan, &remove);
    assert_eq!(
        met.unwrap().place,
        ConflictPlace::Range { low: key(150), high: Some(key(200)) },
        "what both have in common"
    );
}

#[test]
fn names_and_trees_are_told_apart() {
    type Act = fn(&WriteTxn, TreeId);
    let look: Act = |txn, _| assert!(txn.tree("new").unwrap().is_none());
    let look_at_t: Act = |txn, _| assert!(txn.tree("t").unwrap().is_some());
    let list: Act = |txn, _| assert_eq!(txn.trees().unwrap().len(), 1);
    let create: Act = |txn, _| assert!(txn.create_tree("new").is_ok());
    let rename: Act = |txn, _| txn.rename_tree("t", "new").unwrap();
    let name = || ConflictPlace::Name("new".into());
    for (act, write, place, access) in [
        (look, create, name(), Access::Read),
        (look, rename, name(), Access::Read),
        (create, create, name(), Access::Written),
        (look_at_t, rename, ConflictPlace::Tree, Access::Read),
    ] {
        let (engine, tree) = engine(FEW);
        let met = conflict_with(&engine, tree, &act, &write).unwrap();
        assert_eq!((&met.place, met.access), (&place, access));
        let of = if place == ConflictPlace::Tree { tree } else { TreeId::CATALOGUE };
        assert_eq!(met.tree, of);
    }
    for write in [create, rename] {
        let (engine, tree) = engine(FEW);
        assert!(conflict_with(&engine, tree, &list, &write).is_some());
    }
    let (engine, tree) = engine(FEW);
    assert_eq!(conflict_with(&engine, tree, &look_at_t, &create), None);
}

#[test]
fn a_tree_that_is_dropped_is_named() {
    let (engine, tree) = engine(FEW);
    let put = |txn: &WriteTxn, tree| txn.put(tree, b"mine", b"").unwrap();
    let met = conflict_with(&engine, tree, &put, &|txn, _| txn.drop_tree("t").unwrap()).unwrap();
    assert_eq!((met.tree, met.tree_name.as_deref(), met.access), (tree, Some("t"), Access::Written));
}

#[test]
fn messages_name_the_tree_and_the_key() {
    let (engine, tree) = engine(FEW);
    let (one, two) = (begin(&engine), begin(&engine));
    one.get(tree, b"\0wild\xFF").unwrap();
    one.put(tree, b"x", b"").unwrap();
    two.put(tree, b"\0wild\xFF", b"").unwrap();
    two.commit(Durability::Eventual).unwrap();
    let error = one.commit(Durability::Eventual).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a transaction that committed meanwhile changed key \"\\x00wild\\xff\" of tree \"t\", which this one read; run the \
         transaction again"
    );
    assert_eq!(engine.statistics().conflicts, 1);
}

/// Ids can be known before their trees are.
#[test]
fn that_a_tree_was_not_there_was_seen() {
    type Act = fn(&WriteTxn, TreeId) -> Result<(), Error>;
    let acts: [Act; 6] = [
        |txn, new| txn.get(new, b"k").map(drop),
        |txn, new| txn.len(new).map(drop),
        |txn, new| txn.range(new, Unbounded, Unbounded).map(drop),
        |txn, new| txn.put(new, b"k", b"v"),
        |txn, new| txn.delete(new, b"k").map(drop),
        |txn, new| txn.remove_range(new, Unbounded, Unbounded).map(drop),
    ];
    for (number, act) in acts.into_iter().enumerate() {
        let (engine, tree) = engine(FEW);
        let (one, two) = (begin(&engine), begin(&engine));
        // Each does something unless the other one did, so one of them has to fail.
        assert_eq!(two.get(tree, b"done").unwrap(), None);
        let new = two.create_tree("new").unwrap();
        assert_eq!(act(&one, new).unwrap_err().kind(), ErrorKind::TreeNotFound);
        one.put(tree, b"done", b"").unwrap();
        two.commit(Durability::Eventual).unwrap();
        let met = one.commit(Durability::Eventual);
        assert_eq!(met.map_err(|error| error.kind()), Err(ErrorKind::Conflict), "act {number}");
    }
}

/// A key that is too long to be there is not, but that its tree is was seen.
#[test]
fn that_a_tree_was_there_was_seen_by_whatever_key() {
    let (engine, tree) = engine(FEW);
    let other = begin(&engine);
    let elsewhere = other.create_tree("elsewhere").unwrap();
    other.commit(Durability::Eventual).unwrap();
    let (one, two) = (begin(&engine), begin(&engine));
    assert_eq!(one.get(tree, &[7; 70_000]).unwrap(), None);
    one.put(elsewhere, b"done", b"").unwrap();
    two.drop_tree("t").unwrap();
    two.commit(Durability::Eventual).unwrap();
    let error = one.commit(Durability::Eventual).unwrap_err();
    let met = error.conflict().unwrap();
    assert_eq!((met.tree, &met.place, met.access), (tree, &ConflictPlace::Tree, Access::Read));
}

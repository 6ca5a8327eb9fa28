//! Calls that are refused by a database in good order.

use kestreldb::{Access, ConflictPlace, Database, ErrorKind, Isolation};

use crate::fails;

#[test]
fn a_key_over_the_limit_is_refused_with_the_limit() {
    for page_size in [4_096, 65_536] {
        let db = Database::builder().page_size(page_size).in_memory().unwrap();
        let tree = db.tree("t").unwrap();
        let limit = db.max_key_len();
        let long = vec![b'k'; limit + 1];
        let limit = limit.to_string();
        fails(tree.put(&long, "v"), ErrorKind::KeyTooLong, &[&limit]);
        fails(tree.insert(&long, "v"), ErrorKind::KeyTooLong, &[&limit]);
        fails(tree.append([(&long, "v")]), ErrorKind::KeyTooLong, &[&limit]);
        fails(tree.update(&long, |_| Some(vec![])), ErrorKind::KeyTooLong, &[&limit]);

        // The transaction goes on without it, and what cannot exist is simply not there.
        let tx = db.begin_write().unwrap();
        tx.put(&tree, "before", "").unwrap();
        fails(tx.put(&tree, &long, "v"), ErrorKind::KeyTooLong, &[]);
        tx.put(&tree, "after", "").unwrap();
        assert_eq!(tx.get(&tree, &long).unwrap(), None);
        assert!(!tx.delete(&tree, &long).unwrap());
        tx.commit().unwrap();
        assert_eq!(tree.len().unwrap(), 2);
        assert_eq!(tree.get(&long).unwrap(), None);
        assert_eq!(tree.range(&long[..]..).unwrap().count(), 0);
        assert_eq!(tree.range(..&long[..]).unwrap().count(), 2);
    }
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_value_over_the_limit_is_refused_before_it_is_looked_at() {
    let db = Database::in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    let limit = db.max_value_len();
    // So much is only asked for, never touched.
    let Ok(len) = usize::try_from(limit + 1) else { return };
    let mut long: Vec<u8> = Vec::new();
    if len > 5 << 30 || long.try_reserve_exact(len).is_err() {
        return;
    }
    drop(long);
    let long = vec![0; len];
    fails(tree.put("k", &long), ErrorKind::ValueTooLong, &[&limit.to_string()]);
    assert!(tree.is_empty().unwrap());
}

/// What does not fit into memory is laid aside on disk until the commit: a transaction has no size to keep below.
#[test]
fn a_transaction_many_times_the_budget_fits_all_the_same() {
    let db = Database::builder().memory_budget(2 << 20).in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    tree.put("small", "before").unwrap();
    const ENTRIES: u32 = 60_000;
    for commit in [false, true] {
        let tx = db.begin_write().unwrap();
        for n in 0..ENTRIES {
            // All over the tree; 7919 is prime.
            tx.put(&tree, (n * 7_919 % ENTRIES).to_be_bytes(), [n as u8; 500]).unwrap();
        }
        assert_eq!(tx.len(&tree).unwrap(), u64::from(ENTRIES) + 1);
        assert_eq!(tx.get(&tree, 7_919_u32.to_be_bytes()).unwrap().unwrap(), [1; 500]);
        if commit {
            tx.commit().unwrap();
        }
        assert_eq!(tree.len().unwrap(), if commit { u64::from(ENTRIES) + 1 } else { 1 });
    }
    assert_eq!(tree.range(..).unwrap().map(Result::unwrap).count(), 60_001);
    tree.put("small", "after").unwrap();
    assert!(db.verify().unwrap().damages.is_empty());
}

/// A value keeps its page in memory. Once hardly a page is left, whoever needs one gets an error, soon, and nothing else
/// happens: every other way of holding is tried, down to the very last page.
#[test]
fn values_that_are_held_count_until_they_are_dropped() {
    const KEYS: u32 = 3_000;
    let db = Database::builder().memory_budget(512 << 10).background(false).in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    tree.append((0..KEYS).map(|n| (n.to_be_bytes(), [n as u8; 400]))).unwrap();
    let hold = |step: usize, from_end: bool, in_transaction: bool| {
        let tx = db.begin_write().unwrap();
        let mut held = Vec::new();
        let keys: Box<dyn Iterator<Item = u32>> = if from_end {
            Box::new((0..KEYS).rev().step_by(step))
        } else {
            Box::new((0..KEYS).step_by(step))
        };
        for n in keys {
            let key = n.to_be_bytes();
            match if in_transaction { tx.get(&tree, key) } else { tree.get(key) } {
                Ok(value) => held.push((n, value.unwrap())),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OverBudget, "{error}");
                    break;
                }
            }
        }
        assert!(held.iter().all(|(n, value)| *value == [*n as u8; 400]));
        // Other reads and writes beside the held ones: each is done, or refused for the same reason.
        let others = [
            tree.range(..).unwrap().find_map(Result::err),
            tree.range(..).unwrap().rev().find_map(Result::err),
            tx.range(&tree, ..).unwrap().find_map(Result::err),
            (0..KEYS).step_by(97).find_map(|n| tx.put(&tree, n.to_be_bytes(), [n as u8; 400]).err()),
            (0..KEYS).step_by(89).find_map(|n| tree.put(n.to_be_bytes(), [n as u8; 400]).err()),
            db.checkpoint().err(),
            db.maintain().err(),
        ];
        for error in others.into_iter().flatten() {
            assert_eq!(error.kind(), ErrorKind::OverBudget, "{error}");
        }
        held.len()
    };
    for step in [1, 7, 10, 13, 40] {
        for from_end in [false, true] {
            for in_transaction in [false, true] {
                assert!(hold(step, from_end, in_transaction) >= 40);
            }
        }
    }
    for (n, entry) in (0_u32..).zip(tree.range(..).unwrap()) {
        assert_eq!(entry.unwrap().1, [n as u8; 400]);
    }
    tree.put("again", "there is room").unwrap();
    assert!(db.verify().unwrap().damages.is_empty());
}

#[test]
fn a_conflict_says_what_to_do() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let db = Database::builder().isolation(isolation).in_memory().unwrap();
        let tree = db.tree("t").unwrap();
        let (one, two) = (db.begin_write().unwrap(), db.begin_write().unwrap());
        one.put(&tree, "k", "1").unwrap();
        two.put(&tree, "k", "2").unwrap();
        two.put(&tree, "l", "2").unwrap();
        one.commit().unwrap();
        let said = ["key \"k\"", "tree \"t\"", "which this one wrote, too", "run the transaction again"];
        fails(two.commit(), ErrorKind::Conflict, &said);
        assert_eq!(tree.get("k").unwrap().unwrap(), "1");
        assert_eq!(tree.get("l").unwrap(), None);
        assert_eq!(db.statistics().conflicts, 1);
    }
}

#[test]
fn a_conflict_names_what_was_read() {
    let db = Database::in_memory().unwrap();
    let tree = db.tree("täglich").unwrap();
    for n in 0..10_u8 {
        tree.put([n], "").unwrap();
    }
    let tx = db.begin_write().unwrap();
    assert_eq!(tx.range(&tree, [3]..[8]).unwrap().take(2).count(), 2);
    tx.put(&tree, "sum", "2").unwrap();
    // Not seen yet; then in the gap between the two that were.
    tree.put([5], "new").unwrap();
    tree.put([3, 7], "new").unwrap();
    let error = tx.commit().unwrap_err();
    let conflict = error.conflict().unwrap();
    assert_eq!(conflict.place, ConflictPlace::Key(vec![3, 7]));
    assert_eq!((conflict.access, conflict.tree_name.as_deref()), (Access::Read, Some("täglich")));
    let message = error.to_string();
    assert!(
        message.contains("key \"\\x03\\x07\" of tree") && message.contains("which this one read"),
        "{message}"
    );
    assert!(db.begin_read().unwrap().get(&tree, "sum").unwrap().is_none());
}

#[test]
fn a_tree_of_another_database_is_not_mistaken() {
    let (one, two) = (Database::in_memory().unwrap(), Database::in_memory().unwrap());
    let tree = one.tree("from one").unwrap();
    two.tree("of two").unwrap();
    let (tx, snapshot) = (two.begin_write().unwrap(), two.begin_read().unwrap());
    fails(tx.put(&tree, "k", "v"), ErrorKind::InvalidArgument, &["from one", "another database"]);
    fails(tx.range(&tree, ..), ErrorKind::InvalidArgument, &["another database"]);
    fails(tx.clear(&tree), ErrorKind::InvalidArgument, &["another database"]);
    fails(snapshot.get(&tree, "k"), ErrorKind::InvalidArgument, &["another database"]);
    fails(snapshot.len(&tree), ErrorKind::InvalidArgument, &["another database"]);
}

#[test]
fn everything_after_closing_says_closed() {
    let db = Database::in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    tree.put("k", "v").unwrap();
    let tx = db.begin_write().unwrap();
    tx.put(&tree, "late", "v").unwrap();
    let snapshot = db.begin_read().unwrap();
    let clone = db.clone();
    db.close().unwrap();

    fails(tx.commit(), ErrorKind::Closed, &[]);
    fails(tree.get("k"), ErrorKind::Closed, &[]);
    fails(tree.put("k", "v"), ErrorKind::Closed, &[]);
    fails(tree.range(..), ErrorKind::Closed, &[]);
    fails(tree.len(), ErrorKind::Closed, &[]);
    fails(clone.begin_read(), ErrorKind::Closed, &[]);
    fails(clone.begin_write(), ErrorKind::Closed, &[]);
    fails(clone.tree("t"), ErrorKind::Closed, &[]);
    fails(clone.flush(), ErrorKind::Closed, &[]);
    fails(clone.checkpoint(), ErrorKind::Closed, &[]);
    fails(clone.maintain(), ErrorKind::Closed, &[]);
    fails(clone.verify().map(drop), ErrorKind::Closed, &[]);
    assert_eq!(snapshot.get(&tree, "k").unwrap().unwrap(), "v");
    assert_eq!(snapshot.len(&tree).unwrap(), 1);
    clone.close().unwrap();
}

//! Calls that are refused by a database in good order.

use kestreldb::{Database, ErrorKind, Isolation};

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

#[test]
fn a_transaction_over_the_budget_fails_alone_or_fits_after_all() {
    let db = Database::builder().memory_budget(4 << 20).in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    tree.put("small", "before").unwrap();
    let (entries, value) = (100_000_u32, [7; 500]);
    let big = db.write(|tx| {
        for n in 0..entries {
            tx.put(&tree, n.to_be_bytes(), value)?;
        }
        Ok::<_, kestreldb::Error>(())
    });
    let expected = match big {
        Ok(()) => u64::from(entries) + 1,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::OverBudget, "{error}");
            1
        }
    };
    assert_eq!(tree.len().unwrap(), expected);
    assert_eq!(tree.range(..).unwrap().count() as u64, expected);
    tree.put("small", "after").unwrap();
    assert_eq!(tree.get("small").unwrap().unwrap(), "after");
    assert!(db.verify().unwrap().damages.is_empty());
}

#[test]
fn values_that_are_held_count_until_they_are_dropped() {
    let db = Database::builder().memory_budget(4 << 20).in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    tree.append((0..40_000_u32).map(|n| (n.to_be_bytes(), [n as u8; 400]))).unwrap();
    let mut held = Vec::new();
    for n in 0..40_000_u32 {
        match tree.get(n.to_be_bytes()) {
            Ok(value) => held.push(value.unwrap()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OverBudget, "{error}");
                break;
            }
        }
    }
    assert!(held.len() >= 1_000, "only {} values could be held", held.len());
    assert!(held.iter().zip(0_u32..).all(|(value, n)| *value == [n as u8; 400]));
    drop(held);
    assert_eq!(tree.get(39_999_u32.to_be_bytes()).unwrap().unwrap(), [39_999_u32 as u8; 400]);
    tree.put("again", "there is room").unwrap();
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
        fails(two.commit(), ErrorKind::Conflict, &[]);
        assert_eq!(tree.get("k").unwrap().unwrap(), "1");
        assert_eq!(tree.get("l").unwrap(), None);
        assert_eq!(db.statistics().conflicts, 1);
    }
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

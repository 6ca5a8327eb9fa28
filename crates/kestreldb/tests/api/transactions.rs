//! Closures, commits, aborts, savepoints and conflicts.

use std::sync::atomic::{AtomicU32, Ordering};

use kestreldb::{Database, Durability, Error, ErrorKind, Isolation};

use crate::{database, keys};

#[derive(Debug, PartialEq)]
enum Problem {
    Engine(ErrorKind),
    Mine,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Engine(error.kind())
    }
}

#[test]
fn a_closure_commits_or_leaves_nothing() {
    let db = database();
    let (a, b) = (db.tree("a").unwrap(), db.tree("b").unwrap());
    let returned: Result<u32, Problem> = db.write(|tx| {
        tx.put(&a, "k", "1")?;
        tx.put(&b, "k", "2")?;
        Ok(7)
    });
    assert_eq!(returned, Ok(7));
    assert!(a.contains("k").unwrap() && b.contains("k").unwrap());

    let refused: Result<(), Problem> = db.write(|tx| {
        tx.clear(&a)?;
        tx.put(&b, "l", "3")?;
        Err(Problem::Mine)
    });
    assert_eq!(refused, Err(Problem::Mine));
    let refused: Result<(), Problem> = db.write(|tx| Ok(tx.drop_tree("no such tree")?));
    assert_eq!(refused, Err(Problem::Engine(ErrorKind::TreeNotFound)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.write(|tx| {
            tx.clear(&a)?;
            let entries: Vec<u8> = tx.range(&a, ..)?.map(|_| 0).collect();
            assert_eq!(entries.len(), 1, "a bug of the user");
            Ok::<_, Error>(())
        })
    }));
    assert!(panicked.is_err());
    assert_eq!((keys(a.range(..).unwrap()), keys(b.range(..).unwrap())), ("k".to_owned(), "k".to_owned()));

    let read: Result<(), Problem> = db.read(|_| Err(Problem::Mine));
    assert_eq!(read, Err(Problem::Mine));
}

#[test]
fn dropping_and_aborting_forget() {
    let db = database();
    let tree = db.tree("t").unwrap();
    let tx = db.begin_write().unwrap();
    tx.put(&tree, "dropped", "").unwrap();
    drop(tx);
    let tx = db.begin_write().unwrap();
    tx.put(&tree, "aborted", "").unwrap();
    tx.abort();
    assert!(tree.is_empty().unwrap());
    assert!(db.begin_write().unwrap().commit().is_ok(), "an empty transaction commits");
}

#[test]
fn commits_come_in_an_order_that_snapshots_tell() {
    let db = database();
    let tree = db.tree("t").unwrap();
    let mut last = db.begin_read().unwrap().timestamp();
    for durability in [Durability::Immediate, Durability::Eventual, Durability::Immediate] {
        let tx = db.begin_write_with(db.write_options().durability(durability)).unwrap();
        tx.put(&tree, "k", "v").unwrap();
        let committed = tx.commit().unwrap();
        assert!(committed > last);
        assert!(db.begin_read().unwrap().timestamp() >= committed, "the next reader sees it");
        last = committed;
    }
}

/// Under both isolations two transactions that write what both have read cannot both commit.
#[test]
fn the_second_of_two_that_met_gets_a_conflict() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let db = Database::builder().isolation(isolation).in_memory().unwrap();
        let tree = db.tree("t").unwrap();
        let (one, two) = (db.begin_write().unwrap(), db.begin_write().unwrap());
        for tx in [&one, &two] {
            tx.update(&tree, "n", |old| Some([old.unwrap_or_default(), b"x"].concat())).unwrap();
        }
        one.commit().unwrap();
        let error = two.commit().unwrap_err();
        assert!(error.is_conflict() && error.kind() == ErrorKind::Conflict, "{error}");
        assert_eq!(tree.get("n").unwrap().unwrap(), "x");
    }
}

#[test]
fn what_was_only_read_conflicts_when_serializable() {
    let db = database();
    let tree = db.tree("t").unwrap();
    // Each goes off duty because the other one is on duty; one scan sees an absent key.
    for (name, absent) in [("point", false), ("scan", true)] {
        tree.clear().unwrap();
        if !absent {
            tree.put("ada", "on").unwrap();
            tree.put("bob", "on").unwrap();
        }
        let (one, two) = (db.begin_write().unwrap(), db.begin_write().unwrap());
        for (tx, me) in [(&one, "ada"), (&two, "bob")] {
            let on_duty = tx.range(&tree, ..).unwrap().count();
            tx.put(&tree, me, if on_duty > 1 { "off" } else { "on" }).unwrap();
        }
        one.commit().unwrap();
        assert!(two.commit().unwrap_err().is_conflict(), "{name}");
    }
}

#[test]
fn conflicts_are_retried_as_often_as_allowed() {
    let db = database();
    let tree = db.tree("t").unwrap();
    tree.put("n", "0").unwrap();
    let runs = AtomicU32::new(0);
    let meddle = |tx: &kestreldb::WriteTxn, times: u32| {
        tx.get(&tree, "n")?;
        if runs.fetch_add(1, Ordering::Relaxed) < times {
            tree.put("n", "meddled")?;
        }
        tx.put(&tree, "n", "mine")
    };
    db.write(|tx| meddle(tx, 5)).unwrap();
    assert_eq!(runs.swap(0, Ordering::Relaxed), 6);
    assert_eq!(tree.get("n").unwrap().unwrap(), "mine");

    let error = db.write_with(db.write_options().retries(2), |tx| meddle(tx, 5)).unwrap_err();
    assert!(error.is_conflict());
    assert_eq!(runs.swap(0, Ordering::Relaxed), 3);
    let patient = Database::builder().conflict_retries(0).in_memory().unwrap();
    assert_eq!(patient.write_options(), patient.write_options().retries(0));
}

#[test]
fn savepoints_take_back_what_came_after_them() {
    let db = database();
    let tree = db.tree("t").unwrap();
    tree.put("a", "0").unwrap();
    let tx = db.begin_write().unwrap();
    tx.put(&tree, "b", "1").unwrap();
    let one = tx.savepoint().unwrap();
    tx.put(&tree, "c", "2").unwrap();
    tx.delete(&tree, "a").unwrap();
    let two = tx.savepoint().unwrap();
    tx.clear(&tree).unwrap();
    let created = tx.create_tree("created").unwrap();
    tx.put(&created, "k", "v").unwrap();
    let three = tx.savepoint().unwrap();

    tx.rollback_to(two).unwrap();
    assert_eq!(keys(tx.range(&tree, ..).unwrap()), "b c");
    assert!(tx.existing_tree("created").unwrap().is_none());
    assert_eq!(tx.rollback_to(three).unwrap_err().kind(), ErrorKind::SavepointGone);
    tx.put(&tree, "d", "3").unwrap();
    tx.rollback_to(two).unwrap();
    assert_eq!(keys(tx.range(&tree, ..).unwrap()), "b c", "a savepoint can be used again");
    tx.rollback_to(one).unwrap();
    assert_eq!(keys(tx.range(&tree, ..).unwrap()), "a b");
    assert_eq!(tx.rollback_to(two).unwrap_err().kind(), ErrorKind::SavepointGone);
    tx.put(&tree, "e", "4").unwrap();
    tx.release(one).unwrap();
    assert_eq!(tx.release(one).unwrap_err().kind(), ErrorKind::SavepointGone);

    let other = db.begin_write().unwrap();
    let foreign = other.savepoint().unwrap();
    assert_eq!(tx.rollback_to(foreign).unwrap_err().kind(), ErrorKind::SavepointGone);
    let mine = tx.savepoint().unwrap();
    assert_eq!(other.release(mine).unwrap_err().kind(), ErrorKind::SavepointGone);
    drop(other);
    tx.commit().unwrap();
    assert_eq!(keys(tree.range(..).unwrap()), "a b e");
    assert_eq!(tree.len().unwrap(), 3);
}

/// What a savepoint keeps must not hold the pages it came from: there are more of them than memory has room for.
#[test]
fn a_savepoint_before_changes_everywhere_leaves_memory_to_work_with() {
    let db = Database::builder().memory_budget(512 << 10).in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    tree.append((0..3_000_u32).map(|n| (n.to_be_bytes(), [n as u8; 300]))).unwrap();
    let tx = db.begin_write().unwrap();
    let savepoint = tx.savepoint().unwrap();
    for n in (0..3_000_u32).step_by(20) {
        assert!(tx.delete(&tree, n.to_be_bytes()).unwrap());
    }
    assert_eq!(tx.range(&tree, ..).unwrap().map(Result::unwrap).count(), 2_850);
    tx.rollback_to(savepoint).unwrap();
    for (n, entry) in (0_u32..).zip(tx.range(&tree, ..).unwrap()) {
        assert_eq!(entry.unwrap().1, [n as u8; 300]);
    }
    tx.commit().unwrap();
    assert_eq!(tree.len().unwrap(), 3_000);
}

#[test]
fn nested_parts_fail_alone() {
    let db = database();
    let tree = db.tree("t").unwrap();
    db.write(|tx| {
        tx.put(&tree, "outer", "")?;
        let inner: Result<(), Problem> = tx.nested(|| {
            tx.put(&tree, "kept", "")?;
            let innermost: Result<(), Problem> = tx.nested(|| {
                tx.clear(&tree)?;
                Err(Problem::Mine)
            });
            assert_eq!(innermost, Err(Problem::Mine));
            Ok(())
        });
        assert_eq!(inner, Ok(()));
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(keys(tree.range(..).unwrap()), "kept outer");
}

#[test]
fn a_transaction_may_change_threads_and_be_shared() {
    let db = database();
    let tree = db.tree("t").unwrap();
    let tx = db.begin_write().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (tx, tree) = (&tx, &tree);
            scope.spawn(move || {
                for n in 0..50 {
                    tx.put(tree, [thread, n], "").unwrap();
                }
            });
        }
    });
    let committed = std::thread::spawn(move || tx.commit()).join().unwrap();
    committed.unwrap();
    assert_eq!(tree.len().unwrap(), 200);
}

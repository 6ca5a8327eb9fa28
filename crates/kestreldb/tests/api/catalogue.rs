//! Creating, dropping, renaming and listing trees.

use kestreldb::{Database, Error, ErrorKind};

use crate::{database, keys};

fn names(db: &Database) -> String {
    let names: Vec<String> = db.trees().unwrap().into_iter().map(|tree| tree.name).collect();
    names.join(" ")
}

#[test]
fn a_tree_is_created_once_and_found_again() {
    let db = database();
    assert!(db.existing_tree("t").unwrap().is_none());
    let tree = db.tree("t").unwrap();
    tree.put("k", "v").unwrap();
    assert_eq!(db.tree("t").unwrap().get("k").unwrap().unwrap(), "v");
    assert_eq!(db.existing_tree("t").unwrap().unwrap().get("k").unwrap().unwrap(), "v");
    assert_eq!(tree.name(), "t");
    assert_eq!(db.create_tree("t").unwrap_err().kind(), ErrorKind::TreeExists);
    assert!(db.create_tree("u").unwrap().is_empty().unwrap());
    for odd in [" ", "ü/\\\0", &"long".repeat(256)] {
        db.tree(odd).unwrap().put("name", odd).unwrap();
        assert_eq!(db.tree(odd).unwrap().get("name").unwrap().unwrap(), odd);
    }
    assert_eq!(db.trees().unwrap().len(), 5);
    for no_name in ["", &"long!".repeat(205)] {
        assert_eq!(db.tree(no_name).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(db.existing_tree(no_name).unwrap().is_none());
    }
}

#[test]
fn trees_are_apart_and_listed_with_their_counts() {
    let db = database();
    for (name, entries) in [("b", 2), ("a", 1), ("c", 0)] {
        let tree = db.tree(name).unwrap();
        for n in 0..entries {
            tree.put([n], name).unwrap();
        }
    }
    let listed: Vec<(String, u64)> = db.trees().unwrap().into_iter().map(|t| (t.name, t.entries)).collect();
    assert_eq!(listed, [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 0)]);
    assert_eq!(db.tree("a").unwrap().get([0]).unwrap().unwrap(), "a");
    assert_eq!(db.tree("a").unwrap().get([1]).unwrap(), None);
}

#[test]
fn a_dropped_tree_is_gone_for_its_handles_but_not_for_snapshots() {
    let db = database();
    let tree = db.tree("t").unwrap();
    tree.put("k", "old").unwrap();
    let snapshot = db.begin_read().unwrap();
    db.drop_tree("t").unwrap();
    assert_eq!(names(&db), "");
    for error in [
        tree.get("k").unwrap_err(),
        tree.put("k", "v").unwrap_err(),
        tree.len().unwrap_err(),
        tree.range(..).unwrap_err(),
        tree.clear().unwrap_err(),
        db.drop_tree("t").unwrap_err(),
        db.rename_tree("t", "u").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::TreeNotFound, "{error}");
    }
    let again = db.tree("t").unwrap();
    assert!(again.is_empty().unwrap());
    again.put("k", "new").unwrap();
    assert_eq!(tree.get("k").unwrap_err().kind(), ErrorKind::TreeNotFound, "the name is not the tree");
    assert_eq!(snapshot.get(&tree, "k").unwrap().unwrap(), "old");
    assert_eq!(snapshot.get(&again, "k").unwrap(), None, "a later tree is empty");
    assert!(snapshot.existing_tree("t").unwrap().is_some());
    drop(snapshot);
    assert!(db.verify().unwrap().damages.is_empty());
}

#[test]
fn renaming_keeps_contents_and_handles() {
    let db = database();
    let tree = db.tree("old").unwrap();
    db.tree("taken").unwrap();
    tree.put("k", "v").unwrap();
    assert_eq!(db.rename_tree("old", "taken").unwrap_err().kind(), ErrorKind::TreeExists);
    db.rename_tree("old", "new").unwrap();
    assert_eq!(names(&db), "new taken");
    assert_eq!(tree.get("k").unwrap().unwrap(), "v");
    assert_eq!(tree.name(), "old");
    assert_eq!(db.tree("new").unwrap().get("k").unwrap().unwrap(), "v");
    assert!(db.tree("old").unwrap().is_empty().unwrap(), "the old name is free");
}

#[test]
fn the_catalogue_is_transactional() {
    let db = database();
    db.tree("a").unwrap().put("k", "a").unwrap();
    db.tree("b").unwrap().put("k", "b").unwrap();
    // Two trees swap their names, a third appears: all at once.
    let tx = db.begin_write().unwrap();
    tx.rename_tree("a", "x").unwrap();
    tx.rename_tree("b", "a").unwrap();
    tx.rename_tree("x", "b").unwrap();
    let new = tx.create_tree("c").unwrap();
    tx.put(&new, "k", "c").unwrap();
    assert_eq!(tx.get(&tx.existing_tree("a").unwrap().unwrap(), "k").unwrap().unwrap(), "b");
    assert_eq!(tx.tree("c").unwrap().name(), "c");
    assert_eq!(tx.create_tree("c").unwrap_err().kind(), ErrorKind::TreeExists);
    assert_eq!(tx.trees().unwrap().len(), 3);
    assert_eq!(names(&db), "a b");
    assert!(new.is_empty().unwrap(), "to others it is not there yet");
    tx.commit().unwrap();
    assert_eq!(names(&db), "a b c");
    assert_eq!(db.tree("a").unwrap().get("k").unwrap().unwrap(), "b");
    assert_eq!(db.tree("b").unwrap().get("k").unwrap().unwrap(), "a");
    assert_eq!(new.get("k").unwrap().unwrap(), "c");

    let tx = db.begin_write().unwrap();
    tx.drop_tree("a").unwrap();
    let never = tx.create_tree("never").unwrap();
    assert!(tx.existing_tree("a").unwrap().is_none());
    tx.abort();
    assert_eq!(names(&db), "a b c");
    assert_eq!(never.get("k").unwrap_err().kind(), ErrorKind::TreeNotFound);
    assert_eq!(never.put("k", "v").unwrap_err().kind(), ErrorKind::TreeNotFound);
}

#[test]
fn a_transaction_older_than_a_tree_has_to_run_again() {
    let db = database();
    let seen = db.tree("seen").unwrap();
    let older = db.begin_write().unwrap();
    let tree = db.tree("later").unwrap();
    assert!(older.get(&tree, "k").unwrap_err().is_conflict());
    assert!(older.put(&tree, "k", "v").unwrap_err().is_conflict());
    drop(older);

    // The closure hides the conflict in its own type of error; it is run again all the same.
    let mut runs = 0;
    let mut created = None;
    let result: Result<(), String> = db
        .write(|tx| {
            runs += 1;
            tx.put(&seen, "k", "v")?;
            let tree = created.get_or_insert_with(|| db.tree("even later").unwrap());
            tx.put(tree, "k", "v").map_err(|_| Hidden)
        })
        .map_err(|_: Hidden| "hidden".to_owned());
    assert_eq!((result, runs), (Ok(()), 2));
}

struct Hidden;

impl From<Error> for Hidden {
    fn from(_: Error) -> Hidden {
        Hidden
    }
}

#[test]
fn many_trees_live_side_by_side_and_survive() {
    let storage = std::sync::Arc::new(kestrel_io::MemoryStorage::new());
    let db = Database::open_with_storage(storage.clone()).unwrap();
    db.write(|tx| {
        for n in 0..500 {
            let tree = tx.create_tree(format!("tree {n}"))?;
            tx.put(&tree, "n", n.to_string())?;
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    for n in (0..500).step_by(2) {
        db.drop_tree(format!("tree {n}")).unwrap();
    }
    db.close().unwrap();
    let db = Database::open_with_storage(storage).unwrap();
    assert_eq!(db.trees().unwrap().len(), 250);
    for n in (1..500).step_by(2) {
        assert_eq!(keys(db.tree(format!("tree {n}")).unwrap().range(..).unwrap()), "n");
    }
    let report = db.verify().unwrap();
    assert_eq!((report.damages.len(), report.entries), (0, 250));
}

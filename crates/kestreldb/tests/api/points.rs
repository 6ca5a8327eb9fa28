//! Calls about one key.

use kestreldb::{CasMismatch, Error};

use crate::{database, keys};

#[test]
fn a_value_is_there_from_put_to_remove() {
    let tree = database().tree("t").unwrap();
    assert_eq!(tree.get("a").unwrap(), None);
    assert!(!tree.contains("a").unwrap());
    tree.put("a", "1").unwrap();
    assert_eq!(tree.get("a").unwrap().unwrap(), "1");
    assert!(tree.contains("a").unwrap());
    tree.put("a", "2").unwrap();
    assert_eq!(tree.insert("a", "3").unwrap().unwrap(), "2");
    assert_eq!(tree.insert("b", "4").unwrap(), None);
    assert_eq!(tree.remove("a").unwrap().unwrap(), "3");
    assert_eq!(tree.remove("a").unwrap(), None);
    assert!(tree.delete("b").unwrap());
    assert!(!tree.delete("b").unwrap());
    assert!(tree.is_empty().unwrap());
}

#[test]
fn keys_are_any_bytes_in_any_wrapping() {
    let tree = database().tree("t").unwrap();
    tree.put("text", String::from("text")).unwrap();
    tree.put(b"array", [1, 2]).unwrap();
    tree.put(7_u32.to_be_bytes(), vec![3]).unwrap();
    tree.put(vec![0xFF, 0, 0xFF], &[4][..]).unwrap();
    tree.put(String::from("string"), b"5").unwrap();
    tree.put("", "the empty key is a key").unwrap();
    tree.put(bytes::Bytes::from_static(b"bytes"), bytes::Bytes::from_static(b"6")).unwrap();
    let key = tree.last().unwrap().unwrap().0;
    assert_eq!(key, [0xFF, 0, 0xFF]);
    assert_eq!(tree.get(key).unwrap().unwrap(), [4]);
    assert_eq!(tree.get([0, 0, 0, 7]).unwrap().unwrap(), [3]);
    assert_eq!(tree.get("").unwrap().unwrap(), "the empty key is a key");
    assert_eq!(tree.len().unwrap(), 7);
}

#[test]
fn compare_and_swap_writes_only_what_was_expected() {
    let tree = database().tree("t").unwrap();
    let current = |text: &str| CasMismatch { current: Some(put_elsewhere(text)) };
    // Absent: expected, then not.
    assert_eq!(tree.compare_and_swap("k", None, None).unwrap(), Ok(()));
    assert_eq!(
        tree.compare_and_swap("k", Some(b"1"), Some(b"2")).unwrap(),
        Err(CasMismatch { current: None })
    );
    assert!(!tree.contains("k").unwrap());
    assert_eq!(tree.compare_and_swap("k", None, Some(b"1")).unwrap(), Ok(()));
    // Present: expected, then not.
    assert_eq!(tree.compare_and_swap("k", None, Some(b"2")).unwrap(), Err(current("1")));
    assert_eq!(tree.compare_and_swap("k", Some(b"0"), None).unwrap(), Err(current("1")));
    assert_eq!(tree.compare_and_swap("k", Some(b"1"), Some(b"")).unwrap(), Ok(()));
    assert_eq!(tree.get("k").unwrap().unwrap(), "");
    assert_eq!(
        tree.compare_and_swap("k", None, Some(b"2")).unwrap(),
        Err(current("")),
        "empty is not absent"
    );
    assert_eq!(tree.compare_and_swap("k", Some(b""), None).unwrap(), Ok(()));
    assert!(tree.is_empty().unwrap());

    let mismatch = CasMismatch { current: None };
    assert_eq!(mismatch.to_string(), "the key is not there");
    assert_eq!(current("1").to_string(), "the value is another one: b\"1\"");
}

/// A value to compare with has to come out of a database.
fn put_elsewhere(text: &str) -> kestreldb::Value {
    let tree = database().tree("t").unwrap();
    tree.put("k", text).unwrap();
    tree.get("k").unwrap().unwrap()
}

#[test]
fn update_sees_the_value_and_may_write_change_or_remove_it() {
    let tree = database().tree("t").unwrap();
    let append = |old: Option<&[u8]>| Some([old.unwrap_or(b"-"), b"x"].concat());
    assert_eq!(tree.update("k", append).unwrap(), None);
    assert_eq!(tree.update("k", append).unwrap().unwrap(), "-x");
    assert_eq!(tree.get("k").unwrap().unwrap(), "-xx");
    assert_eq!(tree.update("k", |_| None).unwrap().unwrap(), "-xx");
    assert_eq!(tree.update("k", |old| old.map(<[u8]>::to_vec)).unwrap(), None);
    assert_eq!(tree.len().unwrap(), 0);
}

#[test]
fn first_last_and_pops_come_from_the_ends() {
    let tree = database().tree("t").unwrap();
    assert!(tree.first().unwrap().is_none() && tree.last().unwrap().is_none());
    assert!(tree.pop_first().unwrap().is_none() && tree.pop_last().unwrap().is_none());
    for key in ["c", "a", "d", "b"] {
        tree.put(key, key.to_uppercase()).unwrap();
    }
    let (key, value) = tree.first().unwrap().unwrap();
    assert!(key == "a" && value == "A");
    let (key, value) = tree.last().unwrap().unwrap();
    assert!(key == "d" && value == "D");
    let (key, value) = tree.pop_first().unwrap().unwrap();
    assert!(key == "a" && value == "A");
    let (key, value) = tree.pop_last().unwrap().unwrap();
    assert!(key == "d" && value == "D");
    assert_eq!(keys(tree.range(..).unwrap()), "b c");
    assert_eq!(tree.len().unwrap(), 2);
}

#[test]
fn the_same_calls_in_a_transaction_see_its_own_writes() {
    let db = database();
    let tree = db.tree("t").unwrap();
    tree.put("a", "0").unwrap();
    let tx = db.begin_write().unwrap();
    assert_eq!(tx.get(&tree, "a").unwrap().unwrap(), "0");
    tx.put(&tree, "b", "1").unwrap();
    assert_eq!(tx.insert(&tree, "b", "2").unwrap().unwrap(), "1");
    assert_eq!(tx.insert(&tree, "c", "3").unwrap(), None);
    assert_eq!(tx.remove(&tree, "a").unwrap().unwrap(), "0");
    assert_eq!(tx.remove(&tree, "a").unwrap(), None);
    assert!(!tx.contains(&tree, "a").unwrap() && tx.contains(&tree, "c").unwrap());
    assert_eq!(tx.compare_and_swap(&tree, "c", Some(b"3"), Some(b"4")).unwrap(), Ok(()));
    assert!(tx.compare_and_swap(&tree, "c", Some(b"3"), None).unwrap().is_err());
    assert_eq!(tx.update(&tree, "d", |_| Some(vec![b'5'])).unwrap(), None);
    assert_eq!(tx.first(&tree).unwrap().unwrap().0, "b");
    assert_eq!(tx.last(&tree).unwrap().unwrap().1, "5");
    assert_eq!(tx.len(&tree).unwrap(), 3);
    assert_eq!(tx.pop_first(&tree).unwrap().unwrap().1, "2");
    assert_eq!(tx.pop_last(&tree).unwrap().unwrap().0, "d");
    assert!(!tx.delete(&tree, "d").unwrap());
    assert!(!tx.is_empty(&tree).unwrap());

    assert_eq!(keys(tree.range(..).unwrap()), "a", "nobody else sees any of it");
    tx.commit().unwrap();
    assert_eq!(keys(tree.range(..).unwrap()), "c");
    assert_eq!(tree.get("c").unwrap().unwrap(), "4");
}

#[test]
fn snapshots_answer_the_same_questions() {
    let db = database();
    let tree = db.tree("t").unwrap();
    for key in ["a", "b", "c"] {
        tree.put(key, key).unwrap();
    }
    let snapshot = db.begin_read().unwrap();
    tree.clear().unwrap();
    let same = snapshot.clone();
    assert_eq!(same.timestamp(), snapshot.timestamp());
    drop(snapshot);
    assert_eq!(same.get(&tree, "b").unwrap().unwrap(), "b");
    assert!(same.contains(&tree, "c").unwrap() && !same.contains(&tree, "d").unwrap());
    assert_eq!(same.first(&tree).unwrap().unwrap().0, "a");
    assert_eq!(same.last(&tree).unwrap().unwrap().0, "c");
    assert_eq!(same.len(&tree).unwrap(), 3);
    assert!(!same.is_empty(&tree).unwrap());
    assert_eq!(keys(same.range(&tree, "b"..).unwrap()), "b c");
    assert_eq!(keys(same.prefix(&tree, "a").unwrap()), "a");
    let (first, len) = db.read(|tx| Ok::<_, Error>((tx.first(&tree)?, tx.len(&tree)?))).unwrap();
    assert!(first.is_none() && len == 0);
}

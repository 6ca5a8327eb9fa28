//! Calls about many entries: append, retain, extract, remove and clear.

use kestreldb::{ErrorKind, KeyRange};

use crate::{database, keys};

fn number(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

#[test]
fn append_takes_any_number_of_sorted_entries_and_goes_on() {
    let db = database();
    let tree = db.tree("t").unwrap();
    // Several batches by count, and by size.
    let stored = tree.append((0..20_000).map(|n| (number(n), n.to_string()))).unwrap();
    assert_eq!(stored, 20_000);
    let stored = tree.append((20_000..20_100).map(|n| (number(n), vec![n as u8; 40_000]))).unwrap();
    assert_eq!(stored, 100);
    assert_eq!(tree.append(std::iter::empty::<(&str, &str)>()).unwrap(), 0);
    assert_eq!(tree.append([(vec![1], "behind all")]).unwrap(), 1);
    assert_eq!(tree.len().unwrap(), 20_101);
    assert_eq!(tree.get(number(12_345)).unwrap().unwrap(), "12345");
    assert_eq!(tree.get(number(20_050)).unwrap().unwrap(), vec![20_050_u64 as u8; 40_000]);
    let found: Vec<_> = tree.range(..).unwrap().map(|entry| entry.unwrap().0).collect();
    assert!(found.is_sorted() && found.len() == 20_101);
}

#[test]
fn append_refuses_what_is_out_of_order_and_keeps_what_came_before() {
    let tree = database().tree("t").unwrap();
    tree.put("b", "").unwrap();
    let error = tree.append([("a", "")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsorted);
    assert!(error.to_string().starts_with("entry 1 to append is out of order: its key b\"a\""), "{error}");
    assert_eq!(tree.append([("b", "")]).unwrap_err().kind(), ErrorKind::Unsorted, "the same key again");

    let error = tree.append([("c", ""), ("e", ""), ("d", ""), ("f", "")]).unwrap_err();
    assert!(error.to_string().starts_with("entry 3 "), "{error}");
    assert_eq!(keys(tree.range(..).unwrap()), "b c e");
    assert_eq!(tree.append([("x", ""), ("x", "")]).unwrap_err().kind(), ErrorKind::Unsorted);
    assert_eq!(tree.append([("y", "")]).unwrap(), 1);
}

#[test]
fn append_in_a_transaction_is_all_or_nothing() {
    let db = database();
    let tree = db.tree("t").unwrap();
    let tx = db.begin_write().unwrap();
    tx.put(&tree, "b", "before").unwrap();
    assert_eq!(tx.append(&tree, [("c", ""), ("d", "")]).unwrap(), 2);
    assert_eq!(tx.append(&tree, [("e", ""), ("a", "")]).unwrap_err().kind(), ErrorKind::Unsorted);
    assert_eq!(tx.append(&tree, [("d", "")]).unwrap_err().kind(), ErrorKind::Unsorted);
    tx.commit().unwrap();
    assert_eq!(keys(tree.range(..).unwrap()), "b c d");
}

#[test]
fn retain_keeps_what_it_is_told_to() {
    let db = database();
    let tree = db.tree("t").unwrap();
    tree.append((0..3_000).map(|n| (number(n), number(n * n)))).unwrap();
    let is_odd = |_: &[u8], value: &[u8]| value[7] % 2 == 1;
    assert_eq!(tree.retain(is_odd).unwrap(), 1_500);
    assert_eq!(tree.len().unwrap(), 1_500);
    assert!(tree.range(..).unwrap().all(|entry| entry.unwrap().1[7] % 2 == 1));
    assert_eq!(tree.retain(is_odd).unwrap(), 0);

    let tx = db.begin_write().unwrap();
    assert_eq!(tx.retain(&tree, |key, _| key < number(11).as_slice()).unwrap(), 1_495);
    assert_eq!(tx.len(&tree).unwrap(), 5);
    tx.abort();
    assert_eq!(tree.len().unwrap(), 1_500);
}

#[test]
fn extract_if_hands_out_what_it_removes() {
    let db = database();
    let tree = db.tree("t").unwrap();
    for key in ["a1", "a2", "b1", "b2", "b3", "c1"] {
        tree.put(key, key.to_uppercase()).unwrap();
    }
    let taken =
        tree.extract_if(KeyRange::prefix("b"), |key, value| key != b"b2" && value.starts_with(b"B")).unwrap();
    assert_eq!(keys(taken.into_iter().map(Ok)), "b1 b3");
    assert_eq!(keys(tree.range(..).unwrap()), "a1 a2 b2 c1");

    // In a transaction it removes as it goes, and no further.
    let tx = db.begin_write().unwrap();
    {
        let mut extracted = tx.extract_if(&tree, .., |_, _| true).unwrap();
        let (key, value) = extracted.next().unwrap().unwrap();
        assert!(key == "a1" && value == "A1");
        assert_eq!(extracted.next().unwrap().unwrap().0, "a2");
    }
    assert_eq!(keys(tx.range(&tree, ..).unwrap()), "b2 c1");
    tx.commit().unwrap();
    assert_eq!(tree.extract_if(.., |_, _| false).unwrap(), []);
    assert_eq!(tree.extract_if(.., |_, _| true).unwrap().len(), 2);
    assert!(tree.is_empty().unwrap());
}

#[test]
fn ranges_are_removed_and_trees_cleared_with_their_counts() {
    let db = database();
    let tree = db.tree("t").unwrap();
    let other = db.tree("other").unwrap();
    tree.append((0..10_000).map(|n| (number(n), [0; 30]))).unwrap();
    other.put("a", "").unwrap();
    assert_eq!(tree.remove_range(number(100)..number(100)).unwrap(), 0);
    assert_eq!(tree.remove_range(number(100)..number(200)).unwrap(), 100);
    assert_eq!(tree.remove_range(number(100)..number(200)).unwrap(), 0);
    assert_eq!(tree.remove_range(number(9_000)..).unwrap(), 1_000);
    assert_eq!(tree.len().unwrap(), 8_900);
    assert!(tree.contains(number(99)).unwrap() && !tree.contains(number(150)).unwrap());
    tree.put(number(150), "again").unwrap();

    let tx = db.begin_write().unwrap();
    tx.put(&tree, number(160), "own write").unwrap();
    assert_eq!(tx.remove_range(&tree, number(150)..=number(200)).unwrap(), 3);
    assert_eq!(tx.clear(&tree).unwrap(), 8_899);
    tx.put(&tree, "after", "").unwrap();
    tx.commit().unwrap();
    assert_eq!(keys(tree.range(..).unwrap()), "after");
    assert_eq!(tree.clear().unwrap(), 1);
    assert_eq!(tree.clear().unwrap(), 0);
    assert_eq!(other.len().unwrap(), 1);
    assert!(db.verify().unwrap().damages.is_empty());
}

//! Ranges and prefixes, in both directions.

use std::ops::Bound::{Excluded, Included, Unbounded};

use kestreldb::{Database, IntoKeyRange, KeyRange, Tree};

use crate::{database, keys, texts};

fn alphabet() -> (Database, Tree) {
    let db = database();
    let tree = db.tree("t").unwrap();
    for letter in 'a'..='e' {
        tree.put(letter.to_string(), letter.to_uppercase().to_string()).unwrap();
    }
    (db, tree)
}

/// What a tree, a snapshot and a write transaction say about a range, forwards and backwards: they have to agree.
fn all_ways(db: &Database, tree: &Tree, range: impl IntoKeyRange) -> String {
    let range = range.into_key_range();
    let forwards = keys(tree.range(&range).unwrap());
    let mut backwards: Vec<_> = texts(tree.range(&range).unwrap().rev());
    backwards.reverse();
    let backwards: Vec<String> = backwards.into_iter().map(|(key, _)| key).collect();
    assert_eq!(forwards, backwards.join(" "), "{range:?}");
    let snapshot = db.begin_read().unwrap();
    assert_eq!(forwards, keys(snapshot.range(tree, &range).unwrap()), "{range:?}");
    let tx = db.begin_write().unwrap();
    assert_eq!(forwards, keys(tx.range(tree, &range).unwrap()), "{range:?}");
    assert_eq!(
        tx.remove_range(tree, &range).unwrap(),
        forwards.split_whitespace().count() as u64,
        "{range:?}"
    );
    forwards
}

#[test]
fn bounds_mean_what_they_mean_elsewhere() {
    let (db, tree) = alphabet();
    assert_eq!(all_ways(&db, &tree, ..), "a b c d e");
    assert_eq!(all_ways(&db, &tree, "b".."d"), "b c");
    assert_eq!(all_ways(&db, &tree, "b"..="d"), "b c d");
    assert_eq!(all_ways(&db, &tree, "b"..), "b c d e");
    assert_eq!(all_ways(&db, &tree, .."b"), "a");
    assert_eq!(all_ways(&db, &tree, ..="b"), "a b");
    assert_eq!(all_ways(&db, &tree, (Excluded("b"), Included("d"))), "c d");
    assert_eq!(all_ways(&db, &tree, (Excluded("b"), Unbounded::<&str>)), "c d e");
    assert_eq!(all_ways(&db, &tree, "aa".."cc"), "b c");
    assert_eq!(all_ways(&db, &tree, vec![b'b']..vec![b'c']), "b");
    assert_eq!(all_ways(&db, &tree, *b"b"..*b"c"), "b");
    assert_eq!(all_ways(&db, &tree, String::from("d")..), "d e");
    assert_eq!(all_ways(&db, &tree, &b"d"[..]..), "d e");
}

#[test]
fn ranges_without_keys_are_empty() {
    let (db, tree) = alphabet();
    assert_eq!(all_ways(&db, &tree, "d".."b"), "");
    assert_eq!(all_ways(&db, &tree, "b".."b"), "");
    assert_eq!(all_ways(&db, &tree, (Excluded("b"), Excluded("b"))), "");
    assert_eq!(all_ways(&db, &tree, "f"..), "");
    assert_eq!(all_ways(&db, &tree, .."a"), "");
    assert_eq!(all_ways(&db, &tree, "bb".."bc"), "");
    let empty = db.tree("empty").unwrap();
    assert_eq!(all_ways(&db, &empty, ..), "");
}

#[test]
fn prefixes_end_where_they_should() {
    let db = database();
    let tree = db.tree("t").unwrap();
    for key in ["", "a", "ab", "ab\0", "abc", "ab~", "ac", "b"] {
        tree.put(key, "").unwrap();
    }
    tree.put([b'a', b'b', 0xFF, 0xFF], "").unwrap();
    tree.put([0xFF, 0xFF], "").unwrap();
    tree.put([0xFF, 0xFF, 1], "").unwrap();
    assert_eq!(tree.prefix("ab").unwrap().count(), 5);
    assert_eq!(tree.prefix("").unwrap().count(), 11);
    assert_eq!(tree.prefix([0xFF]).unwrap().count(), 2);
    assert_eq!(tree.prefix([0xFF, 0xFF, 1]).unwrap().count(), 1);
    assert_eq!(tree.prefix([0xFF, 0xFF, 2]).unwrap().count(), 0);
    assert_eq!(tree.prefix("ab").unwrap().next_back().unwrap().unwrap().0, [b'a', b'b', 0xFF, 0xFF]);
    let tx = db.begin_write().unwrap();
    assert_eq!(tx.remove_range(&tree, KeyRange::prefix("ab")).unwrap(), 5);
    assert_eq!(tx.prefix(&tree, "a").unwrap().count(), 2);
}

#[test]
fn both_ends_of_an_iterator_meet() {
    let (_db, tree) = alphabet();
    let mut range = tree.range(..).unwrap();
    let mut seen = String::new();
    while let Some(entry) = if seen.len().is_multiple_of(2) { range.next() } else { range.next_back() } {
        seen.push_str(str::from_utf8(&entry.unwrap().0).unwrap());
    }
    assert_eq!(seen, "aebdc");
    assert!(range.next().is_none() && range.next_back().is_none());
}

#[test]
fn an_iterator_keeps_its_snapshot_after_all_else_is_gone() {
    let (db, tree) = alphabet();
    let mut range = tree.range("b"..).unwrap();
    assert_eq!(range.next().unwrap().unwrap().0, "b");
    tree.clear().unwrap();
    drop((db, tree));
    assert_eq!(texts(range), [("c", "C"), ("d", "D"), ("e", "E")].map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn an_iterator_of_a_transaction_shows_what_is_written_ahead_of_it() {
    let (db, tree) = alphabet();
    let tx = db.begin_write().unwrap();
    let mut range = tx.range(&tree, ..).unwrap();
    assert_eq!(range.next().unwrap().unwrap().0, "a");
    tx.put(&tree, "aa", "new, ahead").unwrap();
    tx.put(&tree, "0", "new, behind").unwrap();
    tx.delete(&tree, "a").unwrap();
    tx.delete(&tree, "c").unwrap();
    tx.put(&tree, "d", "changed").unwrap();
    let rest = texts(range);
    let expected = [("aa", "new, ahead"), ("b", "B"), ("d", "changed"), ("e", "E")];
    assert_eq!(rest, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn deleting_each_entry_on_the_way_visits_each_once() {
    let db = database();
    let tree = db.tree("t").unwrap();
    tree.append((0..5_000_u32).map(|n| (n.to_be_bytes(), [7; 50]))).unwrap();
    let tx = db.begin_write().unwrap();
    let mut expected = 0_u32;
    for entry in tx.range(&tree, ..).unwrap() {
        let key = entry.unwrap().0;
        assert_eq!(key, expected.to_be_bytes());
        assert!(tx.delete(&tree, &key).unwrap());
        expected += 1;
    }
    assert_eq!(expected, 5_000);
    assert!(tx.is_empty(&tree).unwrap());
}

#[test]
fn long_ranges_are_complete_in_both_directions() {
    let db = database();
    let tree = db.tree("t").unwrap();
    // In an order that fills leaves from all sides; 7919 is prime.
    for n in (0..20_000_u64).map(|n| n * 7_919 % 20_000) {
        db.write_with(db.write_options().durability(kestreldb::Durability::Eventual), |tx| {
            tx.put(&tree, n.to_be_bytes(), n.to_string())
        })
        .unwrap();
    }
    assert_eq!(tree.len().unwrap(), 20_000);
    for (expected, entry) in (0..20_000_u64).zip(tree.range(..).unwrap()) {
        assert_eq!(entry.unwrap().0, expected.to_be_bytes());
    }
    for (expected, entry) in (5_000..15_000_u64)
        .rev()
        .zip(tree.range(5_000_u64.to_be_bytes()..15_000_u64.to_be_bytes()).unwrap().rev())
    {
        let (key, value) = entry.unwrap();
        assert!(key == expected.to_be_bytes() && value == expected.to_string());
    }
    assert_eq!(tree.range(5_000_u64.to_be_bytes()..=15_000_u64.to_be_bytes()).unwrap().count(), 10_001);
    assert_eq!(tree.remove_range(10_u64.to_be_bytes()..19_990_u64.to_be_bytes()).unwrap(), 19_980);
    assert_eq!(tree.len().unwrap(), 20);
    assert_eq!(tree.range(..).unwrap().rev().count(), 20);
}

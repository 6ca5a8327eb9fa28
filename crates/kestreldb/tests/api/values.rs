//! Values of all sizes, and how long they last.

use std::sync::Arc;

use bytes::Bytes;
use kestrel_io::MemoryStorage;
use kestreldb::{Database, Value};

use crate::database;

const SIZES: [usize; 14] =
    [0, 1, 7, 100, 900, 1_000, 1_024, 2_000, 4_095, 4_096, 70_000, 1 << 20, (1 << 20) + 1, 5 << 20];

/// Bytes of a length that are not all the same, and differ with `seed`.
fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(seed)).collect()
}

#[test]
fn values_of_every_size_come_back_whole_from_every_page_size() {
    for page_size in [4_096, 8_192, 16_384, 65_536] {
        let storage = Arc::new(MemoryStorage::new());
        let open = || {
            let builder = Database::builder().page_size(page_size).memory_budget(64 << 20);
            builder.open_with_storage(storage.clone()).unwrap()
        };
        let db = open();
        let tree = db.tree("t").unwrap();
        for size in SIZES {
            tree.put(size.to_be_bytes(), content(size, 1)).unwrap();
        }
        let check = |db: &Database, seed| {
            let tree = db.tree("t").unwrap();
            for size in SIZES {
                let value = tree.get(size.to_be_bytes()).unwrap().unwrap();
                assert!(value == content(size, seed), "{size} bytes in pages of {page_size}");
            }
            assert_eq!(tree.len().unwrap(), SIZES.len() as u64);
        };
        check(&db, 1);
        drop(tree);
        db.close().unwrap();
        let db = open();
        check(&db, 1);

        // Every size replaced by every other kind of size.
        let tree = db.tree("t").unwrap();
        for size in SIZES.into_iter().rev() {
            let old =
                tree.insert(size.to_be_bytes(), content(SIZES[SIZES.len() - 1] - size, 2)).unwrap().unwrap();
            assert!(old == content(size, 1), "{size}");
        }
        for size in SIZES {
            assert_eq!(tree.get(size.to_be_bytes()).unwrap().unwrap().len(), SIZES[SIZES.len() - 1] - size);
            tree.put(size.to_be_bytes(), content(size, 3)).unwrap();
        }
        db.checkpoint().unwrap();
        check(&db, 3);
        assert!(db.verify().unwrap().damages.is_empty());
        drop(tree);
        db.close().unwrap();
        check(&open(), 3);
    }
}

#[test]
fn keys_up_to_the_limit_are_kept_apart() {
    for page_size in [4_096, 65_536] {
        let db = Database::builder().page_size(page_size).in_memory().unwrap();
        let limit = db.max_key_len();
        assert!(limit >= 1_024, "{limit}");
        let tree = db.tree("t").unwrap();
        for len in [0, 1, limit / 2, limit - 1, limit] {
            for last in [0, 1, 255] {
                let mut key = vec![b'k'; len];
                if let Some(end) = key.last_mut() {
                    *end = last;
                }
                tree.put(&key, [len.to_be_bytes(), [last; 8]].concat()).unwrap();
            }
        }
        assert_eq!(tree.len().unwrap(), 13);
        for entry in tree.range(..).unwrap() {
            let (key, value) = entry.unwrap();
            assert_eq!(value[..8], key.len().to_be_bytes());
            assert_eq!(value[8], *key.last().unwrap_or(&255));
        }
    }
}

#[test]
fn a_value_does_not_change_once_it_is_had() {
    let db = database();
    let tree = db.tree("t").unwrap();
    for size in [5, 500, 100_000] {
        tree.put("k", content(size, 1)).unwrap();
        let value = tree.get("k").unwrap().unwrap();
        let removed = tree.remove("k").unwrap().unwrap();
        tree.append((0..2_000_u32).map(|n| ([&b"l"[..], &n.to_be_bytes()].concat(), content(50, 2))))
            .unwrap();
        db.checkpoint().unwrap();
        tree.clear().unwrap();
        while db.maintain().unwrap() {}
        assert_eq!(value, content(size, 1));
        assert_eq!(removed, value);
    }
}

#[test]
fn bytes_are_not_copied_and_outlive_the_database() {
    let db = database();
    let tree = db.tree("t").unwrap();
    let mut kept: Vec<(usize, Bytes)> = Vec::new();
    let mut values: Vec<(usize, Value)> = Vec::new();
    for size in [0, 10, 900, 3 << 20] {
        tree.put("k", content(size, 9)).unwrap();
        let value = tree.get("k").unwrap().unwrap();
        values.push((size, value.clone()));
        let address = value.as_ptr();
        let bytes = value.into_bytes();
        assert_eq!(bytes.as_ptr(), address, "{size} bytes were copied");
        kept.push((size, bytes.slice(..size / 2)));
        kept.push((size, bytes));
    }
    drop(tree);
    db.close().unwrap();
    for (size, bytes) in kept {
        assert!(content(size, 9).starts_with(&bytes));
        std::thread::spawn(move || drop(bytes)).join().unwrap();
    }
    for (size, value) in values {
        assert_eq!(Vec::from(value), content(size, 9));
    }
}

#[test]
fn values_compare_order_and_show_as_bytes_do() {
    let tree = database().tree("t").unwrap();
    tree.put("a", "a\n").unwrap();
    tree.put("b", "b").unwrap();
    tree.put("long", [b'x'; 65]).unwrap();
    let get = |key| tree.get(key).unwrap().unwrap();
    let bytes = Bytes::from_static(b"a\n");
    assert!(get("a") < get("b") && get("a") == get("a"));
    assert!(get("a") == "a\n" && get("a") == b"a\n" && get("a") == *b"a\n" && get("a") == b"a\n".to_vec());
    assert!(get("a") == *"a\n" && get("a") == bytes && get("a")[..] == b"a\n"[..]);
    assert_eq!(format!("{:?}", get("a")), r#"b"a\n""#);
    assert_eq!(format!("{:?}", get("long")), format!("b\"{}\"... (65 bytes)", "x".repeat(64)));
    let set: std::collections::HashSet<Value> = [get("a"), get("a"), get("b")].into();
    assert_eq!(set.len(), 2);
    assert_eq!(tree.get("a").unwrap().as_deref(), Some(&b"a\n"[..]));
}

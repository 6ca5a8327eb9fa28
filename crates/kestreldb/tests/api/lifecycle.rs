//! Opening, closing, and what goes on in between without being asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kestrel_io::{CrashStorage, MemoryStorage};
use kestreldb::{Database, Durability, ErrorKind};

use crate::keys;

#[test]
fn what_was_written_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("database");
    for round in 0..4_u64 {
        let db = Database::open(&path).unwrap();
        let tree = db.tree("t").unwrap();
        assert_eq!(tree.len().unwrap(), round * 1_000);
        tree.append((round * 1_000..(round + 1) * 1_000).map(|n| (n.to_be_bytes(), n.to_be_bytes())))
            .unwrap();
        // Closed, dropped by the last handle of any kind, or checkpointed as well.
        match round {
            0 => db.close().unwrap(),
            1 => {
                drop(db);
                tree.put(999_u64.to_be_bytes(), 999_u64.to_be_bytes()).unwrap();
            }
            2 => drop(tree),
            _ => db.checkpoint().unwrap(),
        }
    }
    let db = Database::builder().create(false).open(&path).unwrap();
    let tree = db.existing_tree("t").unwrap().unwrap();
    for (n, entry) in (0..4_000_u64).zip(tree.range(..).unwrap()) {
        let (key, value) = entry.unwrap();
        assert!(key == n.to_be_bytes() && value == key[..]);
    }
    assert_eq!(tree.len().unwrap(), 4_000);
}

#[test]
fn all_clones_are_one_database_until_it_is_closed() {
    let db = Database::in_memory().unwrap();
    let clone = db.clone();
    let tree = clone.tree("t").unwrap();
    std::thread::spawn(move || db.tree("t").unwrap().put("k", "v").unwrap()).join().unwrap();
    assert_eq!(tree.get("k").unwrap().unwrap(), "v");
    let another = clone.clone();
    clone.close().unwrap();
    assert_eq!(tree.get("k").unwrap_err().kind(), ErrorKind::Closed);
    another.close().unwrap();
}

#[test]
fn the_lock_is_free_once_the_last_handle_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let db = Database::open(directory.path()).unwrap();
        let tree = db.tree("t").unwrap();
        drop(db);
        assert_eq!(Database::open(directory.path()).unwrap_err().kind(), ErrorKind::Locked);
        drop(tree);
    }
    let db = Database::open(directory.path()).unwrap();
    db.tree("t").unwrap().put("k", "v").unwrap();
    let snapshot = db.begin_read().unwrap();
    let tree = db.tree("t").unwrap();
    db.close().unwrap();
    assert_eq!(snapshot.get(&tree, "k").unwrap().unwrap(), "v", "a snapshot works on");
    assert_eq!(Database::open(directory.path()).unwrap_err().kind(), ErrorKind::Locked);
    drop(snapshot);
    let again = Database::open(directory.path()).unwrap();
    assert_eq!(again.tree("t").unwrap().get("k").unwrap().unwrap(), "v");
    assert_eq!(
        tree.get("k").unwrap_err().kind(),
        ErrorKind::Closed,
        "the old handle stays with the old database"
    );
}

#[test]
fn opening_and_closing_take_no_time_to_speak_of() {
    let storage = Arc::new(MemoryStorage::new());
    let begun = Instant::now();
    for _ in 0..20 {
        let db = Database::open_with_storage(storage.clone()).unwrap();
        db.tree("t").unwrap().put("k", "v").unwrap();
        db.close().unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// What a power loss leaves at worst: nothing that was not synced.
fn worst_case(storage: &CrashStorage) -> Database {
    let left = storage.crash_with(|_| 0);
    Database::builder().background(false).open_with_storage(Arc::new(left)).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn eventual_commits_become_durable_by_themselves_and_by_flush() {
    let storage = CrashStorage::new();
    let builder = Database::builder().durability(Durability::Eventual);
    let db = builder.clone().open_with_storage(Arc::new(storage.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    for n in 0..3_u8 {
        tree.put([n], "v").unwrap();
        let is_there = || worst_case(&storage).tree("t").unwrap().contains([n]).unwrap();
        until("the flush in the background", is_there);
    }
    drop(tree);
    db.close().unwrap();

    let db = builder.background(false).open_with_storage(Arc::new(storage.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    tree.put("later", "v").unwrap();
    assert_eq!(worst_case(&storage).tree("t").unwrap().len().unwrap(), 3, "nobody flushed it");
    db.flush().unwrap();
    assert_eq!(worst_case(&storage).tree("t").unwrap().len().unwrap(), 4);
    tree.put("last", "v").unwrap();
    db.close().unwrap();
    assert_eq!(worst_case(&storage).tree("t").unwrap().len().unwrap(), 5, "closing flushes");
}

#[test]
fn immediate_commits_are_durable_on_return() {
    let storage = CrashStorage::new();
    let db = Database::open_with_storage(Arc::new(storage.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    for n in 0..10_u8 {
        tree.put([n], "v").unwrap();
        assert_eq!(worst_case(&storage).tree("t").unwrap().len().unwrap(), u64::from(n) + 1);
    }
}

#[test]
fn checkpoints_happen_when_the_log_has_grown() {
    for background in [true, false] {
        let db = Database::builder()
            .background(background)
            .log_segment_size(256 << 10)
            .checkpoint_log_bytes(1 << 20)
            .in_memory()
            .unwrap();
        let tree = db.tree("t").unwrap();
        let before = db.statistics().checkpoints;
        for n in 0..4_000_u64 {
            let quick = db.write_options().durability(Durability::Eventual);
            db.write_with(quick, |tx| tx.put(&tree, n.to_be_bytes(), vec![n as u8; 800])).unwrap();
        }
        if background {
            until("the checkpoint in the background", || db.statistics().checkpoints > before);
        } else {
            while db.maintain().unwrap() {}
            assert!(db.statistics().checkpoints > before);
        }
        assert!(db.background_error().is_none());
    }
}

/// What is overwritten gives its space back, however large the values are.
#[test]
fn files_do_not_grow_while_the_contents_stay_the_same_size() {
    for (size, rounds) in [(300, 20_000_u64), (20_000, 2_000), (1 << 20, 200)] {
        let storage = MemoryStorage::new();
        let db = Database::builder()
            .memory_budget(8 << 20)
            .log_segment_size(256 << 10)
            .checkpoint_log_bytes(4 << 20)
            .durability(Durability::Eventual)
            .background(false)
            .open_with_storage(Arc::new(storage.clone()))
            .unwrap();
        let tree = db.tree("t").unwrap();
        let mut most = 0;
        for round in 0..rounds {
            tree.put((round % 4).to_be_bytes(), vec![round as u8; size]).unwrap();
            if round % 5 == 0 {
                while db.maintain().unwrap() {}
            }
            most = most.max(storage.used());
        }
        assert!(most < 64 << 20, "values of {size} bytes: the files grew to {} MiB", most >> 20);
    }
}

#[test]
fn statistics_and_verify_say_what_is_there() {
    let db = Database::builder().memory_budget(32 << 20).page_size(8_192).in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    db.tree("empty").unwrap();
    tree.append((0..5_000_u32).map(|n| (n.to_be_bytes(), [1; 20]))).unwrap();
    let figures = db.statistics();
    assert_eq!((figures.page_size, figures.memory_budget), (8_192, 32 << 20));
    assert!(figures.commits >= 3, "{figures:?}");
    let mut shown = Vec::new();
    let report = db.verify_with(|done, total| shown.push((done, total))).unwrap();
    assert!(report.damages.is_empty(), "{:?}", report.damages);
    assert_eq!((report.entries, report.trees), (5_000, 2));
    assert!(report.pages > 0);
    assert!(shown.iter().all(|(done, total)| done <= total) && shown.is_sorted());
    assert_eq!(keys(db.tree("empty").unwrap().range(..).unwrap()), "");
}

#[test]
fn debug_forms_tell_what_it_is() {
    let db = Database::in_memory().unwrap();
    assert_eq!(format!("{db:?}"), "Database { location: \"memory\", .. }");
    let tree = db.tree("t").unwrap();
    assert!(format!("{tree:?}").starts_with("Tree { name: \"t\""));
    assert!(format!("{:?}", db.begin_read().unwrap()).starts_with("ReadTxn { timestamp"));
    assert!(format!("{:?}", db.begin_write().unwrap()).starts_with("WriteTxn { timestamp"));
}

//! Transactions that others keep beating: they get their turn, and nobody waits for it in vain.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kestreldb::{Database, Durability, Error, Result, Tree, WriteTxn};

fn eventual() -> Database {
    Database::builder().durability(Durability::Eventual).in_memory().unwrap()
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().unwrap())
}

fn increment(old: Option<&[u8]>) -> Option<Vec<u8>> {
    Some((old.map_or(0, number) + 1).to_be_bytes().to_vec())
}

/// Adds one to a counter with as many threads until the time is over; how often each of them did.
fn count_with(db: &Database, tree: &Tree, threads: usize, time: Duration) -> Vec<u64> {
    let stop = AtomicBool::new(false);
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let counters: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut counted = 0;
                    start.wait();
                    while !stop.load(Ordering::Relaxed) {
                        db.write(|tx| tx.update(tree, "hot", increment).map(drop)).unwrap();
                        counted += 1;
                    }
                    counted
                })
            })
            .collect();
        start.wait();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        counters.into_iter().map(|counter| counter.join().unwrap()).collect()
    })
}

#[test]
fn a_hot_counter_is_shared_fairly() {
    const THREADS: usize = 8;
    let db = eventual();
    let tree = db.tree("t").unwrap();
    let counted = count_with(&db, &tree, THREADS, Duration::from_secs(2));
    let total: u64 = counted.iter().sum();
    assert_eq!(number(&tree.get("hot").unwrap().unwrap()), total);
    let slowest = *counted.iter().min().unwrap();
    assert!(slowest * 4 * THREADS as u64 >= total, "{slowest} of {total}: {counted:?}");
}

/// It reads a thousand keys, all of which others write to without a pause.
#[test]
fn a_long_transaction_gets_through_fast_ones() {
    const KEYS: u64 = 1_000;
    let db = eventual();
    let tree = db.tree("t").unwrap();
    tree.append((0..KEYS).map(|n| (n.to_be_bytes(), 0_u64.to_be_bytes()))).unwrap();
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let tries = thread::scope(|scope| {
        for writer in 0..3 {
            let (tree, stop, written) = (&tree, &stop, &written);
            scope.spawn(move || {
                for n in (writer * 333_u64..).step_by(7) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    tree.update((n % KEYS).to_be_bytes(), increment).unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let long = catch_unwind(AssertUnwindSafe(|| {
            let mut tries = 0;
            for round in 1..=5 {
                let sum = db.write(|tx| {
                    tries += 1;
                    let mut sum = 0;
                    for n in 0..KEYS {
                        sum += number(&tx.get(&tree, n.to_be_bytes())?.unwrap());
                        if n % 100 == 0 {
                            thread::sleep(Duration::from_micros(500));
                        }
                    }
                    tx.put(&tree, "sum", sum.to_be_bytes())?;
                    Ok::<_, Error>(sum)
                });
                assert!(sum.unwrap() > 0 || round == 1);
            }
            tries
        }));
        stop.store(true, Ordering::Relaxed);
        long.unwrap()
    });
    // So many as it takes to get the turn, and one for each commit that was on its way then, and room.
    assert!(tries <= 5 * 15, "{tries} tries");
    assert!(written.into_inner() > 100, "others go on in between");
}

/// Tries that a transaction loses before it gets the turn.
const LOSSES: u32 = 8;
/// How long the turn is, about, that [`with_turn`] gets.
const TURN: Duration = Duration::from_secs(1);

/// Runs `body` in a transaction that has the turn: commits of its own thread made it lose before.
fn with_turn(db: &Database, tree: &Tree, body: impl Fn(&WriteTxn) -> Result<()>) {
    let mut tries = 0;
    db.write(|tx| {
        tries += 1;
        tx.update(tree, "contended", increment)?;
        if tries > LOSSES {
            return body(tx);
        }
        if tries == 2 {
            // A turn lasts some times as long as the longest try.
            thread::sleep(TURN / 4);
        }
        tree.update("contended", increment).map(drop)
    })
    .unwrap();
    assert_eq!(tries, LOSSES + 1, "it wins its first try with the turn");
}

#[test]
fn commits_of_other_threads_wait_and_those_of_the_same_thread_pass() {
    type Commit = fn(&Database, &Tree) -> Result<()>;
    let ways: [Commit; 4] = [
        |_, tree| tree.put("other", "1"),
        |db, tree| db.write_with(db.write_options(), |tx| tx.put(tree, "other", "2")),
        |db, tree| {
            let tx = db.begin_write()?;
            tx.put(tree, "other", "3")?;
            tx.commit().map(drop)
        },
        |db, tree| {
            let tx = db.begin_write()?;
            tx.put(tree, "other", "4")?;
            tx.commit_async().map(drop)
        },
    ];
    for commit in ways {
        let db = eventual();
        let tree = db.tree("t").unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (db, tree, done) = (&db, &tree, &done);
            with_turn(db, tree, |_| {
                let begun = Instant::now();
                commit(db, tree)?;
                scope.spawn(move || {
                    commit(db, tree).unwrap();
                    done.store(true, Ordering::SeqCst);
                });
                thread::sleep(TURN / 20);
                let done = done.load(Ordering::SeqCst);
                // On a machine so slow the turn may have been over.
                assert!(!done || begun.elapsed() > TURN / 2, "it did not wait");
                Ok(())
            });
        });
    }
}

/// A closure that waits for another thread's commit, which waits for the closure's turn to be over.
#[test]
fn a_closure_may_wait_for_a_thread_that_commits() {
    let db = eventual();
    let tree = db.tree("t").unwrap();
    let begun = Instant::now();
    with_turn(&db, &tree, |_| {
        thread::scope(|scope| {
            for key in ["x", "y", "z"] {
                let tree = &tree;
                scope.spawn(move || tree.put(key, "from another thread").unwrap());
            }
        });
        Ok(())
    });
    assert!(begun.elapsed() < TURN * 20, "{:?}", begun.elapsed());
    assert_eq!(tree.len().unwrap(), 4);
}

/// The turn ends with its transaction, whatever that comes to; otherwise each of these would take as long as a turn.
#[test]
fn the_turn_ends_with_a_panic_an_error_and_a_commit() {
    let db = eventual();
    let tree = db.tree("t").unwrap();
    let begun = Instant::now();
    let others_go_on = || {
        thread::scope(|scope| {
            scope.spawn(|| tree.put("other", "v").unwrap());
        });
    };
    let panicked = catch_unwind(AssertUnwindSafe(|| with_turn(&db, &tree, |_| panic!("on purpose"))));
    assert!(panicked.is_err());
    others_go_on();
    let mut tries = 0;
    let refused = db.write(|tx| {
        tx.update(&tree, "contended", increment)?;
        tree.update("contended", increment)?;
        tries += 1;
        if tries > LOSSES { Err("no".into()) } else { Ok::<_, Box<dyn std::error::Error>>(()) }
    });
    assert_eq!(refused.unwrap_err().to_string(), "no");
    others_go_on();
    with_turn(&db, &tree, |_| Ok(()));
    others_go_on();
    assert!(begun.elapsed() < TURN * 20, "{:?}", begun.elapsed());
}

/// Transactions that all lose often, and so all want the turn, which they get one after the other.
#[test]
fn several_that_starve_all_get_through() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 10;
    let db = eventual();
    let tree = db.tree("t").unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    db.write(|tx| {
                        let old = tx.get(&tree, "n")?.map_or(0, |value| number(&value));
                        thread::sleep(Duration::from_millis(2));
                        tx.put(&tree, "n", (old + 1).to_be_bytes())
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(number(&tree.get("n").unwrap().unwrap()), THREADS * ROUNDS);
}

/// What waits for the disk does not keep the turn: durable commits of a hot key still share syncs.
#[test]
fn durable_commits_of_a_hot_key_get_through() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    let tree = db.tree("t").unwrap();
    let counted = count_with(&db, &tree, 8, Duration::from_millis(500));
    let total: u64 = counted.iter().sum();
    assert_eq!(number(&tree.get("hot").unwrap().unwrap()), total);
    assert!(counted.iter().all(|counted| *counted > 0), "{counted:?}");
}

//! Threads that write and read at the same time.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kestrel_io::CrashStorage;
use kestreldb::{Database, Durability, Error, ErrorKind, Isolation, ReadTxn, Tree};

/// How long the open-ended tests run.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// A generator that is good enough to choose accounts.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn eventual(builder: kestreldb::Builder) -> Database {
    builder.durability(Durability::Eventual).in_memory().unwrap()
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().unwrap())
}

fn balance_sum(snapshot: &ReadTxn, accounts: &Tree) -> (u64, u64) {
    let entries = snapshot.range(accounts, ..).unwrap();
    entries.fold((0, 0), |(count, sum), entry| (count + 1, sum + number(&entry.unwrap().1)))
}

/// Money moves between accounts of two trees; whoever looks, at any moment, finds all of it.
#[test]
fn transfers_keep_the_sum_for_every_reader() {
    const ACCOUNTS: u64 = 50;
    const START: u64 = 1_000;
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let db = eventual(Database::builder().isolation(isolation).memory_budget(8 << 20));
        let trees = [db.tree("checking").unwrap(), db.tree("savings").unwrap()];
        for tree in &trees {
            tree.append((0..ACCOUNTS).map(|n| (n.to_be_bytes(), START.to_be_bytes()))).unwrap();
        }
        let stop = AtomicBool::new(false);
        let transfers = AtomicU64::new(0);
        let looks = AtomicU64::new(0);
        thread::scope(|scope| {
            for writer in 0..3 {
                let (db, trees, stop, transfers) = (&db, &trees, &stop, &transfers);
                scope.spawn(move || {
                    let mut dice = Dice(writer);
                    while !stop.load(Ordering::Relaxed) {
                        let [from, to] =
                            [(); 2].map(|()| (&trees[dice.roll(2) as usize], dice.roll(ACCOUNTS)));
                        let amount = dice.roll(100);
                        db.write(|tx| {
                            for ((tree, account), sign) in [(from, -1), (to, 1)] {
                                let key = account.to_be_bytes();
                                let balance = number(&tx.get(tree, key)?.unwrap());
                                // Not everybody has the money.
                                let Some(balance) = balance.checked_add_signed(sign * amount as i64) else {
                                    return Ok(());
                                };
                                tx.put(tree, key, balance.to_be_bytes())?;
                            }
                            Ok::<_, Error>(())
                        })
                        .unwrap();
                        transfers.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let snapshot = db.begin_read().unwrap();
                        let (checking, savings) =
                            (balance_sum(&snapshot, &trees[0]), balance_sum(&snapshot, &trees[1]));
                        assert_eq!((checking.0, savings.0), (ACCOUNTS, ACCOUNTS));
                        assert_eq!(checking.1 + savings.1, 2 * ACCOUNTS * START);
                        assert_eq!(snapshot.len(&trees[0]).unwrap(), ACCOUNTS);
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(A_WHILE);
            stop.store(true, Ordering::Relaxed);
        });
        let snapshot = db.begin_read().unwrap();
        let sum = balance_sum(&snapshot, &trees[0]).1 + balance_sum(&snapshot, &trees[1]).1;
        assert_eq!(sum, 2 * ACCOUNTS * START);
        assert!(transfers.into_inner() > 100 && looks.into_inner() > 10);
        assert!(db.verify().unwrap().damages.is_empty());
    }
}

/// What a transaction did before its closure returned an error is never seen.
#[test]
fn refused_transfers_are_invisible() {
    let db = eventual(Database::builder());
    let tree = db.tree("t").unwrap();
    tree.put("a", 5_u64.to_be_bytes()).unwrap();
    tree.put("b", 5_u64.to_be_bytes()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let refused: Result<(), Box<dyn std::error::Error>> = db.write(|tx| {
                    tx.put(&tree, "a", 0_u64.to_be_bytes())?;
                    tx.delete(&tree, "b")?;
                    Err("no".into())
                });
                assert_eq!(refused.unwrap_err().to_string(), "no");
            }
        });
        let end = Instant::now() + A_WHILE / 3;
        while Instant::now() < end {
            let snapshot = db.begin_read().unwrap();
            assert_eq!(balance_sum(&snapshot, &tree), (2, 10));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// All ways to increment, all threads on the same few keys: none is lost.
#[test]
fn no_increment_is_lost() {
    const THREADS: u64 = 4;
    const EACH: u64 = 300;
    let db = eventual(Database::builder().conflict_retries(100_000));
    let tree = db.tree("counters").unwrap();
    let plus_one = |old: Option<&[u8]>| old.map_or(0, number) + 1;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (db, tree) = (&db, &tree);
            scope.spawn(move || {
                for n in 0..EACH {
                    match (thread + n) % 3 {
                        0 => {
                            tree.update("k", |old| Some(plus_one(old).to_be_bytes().to_vec())).unwrap();
                        }
                        1 => loop {
                            let old = tree.get("k").unwrap();
                            let new = plus_one(old.as_deref()).to_be_bytes();
                            if tree.compare_and_swap("k", old.as_deref(), Some(&new)).unwrap().is_ok() {
                                break;
                            }
                        },
                        _ => db
                            .write(|tx| {
                                let old = tx.get(tree, "k")?;
                                tx.put(tree, "k", plus_one(old.as_deref()).to_be_bytes())
                            })
                            .unwrap(),
                    }
                }
            });
        }
    });
    assert_eq!(number(&tree.get("k").unwrap().unwrap()), THREADS * EACH);
}

/// Keys that were not there when others looked: phantoms. Everybody appends behind the last key they see.
#[test]
fn a_queue_hands_out_every_entry_once() {
    const PRODUCERS: u64 = 2;
    const EACH: u64 = 300;
    let db = eventual(Database::builder().conflict_retries(100_000));
    let queue = db.tree("queue").unwrap();
    let produced = AtomicU64::new(0);
    let mut taken: Vec<u64> = thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (db, queue, produced) = (&db, &queue, &produced);
            scope.spawn(move || {
                for n in 0..EACH {
                    db.write(|tx| {
                        let next = tx.last(queue)?.map_or(0, |(key, _)| number(&key) + 1);
                        tx.put(queue, next.to_be_bytes(), (producer * EACH + n).to_be_bytes())
                    })
                    .unwrap();
                    produced.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut taken = Vec::new();
                    loop {
                        let all_produced = produced.load(Ordering::Relaxed) == PRODUCERS * EACH;
                        match queue.pop_first().unwrap() {
                            Some((_, value)) => taken.push(number(&value)),
                            None if all_produced => return taken,
                            None => thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect()
    });
    taken.sort_unstable();
    assert_eq!(taken, (0..PRODUCERS * EACH).collect::<Vec<_>>());
    assert!(queue.is_empty().unwrap());
}

/// Two signatures are needed to keep one of two doctors on duty; each transaction checks, then writes elsewhere.
#[test]
fn serializable_transactions_never_skew() {
    let db = eventual(Database::builder().conflict_retries(100_000));
    let duty = db.tree("duty").unwrap();
    duty.put("ada", "on").unwrap();
    duty.put("bob", "on").unwrap();
    thread::scope(|scope| {
        for (thread, me) in [(0, "ada"), (1, "bob")] {
            let (db, duty) = (&db, &duty);
            scope.spawn(move || {
                let mut dice = Dice(thread);
                for _ in 0..500 {
                    let leave = dice.roll(2) == 0;
                    db.write(|tx| {
                        let mut others = 0;
                        for entry in tx.range(duty, ..)? {
                            let (key, value) = entry?;
                            others += u32::from(key != me && value == "on");
                        }
                        tx.put(duty, me, if leave && others > 0 { "off" } else { "on" })
                    })
                    .unwrap();
                    let on = duty.range(..).unwrap().filter(|e| e.as_ref().unwrap().1 == "on").count();
                    assert!(on > 0, "nobody is on duty");
                }
            });
        }
    });
}

/// A reader that began long ago sees what it saw, although everything is rewritten over and over, checkpoints happen, and
/// memory is short.
#[test]
fn a_long_reader_keeps_its_state() {
    const KEYS: u32 = 2_000;
    let builder =
        Database::builder().memory_budget(4 << 20).log_segment_size(256 << 10).checkpoint_log_bytes(2 << 20);
    let db = eventual(builder);
    let tree = db.tree("t").unwrap();
    tree.append((0..KEYS).map(|n| (n.to_be_bytes(), vec![0; 100 + (n % 300) as usize]))).unwrap();
    let old = db.begin_read().unwrap();
    let check_old = || {
        let mut expected = 0_u32;
        for entry in old.range(&tree, ..).unwrap() {
            let (key, value) = entry.unwrap();
            assert_eq!(key, expected.to_be_bytes());
            assert!(value == vec![0; 100 + (expected % 300) as usize]);
            expected += 1;
        }
        assert_eq!(expected, KEYS);
        assert_eq!(old.len(&tree).unwrap(), u64::from(KEYS));
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (db, tree, stop) = (&db, &tree, &stop);
            scope.spawn(move || {
                let mut dice = Dice(writer);
                let mut round = 0_u8;
                while !stop.load(Ordering::Relaxed) {
                    round = round.wrapping_add(1).max(1);
                    db.write(|tx| {
                        for _ in 0..20 {
                            let key = (dice.roll(u64::from(KEYS)) as u32).to_be_bytes();
                            match dice.roll(5) {
                                0 => drop(tx.delete(tree, key)?),
                                _ => tx.put(tree, key, vec![round; 300])?,
                            }
                        }
                        Ok::<_, Error>(())
                    })
                    .unwrap();
                }
            });
        }
        let end = Instant::now() + A_WHILE;
        while Instant::now() < end {
            check_old();
        }
        stop.store(true, Ordering::Relaxed);
    });
    db.checkpoint().unwrap();
    tree.clear().unwrap();
    while db.maintain().unwrap() {}
    check_old();
    drop(old);
    assert!(tree.is_empty().unwrap());
    assert!(db.background_error().is_none(), "{:?}", db.background_error());
    assert!(db.verify().unwrap().damages.is_empty());
}

/// Trees come and go while others use them: every call works, or says that the tree is gone.
#[test]
fn trees_come_and_go_under_everybody() {
    let db = eventual(Database::builder().conflict_retries(100_000));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                let mut dice = Dice(thread);
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("tree {}", dice.roll(3));
                    if dice.roll(4) == 0 {
                        if let Err(error) = db.drop_tree(&name) {
                            assert_eq!(error.kind(), ErrorKind::TreeNotFound, "{error}");
                        }
                        continue;
                    }
                    let tree = db.tree(&name).unwrap();
                    let used = (0..5_u8).try_for_each(|n| {
                        tree.put([n], [n; 100])?;
                        tree.range(..)?.try_for_each(|entry| entry.map(drop))
                    });
                    if let Err(error) = used {
                        assert_eq!(error.kind(), ErrorKind::TreeNotFound, "{error}");
                    }
                }
            });
        }
        thread::sleep(A_WHILE);
        stop.store(true, Ordering::Relaxed);
    });
    let names: HashSet<String> = db.trees().unwrap().into_iter().map(|tree| tree.name).collect();
    assert!(names.len() <= 3);
    assert!(db.verify().unwrap().damages.is_empty());
}

/// Commits that wait for the disk share their waiting, and all are there afterwards.
#[test]
fn immediate_commits_of_many_threads_all_survive() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50;
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    let tree = db.tree("t").unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let tree = &tree;
            scope.spawn(move || {
                for n in 0..EACH {
                    tree.put((thread * EACH + n).to_be_bytes(), n.to_be_bytes()).unwrap();
                }
            });
        }
    });
    drop(tree);
    db.close().unwrap();
    let tree = Database::open(directory.path()).unwrap().tree("t").unwrap();
    assert_eq!(tree.len().unwrap(), THREADS * EACH);
    assert_eq!(tree.range(..).unwrap().count() as u64, THREADS * EACH);
}

/// Closing while others are at work: they get an error, nobody hangs, and what they were told is there.
#[test]
fn closing_under_load_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::builder().durability(Durability::Eventual).open(directory.path()).unwrap();
    let tree = db.tree("t").unwrap();
    let acknowledged: u64 = thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u64)
            .map(|thread| {
                let tree = &tree;
                scope.spawn(move || {
                    for n in 0.. {
                        if let Err(error) = tree.put([thread, n].map(u64::to_be_bytes).concat(), "v") {
                            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                            return n;
                        }
                    }
                    0
                })
            })
            .collect();
        thread::sleep(A_WHILE / 10);
        db.clone().close().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    drop((tree, db));
    let tree = Database::open(directory.path()).unwrap().tree("t").unwrap();
    let stored = tree.len().unwrap();
    // A commit that was refused may have got through, one for each writer.
    assert!(
        (acknowledged..=acknowledged + 3).contains(&stored),
        "{acknowledged} acknowledged, {stored} stored"
    );
}

/// The power fails while several threads write and the background is at work. Of each thread's commits, made one after the
/// other in two trees at once, the first so many are there, and at least those that waited for the disk.
#[test]
fn a_power_failure_under_load_leaves_a_prefix_of_every_writer() {
    const WRITERS: u64 = 3;
    for seed in 0..12_u64 {
        let storage = CrashStorage::new();
        let db = Database::builder()
            .memory_budget(1 << 20)
            .log_segment_size(64 << 10)
            .checkpoint_log_bytes(256 << 10)
            .open_with_storage(Arc::new(storage.clone()))
            .unwrap();
        let trees = [db.tree("one").unwrap(), db.tree("two").unwrap()];
        storage.stop_at(storage.operations().total() + 20 + seed * 60);
        let durable: Vec<u64> = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (db, trees) = (&db, &trees);
                    scope.spawn(move || {
                        let mut durable = 0;
                        for n in 0_u64.. {
                            let waits = n % 4 == writer;
                            let durability = if waits { Durability::Immediate } else { Durability::Eventual };
                            let stored = db.write_with(db.write_options().durability(durability), |tx| {
                                let key = [writer, n].map(u64::to_be_bytes).concat();
                                tx.put(&trees[0], &key, vec![n as u8; 100])?;
                                tx.put(&trees[1], &key, vec![n as u8; (n % 7 * 300) as usize])
                            });
                            match stored {
                                Ok(()) if waits => durable = n + 1,
                                Ok(()) => {}
                                Err(_) => break,
                            }
                        }
                        durable
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(!storage.has_power());
        let left = storage.crash(seed);
        drop((trees, db));
        let db = Database::open_with_storage(Arc::new(left)).unwrap();
        let snapshot = db.begin_read().unwrap();
        let trees = ["one", "two"].map(|name| snapshot.existing_tree(name).unwrap().unwrap());
        for (writer, durable) in (0..WRITERS).zip(durable) {
            let [one, two] = trees.each_ref().map(|tree| {
                let entries = snapshot.prefix(tree, writer.to_be_bytes()).unwrap();
                entries.map(|entry| number(&entry.unwrap().0[8..])).collect::<Vec<u64>>()
            });
            assert_eq!(one, two, "seed {seed}: both trees or none");
            assert!(one.iter().copied().eq(0..one.len() as u64), "seed {seed}: a hole in {one:?}");
            assert!(
                one.len() as u64 >= durable,
                "seed {seed}: {durable} were durable, {} are left",
                one.len()
            );
        }
        assert!(db.verify().unwrap().damages.is_empty());
    }
}

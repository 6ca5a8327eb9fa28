//! What more threads bring, each number of threads measured in turn with one, in several rounds.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use kestrel_benches::{Random, VALUE, key};
use kestreldb::{Database, Durability, Error};

use crate::report::{Report, per_second, thousands};
use crate::store::{Store, progress};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many entries there are before
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// The memory budget, in bytes
    #[arg(long, default_value_t = 2 << 30)]
    memory: u64,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only those whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// How often each is made; the medians count
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What a thread does again and again: given the thread, its generator and how many threads there are, how much it did.
type Work<'w> = &'w (dyn Fn(u64, &mut Random, u64) -> u64 + Sync);

pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    let store =
        Store::new(Database::builder().memory_budget(arguments.memory).durability(Durability::Eventual));
    let entries = arguments.entries;
    store.put(entries, "inserting", |index| index);
    store.db.checkpoint().unwrap();

    // A thread's keys are those whose number leaves its own rest: other keys than the others', in the same leaves.
    let own = |thread, random: &mut Random, threads| random.below(entries / threads) * threads + thread;
    let single = |thread, random: &mut Random, threads| {
        store.tree.put(key(own(thread, random, threads)), VALUE).unwrap();
        1
    };
    compare("single puts, Eventual, disjoint keys", 2, &single, arguments, report);
    let batches = |thread, random: &mut Random, threads| {
        let txn = store.db.begin_write().unwrap();
        for _ in 0..100 {
            txn.put(&store.tree, key(own(thread, random, threads)), VALUE).unwrap();
        }
        txn.commit().unwrap();
        100
    };
    compare("puts, 100 a transaction, Eventual, disjoint keys", 2, &batches, arguments, report);
    let durable = store.db.write_options().durability(Durability::Immediate);
    let durably = |_, random: &mut Random, _| {
        let txn = store.db.begin_write_with(durable).unwrap();
        txn.put(&store.tree, key(random.below(entries)), VALUE).unwrap();
        u64::from(txn.commit().is_ok())
    };
    compare("single puts, Immediate", 16, &durably, arguments, report);
    let snapshot = store.db.begin_read().unwrap();
    let gets = |_, random: &mut Random, _| {
        for _ in 0..100 {
            assert!(snapshot.get(&store.tree, key(random.below(entries))).unwrap().is_some());
        }
        100
    };
    compare("gets of one snapshot", 2, &gets, arguments, report);
    let lone_gets = |_, random: &mut Random, _| {
        for _ in 0..100 {
            assert!(store.tree.get(key(random.below(entries))).unwrap().is_some());
        }
        100
    };
    compare("gets, a snapshot each", 2, &lone_gets, arguments, report);
    drop(snapshot);
    hot_counter(&store, arguments, report);
}

/// Measures work on one thread and on several, in turn.
fn compare(what: &'static str, threads: u64, work: Work<'_>, arguments: &Arguments, report: &mut Report) {
    if !what.contains(&arguments.only) {
        return;
    }
    let bar = progress(arguments.rounds as u64, what);
    let (mut one, mut more, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..arguments.rounds as u64 {
        let alone = rate(1, round, work, arguments.seconds);
        let together = rate(threads, round + 100, work, arguments.seconds);
        ratios.push(together / alone);
        one.push(alone);
        more.push(together);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let compared =
        format!("1 thread: {}; {:.2} times", per_second(median(&mut one) as u64, 1.0), median(&mut ratios));
    report.add(&format!("{what}, {threads} threads"), per_second(median(&mut more) as u64, 1.0), compared);
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// How much is done in a second by so many threads.
fn rate(threads: u64, seed: u64, work: Work<'_>, seconds: f64) -> f64 {
    let (stop, barrier) = (AtomicBool::new(false), Barrier::new(threads as usize + 1));
    let done = AtomicU64::new(0);
    let begun = thread::scope(|scope| {
        for thread in 0..threads {
            let (stop, barrier, done) = (&stop, &barrier, &done);
            scope.spawn(move || {
                let mut random = Random(seed * 1000 + thread);
                barrier.wait();
                let mut mine = 0;
                while !stop.load(Ordering::Relaxed) {
                    mine += work(thread, &mut random, threads);
                }
                done.fetch_add(mine, Ordering::Relaxed);
            });
        }
        barrier.wait();
        let begun = Instant::now();
        thread::sleep(Duration::from_secs_f64(seconds));
        stop.store(true, Ordering::Relaxed);
        begun
    });
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// Eight threads that all increment the same number.
fn hot_counter(store: &Store, arguments: &Arguments, report: &mut Report) {
    const THREADS: u64 = 8;
    const WHAT: &str = "one counter, 8 threads, Eventual";
    if !WHAT.contains(&arguments.only) {
        return;
    }
    let seconds = arguments.seconds * 5.0;
    let before = store.db.statistics();
    let stop = AtomicBool::new(false);
    let increment = || {
        store.db.write(|tx| {
            let count = |old: Option<&[u8]>| old.map_or(0, |old| u64::from_be_bytes(old.try_into().unwrap()));
            tx.update(&store.tree, "counter", |old| Some((count(old) + 1).to_be_bytes().to_vec()))?;
            Ok::<_, Error>(())
        })
    };
    let mut shares: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = 0;
                    while !stop.load(Ordering::Relaxed) {
                        increment().unwrap();
                        mine += 1;
                    }
                    mine
                })
            })
            .collect();
        thread::sleep(Duration::from_secs_f64(seconds));
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sum: u64 = shares.iter().sum();
    let counter = store.tree.get("counter").unwrap().unwrap();
    assert_eq!(u64::from_be_bytes(counter[..].try_into().unwrap()), sum, "every increment counts");
    let conflicts = store.db.statistics().conflicts - before.conflicts;
    shares.sort_unstable();
    report.add(
        WHAT,
        per_second(sum, seconds),
        format!(
            "{} runs again, {:.2} a commit; slowest thread: {:.2} of its fair share",
            thousands(conflicts),
            conflicts as f64 / sum as f64,
            shares[0] as f64 * THREADS as f64 / sum as f64,
        ),
    );
}

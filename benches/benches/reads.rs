//! Gets from several threads at once: all of them from one snapshot a thread, and a snapshot for each get.
//!
//! A get writes to no cache line that threads share (`docs/design.md`, "What a get writes"), so two threads should get
//! through twice the work of one: the time for each get of a thread stays what it is, however many threads there are,
//! as long as there are processors for them.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failure ends the bench; criterion's macros make public items"
)]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kestrel_benches::{Random, fill, key};
use kestrel_io::thread_time;
use kestreldb::{Database, Durability, Tree};

const ENTRIES: u64 = 1_000_000;

/// A database in memory, with room for all of its pages.
fn filled() -> (Database, Tree) {
    let db = Database::builder().memory_budget(1 << 30).durability(Durability::Eventual).in_memory().unwrap();
    let tree = db.tree("entries").unwrap();
    fill(&db, &tree, ENTRIES);
    db.checkpoint().unwrap();
    // What the keeper would do after a while: the bench is of reading, not of deltas.
    while db.maintain().unwrap() {}
    (db, tree)
}

/// How long this thread has had a processor, if it is asked for (`KESTREL_BENCH_PROCESSOR=1`) and the system tells: on a machine
/// that does other things as well, it says more than the time on the wall.
fn processor_time() -> Option<Duration> {
    std::env::var_os("KESTREL_BENCH_PROCESSOR")?;
    thread_time()
}

/// How long `threads` threads take, each for `gets` gets.
fn timed(threads: u64, gets: u64, reader: impl Fn(&mut Random, u64) + Sync) -> Duration {
    let barrier = Barrier::new(threads as usize + 1);
    let (reader, barrier) = (&reader, &barrier);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut random = Random(thread);
                    barrier.wait();
                    let (started, processor) = (Instant::now(), processor_time());
                    reader(&mut random, gets);
                    match (processor, processor_time()) {
                        (Some(before), Some(after)) => after - before,
                        _ => started.elapsed(),
                    }
                })
            })
            .collect();
        barrier.wait();
        readers.into_iter().map(|reader| reader.join().unwrap()).max().unwrap()
    })
}

fn reads(criterion: &mut Criterion) {
    let (db, tree) = filled();
    let mut group = criterion.benchmark_group("reads");
    for threads in [1, 2, 4] {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(BenchmarkId::new("one snapshot a thread", threads), |bencher| {
            bencher.iter_custom(|gets| {
                timed(threads, gets, |random, gets| {
                    let snapshot = db.begin_read().unwrap();
                    for _ in 0..gets {
                        black_box(snapshot.get(&tree, key(random.below(ENTRIES))).unwrap().unwrap());
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("a snapshot each", threads), |bencher| {
            bencher.iter_custom(|gets| {
                timed(threads, gets, |random, gets| {
                    for _ in 0..gets {
                        black_box(tree.get(key(random.below(ENTRIES))).unwrap().unwrap());
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("a transaction each", threads), |bencher| {
            bencher.iter_custom(|gets| {
                timed(threads, gets, |random, gets| {
                    for _ in 0..gets {
                        let snapshot = db.begin_read().unwrap();
                        black_box(snapshot.get(&tree, key(random.below(ENTRIES))).unwrap().unwrap());
                    }
                })
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = reads
}
criterion_main!(benches);

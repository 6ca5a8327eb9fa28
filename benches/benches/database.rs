//! The engine as a user sees it: single gets, puts and scans, and commits from several threads.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failure ends the bench; criterion's macros make public items"
)]

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kestrel_benches::{Random, VALUE, directory, fill, key};
use kestreldb::{Database, Durability, Tree};
use tempfile::TempDir;

const ENTRIES: u64 = 200_000;

/// A database on the disk that is measured, all of whose pages fit the memory.
struct Fixture {
    db: Database,
    tree: Tree,
    _directory: TempDir,
}

impl Fixture {
    fn new(durability: Durability) -> Fixture {
        let directory = directory();
        let db = Database::builder().durability(durability).open(directory.path().join("db")).unwrap();
        let tree = db.tree("entries").unwrap();
        fill(&db, &tree, ENTRIES);
        db.checkpoint().unwrap();
        Fixture { db, tree, _directory: directory }
    }
}

fn reads(criterion: &mut Criterion) {
    let Fixture { db, tree, _directory } = Fixture::new(Durability::Eventual);
    let mut group = criterion.benchmark_group("database read");
    let mut random = Random(1);
    let snapshot = db.begin_read().unwrap();
    group.bench_function("get, one snapshot", |bencher| {
        bencher.iter(|| snapshot.get(&tree, key(random.below(ENTRIES))).unwrap().unwrap());
    });
    group.bench_function("get, a snapshot each", |bencher| {
        bencher.iter(|| tree.get(key(random.below(ENTRIES))).unwrap().unwrap());
    });
    group.bench_function("get of what is not there", |bencher| {
        bencher
            .iter(|| assert!(snapshot.get(&tree, key(ENTRIES + random.below(ENTRIES))).unwrap().is_none()));
    });
    for len in [10, 1000] {
        group.throughput(Throughput::Elements(len));
        group.bench_function(BenchmarkId::new("scan", len), |bencher| {
            bencher.iter(|| {
                let low = key(random.below(ENTRIES));
                let range =
                    snapshot.range(&tree, (Bound::Included(low), Bound::<[u8; 0]>::Unbounded)).unwrap();
                range.take(len as usize).map(|entry| entry.unwrap().1.len()).sum::<usize>()
            });
        });
    }
    group.finish();
}

fn writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("database write");
    for (name, durability) in [("eventual", Durability::Eventual), ("immediate", Durability::Immediate)] {
        let Fixture { db, tree, _directory } = Fixture::new(durability);
        let mut random = Random(2);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("put over an entry", name), |bencher| {
            bencher.iter(|| tree.put(key(random.below(ENTRIES)), VALUE).unwrap());
        });
        group.throughput(Throughput::Elements(100));
        group.bench_function(BenchmarkId::new("100 puts, one commit", name), |bencher| {
            bencher.iter(|| {
                db.write(|tx| (0..100).try_for_each(|_| tx.put(&tree, key(random.below(ENTRIES)), VALUE)))
                    .unwrap();
            });
        });
    }
    group.finish();
}

/// The commit pipeline: threads that each put one entry a transaction.
fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("database commit");
    for (name, durability) in [("eventual", Durability::Eventual), ("immediate", Durability::Immediate)] {
        let fixture = Fixture::new(durability);
        for threads in [1, 2, 8, 32] {
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(name, format!("{threads} threads")), |bencher| {
                bencher.iter_custom(|commits| committing(&fixture.tree, threads, commits));
            });
        }
    }
    group.finish();
}

fn committing(tree: &Tree, threads: u64, commits: u64) -> Duration {
    let left = AtomicU64::new(commits);
    let started = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let left = &left;
            scope.spawn(move || {
                let mut random = Random(thread);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    tree.put(key(random.below(ENTRIES)), VALUE).unwrap();
                }
            });
        }
    });
    started.elapsed()
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = reads, writes, commits
}
criterion_main!(benches);

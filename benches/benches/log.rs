//! The write-ahead log: what an append costs, and what a durable commit costs beside the bare sync that it contains.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failure ends the bench; criterion's macros make public items"
)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kestrel_benches::directory;
use kestrel_io::{FileStorage, MemoryStorage, Storage};
use kestrel_wal::{LogOptions, Lsn, Wal};

fn create(storage: Arc<dyn Storage>) -> Wal {
    Wal::create(storage, &LogOptions { segment_size: 16 << 20, database: 1 }, Lsn(0)).unwrap()
}

/// Copies into the buffer, which is handed to the storage every MiB, and segments recycled.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log append, memory");
    for len in [100, 1000, 10_000] {
        let payload = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            let wal = create(Arc::new(MemoryStorage::new()));
            let mut since = 0;
            bencher.iter(|| {
                let appended = wal.append(1, &[&payload]).unwrap();
                since += len;
                if since > 1 << 20 {
                    since = 0;
                    wal.flush(appended.end).unwrap();
                    wal.recycle(appended.end, 2).unwrap();
                }
            });
        });
    }
    group.finish();
}

/// One thread: append, flush. The baseline overwrites as many bytes of a file that has its blocks, and syncs.
fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log commit, file");
    for len in [100, 4000] {
        let payload = vec![7; len];
        group.bench_function(BenchmarkId::new("commit", len), |bencher| {
            let directory = directory();
            let wal = create(Arc::new(FileStorage::open(directory.path()).unwrap()));
            bencher.iter(|| {
                let appended = wal.append(1, &[&payload]).unwrap();
                wal.flush(appended.end).unwrap();
                wal.recycle(appended.end, 2).unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("bare overwrite and sync", len), |bencher| {
            let directory = directory();
            let path = directory.path().join("bare");
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
            let size = 16 << 20;
            file.write_all_at(&vec![0; size], 0).unwrap();
            file.sync_all().unwrap();
            let mut at = 0;
            bencher.iter(|| {
                file.write_all_at(&payload, at as u64).unwrap();
                file.sync_data().unwrap();
                at = (at + len) % (size - len);
            });
        });
    }
    group.finish();
}

/// Several threads that each wait for their own record: how well one sync serves all.
fn group_commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log group commit, file");
    let payload = vec![7; 100];
    for threads in [1, 4, 16, 64] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            let directory = directory();
            let wal = create(Arc::new(FileStorage::open(directory.path()).unwrap()));
            bencher.iter_custom(|commits| committing(&wal, &payload, threads, commits));
        });
    }
    group.finish();
}

/// The time that so many commits take, divided among the threads.
fn committing(wal: &Wal, payload: &[u8], threads: usize, commits: u64) -> Duration {
    let left = AtomicU64::new(commits);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let appended = wal.append(1, &[payload]).unwrap();
                    wal.flush(appended.end).unwrap();
                }
            });
        }
    });
    let taken = started.elapsed();
    wal.recycle(wal.durable(), 2).unwrap();
    taken
}

/// Reading a log of 16 MiB back, as after a crash.
fn recover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log recovery, memory");
    let storage = MemoryStorage::new();
    let wal = create(Arc::new(storage.clone()));
    let from = wal.end();
    let payload = vec![7; 200];
    while wal.end().0 < 16 << 20 {
        wal.append(1, &[&payload]).unwrap();
    }
    wal.flush(wal.end()).unwrap();
    let bytes = wal.end().0 - from.0;
    drop(wal);
    let options = LogOptions { segment_size: 16 << 20, database: 1 };
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("records of 200 bytes", |bencher| {
        bencher.iter(|| {
            let recovery = Wal::recover(Arc::new(storage.clone()), &options, from).unwrap();
            recovery.records().map(|record| record.unwrap().payload.len()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = append, commit, group_commit, recover
}
criterion_main!(benches);

//! What the engine does to single pages: search, deltas, consolidation, and the bare copy to compare them with.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failure ends the bench; criterion's macros make public items"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kestrel_benches::{Random, key};
use kestrel_btree::{
    Cell, Change, Delta, LeafOp, MergedLeaf, PageView, check, consolidate, lookup, packed_len, unpack,
};
use kestrel_btree::{delta_cost, packed_parts};

const VALUE: [u8; 150] = [9; 150];

/// A leaf and the deltas over it, newest first.
#[derive(Clone)]
struct Leaf {
    node: Vec<u8>,
    deltas: Vec<Vec<u8>>,
    keys: Vec<u64>,
}

impl PageView for Leaf {
    fn node(&self) -> &[u8] {
        &self.node
    }

    fn delta_count(&self) -> usize {
        self.deltas.len()
    }

    fn delta(&self, newest_first: usize) -> &[u8] {
        &self.deltas[newest_first]
    }
}

impl Leaf {
    /// A leaf two thirds full.
    fn new(page_size: usize, value: &[u8]) -> Leaf {
        let mut leaf = Leaf { node: vec![0; page_size - 64], deltas: Vec::new(), keys: Vec::new() };
        for number in 0.. {
            if leaf.packed_len() > page_size * 2 / 3 {
                break;
            }
            leaf.lay_over(number, value, false);
            leaf.keys.push(number);
            leaf.settle();
        }
        leaf
    }

    /// As many deltas over it, each of which changes an entry.
    fn with_deltas(&self, deltas: usize, value: &[u8]) -> Leaf {
        let mut leaf = self.clone();
        for delta in 0..deltas {
            leaf.lay_over(self.keys[delta * 7 % self.keys.len()], value, true);
        }
        leaf
    }

    fn lay_over(&mut self, number: u64, value: &[u8], existed: bool) {
        let op = LeafOp { key: &key(number), change: Change::Put(Cell::Inline(value)), existed };
        self.deltas.insert(0, Delta::with(&[], op));
    }

    fn settle(&mut self) {
        let mut node = vec![0; self.node.len()];
        consolidate(&*self, &mut node).unwrap();
        self.node = node;
        self.deltas.clear();
    }

    fn packed_len(&self) -> usize {
        packed_len(&self.node) + self.deltas.iter().map(|delta| delta_cost(delta) as usize).sum::<usize>()
    }
}

/// Pages at random in 64 MiB: what any engine pays that copies a page for an update.
fn copy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page copy");
    for page_size in [4096_usize, 16384] {
        let memory = vec![1_u8; 64 << 20];
        let pages = (memory.len() / page_size) as u64;
        let mut out = vec![0; page_size];
        let mut random = Random(1);
        group.throughput(Throughput::Bytes(page_size as u64));
        group.bench_function(BenchmarkId::from_parameter(page_size), |bencher| {
            bencher.iter(|| {
                let at = random.below(pages) as usize * page_size;
                out.copy_from_slice(&memory[at..at + page_size]);
                black_box(&mut out);
            });
        });
    }
    group.finish();
}

/// One key in one leaf that is in the processor's cache.
fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("leaf lookup");
    for (page_size, value, deltas) in
        [(4096, 150, 0), (4096, 150, 1), (4096, 150, 4), (4096, 8, 0), (65536, 150, 0)]
    {
        let leaf = Leaf::new(page_size, &VALUE[..value]).with_deltas(deltas, &VALUE[..value]);
        let keys: Vec<_> = leaf.keys.iter().map(|number| key(*number)).collect();
        let name = format!("{} entries, page of {page_size}, {deltas} deltas", keys.len());
        let mut random = Random(1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let key = &keys[random.below(keys.len() as u64) as usize];
                assert!(lookup(black_box(&leaf), key).is_some());
            });
        });
    }
    group.finish();
}

fn deltas(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("delta");
    let op = LeafOp { key: &key(1), change: Change::Put(Cell::Inline(&VALUE)), existed: true };
    group.bench_function("made of one put", |bencher| bencher.iter(|| Delta::with(&[], black_box(op))));
    let mut four = Vec::new();
    for number in 2..6 {
        four = Delta::with(&four, LeafOp { key: &key(number), ..op });
    }
    group.bench_function("a put added to four", |bencher| bencher.iter(|| Delta::with(&four, black_box(op))));
    let one = Delta::with(&[], op);
    group.bench_function("four and one merged", |bencher| {
        bencher.iter(|| Delta::merge(&four, black_box(&one)));
    });
    group.finish();
}

fn consolidation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("leaf with deltas");
    for (page_size, deltas) in [(4096, 1), (4096, 4), (16384, 4)] {
        let leaf = Leaf::new(page_size, &VALUE).with_deltas(deltas, &VALUE);
        let mut out = vec![0; leaf.node.len()];
        let name = |what: &str| BenchmarkId::new(what, format!("page of {page_size}, {deltas} deltas"));
        group.bench_function(name("consolidated"), |bencher| {
            bencher.iter(|| consolidate(black_box(&leaf), &mut out).unwrap());
        });
        group.bench_function(name("merged view"), |bencher| {
            bencher.iter(|| MergedLeaf::new(black_box(&leaf)).unwrap().len());
        });
    }
    group.finish();
}

/// What a page costs between the disk and its first use, reading and checksum aside.
fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("leaf load");
    for page_size in [4096, 16384] {
        let leaf = Leaf::new(page_size, &VALUE);
        let packed = packed_parts(&leaf.node).concat();
        group.throughput(Throughput::Bytes(packed.len() as u64));
        group.bench_function(BenchmarkId::new("unpack and check", page_size), |bencher| {
            bencher.iter_batched_ref(
                || vec![0; leaf.node.len()],
                |node| {
                    unpack(black_box(&packed), node).unwrap();
                    check(node).unwrap();
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = copy, search, deltas, consolidation, load
}
criterion_main!(benches);

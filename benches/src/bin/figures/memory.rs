//! One thread on data that fits into memory.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use clap::Args;
use kestrel_benches::{Random, VALUE, directory, key};
use kestreldb::{Database, Durability};

use crate::report::{Report, per_second};
use crate::store::{Store, progress};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many entries
    #[arg(long, default_value_t = 5_000_000)]
    entries: u64,
    /// The memory budget, in bytes
    #[arg(long, default_value_t = 4 << 30)]
    memory: u64,
    /// How many single durable puts
    #[arg(long, default_value_t = 5_000)]
    singles: usize,
    /// How often the puts over entries and the gets are measured
    #[arg(long, default_value_t = 3)]
    rounds: u64,
}

pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    let entries = arguments.entries;
    let store = Store::new(Database::builder().memory_budget(arguments.memory));
    let seconds = store.put(entries, "inserting", |index| index);
    report.add("random inserts, 1,000 a transaction, Immediate", per_second(entries, seconds), "");
    for round in 0..arguments.rounds {
        let mut random = Random(round);
        let count = entries / 5;
        let seconds = store.put(count, "putting over", |_| random.below(entries));
        report.add("random puts over entries, the same", per_second(count, seconds), "");
        let seconds = store.get(count, entries, round);
        report.add("random gets of one snapshot", per_second(count, seconds), "");
    }
    single_puts(arguments, &store, report);
}

/// Single durable puts and, in turn with them, bare overwrites and syncs of one block.
fn single_puts(arguments: &Arguments, store: &Store, report: &mut Report) {
    const BLOCK: usize = 4096;
    const FILE: u64 = 16 << 20;
    let directory = directory();
    let file = std::fs::File::create(directory.path().join("block")).unwrap();
    file.write_all_at(&vec![1; FILE as usize], 0).unwrap();
    file.sync_all().unwrap();
    let options = store.db.write_options().durability(Durability::Immediate);
    let mut random = Random(17);
    let (mut puts, mut bare) = (Vec::new(), Vec::new());
    let bar = progress(arguments.singles as u64, "single durable puts");
    for index in 0..arguments.singles {
        let key = key(random.below(arguments.entries));
        let started = Instant::now();
        let txn = store.db.begin_write_with(options).unwrap();
        txn.put(&store.tree, key, VALUE).unwrap();
        txn.commit().unwrap();
        puts.push(started.elapsed());
        let started = Instant::now();
        file.write_all_at(&[2; BLOCK], (index * BLOCK) as u64 % FILE).unwrap();
        file.sync_data().unwrap();
        bare.push(started.elapsed());
        bar.inc(1);
    }
    bar.finish_and_clear();
    puts.sort_unstable();
    bare.sort_unstable();
    let (put, block) = (puts[puts.len() / 2].as_secs_f64() * 1e6, bare[bare.len() / 2].as_secs_f64() * 1e6);
    report.add(
        "one durable put, median",
        format!("{put:.1} µs"),
        format!("bare overwrite and sync of 4 KiB {block:.1} µs: {:.2} times", put / block),
    );
}

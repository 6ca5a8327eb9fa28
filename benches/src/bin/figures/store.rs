//! The database that is measured, and the loops that fill and read it.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use kestrel_benches::{Random, VALUE, directory, key};
use kestreldb::{Builder, Database, Tree};
use tempfile::TempDir;

/// Entries of a transaction.
pub(crate) const BATCH: u64 = 1000;

/// A database in a directory of its own.
pub(crate) struct Store {
    pub(crate) db: Database,
    pub(crate) tree: Tree,
    _directory: TempDir,
}

impl Store {
    pub(crate) fn new(builder: Builder) -> Store {
        let directory = directory();
        let db = builder.open(directory.path().join("db")).unwrap();
        let tree = db.tree("entries").unwrap();
        Store { db, tree, _directory: directory }
    }

    /// Puts the entries that `number` names, in transactions of [`BATCH`]. Seconds it took.
    pub(crate) fn put(&self, count: u64, what: &'static str, mut number: impl FnMut(u64) -> u64) -> f64 {
        let bar = progress(count, what);
        let started = Instant::now();
        for batch in 0..count.div_ceil(BATCH) {
            let numbers = batch * BATCH..count.min((batch + 1) * BATCH);
            let txn = self.db.begin_write().unwrap();
            for index in numbers.clone() {
                txn.put(&self.tree, key(number(index)), VALUE).unwrap();
            }
            txn.commit().unwrap();
            bar.inc(numbers.end - numbers.start);
        }
        bar.finish_and_clear();
        started.elapsed().as_secs_f64()
    }

    /// Gets `count` random ones of the first `entries`, all of which are there. Seconds it took.
    pub(crate) fn get(&self, count: u64, entries: u64, seed: u64) -> f64 {
        let snapshot = self.db.begin_read().unwrap();
        let mut random = Random(seed);
        let started = Instant::now();
        let mut bytes = 0;
        for _ in 0..count {
            bytes += snapshot.get(&self.tree, key(random.below(entries))).unwrap().unwrap().len();
        }
        assert_eq!(bytes, count as usize * VALUE.len());
        started.elapsed().as_secs_f64()
    }
}

/// A bar that shows itself on a terminal only.
pub(crate) fn progress(len: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:24} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}");
    ProgressBar::new(len).with_style(style.unwrap()).with_message(what)
}

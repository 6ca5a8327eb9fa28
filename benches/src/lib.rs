//! What the benches share: keys, values, and a place on a disk. The benches are in `benches/`, one for each layer:
//! `log`, `page` (nodes, deltas, copies), `database` (the engine as a user sees it) and `reads` (gets from several threads).
//!
//! The program `figures` measures what the project states about itself, see `docs/benchmarks.md`.
//!
//! `cargo bench -p kestrel-benches` runs all, `cargo bench -p kestrel-benches --bench log` one. What touches a disk does
//! so below [`directory`]: set `KESTREL_BENCH_DIR` to measure a disk other than that of the temporary directory, which
//! may be memory.

use kestreldb::{Database, Tree};
use tempfile::TempDir;

/// An empty directory on the disk to be measured, removed when dropped.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn directory() -> TempDir {
    let parent = std::env::var_os("KESTREL_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    match TempDir::with_prefix_in("kestrel-bench-", &parent) {
        Ok(directory) => directory,
        Err(error) => panic!("no directory can be made in {}: {error}", parent.display()),
    }
}

/// Steele, Lea and Flood's SplitMix64: the same sequence in every run.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[inline]
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_number() % bound
    }
}

/// Bytes of a [`key`].
pub const KEY_LEN: usize = 24;

/// The key of a number: eight bytes that scatter neighbours, and sixteen digits.
#[must_use]
pub fn key(number: u64) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&Random(number).next_number().to_be_bytes());
    for (place, digit) in key[8..].iter_mut().rev().enumerate() {
        *digit = b'0' + (number / 10u64.saturating_pow(place as u32) % 10) as u8;
    }
    key
}

/// Every value.
pub const VALUE: [u8; 150] = [9; 150];
/// Entries of a transaction that fills a tree.
const BATCH: u64 = 1000;

/// Puts the entries of the first `entries` numbers, in transactions of a thousand.
///
/// # Panics
/// If that fails.
pub fn fill(db: &Database, tree: &Tree, entries: u64) {
    for first in (0..entries).step_by(BATCH as usize) {
        let numbers = first..entries.min(first + BATCH);
        let filled = db.write(|tx| numbers.clone().try_for_each(|number| tx.put(tree, key(number), VALUE)));
        if let Err(error) = filled {
            panic!("the tree cannot be filled: {error}");
        }
    }
}

/// `README.md`, whose example is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

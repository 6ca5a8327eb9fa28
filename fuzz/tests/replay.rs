//! Every fuzz target on its seeds, and on inputs made from numbers: with any toolchain, in seconds.
//!
//! `KESTREL_FUZZ_INPUTS` sets how many inputs are made for each target (2,000). A failure names its input's number;
//! `KESTREL_FUZZ_FIRST=N KESTREL_FUZZ_INPUTS=1` runs it alone.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Bytes of which some inputs have many zeros, and some many small ones.
    fn input(&mut self) -> Vec<u8> {
        let len = self.next() % (1 << (self.next() % 12));
        let (zeros, mask) = (self.next() % 4, [0xFF, 0x0F, 0x3F][self.next() as usize % 3]);
        (0..len).map(|_| if self.next() % 4 < zeros { 0 } else { self.next() as u8 & mask }).collect()
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    for entry in fs::read_dir(seeds).into_iter().flatten() {
        let path = entry.unwrap().path();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&fs::read(&path).unwrap())));
        assert!(outcome.is_ok(), "{} fails", path.display());
    }
    let first = variable("KESTREL_FUZZ_FIRST", 0);
    for number in first..first + variable("KESTREL_FUZZ_INPUTS", 2000) {
        let input = Random(number).input();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        assert!(outcome.is_ok(), "{target} fails on input {number}");
    }
}

#[test]
fn log_replay() {
    replay("log_replay", kestrel_fuzz::log_replay::run);
}

#[test]
fn node_decode() {
    replay("node_decode", kestrel_fuzz::node_decode::run);
}

#[test]
fn open_directory() {
    replay("open_directory", kestrel_fuzz::open_directory::run);
}

#[test]
fn api_model() {
    replay("api_model", kestrel_fuzz::api_model::run);
}

#[test]
fn open_database() {
    replay("open_database", kestrel_fuzz::open_database::run);
}

//! Every fuzz target on its seeds, and on inputs made from numbers: with any toolchain, in seconds.
//!
//! `KESTREL_FUZZ_INPUTS` sets how many inputs are made for each target (1,000). A failure names its input's number;
//! `KESTREL_FUZZ_FIRST=N KESTREL_FUZZ_INPUTS=1` runs it alone. `KESTREL_FUZZ_DIR=DIR` adds the inputs in `DIR/TARGET`,
//! a fuzzer's corpus for example.
//!
//! No input may take longer than a second of a processor. Since tests are checked and processors differ, it is
//! [`SECONDS_MAX`] that fails; `KESTREL_FUZZ_SECONDS` sets it.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

const SECONDS_MAX: u64 = 8;

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

/// What the thread has had of a processor; where the system does not tell, the time that has gone by.
fn time_of_thread() -> Duration {
    static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    kestrel_io::thread_time().unwrap_or_else(|| STARTED.get_or_init(Instant::now).elapsed())
}

/// Runs one input; what is wrong with it if something is.
fn fails(run: fn(&[u8]), input: &[u8]) -> Option<String> {
    let limit = Duration::from_secs(variable("KESTREL_FUZZ_SECONDS", SECONDS_MAX));
    let before = time_of_thread();
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        return Some("panics".to_owned());
    }
    let taken = time_of_thread() - before;
    (taken > limit).then(|| format!("takes {taken:?}"))
}

fn replay(target: &str, run: fn(&[u8])) {
    // What a target makes once for all inputs takes its own time.
    run(&[]);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let more = std::env::var_os("KESTREL_FUZZ_DIR").map(|dir| Path::new(&dir).join(target));
    for folder in [Some(own), more].into_iter().flatten() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if let Some(what) = fails(run, &fs::read(&path).unwrap()) {
                panic!("{target}: {} {what}", path.display());
            }
        }
    }
    let first = variable("KESTREL_FUZZ_FIRST", 0);
    for number in first..first + variable("KESTREL_FUZZ_INPUTS", 1000) {
        if let Some(what) = fails(run, &Random(number).input()) {
            panic!("{target}: input {number} {what}");
        }
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

#[test]
fn transactions() {
    replay("transactions", kestrel_fuzz::transactions::run);
}

#[test]
fn recovery() {
    replay("recovery", kestrel_fuzz::recovery::run);
}

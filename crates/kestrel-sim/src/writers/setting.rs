//! How a database is opened, and by how many it is written to.

use std::sync::atomic::AtomicBool;

use kestreldb::{Builder, Database};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Plan, Work};

/// Options of a database and its writers: small, so that everything happens often.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How many writers.
    pub writers: u8,
    /// What they do.
    pub plan: Plan,
    /// Of 16 commits, how many do not wait for the disk.
    pub eager: u32,
    /// Milliseconds between checkpoints, at most.
    pub checkpoint_millis: u64,
    page_size: u32,
    memory: u64,
    segment: u64,
    checkpoint_bytes: u64,
}

impl Setting {
    /// The setting that a seed decides.
    #[must_use]
    pub fn new(seed: u64) -> Setting {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut pick = |choices: &[u64]| choices[random.random_range(0..choices.len())];
        let page_size = pick(&[4096, 4096, 4096, 8192, 16384]);
        // 60 frames are not enough for what there is, 2,000 are.
        let frames = pick(&[60, 60, 200, 2_000]);
        Setting {
            writers: pick(&[1, 2, 3, 4, 6]) as u8,
            eager: pick(&[0, 4, 8, 12, 16]) as u32,
            checkpoint_millis: pick(&[4, 15, 60, 100_000]),
            page_size: page_size as u32,
            memory: frames * page_size * 10 / 7,
            segment: pick(&[64 << 10, 64 << 10, 256 << 10, 1 << 20]),
            checkpoint_bytes: pick(&[128 << 10, 512 << 10, 4 << 20]),
            plan: Plan {
                seed,
                large_keys: pick(&[1, 3, 8]) as u16,
                large_max: pick(&[20_000, 90_000, 250_000]) as u32,
            },
        }
    }

    /// To open the database with.
    pub fn builder(&self) -> Builder {
        Database::builder()
            .page_size(self.page_size)
            .memory_budget(self.memory)
            .log_segment_size(self.segment)
            .checkpoint_log_bytes(self.checkpoint_bytes)
    }

    /// What a writer does that has done so many transactions: `count` more, or until `stop`. The seed decides how it commits.
    #[must_use]
    pub fn work<'s>(&self, writer: u8, done: u64, count: u64, seed: u64, stop: &'s AtomicBool) -> Work<'s> {
        let Setting { writers, plan, eager, .. } = *self;
        Work { writer, writers, plan, done, count, eager, seed, stop }
    }
}

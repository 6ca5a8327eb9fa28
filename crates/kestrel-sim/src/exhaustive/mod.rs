//! Modes that try all that can go wrong with tiny databases, not what a seed draws: every call a crash point, every crash in
//! recovery, every call failing, every byte flipped, every length, every page in the place of every other.
//!
//! The databases hold some dozen pages: several trees, large values, changes that are only in the log, checkpoints, log segments
//! that are used again. What is there after a crash has to be an exact prefix of the commits with every acknowledged durable one in
//! it, and clean under `verify`. What was damaged has to show right data, or an error that names the place.
//!
//! Each mode splits its work into *units*, which are shared by two threads; a unit is reproduced by its number alone.

mod command;
mod crash_points;
mod damage;
mod failing_calls;
mod flips;
mod judge;
mod log_map;
mod recovery_crashes;
mod scene;
mod spy;
mod subsets;
mod summary;
mod swaps;
mod truncations;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub use command::{Arguments, run};
pub use summary::Summary;

use crate::apart::on_threads;

/// How much of a mode is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// So little that a debug build does it in a moment: that the mode itself works.
    Smoke,
    /// As much as every change has to pass. The part that is chosen rotates with the number.
    Short(u64),
    /// All.
    Long,
}

impl Size {
    /// One of three.
    fn choose<T>(self, smoke: T, short: T, long: T) -> T {
        match self {
            Size::Smoke => smoke,
            Size::Short(_) => short,
            Size::Long => long,
        }
    }

    /// Where the part begins that is chosen.
    fn rotation(self) -> u64 {
        match self {
            Size::Short(number) => number,
            Size::Smoke | Size::Long => 0,
        }
    }
}

/// What can be tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The power goes off at every call of a workload; what it leaves is enumerated.
    CrashPoints,
    /// It goes off in recovery as well, and in the recovery from that.
    RecoveryCrashes,
    /// The n-th call of the storage fails, for every n.
    FailingCalls,
    /// Every byte of a database is changed.
    Flips,
    /// Every file is cut to every length, extended, replaced.
    Truncations,
    /// Pages and sectors take the places of others and of their older selves.
    Swaps,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 6] = [
        Mode::CrashPoints,
        Mode::RecoveryCrashes,
        Mode::FailingCalls,
        Mode::Flips,
        Mode::Truncations,
        Mode::Swaps,
    ];

    /// What it is called on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::CrashPoints => "crash-points",
            Mode::RecoveryCrashes => "recovery-crashes",
            Mode::FailingCalls => "failing-calls",
            Mode::Flips => "flips",
            Mode::Truncations => "truncations",
            Mode::Swaps => "swaps",
        }
    }

    /// Runs it. `progress` is told how many of how many units are done; it is called from several threads.
    pub fn run(self, size: Size, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
        match self {
            Mode::CrashPoints => crash_points::run(size, progress),
            Mode::RecoveryCrashes => recovery_crashes::run(size, progress),
            Mode::FailingCalls => failing_calls::run(size, progress),
            Mode::Flips => flips::run(size, progress),
            Mode::Truncations => truncations::run(size, progress),
            Mode::Swaps => swaps::run(size, progress),
        }
    }
}

/// Runs units on two threads and adds up what they say. A unit that panics is a finding.
fn in_units(
    units: u64,
    progress: &(dyn Fn(u64, u64) + Sync),
    unit: impl Fn(u64, &mut Summary) + Sync,
) -> Summary {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let total = Mutex::new(Summary::default());
    on_threads(2, || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= units {
                return;
            }
            let mut summary = Summary::default();
            let ended = catch_unwind(AssertUnwindSafe(|| unit(number, &mut summary)));
            if let Err(panic) = ended {
                summary.finding(format!("unit {number} panicked: {}", crate::panic_message(&*panic)));
            }
            *total.lock() += summary;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, units);
        }
    });
    total.into_inner()
}

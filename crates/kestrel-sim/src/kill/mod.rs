//! Killing a real process on a real file system, again and again, and judging what is left.
//!
//! A *round*: a child process opens the database and lets [writers](crate::writers) loose on it, which write down (in a file of
//! their own, which survives) what they try, what was committed where in the order, and what was promised. The parent kills
//! it at a random moment: while it opens, while it writes, in a checkpoint, while it closes. Then it
//! 1. holds the cut that is there against what was written down, and
//! 2. judges all that is there: most times on a copy in memory, so that the directory stays as the kill left it; at times in
//!    place; and at times not at all, so that the next child meets it unseen, may be killed while it recovers, and so on.
//!
//! Rounds go on in one directory, which becomes older and fuller, for a while (an *era*), then all begins anew with another
//! setting. What was seen once never goes: the next to open it has to find at least that.
//!
//! What a kill does not show: bytes that never left the system's cache are still there. Power cuts are for
//! the simulated disk, and for [`trace`](crate::trace).

mod child;
mod era;
mod moment;
mod notes;
mod summary;

use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;

pub use child::{ChildArguments, run as run_child};

use crate::place::{Place, progress};
use era::Era;
use summary::Summary;

/// Rounds in one directory.
const ROUNDS_OF_AN_ERA: u64 = 25;

/// Kills a writing process on the real file system, and judges what is left
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How many kills
    #[arg(long, default_value_t = 50)]
    pub rounds: u64,
    #[command(flatten)]
    pub place: Place,
}

/// Runs all rounds; whether nothing is wrong. What is left of a round that went wrong is kept.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let root = arguments.place.prepare("kill")?;
    let bar = progress(arguments.rounds, "kills");
    let started = Instant::now();
    let mut summary = Summary::default();
    let outcome = rounds(arguments, &root, &bar, &mut summary);
    summary.took = started.elapsed();
    bar.finish_and_clear();
    println!("{summary}");
    match outcome {
        Ok(()) => {
            let _ = std::fs::remove_dir_all(&root);
            println!("{} kills, nothing lost", arguments.rounds);
            Ok(true)
        }
        Err(error) => {
            println!("{error}");
            println!("what is left: {}", root.display());
            Ok(false)
        }
    }
}

fn rounds(
    arguments: &Arguments,
    root: &std::path::Path,
    bar: &ProgressBar,
    summary: &mut Summary,
) -> Result<(), String> {
    let mut left = arguments.rounds;
    let mut eras = 0;
    while left > 0 {
        let rounds = left.min(ROUNDS_OF_AN_ERA);
        left -= rounds;
        eras += 1;
        let seed = arguments.place.seed_of(eras);
        let mut era = Era::new(root, seed, arguments.place.planted.clone())?;
        summary.directories += 1;
        for round in 1..=rounds {
            let outcome = era.round(summary, round == rounds);
            outcome.map_err(|error| format!("directory of seed {seed}, round {round}: {error}"))?;
            bar.inc(1);
        }
    }
    Ok(())
}

//! `kestrel checkpoint`

use std::io::{self, Write};
use std::time::Instant;

use crate::failure::{Failure, Outcome};
use crate::place::{Missing, Place};

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel checkpoint";

/// Brings the data file up to date and lets go of the log before it.
///
/// Databases do this by themselves, also when they are closed. On demand it settles what a crash left: the
/// next opening has nothing to run again.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Checkpoint {}

impl Checkpoint {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        place.with_database(Missing::Refuse, |db| {
            let started = Instant::now();
            db.checkpoint()?;
            let seconds = started.elapsed().as_secs_f64();
            let figures = db.statistics();
            let (data, log) = (figures.data_file_bytes, figures.log_bytes);
            writeln!(
                io::stdout(),
                "checkpoint in {seconds:.3} s: data file of {data} bytes, log of {log} bytes"
            )
            .map_err(|error| Failure::output(&error))
        })
    }
}

//! The program `kestrel-history`: runs a workload, checks its history, and says what it found.

mod arguments;
mod planting;
mod table;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kestrel_history::{Run, check, write_edn};

use crate::arguments::Arguments;
use crate::table::print_table;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether nothing is wrong.
fn run(arguments: &Arguments) -> Result<bool, String> {
    if let Some(bug) = &arguments.planted {
        planting::plant(bug)?;
    }
    let workload = arguments.workload();
    let isolation = workload.isolation;
    let started = Instant::now();
    let template = "{bar:24} {human_pos} of {human_len} transactions, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(workload.transactions).with_style(style);
    let run = workload.run(|done| bar.set_position(done));
    bar.finish_and_clear();
    let Run { history, statistics, troubles } = run.map_err(|error| error.to_string())?;
    let ran = started.elapsed();

    let started = Instant::now();
    let report = check(&history, isolation);
    let checked = started.elapsed();
    if let Some(path) = &arguments.edn {
        let written = File::create(path).and_then(|file| {
            let mut to = BufWriter::new(file);
            write_edn(&history, &mut to)?;
            to.flush()
        });
        written.map_err(|error| format!("writing {}: {error}", path.display()))?;
    }
    print_table(&history, &statistics, &report, ran, checked);
    for trouble in &troubles {
        println!("trouble: {trouble}");
    }
    println!("{report}");
    Ok(report.is_clean() && troubles.is_empty())
}

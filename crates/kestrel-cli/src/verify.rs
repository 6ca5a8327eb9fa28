//! `kestrel verify`

use std::io::{self, Write};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use kestreldb::storage::{FileStorage, Storage};
use kestreldb::{ErrorKind, VerifyReport};

use crate::counted::counted;
use crate::failure::{Failure, Outcome};
use crate::place::Place;

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel verify && cp -r shop.kestrel backup/";

/// Reads the whole database and checks it.
///
/// That is: checksums of all pages, large values and of the log that is not in the data file yet; the order
/// and structure of every tree; the numbers of entries; that no space is used twice or lost. A database that cannot be opened
/// because of its damage is checked as far as it can be read.
///
/// Prints `ok` and what was checked, exit code 0; or one line for every damage, exit code 2. Any other
/// failure, such as a database that another process has open, is exit code 1.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {}

impl Verify {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let path = place.path()?;
        let opened = FileStorage::open(path);
        let storage = opened.map_err(|_| Place::not_found(path))?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let bar = ProgressBar::new(0).with_style(style());
        let report = kestreldb::verify_files(&storage, place.builder(), |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let report = report.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Place::not_found(path),
            _ => error.into(),
        })?;
        let printed = print(&report).map_err(|error| Failure::output(&error));
        // That nobody reads of the damage makes it no better.
        if report.damages.is_empty() { printed } else { Err(Failure::Damaged) }
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:40} {percent:>3} %  {human_pos} of {human_len} pages  {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn print(report: &VerifyReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for damage in &report.damages {
        writeln!(out, "{damage}")?;
    }
    let found = match report.damages.len() as u64 {
        0 => "ok".to_owned(),
        damages => counted(damages, "damage", "damages"),
    };
    let trees = counted(report.trees, "tree", "trees");
    let entries = counted(report.entries, "entry", "entries");
    let pages = counted(report.pages, "page", "pages");
    writeln!(out, "{found}: {trees}, {entries}, {pages}")?;
    out.flush()
}

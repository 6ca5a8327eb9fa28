//! `kestrel stat`

use std::io::{self, Write};

use kestreldb::Database;
use serde_json::{Map, Value};

use crate::failure::{Failure, Outcome};
use crate::place::{Missing, Place};
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel stat
  kestrel shop.kestrel stat --json | jq .data_file_bytes";

/// Prints figures about the database.
///
/// Figures of memory and of work done are about this opening alone: about what the command itself did to open
/// the database, running again what a crash left included.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stat {
    /// One JSON object.
    #[arg(long, short)]
    json: bool,
}

/// A figure: its name in JSON, its value, and what it is.
struct Figure(&'static str, u64, &'static str);

impl Stat {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        place.with_database(Missing::Refuse, |db| {
            let figures = figures(db)?;
            print(&figures, self.json).map_err(|error| Failure::output(&error))
        })
    }
}

fn figures(db: &Database) -> Outcome<Vec<Figure>> {
    let trees = db.trees()?;
    let s = db.statistics();
    Ok(vec![
        Figure("trees", trees.len() as u64, "trees"),
        Figure("entries", trees.iter().map(|tree| tree.entries).sum(), "entries in all trees"),
        Figure("newest_commit", s.visible, "number of the newest commit"),
        Figure("page_size", s.page_size, "bytes of a page"),
        Figure("max_key_len", db.max_key_len() as u64, "bytes of the longest key possible"),
        Figure("max_value_len", db.max_value_len(), "bytes of the longest value possible"),
        Figure("pages", s.pages, "pages and large values"),
        Figure("data_file_bytes", s.data_file_bytes, "bytes of the data file"),
        Figure("data_free_bytes", s.data_free_bytes, "of these, free"),
        Figure("log_bytes", s.log_bytes, "bytes of log that is kept"),
        Figure("memory_budget", s.memory_budget, "bytes of memory it may take"),
        Figure("frames", s.frames, "pages that memory has room for"),
        Figure("free_frames", s.free_frames, "of these, empty"),
        Figure("delta_bytes", s.delta_bytes, "bytes of changes not merged into pages"),
        Figure("stub_bytes", s.stub_bytes, "bytes of notes about pages not in memory"),
        Figure("superseded", s.superseded, "old states of pages that are kept"),
        Figure("live_snapshots", s.live_snapshots, "snapshots in use"),
        Figure("oldest_snapshot_lag", s.oldest_snapshot_lag, "commits that the oldest lags behind"),
        Figure("commits", s.commits, "commits since it was opened"),
        Figure("conflicts", s.conflicts, "commits refused because of a conflict"),
        Figure("replays", s.replays, "commits run again on changed pages"),
        Figure("checkpoints", s.checkpoints, "checkpoints"),
        Figure("log_syncs", s.log_syncs, "syncs of the log"),
        Figure("log_appended_bytes", s.log_appended_bytes, "bytes appended to the log"),
        Figure("page_loads", s.page_loads, "pages read from the data file"),
        Figure("page_writes", s.page_writes, "pages written to the data file"),
    ])
}

fn print(figures: &[Figure], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let object: Map<String, Value> =
            figures.iter().map(|&Figure(name, value, _)| (name.to_owned(), Value::from(value))).collect();
        writeln!(out, "{}", Value::Object(object))?;
    } else {
        let mut table = Table::new(&[1]);
        for Figure(name, value, meaning) in figures {
            table.row([(*name).to_owned(), value.to_string(), (*meaning).to_owned()]);
        }
        table.write(&mut out)?;
    }
    out.flush()
}

//! `kestrel salvage`

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use kestreldb::storage::{FileStorage, Storage};
use kestreldb::{Damage, SalvageOptions, SalvageReport};
use serde_json::{Value, json};

use crate::counted::counted;
use crate::failure::{Failure, Outcome};
use crate::place::Place;
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  kestrel broken.kestrel salvage rescued.kestrel
  kestrel broken.kestrel salvage rescued.kestrel --json | jq .lost";

/// Saves every readable key of a damaged database into a new one.
///
/// The damaged database is not changed. What is intact is saved with its newest value; printed is what is damaged, which keys
/// may be lost, and which are doubtful because nothing proves that what was found of them is the newest.
///
/// Exit code 0 if nothing is lost or doubtful, 2 otherwise, 1 if it could not be done.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Salvage {
    /// The directory of the new database; it must not hold one.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Applies commits behind a hole in the log, too.
    ///
    /// They may rely on what is lost, so the result may be a state that never was.
    #[arg(long)]
    beyond_holes: bool,
    /// One JSON object.
    #[arg(long, short)]
    json: bool,
}

impl Salvage {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let source = FileStorage::open(place.path()?)
            .map_err(|error| Failure::new(format!("opening {}: {error}", place.path_shown())))?;
        let source: Arc<dyn Storage> = Arc::new(source);
        let target = FileStorage::open_or_create(&self.target)
            .map_err(|error| Failure::new(format!("making {}: {error}", self.target.display())))?;
        let mut options = SalvageOptions::default();
        options.beyond_holes = self.beyond_holes;
        let bar = ProgressBar::new(0).with_style(style());
        let saved =
            kestreldb::salvage_with(&source, Arc::new(target), options, place.builder(), |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            });
        bar.finish_and_clear();
        let report = saved?;
        let printed = if self.json { print_json(&report) } else { print(&report) };
        let printed = printed.map_err(|error| Failure::output(&error));
        if report.lost.is_empty() && report.doubtful.is_empty() { printed } else { Err(Failure::Damaged) }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {percent:>3} %  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn print(report: &SalvageReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (kind, damages) in
        [("damaged", &report.damages), ("lost", &report.lost), ("doubtful", &report.doubtful)]
    {
        for damage in damages {
            writeln!(out, "{kind}: {damage}")?;
        }
    }
    if report.commits_left_out > 0 {
        let commits = counted(report.commits_left_out, "commit", "commits");
        writeln!(out, "left out: {commits} behind a hole in the log; --beyond-holes applies them")?;
    }
    let mut table = Table::new(&[1]);
    for tree in &report.trees {
        table.row([tree.name.clone(), tree.entries.to_string(), "saved".to_owned()]);
    }
    table.write(&mut out)?;
    out.flush()
}

fn print_json(report: &SalvageReport) -> io::Result<()> {
    let trees: Vec<Value> =
        report.trees.iter().map(|tree| json!({ "name": tree.name, "entries": tree.entries })).collect();
    let all = |damages: &[Damage]| damages.iter().map(damage_object).collect::<Vec<_>>();
    let object = json!({
        "trees": trees,
        "damages": all(&report.damages),
        "lost": all(&report.lost),
        "doubtful": all(&report.doubtful),
        "checkpoint": report.checkpoint,
        "commits": report.commits,
        "commits_left_out": report.commits_left_out,
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{object}")?;
    out.flush()
}

/// Keys are shown as in messages, with what is not printable escaped.
pub(crate) fn damage_object(damage: &Damage) -> Value {
    let shown = |key: &[u8]| key.escape_ascii().to_string();
    json!({
        "file": damage.file,
        "offset": damage.offset,
        "page": damage.page,
        "tree": damage.tree,
        "from": damage.keys.as_ref().map(|keys| shown(&keys.low)),
        "before": damage.keys.as_ref().and_then(|keys| keys.high.as_deref().map(shown)),
        "detail": damage.detail,
        "message": damage.to_string(),
    })
}

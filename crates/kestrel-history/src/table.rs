//! The figures of a run.

use std::time::Duration;

use kestrel_history::{History, Outcome, Report};
use kestreldb::Statistics;

pub(crate) fn print_table(
    history: &History,
    statistics: &Statistics,
    report: &Report,
    ran: Duration,
    checked: Duration,
) {
    let count = |wanted: fn(&Outcome) -> bool| {
        history.transactions().filter(|(_, transaction)| wanted(&transaction.outcome)).count() as u64
    };
    let rows = [
        ("transactions", history.len() as u64),
        ("  committed", count(|outcome| matches!(outcome, Outcome::Committed(_)))),
        ("  conflicts", count(|outcome| *outcome == Outcome::Conflict)),
        ("  aborted", count(|outcome| *outcome == Outcome::Aborted)),
        ("  unknown", count(|outcome| *outcome == Outcome::Unknown)),
        ("replays in the engine", statistics.replays),
        ("checkpoints", statistics.checkpoints),
        ("page loads", statistics.page_loads),
        ("page writes", statistics.page_writes),
        ("dependencies", report.dependencies),
        ("groups with write skew", report.skewed),
        ("reads compared", report.replayed_reads),
        ("anomalies", report.counts().values().sum()),
    ];
    for (name, figure) in rows {
        println!("{name:24} {figure:>12}");
    }
    println!("{:24} {:>10.1} s", "run", ran.as_secs_f64());
    println!("{:24} {:>10.1} s", "checked", checked.as_secs_f64());
}

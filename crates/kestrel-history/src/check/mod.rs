//! Finding anomalies in a history.
//!
//! [`check`] looks at it in two ways that know nothing of each other, nor of the engine.
//!
//! The first uses what clients saw and nothing else: the longest read of a list tells the order of its versions, from
//! which follow the dependencies between transactions; a cycle among them is an anomaly (Adya, *Weak Consistency*, 1999;
//! Kingsbury and Alvaro, *Elle*, 2020). The second believes the timestamps that the engine gave out, does all commits
//! again in that order on a map, and compares every read. It is exact: no anomaly escapes it by not being a cycle.

mod components;
mod cycles;
mod dependencies;
mod graph;
mod real_time;
mod replay;
mod report;
mod versions;
mod writers;

pub use report::{Anomaly, AnomalyKind, Report};

use kestreldb::Isolation;

use crate::History;

/// Finds what transactions of this isolation level must not have seen.
#[must_use]
pub fn check(history: &History, isolation: Isolation) -> Report {
    let mut report = check_lists(history, isolation);
    report.merge(check_timestamps(history, isolation));
    report
}

/// The first half of [`check`]: lists and cycles. Timestamps are not looked at.
#[must_use]
pub fn check_lists(history: &History, isolation: Isolation) -> Report {
    let mut report = Report::default();
    let writers = writers::Writers::new(history);
    let versions = versions::Versions::new(history, &writers, &mut report);
    let edges = dependencies::edges(history, &writers, &versions, &mut report);
    drop((writers, versions));
    cycles::check(history, edges, isolation, &mut report);
    report
}

/// The second half of [`check`]: the replay in the order of timestamps.
#[must_use]
pub fn check_timestamps(history: &History, isolation: Isolation) -> Report {
    let mut report = Report::default();
    real_time::check(history, &mut report);
    replay::check(history, isolation, &mut report);
    report
}

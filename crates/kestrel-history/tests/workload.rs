//! The engine under concurrent transactions of all sorts: no anomaly, and everything that is to be tested did happen.

use kestrel_history::{Isolation, Outcome, Run, Workload, check, write_edn};

const TRANSACTIONS: u64 = 50_000;

fn run(workload: Workload) -> Run {
    let isolation = workload.isolation;
    let run = workload.run(|_| {}).expect("opening the database");
    assert_eq!(run.troubles, Vec::<String>::new());
    let report = check(&run.history, isolation);
    assert!(report.is_clean(), "{report}");
    assert!(report.dependencies > 0 && report.replayed_reads > 0);
    run
}

#[test]
fn serializable_transactions_are() {
    let run = run(Workload { transactions: TRANSACTIONS, seed: 1, ..Workload::default() });
    let outcomes = |wanted: fn(&Outcome) -> bool| {
        run.history.transactions().filter(|(_, transaction)| wanted(&transaction.outcome)).count()
    };
    assert!(run.history.len() as u64 > TRANSACTIONS);
    assert!(outcomes(|outcome| matches!(outcome, Outcome::Committed(_))) > run.history.len() / 2);
    assert!(outcomes(|outcome| *outcome == Outcome::Conflict) > 0, "transactions never met");
    assert!(outcomes(|outcome| *outcome == Outcome::Aborted) > 0);
    let statistics = run.statistics;
    assert!(statistics.replays > 0, "no page was ever shared: {statistics:?}");
    assert!(statistics.checkpoints > 0, "no checkpoint: {statistics:?}");
    // Nothing was there at the start, so what was loaded had been evicted.
    assert!(statistics.page_loads > 0, "memory sufficed: {statistics:?}");
}

#[test]
fn snapshot_isolation_allows_write_skew_only() {
    let workload = Workload {
        transactions: TRANSACTIONS / 2,
        seed: 2,
        isolation: Isolation::Snapshot,
        ..Workload::default()
    };
    run(workload);
}

#[test]
fn on_disk_it_is_the_same() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let workload = Workload {
        transactions: TRANSACTIONS / 10,
        seed: 3,
        directory: Some(directory.path().join("database")),
        ..Workload::default()
    };
    let run = run(workload);
    let mut text = Vec::new();
    write_edn(&run.history, &mut text).expect("writing to memory");
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 2 * run.history.len());
}

//! Every kind of anomaly in a history written by hand is found, and named rightly; a clean history passes.

use crate::script::Do::{Append, Gone, Read, Retire, Rollback, Savepoint, Tail};
use crate::script::{Do, Txn, committed};
use kestrel_history::check::{check_lists, check_timestamps};
use kestrel_history::{AnomalyKind, History, Isolation, Outcome, Report, TxnId, check};

/// Transactions that all ran at the same time, so that nothing follows from when they ran.
fn at_once(transactions: Vec<(Outcome, Vec<Do>)>) -> History {
    let transactions: Vec<Txn> = (0_u32..)
        .zip(transactions)
        .map(|(process, (outcome, steps))| Txn { process, begun: 0, ended: 100, snapshot: 0, outcome, steps })
        .collect();
    crate::script::history(&transactions)
}

/// Transactions one after the other: `(snapshot, outcome, steps)`.
fn in_turn(transactions: Vec<(u64, Outcome, Vec<Do>)>) -> History {
    let transactions: Vec<Txn> = (0..)
        .zip(transactions)
        .map(|(turn, (snapshot, outcome, steps))| Txn {
            process: 0,
            begun: 2 * turn,
            ended: 2 * turn + 1,
            snapshot,
            outcome,
            steps,
        })
        .collect();
    crate::script::history(&transactions)
}

const OK: Outcome = Outcome::Committed(kestrel_history::Timestamp(1));

/// Demands that only this kind was found.
#[track_caller]
fn assert_only(report: &Report, kind: AnomalyKind) {
    let kinds: Vec<AnomalyKind> = report.counts().keys().copied().collect();
    assert_eq!(kinds, [kind], "{report}");
}

#[track_caller]
fn lists(transactions: Vec<(Outcome, Vec<Do>)>, kind: AnomalyKind) -> Report {
    let report = check_lists(&at_once(transactions), Isolation::Serializable);
    assert_only(&report, kind);
    report
}

#[track_caller]
fn timestamps(transactions: Vec<(u64, Outcome, Vec<Do>)>, isolation: Isolation, kind: AnomalyKind) {
    assert_only(&check_timestamps(&in_turn(transactions), isolation), kind);
}

#[test]
fn a_clean_history_passes() {
    let history = in_turn(vec![
        (0, committed(1), vec![Tail(1, 0, None), Append(1, 1), Append(2, 2), Read(1, vec![1])]),
        (1, committed(1), vec![Read(1, vec![1]), Read(2, vec![2])]),
        (
            1,
            committed(3),
            vec![Tail(1, 1, Some(1)), Append(1, 3), Savepoint, Append(1, 4), Rollback, Append(1, 5)],
        ),
        (3, Outcome::Aborted, vec![Read(1, vec![1, 3, 5]), Append(1, 6), Read(1, vec![1, 3, 5, 6])]),
        (3, committed(4), vec![Read(2, vec![2]), Retire(2), Gone(2)]),
        (4, Outcome::Conflict, vec![Gone(2), Append(1, 7)]),
        (4, committed(4), vec![Gone(2), Read(1, vec![1, 3, 5])]),
    ]);
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let report = check(&history, isolation);
        assert!(report.is_clean(), "{report}");
        assert!(report.dependencies > 0 && report.replayed_reads > 8);
    }
}

#[test]
fn garbage() {
    lists(vec![(OK, vec![Read(1, vec![7])])], AnomalyKind::Garbage);
    lists(vec![(OK, vec![Append(2, 7)]), (OK, vec![Read(1, vec![7])])], AnomalyKind::Garbage);
}

#[test]
fn duplicate() {
    lists(vec![(OK, vec![Append(1, 7)]), (OK, vec![Read(1, vec![7, 7])])], AnomalyKind::Duplicate);
}

#[test]
fn aborted_read() {
    for outcome in [Outcome::Aborted, Outcome::Conflict] {
        lists(vec![(outcome, vec![Append(1, 7)]), (OK, vec![Read(1, vec![7])])], AnomalyKind::AbortedRead);
    }
    let undone = vec![Savepoint, Append(1, 7), Rollback];
    lists(vec![(OK, undone), (OK, vec![Read(1, vec![7])])], AnomalyKind::AbortedRead);
    let unknown = vec![(Outcome::Unknown, vec![Append(1, 7)]), (OK, vec![Read(1, vec![7])])];
    assert!(check_lists(&at_once(unknown), Isolation::Serializable).is_clean(), "it may have been committed");
}

#[test]
fn intermediate_read() {
    let writer = (OK, vec![Append(1, 7), Append(1, 8)]);
    let report = lists(vec![writer, (OK, vec![Read(1, vec![7])])], AnomalyKind::IntermediateRead);
    assert_eq!(report.anomalies()[0].transactions, [TxnId(1), TxnId(0)]);
}

#[test]
fn own_writes() {
    lists(vec![(OK, vec![Append(1, 7), Read(1, vec![])])], AnomalyKind::OwnWrites);
    lists(vec![(OK, vec![Append(1, 7), Tail(1, 0, None)])], AnomalyKind::OwnWrites);
}

#[test]
fn incompatible_order() {
    let writers = [(OK, vec![Append(1, 7)]), (OK, vec![Append(1, 8)])];
    for read in [Read(1, vec![8]), Tail(1, 1, Some(8))] {
        let readers = [(OK, vec![Read(1, vec![7, 8])]), (OK, vec![read])];
        lists([&writers[..], &readers].concat(), AnomalyKind::IncompatibleOrder);
    }
}

#[test]
fn missing() {
    let stale = in_turn(vec![
        (0, OK, vec![Append(1, 7)]),
        (0, OK, vec![Append(1, 8)]),
        (0, OK, vec![Read(1, vec![7, 8])]),
        (0, OK, vec![Tail(1, 1, Some(7))]),
    ]);
    let report = check_lists(&stale, Isolation::Serializable);
    assert_eq!(report.counts()[&AnomalyKind::Missing], 1, "{report}");
    assert_eq!(report.anomalies()[0].transactions, [TxnId(3), TxnId(1)]);

    let lost = in_turn(vec![
        (0, OK, vec![Append(1, 7)]),
        (0, OK, vec![Append(1, 8)]),
        (0, OK, vec![Read(1, vec![7])]),
    ]);
    assert_only(&check_lists(&lost, Isolation::Serializable), AnomalyKind::Missing);
    let lost = in_turn(vec![(0, OK, vec![Append(1, 7)]), (0, OK, vec![Read(1, vec![])])]);
    assert_only(&check_lists(&lost, Isolation::Serializable), AnomalyKind::Missing);
}

#[test]
fn g0() {
    let report = lists(
        vec![
            (OK, vec![Append(1, 1), Append(2, 2)]),
            (OK, vec![Append(1, 3), Append(2, 4)]),
            (OK, vec![Read(1, vec![1, 3])]),
            (OK, vec![Read(2, vec![4, 2])]),
        ],
        AnomalyKind::G0,
    );
    let cycle = &report.anomalies()[0];
    assert_eq!(cycle.what, "T0 -ww(1)-> T1 -ww(2)-> T0");
    assert!(cycle.transactions == [TxnId(0), TxnId(1)] && cycle.details[1].contains("append 4 to 2"));
}

#[test]
fn g1c() {
    let report = lists(
        vec![(OK, vec![Append(1, 1), Read(2, vec![2])]), (OK, vec![Append(2, 2), Read(1, vec![1])])],
        AnomalyKind::G1c,
    );
    assert_eq!(report.anomalies()[0].what, "T0 -wr(1)-> T1 -wr(2)-> T0");
}

#[test]
fn g_single() {
    let skewed_read = vec![
        (OK, vec![Append(1, 1)]),
        (OK, vec![Read(1, vec![1]), Read(2, vec![3])]),
        (OK, vec![Append(1, 2), Append(2, 3)]),
        (OK, vec![Read(1, vec![1, 2])]),
    ];
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let report = check_lists(&at_once(skewed_read.clone()), isolation);
        assert_only(&report, AnomalyKind::GSingle);
        assert_eq!(report.anomalies()[0].what, "T1 -rw(1)-> T2 -wr(2)-> T1");
    }
    // The way back leads over others.
    lists(
        vec![
            (OK, vec![Read(1, vec![]), Read(3, vec![3])]),
            (OK, vec![Append(1, 1), Append(2, 2)]),
            (OK, vec![Read(2, vec![2]), Append(3, 3)]),
            (OK, vec![Read(1, vec![1])]),
        ],
        AnomalyKind::GSingle,
    );
}

#[test]
fn write_skew() {
    let skew = vec![
        (OK, vec![Read(1, vec![]), Append(2, 1)]),
        (OK, vec![Read(2, vec![]), Append(1, 2)]),
        (OK, vec![Read(1, vec![2]), Read(2, vec![1])]),
    ];
    let report = lists(skew.clone(), AnomalyKind::G2);
    assert_eq!(report.anomalies()[0].what, "T0 -rw(1)-> T1 -rw(2)-> T0");
    let report = check_lists(&at_once(skew), Isolation::Snapshot);
    assert!(report.is_clean() && report.skewed == 1);
}

#[test]
fn timestamps_of_two_commits() {
    let both = vec![(0, committed(1), vec![Append(1, 1)]), (1, committed(1), vec![Append(2, 2)])];
    let report = check_timestamps(&in_turn(both), Isolation::Serializable);
    assert!(report.counts().contains_key(&AnomalyKind::Timestamps), "{report}");
    timestamps(vec![(1, committed(1), vec![Append(1, 1)])], Isolation::Serializable, AnomalyKind::Timestamps);
}

#[test]
fn real_time() {
    timestamps(
        vec![(0, committed(1), vec![Append(1, 1)]), (0, committed(0), vec![Read(1, vec![])])],
        Isolation::Serializable,
        AnomalyKind::RealTime,
    );
}

#[test]
fn lost_update() {
    let history = crate::script::history(&[(0, 1, 1), (1, 2, 2)].map(|(process, at, element)| Txn {
        process,
        begun: 0,
        ended: 9,
        snapshot: 0,
        outcome: committed(at),
        steps: vec![Tail(1, 0, None), Append(1, element)],
    }));
    assert_only(&check_timestamps(&history, Isolation::Snapshot), AnomalyKind::LostUpdate);
    // To a serializable transaction the first look was wrong already.
    let report = check_timestamps(&history, Isolation::Serializable);
    assert_eq!(report.counts()[&AnomalyKind::Replay], 1, "{report}");
}

#[test]
fn replay() {
    let first = (0, committed(1), vec![Append(1, 1), Append(1, 2)]);
    for wrong in [
        Read(1, vec![1]),
        Read(1, vec![2, 1]),
        Read(1, vec![1, 2, 3]),
        Read(1, vec![]),
        Tail(1, 2, Some(1)),
        Tail(1, 1, Some(2)),
        Tail(1, 0, None),
        Gone(1),
        Read(2, vec![1]),
    ] {
        let reader = (1, committed(1), vec![wrong.clone()]);
        timestamps(vec![first.clone(), reader], Isolation::Snapshot, AnomalyKind::Replay);
        let writer = (1, committed(2), vec![wrong.clone(), Append(3, 9)]);
        timestamps(vec![first.clone(), writer], Isolation::Serializable, AnomalyKind::Replay);
        let aborted = (1, Outcome::Aborted, vec![wrong]);
        timestamps(vec![first.clone(), aborted], Isolation::Serializable, AnomalyKind::Replay);
    }
}

#[test]
fn a_serializable_read_has_to_hold_until_the_commit() {
    let transactions = [
        (0, 9, 0, committed(2), vec![Read(1, vec![]), Append(2, 1)]),
        (1, 8, 0, committed(1), vec![Append(1, 2)]),
    ];
    let transactions = transactions.map(|(begun, ended, snapshot, outcome, steps)| Txn {
        process: begun as u32,
        begun,
        ended,
        snapshot,
        outcome,
        steps,
    });
    let history = crate::script::history(&transactions);
    assert_only(&check_timestamps(&history, Isolation::Serializable), AnomalyKind::Replay);
    assert!(check_timestamps(&history, Isolation::Snapshot).is_clean());
}

//! Bugs planted in the engine are found, and without them the same build is clean. Exists only in builds that have bugs:
//!
//! ```sh
//! RUSTFLAGS="--cfg kestrel_planted" CARGO_TARGET_DIR=target/planted cargo test -p kestrel-history --test planted
//! ```
#![cfg(kestrel_planted)]

use std::collections::BTreeMap;
use std::time::Instant;

use kestrel_check::planted::{Bug, plant};
use kestrel_history::{AnomalyKind, Isolation, Run, Workload, check};

/// How many transactions are run at first, and at most.
const FIRST: u64 = 40;
const MOST: u64 = 64_000;

/// What was found in a run.
struct Finding {
    anomalies: BTreeMap<AnomalyKind, u64>,
    troubles: Vec<String>,
}

fn run(transactions: u64, isolation: Isolation, seed: u64) -> Finding {
    let workload = Workload { transactions, isolation, seed, ..Workload::default() };
    let Run { history, troubles, .. } = workload.run(|_| {}).expect("opening the database");
    let anomalies = check(&history, isolation).counts().clone();
    Finding { anomalies, troubles }
}

/// Whether it is what the bug has to be found by. A page that is gone is an error, not a wrong answer.
fn is_caught(bug: Bug, found: &Finding) -> bool {
    !found.anomalies.is_empty() || (bug == Bug::VersionFreedTooEarly && !found.troubles.is_empty())
}

/// Runs more and more transactions until the bug is found.
fn hunt(bug: Bug) {
    let started = Instant::now();
    let mut transactions = FIRST;
    let found = loop {
        let found = run(transactions, Isolation::Serializable, transactions);
        if is_caught(bug, &found) || transactions >= MOST {
            break found;
        }
        transactions *= 2;
    };
    let troubles = found.troubles.first().map_or("none", String::as_str);
    println!(
        "{bug:?}: within {transactions} transactions, {:.1?}: {:?}; troubles: {troubles:.100}",
        started.elapsed(),
        found.anomalies
    );
    assert!(is_caught(bug, &found), "{bug:?} was not found in {transactions} transactions: {troubles}");
}

/// One test, as a bug is planted for the whole process.
#[test]
fn planted_bugs_are_found_and_nothing_else_is() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let found = run(20_000, isolation, 1);
        assert!(
            found.anomalies.is_empty() && found.troubles.is_empty(),
            "{isolation:?}, without a bug: {:?}, {:?}",
            found.anomalies,
            found.troubles
        );
    }
    for &bug in Bug::IN_HISTORIES {
        plant(Some(bug));
        hunt(bug);
        plant(None);
    }
    let found = run(5_000, Isolation::Serializable, 2);
    assert!(found.anomalies.is_empty() && found.troubles.is_empty(), "{:?}", found.troubles);
}

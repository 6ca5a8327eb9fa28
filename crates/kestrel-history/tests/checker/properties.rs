//! Random histories of a correct database are clean; with one read changed, they are not.

use kestrel_history::check::check_lists;
use kestrel_history::{Isolation, check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::interpreter::{Action, Interpreter, KEYS, PROCESSES};
use crate::script::{Do, Txn, history};

fn action() -> impl Strategy<Value = Action> {
    let key = 0..KEYS;
    prop_oneof![
        8 => key.clone().prop_map(Action::Append),
        8 => key.clone().prop_map(Action::Read),
        3 => key.clone().prop_map(Action::Tail),
        1 => key.prop_map(Action::Retire),
        1 => Just(Action::Savepoint),
        1 => Just(Action::Rollback),
        5 => Just(Action::Commit),
        1 => Just(Action::Abort),
    ]
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![Just(Isolation::Serializable), Just(Isolation::Snapshot)]
}

fn transactions(isolation: Isolation, actions: &[(usize, Action)]) -> Vec<Txn> {
    let mut interpreter = Interpreter::new(isolation);
    for &(process, action) in actions {
        interpreter.act(process, action);
    }
    interpreter.finish()
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Drop(Index),
    Swap(Index),
    Stale,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<Index>().prop_map(Change::Drop),
        any::<Index>().prop_map(Change::Swap),
        Just(Change::Stale),
    ]
}

/// The places of reads of at least so many elements, by transaction and step.
fn reads(transactions: &[Txn], len_min: usize) -> Vec<(usize, usize)> {
    let steps = |(at, txn): (usize, &Txn)| {
        let long = |step: &Do| matches!(step, Do::Read(_, list) if list.len() >= len_min);
        let places = (0..txn.steps.len()).filter(|step| long(&txn.steps[*step]));
        places.map(|step| (at, step)).collect::<Vec<_>>()
    };
    transactions.iter().enumerate().flat_map(steps).collect()
}

proptest! {
    #[test]
    fn a_correct_database_is_clean(
        isolation in isolation(),
        actions in vec((0..PROCESSES, action()), 0..200),
    ) {
        let report = check(&history(&transactions(isolation, &actions)), isolation);
        prop_assert!(report.is_clean(), "{report}");
    }

    #[test]
    fn a_changed_read_is_found(
        isolation in isolation(),
        actions in vec((0..PROCESSES, action()), 20..200),
        change in change(),
        which in any::<Index>(),
    ) {
        let mut transactions = transactions(isolation, &actions);
        let len_min = if matches!(change, Change::Swap(_)) { 2 } else { 1 };
        let reads = reads(&transactions, len_min);
        prop_assume!(!reads.is_empty());
        let (txn, step) = reads[which.index(reads.len())];
        let Do::Read(_, list) = &mut transactions[txn].steps[step] else { unreachable!() };
        let old = list.clone();
        match change {
            Change::Drop(at) => drop(list.remove(at.index(old.len()))),
            Change::Swap(at) => {
                let at = at.index(old.len() - 1);
                list.swap(at, at + 1);
            }
            Change::Stale => drop(list.pop()),
        }
        let was_cut_short = old.starts_with(list);
        let report = check(&history(&transactions), isolation);
        prop_assert!(!report.is_clean(), "{old:?} changed by {change:?}");

        // What is no beginning of the list is found without timestamps, too, if others read the list as it is.
        let others = |other: &(usize, &Txn)| other.0 != txn && other.1.outcome != kestrel_history::Outcome::Conflict;
        let seen = transactions.iter().enumerate().filter(others);
        let is_seen = seen.flat_map(|(_, txn)| &txn.steps).any(|step| {
            matches!(step, Do::Read(_, list) if list.starts_with(&old))
        });
        let committed = matches!(transactions[txn].outcome, kestrel_history::Outcome::Committed(_));
        let undone = transactions[txn].steps.contains(&Do::Rollback);
        let aborted_reader = transactions.iter().any(|txn| txn.outcome == kestrel_history::Outcome::Aborted);
        if committed && !undone && is_seen && !was_cut_short && !aborted_reader {
            let report = check_lists(&history(&transactions), isolation);
            prop_assert!(!report.is_clean(), "{old:?} changed by {change:?}");
        }
    }
}

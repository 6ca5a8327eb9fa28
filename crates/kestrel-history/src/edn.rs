//! Histories as other checkers read them: EDN, one operation a line, as Jepsen writes it and Elle's list-append reads it.
//!
//! ```text
//! {:index 0, :type :invoke, :process 0, :f :txn, :value [[:append 1 1] [:r 2 nil]]}
//! {:index 1, :type :ok, :process 0, :f :txn, :value [[:append 1 1] [:r 2 [5 6]]]}
//! ```
//!
//! `:ok` was acknowledged, `:fail` was refused or given up, `:info` is unknown. Left out are operations that a savepoint took
//! back, looks at a list's end only, and the removal of lists: a list that is removed ends, and is read for the last
//! time by its remover. A process has one transaction at a time, so a long snapshot that was open beside others is a
//! process of its own.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use crate::{Element, History, Moment, Operation, Outcome, TxnId};

/// Writes a history. Indices are places in this text.
///
/// # Errors
/// What `to` says.
pub fn write_edn(history: &History, to: &mut impl Write) -> io::Result<()> {
    let mut events: Vec<(Moment, bool, TxnId)> = Vec::with_capacity(2 * history.len());
    for (txn, transaction) in history.transactions() {
        events.push((transaction.begun, false, txn));
        events.push((transaction.ended, true, txn));
    }
    events.sort_unstable();
    let mut next_process =
        history.transactions().map(|(_, transaction)| transaction.process + 1).max().unwrap_or(0);
    let mut busy: HashSet<u32> = HashSet::new();
    let mut stand_ins: HashMap<TxnId, u32> = HashMap::new();
    for (index, (_, has_ended, txn)) in events.into_iter().enumerate() {
        let transaction = history.transaction(txn);
        let process = if has_ended {
            stand_ins.remove(&txn).unwrap_or(transaction.process)
        } else if busy.contains(&transaction.process) {
            next_process += 1;
            stand_ins.insert(txn, next_process - 1);
            next_process - 1
        } else {
            transaction.process
        };
        let kind = match transaction.outcome {
            _ if !has_ended => "invoke",
            Outcome::Committed(_) => "ok",
            Outcome::Conflict | Outcome::Aborted => "fail",
            Outcome::Unknown => "info",
        };
        // A process of which nothing is known is never heard of again.
        if kind == "invoke" {
            busy.insert(process);
        } else if kind != "info" {
            busy.remove(&process);
        }
        write!(to, "{{:index {index}, :type :{kind}, :process {process}, :f :txn, :value [")?;
        write_operations(history, txn, kind == "ok", to)?;
        writeln!(to, "]}}")?;
    }
    Ok(())
}

fn write_operations(
    history: &History,
    txn: TxnId,
    with_results: bool,
    to: &mut impl Write,
) -> io::Result<()> {
    let mut space = "";
    for step in history.steps(txn).filter(|step| !step.undone) {
        match step.operation {
            Operation::Append { key, element } => write!(to, "{space}[:append {} {}]", key.0, element.0)?,
            Operation::Read { key, .. } if !with_results => write!(to, "{space}[:r {} nil]", key.0)?,
            Operation::Read { key, list } => {
                write!(to, "{space}[:r {} ", key.0)?;
                write_list(list, to)?;
                write!(to, "]")?;
            }
            _ => continue,
        }
        space = " ";
    }
    Ok(())
}

fn write_list(list: &[Element], to: &mut impl Write) -> io::Result<()> {
    write!(to, "[")?;
    for (at, element) in list.iter().enumerate() {
        let space = if at > 0 { " " } else { "" };
        write!(to, "{space}{}", element.0)?;
    }
    write!(to, "]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Timestamp};

    #[test]
    fn a_small_history_in_full() {
        let mut history = History::new();
        history.append(Key(1), Element(10));
        history.savepoint();
        history.append(Key(1), Element(11));
        history.rollback();
        history.tail(Key(2), 0, None);
        history.append(Key(2), Element(12));
        history.end(0, (Moment(3), Moment(6)), Timestamp(0), Outcome::Committed(Timestamp(1)));
        // A snapshot that process 1 has had from before, read late.
        history.read(Key(1), []);
        history.gone(Key(7));
        history.end(1, (Moment(1), Moment(20)), Timestamp(0), Outcome::Committed(Timestamp(0)));
        history.append(Key(1), Element(13));
        history.read(Key(2), [Element(12)]);
        history.end(1, (Moment(5), Moment(9)), Timestamp(1), Outcome::Conflict);
        history.read(Key(1), [Element(10)]);
        history.read(Key(2), [Element(12)]);
        history.retire(Key(2));
        history.end(0, (Moment(8), Moment(11)), Timestamp(1), Outcome::Committed(Timestamp(2)));
        history.append(Key(1), Element(14));
        history.end(1, (Moment(12), Moment(13)), Timestamp(2), Outcome::Unknown);
        let mut text = Vec::new();
        write_edn(&history, &mut text).unwrap();
        let expected = "\
{:index 0, :type :invoke, :process 1, :f :txn, :value [[:r 1 nil]]}
{:index 1, :type :invoke, :process 0, :f :txn, :value [[:append 1 10] [:append 2 12]]}
{:index 2, :type :invoke, :process 2, :f :txn, :value [[:append 1 13] [:r 2 nil]]}
{:index 3, :type :ok, :process 0, :f :txn, :value [[:append 1 10] [:append 2 12]]}
{:index 4, :type :invoke, :process 0, :f :txn, :value [[:r 1 nil] [:r 2 nil]]}
{:index 5, :type :fail, :process 2, :f :txn, :value [[:append 1 13] [:r 2 nil]]}
{:index 6, :type :ok, :process 0, :f :txn, :value [[:r 1 [10]] [:r 2 [12]]]}
{:index 7, :type :invoke, :process 3, :f :txn, :value [[:append 1 14]]}
{:index 8, :type :info, :process 3, :f :txn, :value [[:append 1 14]]}
{:index 9, :type :ok, :process 1, :f :txn, :value [[:r 1 []]]}
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}

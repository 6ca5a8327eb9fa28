//! Doing the log's commits again on the new database.
//!
//! Up to the first hole they are what happened. Commits behind it may rely on those in it, so they are left out unless asked for;
//! then whatever keys they wrote are reported.

use std::collections::BTreeMap;

use kestrel_pager::{FileSurvey, Timestamp, TreeId};
use kestrel_wal::{Found, LogSurvey, Lsn, Record};

use super::saver::{Saver, read_blob};
use super::{SalvageOptions, SalvageReport};
use crate::operation::{Operation, operations};
use crate::record::{COMMIT, FRAGMENT, RecordHeader, damaged, fragments};
use crate::{Damage, Error, KeyBounds};

/// Does all commits from a place on that are newer than a timestamp.
pub(super) fn replay(
    wal: &LogSurvey,
    file: &FileSurvey,
    (from, after): (Lsn, Timestamp),
    options: SalvageOptions,
    saver: &mut Saver<'_>,
    report: &mut SalvageReport,
) -> Result<(), Error> {
    let mut replay = Replay { wal, file, last: after, broken: false, options, left_out: BTreeMap::new() };
    let mut outcome = Ok(());
    wal.walk(from, |found| {
        if outcome.is_err() {
            return;
        }
        match found {
            Found::Record(record) => outcome = replay.record(&record, saver, report),
            Found::Torn(at) => {
                let detail = "the log ends there in a record that is not whole; if its commit was acknowledged, it is lost";
                report.doubtful.push(Damage::new(format!("log position {at}: {detail}")));
            }
            Found::Hole { from, to, error } => {
                let end = to.map_or_else(|| "the end".to_owned(), |to| to.to_string());
                let damage = Damage::from(error);
                let detail = format!("{}; all records from there to {end} are gone", damage.detail);
                report.damages.push(Damage { detail: detail.clone(), ..damage });
                replay.lose(format!("commits at log positions {from} to {end} are gone"), report);
            }
        }
    });
    outcome?;
    for (tree, keys) in replay.left_out {
        let damage = Damage::new("commits behind a hole in the log changed these keys, and were left out");
        report.lost.push(damage.of(&saver.name(tree), Some(keys)));
    }
    Ok(())
}

struct Replay<'a> {
    wal: &'a LogSurvey,
    file: &'a FileSurvey,
    /// The newest commit that was met.
    last: Timestamp,
    /// Something before is missing.
    broken: bool,
    options: SalvageOptions,
    /// What commits that were left out changed.
    left_out: BTreeMap<TreeId, KeyBounds>,
}

impl Replay<'_> {
    /// A commit or some are gone, and nobody knows which keys they changed.
    fn lose(&mut self, detail: String, report: &mut SalvageReport) {
        self.broken = true;
        report.lost.push(Damage::new(detail));
    }

    fn record(
        &mut self,
        record: &Record,
        saver: &mut Saver<'_>,
        report: &mut SalvageReport,
    ) -> Result<(), Error> {
        if record.kind == FRAGMENT {
            return Ok(());
        }
        let payloads = self.payloads(record);
        let payloads = match payloads {
            Ok((timestamp, _)) if timestamp <= self.last => return Ok(()),
            Ok((timestamp, payloads)) => {
                self.last = timestamp;
                payloads
            }
            Err(error) => {
                let detail = format!("the commit at log position {} cannot be read: {error}", record.start);
                report.damages.push(Damage::new(detail.clone()));
                self.lose(detail, report);
                return Ok(());
            }
        };
        let all: Vec<Operation<'_>> = payloads.iter().flat_map(|bytes| operations(bytes).flatten()).collect();
        if self.broken && !self.options.beyond_holes {
            report.commits_left_out += 1;
            all.iter().for_each(|operation| self.leave_out(operation));
            return Ok(());
        }
        for (index, operation) in all.iter().enumerate() {
            let rest = all.get(index + 1..).unwrap_or_default();
            self.apply(operation, rest, saver, report)?;
        }
        report.commits += 1;
        Ok(())
    }

    /// A commit's timestamp, and the bytes of its operations, those of its fragments first.
    fn payloads(&self, record: &Record) -> Result<(Timestamp, Vec<Vec<u8>>), Error> {
        if record.kind != COMMIT {
            return Err(damaged("it is of an unknown kind"));
        }
        let (header, own) = RecordHeader::decode(&record.payload)?;
        let read = |lsn| -> Result<Vec<u8>, Error> {
            let record = self.wal.read(lsn)?;
            if record.kind == FRAGMENT { Ok(record.payload) } else { Err(damaged("no fragment is there")) }
        };
        let mut payloads = Vec::new();
        for lsn in fragments(header.previous, read)? {
            payloads.push(RecordHeader::decode(&read(lsn)?)?.1.to_vec());
        }
        payloads.push(own.to_vec());
        for bytes in &payloads {
            operations(bytes).try_for_each(|operation| operation.map(drop))?;
        }
        Ok((header.timestamp, payloads))
    }

    fn leave_out(&mut self, operation: &Operation<'_>) {
        let keys = match *operation {
            Operation::Put { key, .. } | Operation::PutBlob { key, .. } | Operation::Delete { key, .. } => {
                KeyBounds::one(key)
            }
            Operation::DeleteRange { low, high, .. } => {
                KeyBounds { low: low.to_vec(), high: high.map(<[u8]>::to_vec) }
            }
            _ => KeyBounds::all(),
        };
        let known = self.left_out.entry(operation.tree()).or_insert_with(|| keys.clone());
        known.low = known.low.clone().min(keys.low);
        known.high = known.high.take().zip(keys.high).map(|(known, new)| known.max(new));
    }

    fn apply(
        &self,
        operation: &Operation<'_>,
        rest: &[Operation<'_>],
        saver: &mut Saver<'_>,
        report: &mut SalvageReport,
    ) -> Result<(), Error> {
        match *operation {
            Operation::Put { tree, key, value } => {
                let tree = saver.tree(tree)?;
                saver.put(tree, key, value)
            }
            Operation::PutBlob { tree, key, location, len, checksum } => {
                let place = std::iter::once(location);
                match read_blob(self.file, kestrel_pager::PageId(0), place, len, checksum) {
                    Ok(value) => {
                        let tree = saver.tree(tree)?;
                        saver.put(tree, key, &value)
                    }
                    Err(damage) => {
                        let name = saver.name(tree);
                        let damage = Damage { page: None, ..*damage }.of(&name, Some(KeyBounds::one(key)));
                        report.damages.push(damage.clone());
                        report.lost.push(damage);
                        // What was there before is not what was there last.
                        self.apply(&Operation::Delete { tree, key }, &[], saver, report)
                    }
                }
            }
            Operation::Delete { tree, key } => {
                let Some(tree) = saver.known(tree) else { return Ok(()) };
                match saver.txn()? {
                    Some(txn) => txn.delete(tree, key).map(drop),
                    None => Ok(()),
                }
            }
            Operation::DeleteRange { tree, low, high } => {
                let Some(tree) = saver.known(tree) else { return Ok(()) };
                let upper = high.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                match saver.txn()? {
                    Some(txn) => txn.remove_range(tree, std::ops::Bound::Included(low), upper).map(drop),
                    None => Ok(()),
                }
            }
            // Found already, where no checkpoint says which trees there were.
            Operation::CreateTree { tree, name } if saver.known(tree).is_some() => saver.rename(tree, name),
            Operation::CreateTree { tree, name } => saver.create(tree, name).map(drop),
            Operation::DropTree { tree } => {
                // Taken back by the same commit: it never happened.
                let restored = |later: &Operation<'_>| matches!(*later, Operation::RestoreTree { tree: other, .. } if other == tree);
                if rest.iter().any(restored) { Ok(()) } else { saver.drop_tree(tree) }
            }
            Operation::RenameTree { tree, name } => saver.rename(tree, name),
            Operation::RestoreTree { .. } => Ok(()),
        }
    }
}

//! Storing records batch by batch.
//!
//! A batch: 1. begin a transaction; 2. read and put the batch's records; 3. commit, which returns when the
//! batch is as durable as was asked for; 4. if acknowledgements were asked for, flush what is not on disk
//! yet, and append a line. A crash before 3 leaves nothing of the batch; between 3 and the end of 4 it leaves
//! a batch that is stored and not acknowledged, never the other way round.

use std::time::Instant;

use kestreldb::{Database, Durability, ErrorKind, Tree, WriteTxn};

use crate::counted::counted;
use crate::escape::shown;
use crate::failure::{Failure, Outcome};
use crate::load::acknowledgements::Acknowledgements;
use crate::load::progress::Progress;
use crate::load::record::Record;
use crate::load::record_reader::{Read, RecordReader};
use crate::load::summary::Summary;

/// More records that are skipped are counted, but not named.
const SKIPPED_NAMED_MAX: u64 = 10;

/// How records become transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// Entries of a transaction.
    pub(crate) entries: u64,
    /// When it counts as stored.
    pub(crate) durability: Durability,
    /// Whether records that cannot be stored are left out.
    pub(crate) skip_bad: bool,
}

/// Stores the records of an input in a tree.
pub(crate) struct Loader<'a> {
    db: &'a Database,
    tree: &'a Tree,
    reader: RecordReader,
    batching: Batching,
    acknowledgements: Option<Acknowledgements>,
    progress: Progress,
    record: Record,
    summary: Summary,
}

impl<'a> Loader<'a> {
    /// Prepares to store what `reader` reads.
    pub(crate) fn new(
        db: &'a Database,
        tree: &'a Tree,
        reader: RecordReader,
        batching: Batching,
        acknowledgements: Option<Acknowledgements>,
    ) -> Loader<'a> {
        let progress = Progress::new(reader.lines().bytes_total());
        let (record, summary) = (Record::default(), Summary::default());
        Loader { db, tree, reader, batching, acknowledgements, progress, record, summary }
    }

    /// Stores all batches.
    pub(crate) fn run(mut self) -> Outcome<Summary> {
        let started = Instant::now();
        let before = self.tree.len()?;
        while self.store_batch()? {
            self.progress.update(self.reader.lines().bytes(), self.summary.entries);
        }
        self.db.flush()?;
        self.summary.elapsed = started.elapsed();
        self.summary.inserted = self.tree.len()?.saturating_sub(before);
        self.summary.bytes = self.reader.lines().bytes();
        Ok(self.summary)
    }

    /// Stores a batch; returns whether there was anything to store.
    fn store_batch(&mut self) -> Outcome<bool> {
        let batch = self.summary.batches + 1;
        let tx = self.db.begin_write_with(self.db.write_options().durability(self.batching.durability))?;
        let entries = self.fill(&tx).map_err(|failure| self.nothing_of(batch, failure))?;
        if entries == 0 {
            return Ok(false);
        }
        tx.commit().map_err(|error| {
            Failure::new(format!("storing batch {batch} failed: {error}; {}", self.stored_before()))
        })?;
        self.summary.batches = batch;
        self.summary.entries += entries;
        if let Some(acknowledgements) = &mut self.acknowledgements {
            if self.batching.durability == Durability::Eventual {
                self.db.flush()?;
            }
            acknowledgements.append(batch, self.summary.entries)?;
        }
        Ok(true)
    }

    /// Puts a batch's records; returns how many.
    fn fill(&mut self, tx: &WriteTxn) -> Outcome<u64> {
        let mut entries = 0;
        while entries < self.batching.entries {
            match self.reader.next(&mut self.record)? {
                Read::End => break,
                Read::Bad(why) => self.refuse(&why)?,
                Read::Entry => match self.too_long() {
                    Some(why) => self.refuse(&why)?,
                    None => {
                        tx.put(self.tree, &self.record.key, &self.record.value)
                            .map_err(|error| self.put_failed(&error))?;
                        self.summary.carriage_returns += u64::from(self.record.value.ends_with(b"\r"));
                        entries += 1;
                    }
                },
            }
        }
        Ok(entries)
    }

    /// Why the record exceeds the database's limits, if it does.
    fn too_long(&self) -> Option<String> {
        let Record { key, value } = &self.record;
        let (key_max, value_max) = (self.db.max_key_len(), self.db.max_value_len());
        if key.len() > key_max {
            let (key, len) = (shown(key), key.len());
            return Some(format!(
                "the key {key} has {len} bytes, and this database takes {key_max}; one that is created with a \
                 larger --page-size takes more"
            ));
        }
        let len = value.len();
        (len as u64 > value_max).then(|| {
            format!("the value of {} has {len} bytes, and values have at most {value_max}", shown(key))
        })
    }

    /// Leaves the record out, or fails because of it.
    fn refuse(&mut self, why: &str) -> Outcome {
        let line = self.reader.line_number();
        if !self.batching.skip_bad {
            return Err(Failure::new(format!(
                "line {line}: {why}; correct it, or leave such out with --skip-bad"
            )));
        }
        self.summary.skipped += 1;
        match self.summary.skipped {
            ..=SKIPPED_NAMED_MAX => self.progress.print(&format!("kestrel: skipped line {line}: {why}")),
            skipped if skipped == SKIPPED_NAMED_MAX + 1 => {
                self.progress.print("kestrel: more is skipped and only counted");
            }
            _ => {}
        }
        Ok(())
    }

    fn put_failed(&self, error: &kestreldb::Error) -> Failure {
        let line = self.reader.line_number();
        let advice = match error.kind() {
            ErrorKind::OverBudget => "; give more --memory or a smaller --batch",
            _ => "",
        };
        Failure::new(format!("line {line}: {error}{advice}"))
    }

    fn nothing_of(&self, batch: u64, failure: Failure) -> Failure {
        match failure {
            Failure::Message(message) => Failure::new(format!(
                "{message}. Nothing of batch {batch} was stored; {}",
                self.stored_before()
            )),
            other => other,
        }
    }

    fn stored_before(&self) -> String {
        let entries = counted(self.summary.entries, "entry", "entries");
        format!("of the batches before it, {entries} are stored")
    }
}
